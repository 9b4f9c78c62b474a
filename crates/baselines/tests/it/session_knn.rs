//! VMIS-kNN against hand-computed scores, against a direct implementation of its formula, and with
//! corrupt arrays.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::path::Path;

use prl_baselines::{Baseline, KnnArrays, KnnError, KnnOptions, SessionKnn};
use prl_dataset::{
    Arrays, Dataset, DatasetCounts, ItemMap, Kind, ManifestInput, Source, Split, write,
};
use proptest::prelude::*;

/// Sessions of (item, split, time).
type Log = Vec<Vec<(u32, Split, i64)>>;

fn dataset(dir: &Path, items: u32, log: &Log) -> Dataset {
    let mut arrays = Arrays {
        offsets: vec![0],
        ..Arrays::default()
    };
    for session in log {
        for &(item, split, time) in session {
            arrays.items.push(item);
            arrays.kinds.push(Kind::Click);
            arrays.splits.push(split);
            arrays.times.push(time);
        }
        arrays.offsets.push(arrays.items.len() as u64);
    }
    let map = ItemMap::new((0..items).map(|i| format!("item-{i}"))).unwrap();
    let source = Source {
        kind: "test".into(),
        synthetic: true,
        files: Vec::new(),
    };
    let input = ManifestInput {
        source,
        options: Default::default(),
        seed: 0,
        counts: DatasetCounts::default(),
    };
    write(dir, &arrays, &map, input).unwrap();
    Dataset::open(dir).unwrap()
}

fn fit(items: u32, log: &Log, options: KnnOptions) -> SessionKnn {
    let dir = tempfile::tempdir().unwrap();
    SessionKnn::fit(&dataset(&dir.path().join("d"), items, log), options)
}

fn train(items: &[u32], end: i64) -> Vec<(u32, Split, i64)> {
    items
        .iter()
        .map(|&item| (item, Split::Train, end))
        .collect()
}

fn bits(scores: &[f32]) -> Vec<u32> {
    scores.iter().map(|s| s.to_bits()).collect()
}

// The log, in the order of the sessions' last training events:
//   a {0,1,2}   b {1,3}   c {0,4}   d {2,3}
// H = 4; items 0-3 are held by two sessions each (ln 4/2 = .693147), item 4 by one (ln 4/1 =
// 1.386294), item 5 by none.
// The window [0,1,0] has |s| = 3; item 0 stands last at place 3, item 1 at place 2.
//   r(a) = (3 + 2)/3 = 5/3, latest match 1 back: lambda = .9, vote .9 x 5/3 = 1.5
//   r(b) = 2/3,             latest match 2 back: lambda = .8, vote .8 x 2/3 = .533333
//   r(c) = 3/3 = 1,         latest match 1 back: lambda = .9, vote .9
//   d shares nothing.
// All of them vote:
//   0: (1.5 + .9) .693147 = 1.663553
//   1: (1.5 + .533333) .693147 = 1.409399
//   2: 1.5 x .693147 = 1.039721
//   3: .533333 x .693147 = .369678
//   4: .9 x 1.386294 = 1.247665
//   5: in no session, seen 0 times: -1/(1+0) = -1
// m = 2: the latest that share are c and b.
//   0: .9 x .693147 = .623832
//   1, 3: .369678
//   4: 1.247665
//   2: no neighbour, seen 2 times in training: -1/(1+2) = -.333333
// k = 1: a alone is the most similar.
//   0, 1, 2: 1.5 x .693147 = 1.039721   3: seen 3 times: -.25   4: seen once: -.5
#[test]
fn scores_match_hand_computation() {
    let log = vec![
        train(&[0, 4], 30),
        vec![
            (2, Split::Train, 5),
            (1, Split::Train, 6),
            (0, Split::Train, 10),
            (5, Split::Val, 99),
            (5, Split::Test, 99),
        ],
        train(&[3, 3, 2], 40),
        train(&[1, 3], 20),
        vec![(5, Split::Test, 7), (0, Split::Test, 7)],
    ];
    let all = KnnOptions {
        window: 10,
        ..KnnOptions::default()
    };
    for (options, expected) in [
        (
            all,
            [1.663553, 1.409399, 1.039721, 0.369678, 1.247665, -1.0],
        ),
        (
            KnnOptions { m: 2, ..all },
            [0.623832, 0.369678, -0.333333, 0.369678, 1.247665, -1.0],
        ),
        (
            KnnOptions { k: 1, ..all },
            [1.039721, 1.039721, 1.039721, -0.25, -0.5, -1.0],
        ),
    ] {
        let scores = fit(6, &log, options).scores(&[0, 1, 0]);
        for (item, (ours, by_hand)) in scores.iter().zip(expected).enumerate() {
            assert!(
                (ours - by_hand).abs() < 2e-6,
                "{options:?}, item {item}: {ours}, by hand {by_hand}"
            );
        }
    }
}

#[test]
fn sessions_ending_together_are_ordered_by_the_log() {
    let log = vec![train(&[0, 1], 7), train(&[0, 2], 7), train(&[3], 7)];
    let scores = fit(
        4,
        &log,
        KnnOptions {
            m: 1,
            ..KnnOptions::default()
        },
    )
    .scores(&[0]);
    assert!(scores[2] > 0.0 && scores[1] < 0.0);
}

#[test]
fn only_the_latest_window_items_count() {
    let log = vec![train(&[0, 1], 1), train(&[2, 3], 2), train(&[4], 3)];
    let knn = fit(
        5,
        &log,
        KnnOptions {
            window: 2,
            ..KnnOptions::default()
        },
    );
    assert_eq!(bits(&knn.scores(&[0, 2, 4])), bits(&knn.scores(&[2, 4])));
    assert_ne!(bits(&knn.scores(&[0, 2])), bits(&knn.scores(&[2])));
}

#[test]
fn without_neighbours_popularity_orders_all_items() {
    let log = vec![train(&[0, 0, 0, 1], 1), train(&[2, 2], 2)];
    let knn = fit(4, &log, KnnOptions::default());
    for history in [&[][..], &[3], &[4, u32::MAX]] {
        let scores = knn.scores(history);
        let mut order: Vec<usize> = (0..4).collect();
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        assert_eq!(order, [0, 2, 1, 3]);
        assert!(scores.iter().all(|&s| s < 0.0));
    }
    let nothing_learned = fit(2, &vec![vec![(0, Split::Test, 0)]], KnnOptions::default());
    assert_eq!(nothing_learned.scores(&[0]), [-1.0, -1.0]);
}

#[test]
fn options_have_defaults_and_reject_unknown_keys() {
    let read = |json: &str| serde_json::from_str::<KnnOptions>(json);
    assert_eq!(
        read(r#"{"k":7}"#).unwrap(),
        KnnOptions {
            k: 7,
            ..KnnOptions::default()
        }
    );
    assert!(read(r#"{"n":7}"#).is_err());
}

#[test]
fn corrupt_arrays_are_refused() {
    let good = KnnArrays {
        offsets: vec![0, 2, 3],
        items: vec![0, 2, 1],
        popularity: vec![4, 0, 1],
    };
    let read = |change: &dyn Fn(&mut KnnArrays)| {
        let mut arrays = good.clone();
        change(&mut arrays);
        SessionKnn::from_arrays(arrays, KnnOptions::default()).map(|_| ())
    };
    assert_eq!(read(&|_| ()), Ok(()));
    assert_eq!(
        read(&|a| a.offsets.clear()),
        Err(KnnError::Span { items: 3 })
    );
    assert_eq!(
        read(&|a| a.offsets[0] = 1),
        Err(KnnError::Span { items: 3 })
    );
    assert_eq!(
        read(&|a| a.items.truncate(2)),
        Err(KnnError::Span { items: 2 })
    );
    assert_eq!(
        read(&|a| a.offsets[1] = u64::MAX),
        Err(KnnError::Empty { session: 1 })
    );
    assert_eq!(
        read(&|a| a.offsets[1] = 0),
        Err(KnnError::Empty { session: 0 })
    );
    assert_eq!(
        read(&|a| a.items[1] = 0),
        Err(KnnError::Unsorted { session: 0 })
    );
    assert_eq!(
        read(&|a| a.items[2] = 3),
        Err(KnnError::UnknownItem {
            session: 1,
            item: 3,
            items: 3
        })
    );
    assert_eq!(
        read(&|a| a.popularity.truncate(2)),
        Err(KnnError::UnknownItem {
            session: 0,
            item: 2,
            items: 2
        })
    );
}

/// The formula over all past sessions, without an index; `None` for items without a neighbour.
fn plain(log: &Log, items: u32, options: KnnOptions, history: &[u32]) -> Vec<Option<f64>> {
    let mut past: Vec<(i64, usize, BTreeSet<u32>)> = Vec::new();
    for (position, session) in log.iter().enumerate() {
        let learned: Vec<_> = session.iter().filter(|e| e.1 == Split::Train).collect();
        if let Some(last) = learned.last() {
            past.push((last.2, position, learned.iter().map(|e| e.0).collect()));
        }
    }
    past.sort();
    let window = &history[history.len().saturating_sub(options.window)..];
    let place = |item: &u32| window.iter().rposition(|x| x == item).map(|i| i + 1);
    let shared = |held: &BTreeSet<u32>| held.iter().filter_map(place).collect::<Vec<usize>>();
    let mut near: Vec<usize> = (0..past.len())
        .rev()
        .filter(|&h| !shared(&past[h].2).is_empty())
        .collect();
    near.truncate(options.m);
    near.sort_by_key(|&h| {
        (
            Reverse(shared(&past[h].2).iter().sum::<usize>()),
            Reverse(h),
        )
    });
    near.truncate(options.k);
    let score = |item: u32| {
        let votes = near
            .iter()
            .filter(|&&h| past[h].2.contains(&item))
            .map(|&h| {
                let places = shared(&past[h].2);
                let similarity: f64 = places.iter().map(|&w| w as f64 / window.len() as f64).sum();
                let back = window.len() + 1 - places.iter().max().unwrap();
                let held_by = past.iter().filter(|p| p.2.contains(&item)).count();
                f64::max(0.0, 1.0 - back as f64 / 10.0)
                    * similarity
                    * (past.len() as f64 / held_by as f64).ln()
            });
        Some(votes.sum::<f64>()).filter(|&s| s > 1e-9)
    };
    (0..items).map(score).collect()
}

const ITEMS: u32 = 12;

fn log() -> impl Strategy<Value = Log> {
    let events = prop::collection::vec((0..ITEMS, 0..4_usize), 1..9);
    let session = (events, 0..6_i64, 0..3_i64).prop_map(|(events, start, gap)| {
        let mut splits: Vec<usize> = events.iter().map(|e| e.1.saturating_sub(1)).collect();
        splits.sort_unstable();
        let times = (0..).map(|t| start + gap * t);
        events
            .into_iter()
            .zip(splits)
            .zip(times)
            .map(|(((item, _), split), time)| (item, Split::ALL[split], time))
            .collect()
    });
    prop::collection::vec(session, 1..14)
}

fn options() -> impl Strategy<Value = KnnOptions> {
    (0..9_usize, 0..7_usize, 0..13_usize).prop_map(|(m, k, window)| KnnOptions { m, k, window })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn scores_match_the_formula_before_and_after_saving(
        log in log(),
        options in options(),
        histories in prop::collection::vec(prop::collection::vec(0..=ITEMS, 0..14), 4),
    ) {
        let knn = fit(ITEMS, &log, options);
        let back = SessionKnn::from_arrays(knn.arrays().clone(), options).unwrap();
        prop_assert_eq!(back.arrays(), knn.arrays());
        for history in histories {
            let scores = knn.scores(&history);
            prop_assert_eq!(bits(&back.scores(&history)), bits(&scores));
            let expected = plain(&log, ITEMS, options, &history);
            prop_assert_eq!(scores.len(), expected.len());
            for (item, (&ours, plain)) in scores.iter().zip(expected).enumerate() {
                let seen = log.iter().flatten().filter(|e| e.0 == item as u32 && e.1 == Split::Train).count();
                let plain = plain.unwrap_or(-1.0 / (1.0 + seen as f64));
                prop_assert!((f64::from(ours) - plain).abs() <= 1e-6 * plain.abs(), "{item}: {ours} and {plain}");
            }
        }
    }

    #[test]
    fn arbitrary_arrays_never_panic(
        sessions in prop::collection::vec(prop::collection::btree_set(0..6_u32, 1..4), 0..5),
        popularity in prop::collection::vec(any::<u32>(), 4..9),
        damage in prop::option::of((0..3_usize, 0..12_usize, prop_oneof![0..8_u64, any::<u64>()])),
        options in options(),
        history in prop::collection::vec(0..9_u32, 0..5),
    ) {
        let n = popularity.len();
        let mut arrays = KnnArrays { offsets: vec![0], items: Vec::new(), popularity };
        for held in sessions {
            arrays.items.extend(held);
            arrays.offsets.push(arrays.items.len() as u64);
        }
        match damage {
            Some((0, at, value)) if at < arrays.offsets.len() => arrays.offsets[at] = value,
            Some((1, at, value)) if at < arrays.items.len() => arrays.items[at] = value as u32,
            Some((2, at, _)) => arrays.items.truncate(at),
            _ => (),
        }
        if let Ok(knn) = SessionKnn::from_arrays(arrays, options) {
            let scores = knn.scores(&history);
            prop_assert!(scores.len() == n && scores.iter().all(|s| s.is_finite()));
        }
    }
}
