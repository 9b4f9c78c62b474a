//! Parallel map over a sequence, with the results in order.

use std::num::NonZero;
use std::sync::mpsc::sync_channel;
use std::thread;

use crate::error::Result;

/// Maximum number of workers. More would wait for the disk, and each holds a part of the file.
const MOST_WORKERS: usize = 4;

/// Applies `work` to every item of `source`, which runs on its own thread, and passes the results
/// to `take` in the order of the items. Stops at the first error in that order. Only a few items
/// are in progress at a time.
pub(crate) fn ordered_parallel<I: Send, T: Send>(
    source: impl Iterator<Item = Result<I>> + Send,
    work: impl Fn(I) -> Result<T> + Sync,
    mut take: impl FnMut(T) -> Result<()>,
) -> Result<()> {
    let work = &work;
    thread::scope(|scope| {
        let (mut items, mut results) = (Vec::new(), Vec::new());
        for _ in 0..thread::available_parallelism()
            .map_or(1, NonZero::get)
            .min(MOST_WORKERS)
        {
            let (give, given) = sync_channel::<Result<I>>(1);
            let (hand_back, handed_back) = sync_channel(1);
            scope.spawn(move || {
                given
                    .into_iter()
                    .try_for_each(|item| hand_back.send(item.and_then(work)))
            });
            items.push(give);
            results.push(handed_back);
        }
        // Workers receive items in turn, so that results collected in turn are in order.
        scope.spawn(move || {
            source
                .zip(items.iter().cycle())
                .try_for_each(|(item, worker)| worker.send(item))
        });
        // An early return drops the receivers, which stops the workers and then the source.
        results
            .iter()
            .cycle()
            .map_while(|worker| worker.recv().ok())
            .try_for_each(|result| take(result?))
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::error::Error;

    fn refuse(i: u64) -> Result<u64> {
        Err(Error::line(Path::new("f"), i, "enough"))
    }

    #[test]
    fn results_come_in_the_order_of_the_items() {
        let mut taken = Vec::new();
        let slow_at_times = |i: u64| {
            thread::sleep(Duration::from_micros(i * 7919 % 50));
            Ok(i * i)
        };
        ordered_parallel((0..500).map(Ok), slow_at_times, |square| {
            taken.push(square);
            Ok(())
        })
        .unwrap();
        assert!(taken.into_iter().eq((0..500).map(|i| i * i)));
    }

    #[test]
    fn the_first_error_ends_an_endless_source_wherever_it_arises() {
        let first = |source: &(dyn Fn(u64) -> Result<u64> + Sync),
                     work: &(dyn Fn(u64) -> Result<u64> + Sync)| {
            let ended = ordered_parallel((0..).map(source), work, |i| {
                if i == 70 { refuse(i).map(drop) } else { Ok(()) }
            });
            ended.unwrap_err().to_string()
        };
        let from = |least: u64| move |i: u64| if i >= least { refuse(i) } else { Ok(i) };
        assert!(first(&from(30), &from(40)).contains("30"));
        assert!(first(&from(50), &from(40)).contains("40"));
        assert!(first(&Ok, &Ok).contains("70"));
    }
}
