//! Items by their training events, of which recent ones count more.
//!
//! For a training split that ends at time T, `score(i) = sum of 2^((t - T) / h)` over the events
//! of item i, at times t. Two things are chosen for the first events of sessions, whose state is
//! empty: the half-life h, the training span or its half, fourth or eighth, or no decay; and
//! whether all events count or only the first events of sessions. The choice has the highest
//! NDCG@20 on the first events of the validation split; without any, the first events of the last
//! tenth of the training sessions are ranked by the events before them.
//!
//! Half-lives far below the time over which a trained run is used are not tried: they may be the
//! best just after the training split, and are among the worst later.

use std::ops::Range;

use prl_dataset::{Dataset, Split};

use crate::popularity::normalise;
use crate::{Baseline, training_sessions};

/// Half-lives tried: the training span and its repeated halves.
const HALF_LIVES: i32 = 4;
/// Lowest rank with a gain.
const CUTOFF: usize = 20;
/// Weight of an event without its time, which orders items that have no recent event.
const UNDATED: f64 = 1e-9;

/// Scores each item by its training events, weighted by recency.
#[derive(Clone, Debug, PartialEq)]
pub struct PopularityRecent {
    scores: Vec<f32>,
    half_life: f64,
}

/// An event with its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Dated {
    time: i64,
    item: u32,
    /// Whether it is the first event of its session.
    is_first: bool,
}

/// Weights of events.
#[derive(Clone, Copy, Debug)]
struct Weighting {
    half_life: f64,
    first_only: bool,
}

impl PopularityRecent {
    /// Chooses the half-life and weighs the training events of each item.
    pub fn fit(data: &Dataset) -> Self {
        Self::fit_to(data, &training_sessions(data))
    }

    /// As [`fit`](Self::fit), of the events in these ranges, a session each.
    pub fn fit_to(data: &Dataset, sessions: &[Range<usize>]) -> Self {
        let mut events = Vec::new();
        for session in sessions {
            events.extend(dated(data, session.clone(), session.start));
        }
        let mut targets = firsts(validation_events(data));
        let mut until = i64::MAX;
        if targets.is_empty() {
            targets = firsts(events.clone());
            targets.sort_unstable();
            targets.drain(..targets.len() - targets.len() / 10);
            until = targets.first().map_or(i64::MAX, |target| target.time);
        }
        let mut known = events.clone();
        known.retain(|event| event.time < until);
        let count = data.items().len();
        let mut best = Weighting {
            half_life: f64::INFINITY,
            first_only: false,
        };
        let mut best_gain = f64::NEG_INFINITY;
        for half_life in half_lives(&known) {
            for first_only in [false, true] {
                let tried = Weighting {
                    half_life,
                    first_only,
                };
                let gain = gain(&scores(&known, tried, count), &targets);
                if gain > best_gain {
                    (best, best_gain) = (tried, gain);
                }
            }
        }
        Self {
            scores: scores(&events, best, count),
            half_life: best.half_life,
        }
    }

    /// Restores the baseline from saved scores.
    pub fn from_scores(scores: Vec<f32>, half_life: f64) -> Self {
        Self { scores, half_life }
    }

    /// Weighted training events of each item.
    pub fn saved_scores(&self) -> &[f32] {
        &self.scores
    }

    /// Half-life in the unit of the dataset's times, milliseconds; infinite for no decay.
    pub fn half_life(&self) -> f64 {
        self.half_life
    }
}

impl Baseline for PopularityRecent {
    fn scores(&self, _: &[u32]) -> Vec<f32> {
        self.scores.clone()
    }

    fn probabilities(&self, _: &[u32]) -> Vec<f64> {
        let mut all = Vec::with_capacity(self.scores.len());
        for &score in &self.scores {
            all.push(f64::from(score) + 0.1 * UNDATED);
        }
        normalise(&mut all);
        all
    }
}

/// The events in a range of the session that begins at `start`.
fn dated(data: &Dataset, events: Range<usize>, start: usize) -> impl Iterator<Item = Dated> + '_ {
    let (times, items) = (data.times(), data.item_indices());
    events.map(move |event| Dated {
        time: times[event],
        item: items[event],
        is_first: event == start,
    })
}

/// The events of the validation split.
fn validation_events(data: &Dataset) -> Vec<Dated> {
    let splits = data.splits();
    let mut events = Vec::new();
    for session in data.sessions() {
        let parts = &splits[session.clone()];
        let from = session.start + parts.partition_point(|&split| split < Split::Val);
        let to = session.start + parts.partition_point(|&split| split <= Split::Val);
        events.extend(dated(data, from..to, session.start));
    }
    events
}

/// The first events of sessions among these.
fn firsts(mut events: Vec<Dated>) -> Vec<Dated> {
    events.retain(|event| event.is_first);
    events
}

/// No decay, then the candidates from the span of the events down.
fn half_lives(events: &[Dated]) -> Vec<f64> {
    let times = || events.iter().map(|event| event.time);
    let span = match (times().min(), times().max()) {
        (Some(first), Some(last)) => (last - first) as f64,
        _ => 0.0,
    };
    let mut all = vec![f64::INFINITY];
    if span > 0.0 {
        all.extend((0..HALF_LIVES).map(|n| span / 2_f64.powi(n)));
    }
    all
}

/// Weighted events of each item at the time of the last event.
fn scores(events: &[Dated], weighting: Weighting, items: usize) -> Vec<f32> {
    let last = events.iter().map(|event| event.time).max().unwrap_or(0);
    let mut sums = vec![0.0_f64; items];
    for event in events {
        let sum = &mut sums[event.item as usize];
        *sum += UNDATED;
        if event.is_first || !weighting.first_only {
            let age = (last - event.time) as f64;
            *sum += (-age / weighting.half_life).exp2();
        }
    }
    sums.into_iter().map(|sum| sum as f32).collect()
}

/// Sum of the targets' gains in NDCG@20.
fn gain(scores: &[f32], targets: &[Dated]) -> f64 {
    let mut sorted = scores.to_vec();
    sorted.sort_unstable_by(|a, b| b.total_cmp(a));
    let bar = sorted.get(CUTOFF).copied().unwrap_or(f32::NEG_INFINITY);
    let mut sum = 0.0;
    for target in targets {
        let score = scores[target.item as usize];
        if score < bar {
            continue;
        }
        let rank = sorted.partition_point(|&other| other >= score);
        if rank <= CUTOFF {
            sum += 1.0 / (rank as f64 + 1.0).log2();
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::{Dated, Weighting, gain, scores};
    use crate::{Baseline, PopularityRecent};

    fn dated((time, item): (i64, u32)) -> Dated {
        Dated {
            time,
            item,
            is_first: item != 1,
        }
    }

    #[test]
    fn events_count_half_a_half_life_before_the_last() {
        let events = [(0, 0), (0, 0), (0, 0), (10, 1), (20, 1), (20, 2)].map(dated);
        let scores = |half_life, first_only| {
            let weighting = Weighting {
                half_life,
                first_only,
            };
            scores(&events, weighting, 4)
        };
        let found = scores(10.0, false);
        for (found, expected) in found.iter().zip([0.75, 1.5, 1.0, 0.0]) {
            assert!((found - expected).abs() < 1e-6, "{found} and {expected}");
        }
        assert_eq!(scores(f64::INFINITY, false)[..3], [3.0, 2.0, 1.0]);
        let first = scores(10.0, true);
        assert!(first[1] > 0.0 && first[1] < 1e-8 && first[2] == 1.0);
        let recent = PopularityRecent::from_scores(found, 10.0);
        let shares = recent.probabilities(&[1]);
        assert!(shares[1] > shares[2] && shares[2] > shares[0] && shares[0] > shares[3]);
        assert!(shares[3] > 0.0);
    }

    #[test]
    fn gain_is_the_pessimistic_ndcg() {
        let targets = [(0, 0), (0, 1), (0, 3)].map(dated);
        // Ranks 1, 3 (a tie) and 4.
        let expected = 1.0 + 0.5 + 1.0 / 5_f64.log2();
        assert!((gain(&[9.0, 5.0, 5.0, 1.0], &targets) - expected).abs() < 1e-12);
    }
}
