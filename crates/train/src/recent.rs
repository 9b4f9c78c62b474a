//! Batches of a training that starts from another run's weights: a part of each is of events that
//! the other run did not see.

use prl_dataset::{Permutation, SplitExamples};
use rand::RngCore;

/// Passes over the recent examples in a whole training, at most: fewer of them in a batch follow.
const MAX_PASSES: u64 = 4;

/// Examples by their time, and the number of recent ones in a batch.
#[derive(Debug)]
pub(crate) struct RecentExamples {
    recent: Passes,
    earlier: Passes,
    /// Recent examples of each batch.
    per_batch: u64,
    batch_size: u64,
}

impl RecentExamples {
    /// The examples of events after `until`, of which each of `steps` batches has a `share`; `None`
    /// if all examples are on one side.
    pub(crate) fn new(
        examples: &SplitExamples<'_>,
        until: i64,
        (share, batch_size, steps): (f64, usize, u64),
        seed: u64,
    ) -> Option<Self> {
        let times = examples.dataset().times();
        let (mut recent, mut earlier, mut example) = (Vec::new(), Vec::new(), 0);
        for (_, targets) in examples.targets() {
            for &time in &times[targets] {
                let side = if time > until {
                    &mut recent
                } else {
                    &mut earlier
                };
                side.push(example);
                example += 1;
            }
        }
        let batch_size = batch_size as u64;
        let wanted = (share * batch_size as f64).round() as u64;
        let most = (MAX_PASSES * recent.len() as u64).div_ceil(steps.max(1));
        let per_batch = wanted.min(most);
        if recent.is_empty() || earlier.is_empty() || per_batch == 0 {
            return None;
        }
        let mut seeds = prl_seed::stream(seed, "recent", 0);
        Some(Self {
            recent: Passes::new(recent, seeds.next_u64()),
            earlier: Passes::new(earlier, seeds.next_u64()),
            per_batch,
            batch_size,
        })
    }

    /// The examples of step `step` (from 1): a pure function of the seed and the step.
    pub(crate) fn at(&self, step: u64) -> Vec<usize> {
        let mut examples = Vec::with_capacity(self.batch_size as usize);
        self.recent.extend(&mut examples, step, self.per_batch);
        let rest = self.batch_size - self.per_batch;
        self.earlier.extend(&mut examples, step, rest);
        examples
    }
}

/// Passes over some examples, each in an order of its own.
#[derive(Debug)]
struct Passes {
    examples: Vec<u32>,
    seed: u64,
}

impl Passes {
    fn new(examples: Vec<u32>, seed: u64) -> Self {
        Self { examples, seed }
    }

    /// Appends the examples of step `step` (from 1), of which each has `count`.
    fn extend(&self, examples: &mut Vec<usize>, step: u64, count: u64) {
        let len = self.examples.len() as u64;
        let mut place = (step - 1) * count;
        while place < step * count {
            let pass = place / len;
            let order = Permutation::new(len, self.seed, pass);
            let end = (step * count).min((pass + 1) * len);
            for at in place - pass * len..end - pass * len {
                examples.push(self.examples[order.at(at) as usize] as usize);
            }
            place = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Passes;

    #[test]
    fn passes_visit_every_example_once_and_continue_across_steps() {
        let passes = Passes::new((100..107).collect(), 5);
        let mut drawn = Vec::new();
        for step in 1..=7 {
            passes.extend(&mut drawn, step, 3);
        }
        let mut orders = Vec::new();
        for pass in drawn.chunks(7) {
            let mut sorted = pass.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, (100..107).collect::<Vec<usize>>());
            orders.push(pass.to_vec());
        }
        assert!(orders[0] != orders[1] || orders[1] != orders[2]);
    }
}
