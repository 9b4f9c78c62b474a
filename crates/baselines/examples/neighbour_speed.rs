//! Latency and memory of the neighbour searches on a prepared dataset: one JSON object per method.
//!
//! `cargo run --release -p prl-baselines --example neighbour_speed -- --data datasets/prepared/rr`
//!
//! Queries are the histories before random events of the validation and test split, one at a time
//! on one thread, with the 21 best items kept. Milliseconds are percentiles over the queries;
//! `bytes_per_click` is the size of the search's arrays over the training events.

use std::path::PathBuf;
use std::time::Instant;

use clap::Parser;
use prl_baselines::{Baseline, KnnOptions, SequenceKnn, SessionKnn, training_sessions};
use prl_dataset::{Dataset, Split};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

#[derive(Parser)]
struct Args {
    /// A prepared dataset
    #[arg(long)]
    data: PathBuf,
    /// Queries that are timed
    #[arg(long, default_value_t = 20_000)]
    queries: usize,
    /// Items of a list
    #[arg(short, default_value_t = 21)]
    k: usize,
    /// Write the training sessions and the queries' sessions to DIR/train.txt and DIR/test.txt, in
    /// the format of Serenade
    #[arg(long, value_name = "DIR")]
    export: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let data = Dataset::open(&args.data)?;
    let sessions = training_sessions(&data);
    let mut clicks = 0;
    for session in &sessions {
        clicks += session.len();
    }
    if let Some(dir) = &args.export {
        export(&data, dir)?;
    }
    let histories = histories(&data, args.queries);
    let (start, knn) = (
        Instant::now(),
        SessionKnn::fit(&data, KnnOptions::default()),
    );
    let fit = start.elapsed().as_secs_f64();
    print(
        "session-knn",
        &knn,
        knn.bytes(),
        (clicks, fit),
        &histories,
        args.k,
    );
    drop(knn);
    let (start, knn) = (Instant::now(), SequenceKnn::fit(&data));
    let fit = start.elapsed().as_secs_f64();
    print(
        "session-knn-tuned",
        &knn,
        knn.bytes(),
        (clicks, fit),
        &histories,
        args.k,
    );
    Ok(())
}

/// Histories before random events outside the training split that have some.
fn histories(data: &Dataset, queries: usize) -> Vec<Vec<u32>> {
    let (items, splits) = (data.item_indices(), data.splits());
    let mut ends = Vec::new();
    for session in data.sessions() {
        for at in session.start + 1..session.end {
            if splits[at] != Split::Train {
                ends.push((session.start, at));
            }
        }
    }
    let mut rng = StdRng::seed_from_u64(0);
    let mut histories = Vec::with_capacity(queries);
    for _ in 0..queries.min(ends.len()) {
        let (start, end) = ends[rng.random_range(0..ends.len())];
        histories.push(items[start..end].to_vec());
    }
    histories
}

/// Times the queries and prints the method's line.
fn print(
    method: &str,
    knn: &impl Baseline,
    bytes: usize,
    (clicks, fit): (usize, f64),
    histories: &[Vec<u32>],
    k: usize,
) {
    let mut laps = Vec::with_capacity(histories.len());
    for history in histories {
        let start = Instant::now();
        std::hint::black_box(knn.votes(history).map(|votes| votes.top(k)));
        laps.push(start.elapsed().as_secs_f64() * 1e3);
    }
    laps.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| -> Value {
        let last = laps.len().saturating_sub(1);
        laps.get((share * last as f64) as usize).copied().into()
    };
    let line = json!({
        "method": method,
        "clicks": clicks,
        "queries": laps.len(),
        "k": k,
        "fit_s": fit,
        "p50_ms": at(0.5), "p90_ms": at(0.9), "p99_ms": at(0.99), "max_ms": at(1.0),
        "mb": bytes as f64 / 1e6,
        "bytes_per_click": bytes as f64 / clicks.max(1) as f64,
    });
    println!("{line}");
}

/// Writes the sessions as tab-separated lines of session, item and time in seconds.
fn export(data: &Dataset, dir: &std::path::Path) -> anyhow::Result<()> {
    use std::io::Write;
    std::fs::create_dir_all(dir)?;
    let file = |name| -> anyhow::Result<_> {
        let mut file = std::io::BufWriter::new(std::fs::File::create(dir.join(name))?);
        writeln!(file, "SessionId\tItemId\tTime")?;
        Ok(file)
    };
    let (mut train, mut test) = (file("train.txt")?, file("test.txt")?);
    let (items, splits, times) = (data.item_indices(), data.splits(), data.times());
    for (number, session) in data.sessions().enumerate() {
        for at in session {
            let out = if splits[at] == Split::Train {
                &mut train
            } else {
                &mut test
            };
            writeln!(out, "{number}\t{}\t{}", items[at], times[at] / 1000)?;
        }
    }
    train.flush()?;
    test.flush()?;
    Ok(())
}
