//! Examples of a split (training examples, test cases), cut from the log on demand.

use std::ops::Range;

use rand::seq::index;

use crate::dataset::Dataset;
use crate::event::{Kind, Split};
use crate::permutation::Permutation;
use crate::returns::{Discount, Rewards, return_so_far, returns};
use crate::windows::Windows;

/// Examples of one split: one for each of its events, in log order. Events of the same session in
/// an earlier split are the example's history; those in a later split are invisible to it.
#[derive(Clone, Debug)]
pub struct SplitExamples<'a> {
    data: &'a Dataset,
    targets: Vec<SessionTargets>,
    len: usize,
}

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
}

/// Successor states of a batch: the second half of its transitions (s, a, r, s').
#[derive(Clone, Debug, Default)]
pub struct NextStates {
    /// States after the examples' events.
    pub windows: Windows,
    /// Whether the event is the last of its session, so that s' is terminal `[B]`.
    pub done: Vec<bool>,
}

/// Definition of the returns of a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReturnRule {
    /// Reward of each kind of event.
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
        let (mut targets, mut len) = (Vec::new(), 0);
        for session in data.sessions() {
            let parts = &splits[session.clone()];
            let skipped = session.start + usize::from(skip_first);
            let start = (session.start + parts.partition_point(|&s| s < split)).max(skipped);
            let end = session.start + parts.partition_point(|&s| s <= split);
            if start < end {
                targets.push(SessionTargets {
                    session: session.start as u64,
                    start: start as u64,
                    end: end as u64,
                    before: len as u64,
                });
                len += end - start;
            }
        }
        Self { data, targets, len }
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

    /// Kinds of the events of each session up to its last example: a return sums over these.
    pub fn episodes(&self) -> impl Iterator<Item = &'a [Kind]> + '_ {
        let kinds = self.data.kinds();
        let sessions = self.targets.iter();
        sessions.map(move |s| &kinds[s.session as usize..s.end as usize])
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

    /// The examples of step `step` (from 1) in passes over all examples: each pass visits every example
    /// once, in an order of its own, up to a last incomplete batch. A pure function of `(seed, step)`.
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
        let mut batch = WindowBatch {
            windows: Windows::new(window_len),
            ..WindowBatch::default()
        };
        for example in examples {
            let (history, end) = self.locate(example);
            let event = history.end;
            batch.targets.push(items[event]);
            batch.kinds.push(kinds[event]);
            if let Some(rule) = rule {
                let t = history.len();
                let episode = &kinds[history.start..end];
                let returns = returns(episode, rule.rewards, rule.lambda, rule.discount);
                batch.returns.push(returns[t]);
            }
            batch.windows.push(&items[history], pad);
        }
        batch
    }

    /// Successor states of the examples with these indices, in windows of length `window_len`.
    pub fn next_states(
        &self,
        examples: impl IntoIterator<Item = usize>,
        window_len: usize,
    ) -> NextStates {
        let items = self.data.item_indices();
        let pad = self.data.items().len() as u32;
        let mut next = NextStates {
            windows: Windows::new(window_len),
            done: Vec::new(),
        };
        for example in examples {
            let (history, end) = self.locate(example);
            next.windows.push(&items[history.start..=history.end], pad);
            next.done.push(history.end + 1 == end);
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
        let kinds = self.data.kinds();
        let mut sums = Vec::new();
        for example in examples {
            let (history, _) = self.locate(example);
            sums.push(return_so_far(&kinds[history], rule.rewards, rule.lambda));
        }
        sums
    }

    /// Events before an example's event, and the end of its session's targets.
    fn locate(&self, example: usize) -> (Range<usize>, usize) {
        let after = self.targets.partition_point(|s| s.before <= example as u64);
        let session = self.targets[after - 1];
        let event = session.start + (example as u64 - session.before);
        (
            session.session as usize..event as usize,
            session.end as usize,
        )
    }
}
