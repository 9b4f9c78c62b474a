//! Time of a top-20 under filters of several shares, against the unfiltered one, in one process:
//! `where_speed [items] [width]`. Prints the median and the 99th percentile of single requests and
//! of batches of 16, and the ratios to the unfiltered ones, which alternate with the filtered ones.

use std::time::Instant;

use prl_items::{LiveItems, RawValue, TableBuilder, Where};
use prl_kernels::ops::softmax_head::OutputLayer;
use prl_kernels::ops::top_k_serving::{ItemFilter, TopKRequest, TransposedItemMatrix};
use prl_runs::Filter;
use serde_json::{Value, json};

/// Requests of each kind.
const ROUNDS: usize = 400;
const K: usize = 20;

fn noise(n: usize, mut state: u64) -> Vec<f32> {
    let mut all = Vec::with_capacity(n);
    for _ in 0..n {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        all.push((state >> 40) as f32 / (1 << 24) as f32 - 0.5);
    }
    all
}

/// Items whose number in a shuffled order is the property `rank`.
fn items(n: usize) -> LiveItems {
    let names = ["rank", "group"];
    let mut rows = TableBuilder::new(names).expect("two names");
    let mut ids = Vec::with_capacity(n);
    for item in 0..n {
        let rank = (item as u64 * 2_654_435_761 % n as u64) as f64;
        let group = format!("g{}", item % 997);
        let id = item.to_string();
        let values = [RawValue::Number(rank), RawValue::Text(&group)];
        rows.push(&id, values).expect("a row");
        ids.push(id);
    }
    let (table, _) = rows.finish(&ids).expect("a table");
    let start = Instant::now();
    let bytes = table.to_bytes().expect("bytes");
    let written = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let table = prl_items::ItemTable::from_bytes(&bytes).expect("the table");
    let read = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let live = LiveItems::new(table, "available");
    live.warm_up();
    println!(
        "table of {:.1} MB: written in {written:.3} s, read in {read:.3} s, indexed in {:.3} s",
        bytes.len() as f64 / 1e6,
        start.elapsed().as_secs_f64()
    );
    live
}

/// The value at a share of sorted values.
fn at(sorted: &[f64], share: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * share).round() as usize]
}

fn main() {
    let mut args = std::env::args().skip(1);
    let mut next = |default| args.next().and_then(|a| a.parse().ok()).unwrap_or(default);
    let (n, width) = (next(70_852), next(64));
    let live = items(n);
    let (weight, bias) = (noise(n * width, 1), noise(n, 2));
    let linear = OutputLayer {
        weight: &weight,
        bias: &bias,
    };
    let matrix = TransposedItemMatrix::new(linear, width);
    let hidden = noise(16 * width, 3);
    let shares = [
        (
            "0.01%",
            json!({"rank": {"max": (n as f64 / 10_000.0).floor().max(1.0) - 1.0}}),
        ),
        ("0.1%", json!({"group": "g5"})),
        ("1%", json!({"rank": {"max": (n / 100) as f64}})),
        ("50%", json!({"rank": {"max": (n / 2) as f64}})),
        ("99.99%", json!({"rank": {"min": (n / 10_000) as f64}})),
    ];
    for batch in [1, 16] {
        println!("{n} items, width {width}, batches of {batch}");
        for (share, filter) in &shares {
            compare(&matrix, &live, &hidden[..batch * width], (share, filter));
        }
    }
}

/// Prints the times with a filter beside those without.
fn compare(
    matrix: &TransposedItemMatrix<f32>,
    live: &LiveItems,
    hidden: &[f32],
    (share, filter): (&str, &Value),
) {
    let conditions = Where::from_json(filter).expect("a filter");
    let filter = Filter {
        conditions,
        ..Filter::default()
    };
    let start = Instant::now();
    let first = live.mask(&filter.conditions).expect("a mask");
    let first_ms = start.elapsed().as_secs_f64() * 1e3;
    let count = first
        .as_ref()
        .map_or(live.table().catalogue(), |mask| mask.count());
    let (mut plain, mut filtered) = (Vec::new(), Vec::new());
    for round in 0..2 * ROUNDS {
        let start = Instant::now();
        if round % 2 == 0 {
            top(matrix, hidden, ItemFilter::Exclude(&[]));
            plain.push(start.elapsed().as_secs_f64() * 1e3);
            continue;
        }
        let mask = live.mask(&filter.conditions).expect("a mask");
        match &mask {
            None => top(matrix, hidden, ItemFilter::Exclude(&[])),
            Some(mask) => match mask.few() {
                Some(items) => top(matrix, hidden, ItemFilter::Allow(items)),
                None => {
                    let words = mask.words();
                    top(matrix, hidden, ItemFilter::Mask { words, except: &[] });
                }
            },
        }
        filtered.push(start.elapsed().as_secs_f64() * 1e3);
    }
    plain.sort_by(f64::total_cmp);
    filtered.sort_by(f64::total_cmp);
    println!(
        "  {share:>7} ({count} items): p50 {:.3} ms (unfiltered {:.3}, ratio {:.2}), p99 {:.3} ms (unfiltered \
         {:.3}, ratio {:.2}); first mask {first_ms:.3} ms",
        at(&filtered, 0.5),
        at(&plain, 0.5),
        at(&filtered, 0.5) / at(&plain, 0.5),
        at(&filtered, 0.99),
        at(&plain, 0.99),
        at(&filtered, 0.99) / at(&plain, 0.99),
    );
}

fn top(matrix: &TransposedItemMatrix<f32>, hidden: &[f32], filter: ItemFilter<'_>) {
    let rows = hidden.len() / matrix.vector(0).len();
    let wanted = vec![TopKRequest { k: K, filter }; rows];
    let tops = matrix.top_k(hidden, &wanted).expect("finite scores");
    assert!(tops.iter().all(|top| top.len() <= K));
}
