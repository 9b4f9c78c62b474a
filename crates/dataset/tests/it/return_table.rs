//! Mean return of each time step: by hand on a small log, by definition on arbitrary logs.

use crate::common::dataset;
use prl_dataset::{Discount, Kind, ReturnTable, Rewards, Split, SplitExamples, TABLE_STEPS};
use proptest::prelude::*;

type Log = Vec<Vec<(u32, Kind, Split)>>;

/// Session from its kinds (`c` click, `p` purchase); events after a `|` are in the test split.
fn session(text: &str) -> Vec<(u32, Kind, Split)> {
    let (learned, held_out) = text.split_once('|').unwrap_or((text, ""));
    let events = |text: &str, split| -> Vec<_> {
        text.chars()
            .map(|c| {
                (
                    0,
                    if c == 'p' {
                        Kind::Purchase
                    } else {
                        Kind::Click
                    },
                    split,
                )
            })
            .collect()
    };
    [events(learned, Split::Train), events(held_out, Split::Test)].concat()
}

fn table(log: &Log, lambda: f64, discount: Discount) -> ReturnTable {
    let dir = tempfile::tempdir().unwrap();
    let data = dataset(&dir.path().join("d"), 1, log);
    ReturnTable::new(
        &[SplitExamples::new(&data, Split::Train, false)],
        Rewards::default(),
        lambda,
        discount,
    )
}

// Rewards are .2 for a click and 1 for a purchase; lambda^t for lambda = .5 is 1, .5, .25, .125,
// .0625. Held-out events are ignored, so the fourth session is one click long and the last one does
// not count.
//
// With lambda = 1:
//   ccp      1.4 1.2 1
//   cpc      1.4 1.2 .2
//   c        .2
//   c|p      .2
//   cccpc    1.8 1.6 1.4 1.2 .2
//   |pp
// With lambda = .5, exponents from the start:
//   ccp      .2 + .1 + .25 = .55   .35   .25
//   cpc      .2 + .5 + .05 = .75   .55   .05
//   c        .2
//   c|p      .2
//   cccpc    .2 + .1 + .05 + .125 + .0125 = .4875   .2875   .1875   .1375   .0125
// With lambda = .5, exponents from t:
//   ccp      .2 + .35 = .55   .2 + .5 = .7   1
//   cpc      .2 + .55 = .75   1 + .1 = 1.1   .2
//   c        .2
//   c|p      .2
//   cccpc    .2 + .2875 = .4875   .2 + .375 = .575   .2 + .55 = .75   1 + .1 = 1.1   .2
// Means over the five, three, three, one and one sessions alive:
//   t = 0    5 / 5 = 1              2.1875 / 5 = .4375                       2.1875 / 5 = .4375
//   t = 1    4 / 3 = 1.333333       1.1875 / 3 = .395833                     2.375 / 3 = .791667
//   t = 2    2.6 / 3 = .866667      .4875 / 3 = .1625                        1.95 / 3 = .65
//   t = 3    1.2                    .1375                                    1.1
//   t = 4    .2                     .0125                                    .2
// No session reaches t = 5; the last value is repeated.
#[test]
fn return_table_means_match_hand_computation() {
    let log = ["ccp", "cpc", "c", "c|p", "cccpc", "|pp"]
        .map(session)
        .to_vec();
    let (absolute, relative) = (Discount::Absolute, Discount::Relative);
    for (lambda, discount, by_hand) in [
        (1.0, absolute, [1.0, 1.333333, 0.866667, 1.2, 0.2, 0.2]),
        (1.0, relative, [1.0, 1.333333, 0.866667, 1.2, 0.2, 0.2]),
        (
            0.5,
            absolute,
            [0.4375, 0.395833, 0.1625, 0.1375, 0.0125, 0.0125],
        ),
        (0.5, relative, [0.4375, 0.791667, 0.65, 1.1, 0.2, 0.2]),
    ] {
        let table = table(&log, lambda, discount);
        for (t, mean) in by_hand.into_iter().enumerate() {
            let ours = table.mean_at(t as u32);
            assert!(
                (ours - mean).abs() < 1e-6,
                "lambda {lambda}, {discount:?}, step {t}: {ours}, by hand {mean}"
            );
        }
        assert_eq!(table.sessions[..6], [5, 3, 3, 1, 1, 0]);
    }
}

// 52 clicks and 51 clicks, lambda = 1: at step 49, the table's last, .2 x 3 = .6 and .2 x 2 = .4
// are still to come: .5.
#[test]
fn return_table_later_steps_use_the_last() {
    let table = table(
        &vec![session(&"c".repeat(52)), session(&"c".repeat(51))],
        1.0,
        Discount::Absolute,
    );
    assert_eq!(table.mean.len(), TABLE_STEPS);
    for t in [49, 50, 51, 1000] {
        assert!((table.mean_at(t) - 0.5).abs() < 1e-12);
    }
}

fn logs() -> impl Strategy<Value = Log> {
    let text =
        "[cp]{0,12}(\\|[cp]{1,3})?".prop_filter("a session is not empty", |text| !text.is_empty());
    prop::collection::vec(text.prop_map(|text| session(&text)), 1..9)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn return_table_means_match_the_definition(log in logs(), lambda in 0.0..=1.0_f64, relative: bool) {
        let discount = if relative { Discount::Relative } else { Discount::Absolute };
        let table = table(&log, lambda, discount);
        let learned = log.iter().map(|s| s.iter().filter(|e| e.2 == Split::Train).map(|e| Rewards::default().of(e.1)));
        let rewards: Vec<Vec<f64>> = learned.map(Iterator::collect).collect();
        for t in 0..12 {
            let alive = rewards.iter().filter(|r| r.len() > t);
            let returns: Vec<f64> = alive
                .map(|r| (t..r.len()).map(|u| lambda.powi((if relative { u - t } else { u }) as i32) * r[u]).sum())
                .collect();
            prop_assert_eq!(table.sessions[t], returns.len() as u64);
            if !returns.is_empty() {
                let mean = returns.iter().sum::<f64>() / returns.len() as f64;
                prop_assert!((table.mean[t] - mean).abs() < 1e-12, "step {t}: {} and {mean}", table.mean[t]);
            }
        }
    }
}
