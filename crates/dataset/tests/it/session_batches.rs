//! Steps of whole sessions: every example once a pass, with the items of its window.

use prl_dataset::{Kind, SessionBatches, Split, SplitExamples};
use proptest::prelude::*;

use crate::common::dataset;

const ITEMS: u32 = 9;

fn sessions() -> impl Strategy<Value = Vec<Vec<(u32, Kind, Split)>>> {
    let kind = prop_oneof![Just(Kind::Click), Just(Kind::Purchase)];
    let split = prop_oneof![3 => Just(Split::Train), 1 => Just(Split::Val)];
    let session = prop::collection::vec((0..ITEMS, kind, split), 1..24);
    let session = session.prop_map(|mut session| {
        let mut splits: Vec<Split> = session.iter().map(|event| event.2).collect();
        splits.sort_unstable();
        for (event, split) in session.iter_mut().zip(splits) {
            event.2 = split;
        }
        session
    });
    prop::collection::vec(session, 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_pass_visits_every_example_once_with_the_items_of_its_window(
        sessions in sessions(),
        window in 1..9usize,
        batch_size in 1..40usize,
        skip_first: bool,
        is_whole: bool,
        in_val: bool,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let data = dataset(&dir.path().join("d"), ITEMS, &sessions);
        let split = if in_val { Split::Val } else { Split::Train };
        let examples = SplitExamples::new(&data, split, skip_first);
        prop_assume!(!examples.is_empty());
        let batches = SessionBatches::new(&examples, batch_size, 3);
        let steps = batches.steps_per_pass();
        prop_assert_eq!(steps, (examples.len() / batch_size).max(1) as u64);
        for pass in 0..2 {
            let mut visited = Vec::new();
            for step in 1 + pass * steps..=(pass + 1) * steps {
                let pieces = batches.at(step);
                // As at a resumption, which has no pass at hand.
                let fresh = SessionBatches::new(&examples, batch_size, 3);
                prop_assert_eq!(&pieces, &fresh.at(step));
                prop_assert!(!pieces.is_empty());
                let rows = examples.session_rows(&pieces, window, is_whole);
                let count = rows.examples.len();
                prop_assert!(steps == 1 || count < 3 * batch_size, "{} examples", count);
                visited.extend(rows.examples.iter().copied());
                let batch = examples.batch(rows.examples.iter().copied(), window, None);
                let sequences = &rows.sequences;
                prop_assert_eq!(sequences.items.len(), sequences.kinds.len());
                // First row of each sequence and window, by row.
                let mut firsts = Vec::new();
                for &length in &sequences.lengths {
                    let first = firsts.len();
                    firsts.resize(first + length as usize, first);
                }
                for _ in 0..sequences.windows {
                    let first = firsts.len();
                    firsts.resize(first + window, first);
                }
                prop_assert_eq!(firsts.len(), sequences.items.len());
                for (b, &state) in sequences.states.iter().enumerate() {
                    let (end, length) = (state as usize + 1, batch.windows.lengths[b] as usize);
                    let first = firsts[state as usize];
                    // Longer than the window only where the encoder reads whole sessions.
                    prop_assert!(end - first >= length);
                    prop_assert!(is_whole || end - first == length);
                    let items = &batch.windows.items[b * window..][..length];
                    prop_assert_eq!(&sequences.items[end - length..end], items);
                    let kinds = &batch.windows.kinds[b * window..][..length];
                    prop_assert_eq!(&sequences.kinds[end - length..end], kinds);
                }
            }
            visited.sort_unstable();
            prop_assert_eq!(visited, (0..examples.len()).collect::<Vec<_>>());
        }
    }
}

#[test]
fn long_session_is_divided_and_orders_differ_by_pass_and_seed() {
    let mut sessions = vec![vec![(1, Kind::Click, Split::Train); 100]];
    sessions.resize(41, vec![(2, Kind::Click, Split::Train); 5]);
    let dir = tempfile::tempdir().unwrap();
    let data = dataset(&dir.path().join("d"), ITEMS, &sessions);
    let examples = SplitExamples::new(&data, Split::Train, false);
    let batches = SessionBatches::new(&examples, 30, 3);
    assert_eq!(batches.steps_per_pass(), 10);
    for step in 1..=10 {
        let count: usize = batches.at(step).iter().map(ExactSizeIterator::len).sum();
        assert!((10..=60).contains(&count), "{count} examples");
    }
    assert_ne!(batches.at(1), batches.at(11));
    assert_ne!(batches.at(1), SessionBatches::new(&examples, 30, 4).at(1));
    // A later piece starts a window before its first example.
    let piece = 30..60;
    let rows = examples.session_rows(std::slice::from_ref(&piece), 7, true);
    assert_eq!(rows.sequences.lengths, [36]);
    assert_eq!(rows.sequences.states[0], 6);
}
