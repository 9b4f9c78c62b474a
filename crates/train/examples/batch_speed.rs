//! Batch assembly throughput on a prepared dataset, in rows per second: one JSON object per method.
//!
//! `cargo run --release -p prl-train --example batch_speed -- --data datasets/prepared/rr`
//!
//! With `--events N` a synthetic dataset of about N events is written to `--data` first.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Parser;
use prl_dataset::{
    Arrays, Dataset, ItemMap, Kind, ManifestInput, ReturnTable, Source, Split, SplitExamples, write,
};
use prl_runs::{Config, Method};
use prl_train::Batches;
use rand::Rng;
use serde_json::json;

#[derive(Parser)]
struct Args {
    /// A prepared dataset
    #[arg(long)]
    data: PathBuf,
    /// Batches that are timed
    #[arg(long, default_value_t = 2000)]
    batches: u64,
    /// Write a synthetic dataset of about this many events to --data first
    #[arg(long)]
    events: Option<usize>,
}

/// Items of a synthetic dataset.
const ITEMS: u32 = 50_000;
/// Shortest and longest session of a synthetic dataset; the mean is six events.
const LENGTHS: std::ops::RangeInclusive<usize> = 3..=9;

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if let Some(events) = args.events {
        synthesise(&args.data, events)?;
    }
    let data = Dataset::open(&args.data)?;
    for method in [Method::Normal, Method::Prl, Method::Sqn] {
        let config = Config {
            method,
            ..Config::default()
        };
        let rows = [SplitExamples::new(&data, Split::Train, config.skip_first)];
        let returns = ReturnTable::new(&rows, config.rewards, config.lambda, config.discount);
        let batches = Batches::new(&data, &config, &returns);
        let mut laps = Vec::new();
        for t in 1..=args.batches {
            let start = Instant::now();
            std::hint::black_box(batches.at(t));
            laps.push(start.elapsed());
        }
        laps.sort_unstable();
        let median = laps
            .get(laps.len() / 2)
            .map_or(f64::NAN, Duration::as_secs_f64);
        println!(
            "{}",
            json!({
                "method": method.name(),
                "events": data.item_indices().len(),
                "batch_ms": 1e3 * median,
                "rows_per_s": config.batch_size as f64 / median,
                "batch": config.batch_size,
            })
        );
    }
    Ok(())
}

/// Writes sessions of random items, of which one in ten is purchased; the latest tenths of the
/// sessions are the validation and the test split.
fn synthesise(dir: &Path, events: usize) -> anyhow::Result<()> {
    let mut rng = prl_seed::stream(0, "batch_speed", 0);
    let mut arrays = Arrays {
        offsets: vec![0],
        ..Arrays::default()
    };
    while arrays.items.len() < events {
        let split = match arrays.items.len() * 10 / events {
            8 => Split::Val,
            9.. => Split::Test,
            _ => Split::Train,
        };
        for _ in 0..rng.random_range(LENGTHS) {
            // The square favours low indices: some items are popular.
            let share: f64 = rng.random();
            arrays.items.push((share * share * f64::from(ITEMS)) as u32);
            let is_purchase = rng.random_ratio(1, 10);
            let kind = if is_purchase {
                Kind::Purchase
            } else {
                Kind::Click
            };
            arrays.kinds.push(kind);
            arrays.times.push(1_000 * arrays.items.len() as i64);
            arrays.splits.push(split);
        }
        arrays.offsets.push(arrays.items.len() as u64);
    }
    let items = ItemMap::new((0..ITEMS).map(|item| item.to_string()))?;
    let source = Source {
        kind: "csv".into(),
        synthetic: true,
        files: Vec::new(),
    };
    let input = ManifestInput {
        source,
        ..ManifestInput::default()
    };
    write(dir, &arrays, &items, input)?;
    Ok(())
}
