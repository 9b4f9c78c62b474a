//! Examples of a split (training examples, test cases), cut from the log on demand.

mod session_batches;
mod session_set;

use std::ops::Range;

use rand::seq::index;

use crate::dataset::Dataset;
use crate::details::EventRewards;
use crate::event::{Kind, Split};
use crate::permutation::Permutation;
use crate::returns::{Discount, Rewards, discounted_returns};
use crate::windows::Windows;

use session_set::SessionSet;

pub use session_batches::{Sequences, SessionBatches, SessionRows};

/// Examples of one split: one for each of its events, in log order. Events of the same session in
/// an earlier split are the example's history; those in a later split are invisible to it.
#[derive(Clone, Debug)]
pub struct SplitExamples<'a> {
    data: &'a Dataset,
    event_rewards: EventRewards<'a>,
    sessions: SessionSet<'a>,
}

/// Position of one example in the log.
#[derive(Clone, Copy, Debug)]
struct Position {
    /// First event of the session.
    start: usize,
    /// Event of the example: the target.
    event: usize,
    /// One past the last target of the session.
    end: usize,
}

impl Position {
    /// Events before the example's event.
    fn history(self) -> Range<usize> {
        self.start..self.event
    }
}

/// Batch of examples.
#[derive(Clone, Debug, Default)]
pub struct WindowBatch {
    /// States.
    pub windows: Windows,
    /// Item of each example's event `[B]`: the action.
    pub targets: Vec<u32>,
    /// Kind of that event `[B]`.
    pub kinds: Vec<Kind>,
    /// Return at that event `[B]`, its own reward included; empty without a [`ReturnRule`].
    pub returns: Vec<f64>,
    /// Reward of that event `[B]`; empty without a [`ReturnRule`].
    pub rewards: Vec<f64>,
}

/// Successor states of a batch: the second half of its transitions (s, a, r, s').
#[derive(Clone, Debug, Default)]
pub struct NextStates {
    /// States after the examples' events.
    pub windows: Windows,
    /// Whether the event is the last of its session, so that s' is terminal `[B]`.
    pub done: Vec<bool>,
}

/// Examples divided by [`SplitExamples::hold_out`].
#[derive(Clone, Debug)]
pub struct HeldOut<'a> {
    /// Examples of the other sessions.
    pub rest: SplitExamples<'a>,
    /// Examples of the sessions that are held out.
    pub held: SplitExamples<'a>,
}

/// Definition of the returns of a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReturnRule {
    /// Reward of each kind of event, for the events to which the dataset gives no reward of their
    /// own.
    pub rewards: Rewards,
    /// Discount factor.
    pub lambda: f64,
    /// Exponent convention of the discount.
    pub discount: Discount,
}

impl<'a> SplitExamples<'a> {
    /// Examples of a split. `skip_first` leaves out the first event of each session, whose state is
    /// empty.
    pub fn new(data: &'a Dataset, split: Split, skip_first: bool) -> Self {
        Self {
            data,
            event_rewards: data.rewards(),
            sessions: SessionSet::new(data, split, skip_first),
        }
    }

    /// Divides the examples by whole sessions, drawn from `seed`: those of a `share` of the
    /// sessions, rounded but at least one session and never all, and the others. Without two
    /// sessions none is held out.
    pub fn hold_out(self, seed: u64, share: f64) -> HeldOut<'a> {
        let mut rng = prl_seed::stream(seed, "hold-out", 0);
        let held = index::sample(&mut rng, self.sessions(), self.held_sessions(share));
        self.divide(held.into_iter())
    }

    /// As [`hold_out`](Self::hold_out), of the sessions whose first events are the latest.
    pub fn hold_out_last(self, share: f64) -> HeldOut<'a> {
        let times = self.data.times();
        let mut sessions = Vec::with_capacity(self.sessions());
        for (number, (first, _)) in self.targets().enumerate() {
            sessions.push((times[first], number));
        }
        // By the first event, then by the order of the log.
        sessions.sort_unstable();
        let held = sessions.split_off(sessions.len() - self.held_sessions(share));
        self.divide(held.into_iter().map(|(_, number)| number))
    }

    /// Number of sessions that a `share` is.
    fn held_sessions(&self, share: f64) -> usize {
        let sessions = self.sessions();
        let most = sessions.saturating_sub(1);
        let count = (share * sessions as f64).round() as usize;
        count.clamp(most.min(1), most)
    }

    fn divide(self, held: impl Iterator<Item = usize>) -> HeldOut<'a> {
        let mut is_held = vec![false; self.sessions()];
        for session in held {
            is_held[session] = true;
        }
        let part = |belongs: &dyn Fn(usize) -> bool| Self {
            sessions: self.sessions.subset(belongs),
            ..self.clone()
        };
        HeldOut {
            rest: part(&|session| !is_held[session]),
            held: part(&|session| is_held[session]),
        }
    }

    /// Number of examples.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether the split has no example.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of sessions with an example.
    pub fn sessions(&self) -> usize {
        self.sessions.sessions()
    }

    /// First event of each session with an example, and its targets, as event indices.
    pub fn targets(&self) -> impl Iterator<Item = (usize, Range<usize>)> + '_ {
        self.sessions.targets()
    }

    /// The dataset.
    pub fn dataset(&self) -> &'a Dataset {
        self.data
    }

    /// Number of examples with each item as their target.
    pub fn target_counts(&self) -> Vec<u64> {
        let items = self.data.item_indices();
        let mut counts = vec![0; self.data.items().len()];
        for (_, events) in self.targets() {
            for &item in &items[events] {
                counts[item as usize] += 1;
            }
        }
        counts
    }

    /// Events of each session up to its last example: a return sums over these.
    pub fn episodes(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        self.targets().map(|(first, events)| first..events.end)
    }

    /// Rewards of these events; `rewards` are those of the two kinds.
    pub fn rewards(&self, events: Range<usize>, rewards: Rewards) -> Vec<f64> {
        let mut values = Vec::with_capacity(events.len());
        for event in events {
            values.push(self.event_rewards.of(event, rewards));
        }
        values
    }

    /// For each example, the number of its session among the sessions with an example: the unit of
    /// resampling for confidence intervals.
    pub fn session_of_examples(&self) -> Vec<u32> {
        let mut sessions = Vec::with_capacity(self.len());
        for (number, (_, events)) in self.targets().enumerate() {
            sessions.extend(std::iter::repeat_n(number as u32, events.len()));
        }
        sessions
    }

    /// Draws `batch` distinct examples uniformly at random, independently of other training steps.
    /// A pure function of `(seed, step)`.
    pub fn draw(&self, seed: u64, step: u64, batch: usize) -> Vec<usize> {
        let mut rng = prl_seed::stream(seed, "draw", step);
        index::sample(&mut rng, self.len(), batch.min(self.len())).into_vec()
    }

    /// The examples of step `step` (from 1) in passes over all examples: each pass visits every
    /// example once, in an order of its own, up to a last incomplete batch. A pure function of
    /// `(seed, step)`.
    pub fn pass(&self, seed: u64, step: u64, batch: usize) -> Vec<usize> {
        let batch = batch.min(self.len());
        let per_pass = (self.len() / batch.max(1)).max(1) as u64;
        let (pass, at) = ((step - 1) / per_pass, (step - 1) % per_pass);
        let order = Permutation::new(self.len() as u64, seed, pass);
        let first = at * batch as u64;
        (first..first + batch as u64)
            .map(|i| order.at(i) as usize)
            .collect()
    }

    /// Batch of the examples with these indices, in windows of length `window_len`. With a `rule`,
    /// returns are computed as well.
    pub fn batch(
        &self,
        examples: impl IntoIterator<Item = usize>,
        window_len: usize,
        rule: Option<ReturnRule>,
    ) -> WindowBatch {
        let (items, kinds) = (self.data.item_indices(), self.data.kinds());
        let pad = self.data.items().len() as u32;
        let positions = self.positions(examples);
        let mut batch = WindowBatch {
            windows: Windows::new(window_len),
            ..WindowBatch::default()
        };
        // In short passes, for the reason given in `SessionSet::positions`.
        for position in &positions {
            batch.targets.push(items[position.event]);
        }
        for position in &positions {
            batch.kinds.push(kinds[position.event]);
        }
        for position in &positions {
            let history = position.history();
            let past = kinds.range(history.clone());
            batch.windows.push_events(&items[history], past, pad);
        }
        let Some(rule) = rule else {
            return batch;
        };
        let (mut episode, mut rewards, mut returns) = (0..0, Vec::new(), Vec::new());
        for position in positions {
            // Once for neighbouring examples of one session.
            if episode != (position.start..position.end) {
                episode = position.start..position.end;
                rewards = self.rewards(episode.clone(), rule.rewards);
                returns = discounted_returns(rewards.clone(), rule.lambda, rule.discount);
            }
            let t = position.history().len();
            batch.rewards.push(rewards[t]);
            batch.returns.push(returns[t]);
        }
        batch
    }

    /// Successor states of the examples with these indices, in windows of length `window_len`.
    pub fn next_states(
        &self,
        examples: impl IntoIterator<Item = usize>,
        window_len: usize,
    ) -> NextStates {
        let (items, kinds) = (self.data.item_indices(), self.data.kinds());
        let pad = self.data.items().len() as u32;
        let mut next = NextStates {
            windows: Windows::new(window_len),
            done: Vec::new(),
        };
        for Position { start, event, end } in self.positions(examples) {
            let past = kinds.range(start..event + 1);
            next.windows.push_events(&items[start..=event], past, pad);
            next.done.push(event + 1 == end);
        }
        next
    }

    /// Discounted reward collected before each example's event: sum over t' < t of lambda^t' r_t',
    /// with exponents from the session's start under either convention.
    pub fn returns_so_far(
        &self,
        examples: impl IntoIterator<Item = usize>,
        rule: ReturnRule,
    ) -> Vec<f64> {
        let mut sums = Vec::new();
        for position in self.positions(examples) {
            let history = self.rewards(position.history(), rule.rewards);
            let mut sum = 0.0;
            for (t, reward) in history.into_iter().enumerate() {
                sum += rule.lambda.powi(t as i32) * reward;
            }
            sums.push(sum);
        }
        sums
    }

    fn positions(&self, examples: impl IntoIterator<Item = usize>) -> Vec<Position> {
        let examples: Vec<usize> = examples.into_iter().collect();
        self.sessions.positions(&examples)
    }
}
