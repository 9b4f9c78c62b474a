//! Counts of the real RetailRocket slice, if present: set `PRL_RETAILROCKET_SLICE` to its
//! `events.csv`, or put it in `../shared/datasets` beside the repository.

use std::path::PathBuf;

use prl_data::{Options, Source, prepare};
use prl_dataset::{Counts, Dataset};

fn slice() -> Option<PathBuf> {
    let beside = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../../shared/datasets/retailrocket-slice/events.csv"
    );
    let path =
        std::env::var_os("PRL_RETAILROCKET_SLICE").map_or_else(|| beside.into(), PathBuf::from);
    path.exists().then_some(path)
}

#[test]
fn the_slice_has_the_known_counts() {
    let Some(input) = slice() else {
        eprintln!("skipped: the RetailRocket slice is not at hand");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("prepared");
    let manifest = prepare(&Options::new(Source::RetailRocket { input }), &out).unwrap();
    let counts = manifest.input.counts;
    let expected = Counts {
        sessions: 16_566,
        items: 10_985,
        clicks: 69_244,
        purchases: 1_598,
    };
    assert_eq!(counts.before_length_filter, expected);
    assert_eq!(manifest.dataset, "8aaa845b007cb220");
    let rows: u64 = manifest.input.source.files.iter().map(|f| f.rows).sum();
    let after = counts.after_length_filter;
    assert_eq!(
        rows,
        after.clicks + after.purchases + counts.dropped.values().sum::<u64>()
    );
    assert_eq!(Dataset::open(&out).unwrap().items().len(), 10_985);
}
