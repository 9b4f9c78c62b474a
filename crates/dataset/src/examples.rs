//! Examples of a split (training examples, test cases), cut from the log on demand.

mod session_batches;

use std::ops::Range;

use rand::seq::index;

use crate::dataset::Dataset;
use crate::details::EventRewards;
use crate::event::{Kind, Split};
use crate::permutation::Permutation;
use crate::returns::{Discount, Rewards, discounted_returns};
use crate::windows::Windows;

pub use session_batches::{Sequences, SessionBatches, SessionRows};

/// Examples of one split: one for each of its events, in log order. Events of the same session in
/// an earlier split are the example's history; those in a later split are invisible to it.
#[derive(Clone, Debug)]
pub struct SplitExamples<'a> {
    data: &'a Dataset,
    event_rewards: EventRewards<'a>,
    targets: Vec<SessionTargets>,
    /// Position in `targets` of the session of every [`BLOCK`]th example: a search for a session
    /// starts there, so that it takes equally long in a log of any size.
    blocks: Vec<u32>,
    len: usize,
}

/// Examples between two entries of [`SplitExamples::blocks`].
const BLOCK: usize = 4;

/// Consecutive target events of one session. Positions are event indices of the dataset.
#[derive(Clone, Copy, Debug)]
struct SessionTargets {
    /// First event of the session.
    session: u64,
    /// First target.
    start: u64,
    /// One past the last target.
    end: u64,
    /// Number of examples in earlier sessions.
    before: u64,
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
        let splits = data.splits();
        let mut examples = Self::empty(data);
        for session in data.sessions() {
            let parts = &splits[session.clone()];
            let skipped = session.start + usize::from(skip_first);
            let start = (session.start + parts.partition_point(|&s| s < split)).max(skipped);
            let end = session.start + parts.partition_point(|&s| s <= split);
            if start < end {
                examples.push(session.start, start..end);
            }
        }
        examples
    }

    fn empty(data: &'a Dataset) -> Self {
        Self {
            data,
            event_rewards: data.rewards(),
            targets: Vec::new(),
            blocks: Vec::new(),
            len: 0,
        }
    }

    /// Appends the targets of the session that begins with the event `session`.
    fn push(&mut self, session: usize, targets: Range<usize>) {
        let before = self.len;
        self.len += targets.len();
        // A search that starts at an earlier session is slower, not wrong.
        let number = u32::try_from(self.targets.len()).unwrap_or(u32::MAX);
        self.blocks.resize(self.len.div_ceil(BLOCK), number);
        self.targets.push(SessionTargets {
            session: session as u64,
            start: targets.start as u64,
            end: targets.end as u64,
            before: before as u64,
        });
    }

    /// Divides the examples by whole sessions, drawn from `seed`: those of a `share` of the
    /// sessions, rounded but at least one session and never all, and the others. Without two
    /// sessions none is held out.
    pub fn hold_out(self, seed: u64, share: f64) -> HeldOut<'a> {
        let mut rng = prl_seed::stream(seed, "hold-out", 0);
        let sessions = self.targets.len();
        let held = index::sample(&mut rng, sessions, self.held_sessions(share));
        self.divide(held.into_iter())
    }

    /// As [`hold_out`](Self::hold_out), of the sessions whose first events are the latest.
    pub fn hold_out_last(self, share: f64) -> HeldOut<'a> {
        let times = self.data.times();
        let mut sessions: Vec<usize> = (0..self.targets.len()).collect();
        sessions.sort_by_key(|&s| times[self.targets[s].session as usize]);
        let held = sessions.split_off(sessions.len() - self.held_sessions(share));
        self.divide(held.into_iter())
    }

    /// Number of sessions that a `share` is.
    fn held_sessions(&self, share: f64) -> usize {
        let sessions = self.targets.len();
        let most = sessions.saturating_sub(1);
        let count = (share * sessions as f64).round() as usize;
        count.clamp(most.min(1), most)
    }

    fn divide(self, held: impl Iterator<Item = usize>) -> HeldOut<'a> {
        let mut is_held = vec![false; self.targets.len()];
        for session in held {
            is_held[session] = true;
        }
        let (mut rest, mut held) = (Self::empty(self.data), Self::empty(self.data));
        for (session, is_held) in self.targets.into_iter().zip(is_held) {
            let part = if is_held { &mut held } else { &mut rest };
            let targets = session.start as usize..session.end as usize;
            part.push(session.session as usize, targets);
        }
        HeldOut { rest, held }
    }

    /// Number of examples.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the split has no example.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of sessions with an example.
    pub fn sessions(&self) -> usize {
        self.targets.len()
    }

    /// First event of each session with an example, and its targets, as event indices.
    pub fn targets(&self) -> impl Iterator<Item = (usize, Range<usize>)> + '_ {
        let sessions = self.targets.iter();
        sessions.map(|s| (s.session as usize, s.start as usize..s.end as usize))
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
        let sessions = self.targets.iter();
        sessions.map(|s| s.session as usize..s.end as usize)
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
        let mut sessions = Vec::with_capacity(self.len);
        for (number, s) in self.targets.iter().enumerate() {
            let examples = (s.end - s.start) as usize;
            sessions.extend(std::iter::repeat_n(number as u32, examples));
        }
        sessions
    }

    /// Draws `batch` distinct examples uniformly at random, independently of other training steps.
    /// A pure function of `(seed, step)`.
    pub fn draw(&self, seed: u64, step: u64, batch: usize) -> Vec<usize> {
        let mut rng = prl_seed::stream(seed, "draw", step);
        index::sample(&mut rng, self.len, batch.min(self.len)).into_vec()
    }

    /// The examples of step `step` (from 1) in passes over all examples: each pass visits every
    /// example once, in an order of its own, up to a last incomplete batch. A pure function of
    /// `(seed, step)`.
    pub fn pass(&self, seed: u64, step: u64, batch: usize) -> Vec<usize> {
        let batch = batch.min(self.len);
        let per_pass = (self.len / batch.max(1)).max(1) as u64;
        let (pass, at) = ((step - 1) / per_pass, (step - 1) % per_pass);
        let order = Permutation::new(self.len as u64, seed, pass);
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
        // In short passes, for the reason given in `positions`.
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

    /// Positions of examples in the log.
    ///
    /// In passes: the reads of one pass do not depend on each other, so the processor waits for
    /// them together. In a log that exceeds its caches, one example after the other takes several
    /// times as long.
    fn positions(&self, examples: impl IntoIterator<Item = usize>) -> Vec<Position> {
        let examples: Vec<usize> = examples.into_iter().collect();
        let mut numbers = Vec::with_capacity(examples.len());
        for &example in &examples {
            numbers.push(self.blocks[example / BLOCK] as usize);
        }
        let mut sessions = Vec::with_capacity(examples.len());
        for &number in &numbers {
            sessions.push(self.targets[number]);
        }
        let mut positions = Vec::with_capacity(examples.len());
        for (i, example) in examples.into_iter().enumerate() {
            let (mut number, mut session) = (numbers[i], sessions[i]);
            while example as u64 - session.before >= session.end - session.start {
                number += 1;
                session = self.targets[number];
            }
            positions.push(Position {
                start: session.session as usize,
                event: (session.start + example as u64 - session.before) as usize,
                end: session.end as usize,
            });
        }
        positions
    }
}
