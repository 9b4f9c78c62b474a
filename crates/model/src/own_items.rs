//! The items of a session as candidates for its next item.

use prl_dataset::{Kind, Windows};
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

/// An item of a window and what happened to it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OwnItem {
    pub(crate) item: u32,
    pub(crate) row: u32,
    /// Events since its latest one, 0 for the last event.
    pub(crate) lag: u32,
    /// Number of its events.
    pub(crate) count: u32,
    /// Whether one of them is a purchase.
    pub(crate) is_purchased: bool,
}

/// Biases of own items by their events: one for a purchased item, and one for each number of
/// events from 2 to 4, the last also for more.
pub(crate) const EVENT_BIASES: usize = 4;

impl OwnItem {
    /// Indices of its biases by events.
    pub(crate) fn event_biases(&self) -> impl Iterator<Item = usize> {
        let purchase = self.is_purchased.then_some(0);
        let repeats = (self.count.min(4) as usize).checked_sub(1);
        purchase.into_iter().chain(repeats.filter(|&n| n > 0))
    }
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
        let events = first..first + windows.lengths[row] as usize;
        let (items, kinds) = (&windows.items[events.clone()], &windows.kinds[events]);
        for (lag, &item) in items.iter().rev().enumerate() {
            let later = &items[items.len() - lag..];
            if later.contains(&item) {
                continue;
            }
            let (mut count, mut is_purchased) = (0, false);
            for (&other, &kind) in items.iter().zip(kinds) {
                if other == item {
                    count += 1;
                    is_purchased |= kind == Kind::Purchase;
                }
            }
            all.push(OwnItem {
                item,
                row: row as u32,
                lag: lag as u32,
                count,
                is_purchased,
            });
        }
    }
    all.sort_unstable_by_key(|own| (own.item, own.row));
    all
}

/// Learned biases of own items.
#[derive(Clone, Copy)]
pub(crate) struct OwnBiases<'a, T> {
    /// By lag, `[window]`.
    pub(crate) by_lag: &'a [T],
    /// By events, [`EVENT_BIASES`], or none.
    pub(crate) by_events: &'a [T],
}

/// The additions to the scores of own items: their biases, or exclusion of all but the `targets`.
pub(crate) fn score_offsets<T: Real>(
    own: &[OwnItem],
    biases: Option<OwnBiases<'_, T>>,
    targets: Option<&[u32]>,
) -> ScoreOffsets<T> {
    let mut offsets = Vec::with_capacity(own.len());
    for own in own {
        let (item, row) = (own.item, own.row);
        let is_target = targets.is_some_and(|targets| targets[row as usize] == item);
        let value = match biases {
            Some(biases) => biases.of(own),
            None if is_target => T::zero(),
            None => T::of(EXCLUDED),
        };
        offsets.push(ScoreOffset { item, row, value });
    }
    ScoreOffsets::new(offsets)
}

impl<T: Real> OwnBiases<'_, T> {
    /// The bias of an own item.
    pub(crate) fn of(&self, own: &OwnItem) -> T {
        let mut bias = self.by_lag[own.lag as usize];
        if !self.by_events.is_empty() {
            for i in own.event_biases() {
                bias += self.by_events[i];
            }
        }
        bias
    }
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
        let biases = |by_events| OwnBiases {
            by_lag: &[0.5, 0.25, 0.125, 0.0],
            by_events,
        };
        let values = |windows: &Windows, by_events| -> Vec<f64> {
            let offsets = score_offsets(&own_items(windows), Some(biases(by_events)), None);
            offsets.as_slice().iter().map(|o| o.value).collect()
        };
        assert_eq!(values(&windows, &[]), [0.5, 0.5, 0.125, 0.25]);
        // The window holds 3, 5, 7, 3: of its items, 3 occurs twice and 7 is purchased.
        windows.kinds[4 + 2] = Kind::Purchase;
        let by_events = values(&windows, &[1.0, 2.0, 4.0, 8.0]);
        assert_eq!(by_events, [0.5, 2.5, 0.125, 1.25]);
        let mut many = Windows::new(4);
        many.push_events(&[6, 6, 6, 6], &[Kind::Purchase], 9);
        assert_eq!(values(&many, &[1.0, 2.0, 4.0, 8.0]), [9.5]);
    }
}
