//! Audits of small logs against hand counts.

use std::collections::BTreeMap;

use super::{Audit, Bin};
use crate::dataset::{Arrays, Dataset};
use crate::event::{Kind, Split};
use crate::items::ItemMap;
use crate::manifest::{Counts, DatasetCounts, ManifestInput, Source};
use crate::writer::write;

use Split::{Test, Train, Val};

/// A dataset of sessions given as (item, time, split); every event is a click.
fn audit(items: u32, sessions: &[&[(u32, i64, Split)]]) -> Audit {
    let mut arrays = Arrays {
        offsets: vec![0],
        ..Arrays::default()
    };
    for session in sessions {
        for &(item, time, split) in *session {
            arrays.items.push(item);
            arrays.kinds.push(Kind::Click);
            arrays.times.push(time);
            arrays.splits.push(split);
        }
        arrays.offsets.push(arrays.items.len() as u64);
    }
    let counts = DatasetCounts {
        before_length_filter: Counts {
            sessions: 9,
            items: 8,
            clicks: 77,
            purchases: 6,
        },
        after_length_filter: Counts {
            sessions: sessions.len() as u64,
            ..Counts::default()
        },
        dropped: BTreeMap::from([("transaction".to_owned(), 5)]),
    };
    let source = Source {
        kind: "csv".into(),
        synthetic: true,
        files: Vec::new(),
    };
    let input = ManifestInput {
        source,
        options: BTreeMap::new(),
        seed: 0,
        counts,
    };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    write(
        &path,
        &arrays,
        &ItemMap::new((0..items).map(|i| i.to_string())).unwrap(),
        input,
    )
    .unwrap();
    Audit::new(&Dataset::open(&path).unwrap())
}

fn close(a: f64, b: f64) {
    assert!((a - b).abs() < 1e-12, "{a} is not {b}");
}

#[test]
fn lengths_use_nearest_ranks_and_fill_the_bins() {
    let session = |n| vec![(0, 0, Train); n];
    let all: Vec<_> = [1, 1, 2, 3, 4, 5, 9, 10, 20, 51].map(session).to_vec();
    let l = audit(1, &all.iter().map(Vec::as_slice).collect::<Vec<_>>()).lengths;
    assert_eq!((l.min, l.median, l.p90, l.p99, l.max), (1, 4, 20, 51, 51));
    close(l.mean, 10.6);
    let bin = |from, to, sessions| Bin { from, to, sessions };
    let bins = [
        bin(1, Some(1), 2),
        bin(2, Some(2), 1),
        bin(3, Some(4), 2),
        bin(5, Some(9), 2),
        bin(10, Some(19), 1),
    ];
    assert_eq!(
        l.histogram,
        [&bins[..], &[bin(20, Some(50), 1), bin(51, None, 1)]].concat()
    );
}

#[test]
fn popularity_counts_only_items_that_occur() {
    // Items 0..4 occur 5, 3, 1, 1 times; item 4 never.
    let log = [0, 0, 0, 0, 0, 1, 1, 1, 2, 3].map(|i| [(i, 0, Train)]);
    let a = audit(5, &log.iter().map(<[_; 1]>::as_slice).collect::<Vec<_>>());
    let shares: Vec<f64> = a.popularity.top.iter().map(|t| t.events).collect();
    assert_eq!(shares, [0.5, 0.5, 0.5, 0.5, 0.8]);
    // Sum over all pairs of |x - y| is 2 (2 + 4 + 4 + 2 + 2 + 0) = 28; Gini = 28 / (2 n^2 mean) =
    // 28 / (2 * 16 * 2.5).
    close(a.popularity.gini, 0.35);
    close(
        audit(2, &[&[(0, 0, Train), (1, 1, Train)]]).popularity.gini,
        0.0,
    );
}

#[test]
fn repeats_are_counted_within_a_session_only() {
    let (a, b) = (
        [(0, 0, Train), (1, 1, Train), (0, 2, Train), (0, 3, Train)],
        [(0, 4, Val), (1, 5, Val)],
    );
    close(audit(2, &[&a, &b]).repeat_share, 2.0 / 6.0);
}

#[test]
fn overlap_counts_parts_that_begin_before_the_earlier_split_ends() {
    let a = audit(
        1,
        &[
            &[(0, 10, Train), (0, 30, Train)],
            &[(0, 29, Val), (0, 40, Val)],
            &[(0, 30, Val), (0, 35, Val)],
            &[(0, 50, Test)],
            &[(0, 20, Test)],
            &[(0, 39, Test), (0, 90, Test)],
        ],
    );
    let found: Vec<_> = a
        .leaks
        .overlaps
        .iter()
        .map(|o| (o.earlier, o.later, o.sessions, o.share))
        .collect();
    // Train ends at 30, val at 40; a part that begins at that very moment does not overlap.
    assert_eq!(
        found,
        [
            (Train, Val, 1, 0.5),
            (Train, Test, 1, 1.0 / 3.0),
            (Val, Test, 2, 2.0 / 3.0)
        ]
    );
}

#[test]
fn overlap_uses_only_the_part_in_the_split() {
    // Leave-last-out: the session began in training, its test part at 9, before the other session's
    // training event.
    let a = audit(
        2,
        &[
            &[(0, 1, Train), (1, 9, Test)],
            &[(0, 5, Train), (1, 10, Train), (0, 11, Test)],
        ],
    );
    let [overlap] = a.leaks.overlaps[..] else {
        panic!("val is empty, so there is one pair: {:?}", a.leaks.overlaps)
    };
    assert_eq!(
        (
            overlap.earlier,
            overlap.later,
            overlap.sessions,
            overlap.share
        ),
        (Train, Test, 1, 0.5)
    );
}

#[test]
fn duplicate_sessions_have_the_same_items_in_the_same_order() {
    let part =
        |split: Split, items: &[u32]| items.iter().map(|&i| (i, 0, split)).collect::<Vec<_>>();
    let log = [
        part(Train, &[0, 1, 2]),
        part(Train, &[0, 1, 2]),
        part(Train, &[3]),
        part(Val, &[0, 1, 2]),
        part(Val, &[0, 1]),
        part(Val, &[2, 1, 0]),
        part(Val, &[3]),
        part(Test, &[0, 1, 2]),
        part(Test, &[0, 1, 2]),
    ];
    let a = audit(4, &log.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let found: Vec<_> = a
        .leaks
        .duplicates
        .iter()
        .map(|t| (t.split, t.sessions, t.share))
        .collect();
    assert_eq!(found, [(Val, 1, 1.0 / 3.0), (Test, 2, 1.0)]);
}

#[test]
fn ties_are_counted_between_adjacent_events_of_a_session() {
    let a = audit(
        1,
        &[
            &[(0, 1, Train), (0, 1, Train), (0, 1, Train), (0, 2, Train)],
            &[(0, 2, Val)],
        ],
    );
    close(a.leaks.tied_share, 2.0 / 3.0);
}

#[test]
fn audit_without_sessions_is_all_zero() {
    let a = audit(3, &[]);
    assert_eq!(
        (a.lengths.max, a.lengths.median, a.leaks.overlaps.len()),
        (0, 0, 0)
    );
    assert_eq!(
        (
            a.lengths.mean,
            a.popularity.gini,
            a.repeat_share,
            a.leaks.tied_share
        ),
        (0.0, 0.0, 0.0, 0.0)
    );
    assert!(!a.to_string().contains("NaN"));
}

#[test]
fn display_columns_are_aligned() {
    let log = [
        vec![(0, 1, Train), (1, 1, Train), (0, 3, Train)],
        vec![(0, 2, Val), (1, 4, Val)],
        vec![(2, 5, Test); 4],
    ];
    let mut a = audit(3, &log.iter().map(Vec::as_slice).collect::<Vec<_>>());
    a.dataset = "0123456789abcdef".into();
    let expected = "\
dataset 0123456789abcdef (csv, synthetic)

counts                          sessions       items      clicks   purchases
  before length filter                 9           8          77           6
  after length filter                  3           0           0           0
  train                                1           2           3           0
  val                                  1           2           2           0
  test                                 1           1           4           0

dropped rows                        rows
  transaction                          5

session length                       min      median        mean         p90         p99         max
  events                               2           3        3.00           4           4           4
                                sessions       share
  1                                    0       0.00%
  2                                    1      33.33%
  3-4                                  2      66.67%
  5-9                                  0       0.00%
  10-19                                0       0.00%
  20-50                                0       0.00%
  51 or more                           0       0.00%

popularity                        events
  top 1% of items                 44.44%
  top 5% of items                 44.44%
  top 10% of items                44.44%
  top 20% of items                44.44%
  top 50% of items                77.78%
  Gini coefficient                 0.148
  repeats in a session            44.44%

leak audit                      sessions       share
  val before train's end               1     100.00%
  test before train's end              0       0.00%
  test before val's end                0       0.00%
  val with a twin in train             0       0.00%
  test with a twin in train            0       0.00%
  tied timestamps                             66.67%
";
    assert_eq!(a.to_string(), expected);
    let json = serde_json::to_value(&a).unwrap();
    assert_eq!(json["leaks"]["overlaps"][0]["later"], "val");
    assert_eq!(json["splits"]["test"]["clicks"], 4);
}
