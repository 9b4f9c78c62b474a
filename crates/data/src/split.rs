//! Which events are learned from, which choose the checkpoint, which are looked at once.

use std::ops::Range;

use prl_dataset::Split;
use rand::seq::SliceRandom;

use crate::options::{Options, SplitRule};

/// The split of every event. `sessions` are consecutive ranges of `times`, in dataset order.
pub(crate) fn splits(options: &Options, sessions: &[Range<usize>], times: &[i64]) -> Vec<Split> {
    let mut splits = vec![Split::Train; times.len()];
    match options.split {
        SplitRule::Random => {
            let mut order: Vec<usize> = (0..sessions.len()).collect();
            order.shuffle(&mut prl_seed::stream(options.seed, "split", 0));
            whole_sessions(options, sessions, &order, &mut splits);
        }
        SplitRule::Time => {
            let mut order: Vec<usize> = (0..sessions.len()).collect();
            order.sort_by_key(|&s| times[sessions[s].end - 1]);
            whole_sessions(options, sessions, &order, &mut splits);
        }
        SplitRule::LeaveLastOut => {
            for session in sessions.iter().filter(|s| s.len() >= 3) {
                splits[session.end - 2] = Split::Val;
                splits[session.end - 1] = Split::Test;
            }
        }
    }
    splits
}

/// Training takes the sessions first in `order`, then validation, then test; the shares of the latter two are rounded down.
fn whole_sessions(
    options: &Options,
    sessions: &[Range<usize>],
    order: &[usize],
    splits: &mut [Split],
) {
    // A product that is whole but for its last bit counts as whole.
    let share = |fraction: f64| (order.len() as f64 * fraction + 1e-9) as usize;
    let (val, test) = (share(options.val_fraction), share(options.test_fraction));
    let train = order.len() - val - test;
    for (&s, split) in order[train..]
        .iter()
        .zip(std::iter::repeat_n(Split::Val, val).chain(std::iter::repeat(Split::Test)))
    {
        splits[sessions[s].clone()].fill(split);
    }
}
