//! Batch assembly throughput on a prepared dataset, in rows per second: one JSON object per method.
//!
//! `cargo run --release -p prl-train --example batch_speed -- --data datasets/prepared/rr`

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Parser;
use prl_dataset::{Dataset, ReturnTable, Split, SplitExamples};
use prl_runs::{Config, Method};
use prl_train::Batches;
use serde_json::json;

#[derive(Parser)]
struct Args {
    /// A prepared dataset
    #[arg(long)]
    data: PathBuf,
    /// Batches that are timed
    #[arg(long, default_value_t = 2000)]
    batches: u64,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let data = Dataset::open(&args.data)?;
    for method in [Method::Normal, Method::Prl, Method::Sqn] {
        let config = Config {
            method,
            ..Config::default()
        };
        let rows = [SplitExamples::new(&data, Split::Train, config.skip_first)];
        let returns = ReturnTable::new(&rows, config.rewards, config.lambda, config.discount);
        let batches = Batches::new(&data, &config, &returns);
        let mut laps: Vec<Duration> = (1..=args.batches)
            .map(|t| {
                let start = Instant::now();
                std::hint::black_box(batches.at(t));
                start.elapsed()
            })
            .collect();
        laps.sort_unstable();
        let median = laps
            .get(laps.len() / 2)
            .map_or(f64::NAN, Duration::as_secs_f64);
        let rows_per_s = config.batch_size as f64 / median;
        println!(
            "{}",
            json!({ "method": method.name(), "rows_per_s": rows_per_s, "batch": config.batch_size })
        );
    }
    Ok(())
}
