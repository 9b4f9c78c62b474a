//! The items of a session as candidates for its next item.

use prl_dataset::Windows;
use prl_kernels::Real;
use prl_kernels::ops::score_offsets::{EXCLUDED, ScoreOffset, ScoreOffsets};
use serde::{Deserialize, Serialize};

/// Treatment of the items that the window already contains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OwnItems {
    /// Ranked like any other item.
    #[default]
    Keep,
    /// Not ranked, and left out of the softmax (unless one is the target).
    Exclude,
    /// A learned bias by lag: the number of events since the item's latest one.
    Learned,
    /// [`Learned`](Self::Learned) if the training sessions repeat items, else
    /// [`Exclude`](Self::Exclude); resolved when a run is created.
    Auto,
}

/// An item of a window and its lag, 0 for the last event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OwnItem {
    pub(crate) item: u32,
    pub(crate) row: u32,
    pub(crate) lag: u32,
}

/// The distinct items of each window with their smallest lags, by item and then by row.
pub(crate) fn own_items(windows: &Windows) -> Vec<OwnItem> {
    let mut all = Vec::new();
    for row in 0..windows.len() {
        // An empty session's window holds one pad.
        if windows.time_steps[row] == 0 {
            continue;
        }
        let first = row * windows.window_len;
        let items = &windows.items[first..first + windows.lengths[row] as usize];
        for (lag, &item) in items.iter().rev().enumerate() {
            let later = &items[items.len() - lag..];
            if !later.contains(&item) {
                all.push(OwnItem {
                    item,
                    row: row as u32,
                    lag: lag as u32,
                });
            }
        }
    }
    all.sort_unstable_by_key(|own| (own.item, own.row));
    all
}

/// The additions to the scores of own items: `bias[lag]`, or exclusion of all but the `targets`.
pub(crate) fn score_offsets<T: Real>(
    own: &[OwnItem],
    bias: Option<&[T]>,
    targets: Option<&[u32]>,
) -> ScoreOffsets<T> {
    let mut offsets = Vec::with_capacity(own.len());
    for &OwnItem { item, row, lag } in own {
        let is_target = targets.is_some_and(|targets| targets[row as usize] == item);
        let value = match bias {
            Some(bias) => bias[lag as usize],
            None if is_target => T::zero(),
            None => T::of(EXCLUDED),
        };
        offsets.push(ScoreOffset { item, row, value });
    }
    ScoreOffsets::new(offsets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_items_have_the_lag_of_their_latest_event() {
        let mut windows = Windows::new(4);
        windows.push(&[], 9);
        windows.push(&[5, 3, 5, 7, 3], 9);
        windows.push(&[2], 9);
        let found: Vec<_> = own_items(&windows)
            .iter()
            .map(|o| (o.item, o.row, o.lag))
            .collect();
        assert_eq!(found, [(2, 2, 0), (3, 1, 0), (5, 1, 2), (7, 1, 1)]);
        let excluded = score_offsets::<f64>(&own_items(&windows), None, Some(&[1, 5, 1]));
        let values: Vec<f64> = excluded.as_slice().iter().map(|o| o.value).collect();
        assert_eq!(values, [EXCLUDED, EXCLUDED, 0.0, EXCLUDED]);
        let biased = score_offsets(&own_items(&windows), Some(&[0.5, 0.25, 0.125, 0.0]), None);
        let values: Vec<f64> = biased.as_slice().iter().map(|o| o.value).collect();
        assert_eq!(values, [0.5, 0.5, 0.125, 0.25]);
    }
}
