//! Batches against a materialised replay buffer; returns against their definition.

use crate::common::dataset;
use prl_dataset::{
    Discount, Kind, ReturnRule, ReturnTable, Rewards, Split, SplitExamples, TABLE_STEPS, returns,
};
use proptest::prelude::*;

const ITEMS: u32 = 9;

/// Example of the buffer: state, length, time step, action, kind and return.
type Example = (Vec<u32>, u32, u32, u32, Kind, f64);

/// Replay buffer as in section 1 ("Rows") of the protocol.
fn buffer(
    sessions: &[Vec<(u32, Kind, Split)>],
    split: Split,
    width: usize,
    skip: bool,
    rule: ReturnRule,
) -> Vec<Example> {
    let mut out = Vec::new();
    for session in sessions {
        let end = session
            .iter()
            .rposition(|e| e.2 == split)
            .map_or(0, |i| i + 1);
        for (t, &(item, kind, own)) in session.iter().enumerate() {
            if own != split || (skip && t == 0) {
                continue;
            }
            let mut state: Vec<u32> = session[t.saturating_sub(width)..t]
                .iter()
                .map(|e| e.0)
                .collect();
            let length = state.len().max(1) as u32;
            state.resize(width, ITEMS);
            let direct = (t..end)
                .map(|u| {
                    let exponent = if rule.discount == Discount::Absolute {
                        u
                    } else {
                        u - t
                    };
                    rule.lambda.powi(exponent as i32) * rule.rewards.of(session[u].1)
                })
                .sum();
            out.push((state, length, t as u32, item, kind, direct));
        }
    }
    out
}

fn log() -> impl Strategy<Value = Vec<Vec<(u32, Kind, Split)>>> {
    let event = (
        0..ITEMS,
        prop_oneof![Just(Kind::Click), Just(Kind::Purchase)],
        0..3usize,
    );
    let session = prop::collection::vec(event, 1..24).prop_map(|mut s| {
        let mut splits: Vec<usize> = s.iter().map(|e| e.2).collect();
        splits.sort_unstable();
        s.iter_mut().zip(splits).for_each(|(e, split)| e.2 = split);
        s.into_iter()
            .map(|(i, k, s)| (i, k, Split::ALL[s]))
            .collect()
    });
    // More sessions than a group of the index has.
    prop::collection::vec(session, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn batches_match_the_replay_buffer(
        sessions in log(), split in 0..3usize, width in 1..12usize, skip: bool, lambda in 0.0..=1.0f64, relative: bool,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let data = dataset(&dir.path().join("d"), ITEMS, &sessions);
        let discount = if relative { Discount::Relative } else { Discount::Absolute };
        let rule = ReturnRule { rewards: Rewards::default(), lambda, discount };
        let rows = SplitExamples::new(&data, Split::ALL[split], skip);
        let plain = buffer(&sessions, Split::ALL[split], width, skip, rule);
        prop_assert_eq!(rows.len(), plain.len());
        let batch = rows.batch(0..rows.len(), width, Some(rule));
        for (i, (state, length, step, target, kind, value)) in plain.iter().enumerate() {
            prop_assert_eq!(&batch.windows.items[i * width..][..width], state.as_slice());
            prop_assert_eq!((batch.windows.lengths[i], batch.windows.time_steps[i]), (*length, *step));
            prop_assert_eq!((batch.targets[i], batch.kinds[i]), (*target, *kind));
            prop_assert!((batch.returns[i] - value).abs() < 1e-9);
        }
    }
}

#[test]
fn returns_satisfy_the_recursion_of_algorithm_1() {
    let kinds = [Kind::Click, Kind::Purchase, Kind::Click, Kind::Click];
    let r = returns(&kinds, Rewards::default(), 0.5, Discount::Absolute);
    for t in 0..3 {
        let step = 0.5_f64.powi(t as i32) * Rewards::default().of(kinds[t]);
        assert!((r[t + 1] - (r[t] - step)).abs() < 1e-12);
    }
    assert!((r[0] - (0.2 + 0.5 + 0.05 + 0.025)).abs() < 1e-12);
    let relative = returns(&kinds, Rewards::default(), 0.5, Discount::Relative);
    assert!((relative[1] - (1.0 + 0.1 + 0.05)).abs() < 1e-12);
}

#[test]
fn return_table_averages_the_sessions_that_reach_the_step() {
    let train = |kinds: &[Kind]| {
        kinds
            .iter()
            .map(|&k| (0, k, Split::Train))
            .collect::<Vec<_>>()
    };
    let (c, p) = (Kind::Click, Kind::Purchase);
    let test = vec![(0, p, Split::Test); 5];
    let dir = tempfile::tempdir().unwrap();
    let data = dataset(
        &dir.path().join("d"),
        1,
        &[train(&[c, p, c]), train(&[c]), test],
    );
    let table = |splits: &[Split]| {
        let rows: Vec<SplitExamples<'_>> = splits
            .iter()
            .map(|&s| SplitExamples::new(&data, s, false))
            .collect();
        ReturnTable::new(&rows, Rewards::default(), 1.0, Discount::Absolute)
    };
    let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} and {b}");
    let of_train = table(&[Split::Train]);
    [(1.4 + 0.2) / 2.0, 1.2, 0.2]
        .iter()
        .zip(&of_train.mean)
        .for_each(|(a, b)| close(*a, *b));
    assert_eq!(of_train.sessions[..4], [2, 1, 1, 0]);
    close(of_train.mean_at(3), 0.2);
    close(of_train.max_at(0), 1.4);
    close(
        of_train.mean_at(999),
        of_train.mean_at(TABLE_STEPS as u32 - 1),
    );
    close(table(&Split::ALL).mean[0], (1.4 + 0.2 + 5.0) / 3.0);
}

#[test]
fn draw_is_distinct_and_a_function_of_seed_and_step() {
    let dir = tempfile::tempdir().unwrap();
    let sessions = vec![vec![(0, Kind::Click, Split::Train); 20]; 10];
    let data = dataset(&dir.path().join("d"), 1, &sessions);
    let rows = SplitExamples::new(&data, Split::Train, false);
    let mut draw = rows.draw(3, 7, 64);
    assert_eq!(draw, rows.draw(3, 7, 64));
    assert_ne!(draw, rows.draw(3, 8, 64));
    assert_ne!(draw, rows.draw(4, 7, 64));
    draw.sort_unstable();
    draw.dedup();
    assert_eq!(draw.len(), 64);
    assert_eq!(rows.draw(3, 7, 1000).len(), 200);
}

/// Sessions of one, two and nine examples, so that blocks of examples begin inside of sessions.
#[test]
fn hold_out_divides_whole_sessions_by_the_seed() {
    let dir = tempfile::tempdir().unwrap();
    let mut sessions = Vec::new();
    for length in [1, 2, 9].into_iter().cycle().take(30) {
        let mut session = vec![(0, Kind::Click, Split::Train); length];
        session.push((1, Kind::Purchase, Split::Test));
        sessions.push(session);
    }
    let data = dataset(&dir.path().join("d"), 2, &sessions);
    let train = SplitExamples::new(&data, Split::Train, false);
    // Lengths of the sessions, in log order.
    let lengths = |part: &SplitExamples<'_>| -> Vec<usize> {
        part.episodes().map(|events| events.len()).collect()
    };
    let parts = train.clone().hold_out(3, 0.2);
    assert_eq!((parts.held.sessions(), parts.rest.sessions()), (6, 24));
    assert_eq!(parts.held.len() + parts.rest.len(), train.len());
    let mut all = [lengths(&parts.held), lengths(&parts.rest)].concat();
    all.sort_unstable();
    assert_eq!(all, [vec![1; 10], vec![2; 10], vec![9; 10]].concat());
    for part in [&parts.held, &parts.rest] {
        let batch = part.batch(0..part.len(), 4, None);
        let mut steps = Vec::new();
        for length in lengths(part) {
            steps.extend(0..length as u32);
        }
        assert_eq!(batch.windows.time_steps, steps);
    }
    let again = |seed| lengths(&train.clone().hold_out(seed, 0.2).held);
    assert_eq!(again(3), lengths(&parts.held));
    assert!((4..9).any(|seed| again(seed) != again(3)));
    let sessions = |share| {
        let parts = train.clone().hold_out(3, share);
        (parts.held.sessions(), parts.rest.sessions())
    };
    assert_eq!((sessions(1e-9), sessions(1.0)), ((1, 29), (29, 1)));
}

#[test]
fn hold_out_of_fewer_than_two_sessions_holds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let one = [vec![(0, Kind::Click, Split::Train); 3]];
    let data = dataset(&dir.path().join("d"), 1, &one);
    for (split, examples) in [(Split::Train, 3), (Split::Val, 0)] {
        let parts = SplitExamples::new(&data, split, false).hold_out(0, 0.5);
        assert_eq!((parts.held.len(), parts.rest.len()), (0, examples));
    }
}
