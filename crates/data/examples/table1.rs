//! Prepares RetailRocket (`table1 events.csv OUT`) or RC15 (`table1 clicks.dat buys.dat OUT`) and prints the column of the
//! paper's Table 1.

use std::path::PathBuf;

use prl_data::{Error, Options, Source, prepare};

fn main() -> Result<(), Error> {
    let mut paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let out = paths.pop().unwrap_or_default();
    let source = match <[PathBuf; 2]>::try_from(paths) {
        Ok([clicks, buys]) => Source::Rc15 {
            clicks,
            buys,
            sample: Source::RC15_SAMPLE,
        },
        Err(paths) => Source::RetailRocket {
            input: paths.into_iter().next().unwrap_or_default(),
        },
    };
    let counts = prepare(&Options::new(source), &out)?.input.counts;
    println!(
        "before the length filter: {:?}",
        counts.before_length_filter
    );
    println!("after it: {:?}", counts.after_length_filter);
    println!("rows dropped: {:?}", counts.dropped);
    Ok(())
}
