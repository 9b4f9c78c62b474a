//! Training examples and test cases, cut from the log when they are needed.

use std::ops::Range;

use rand::seq::index;

use crate::dataset::Dataset;
use crate::event::{Kind, Split};
use crate::returns::{Discount, Rewards, given, returns};
use crate::windows::Windows;

/// The examples of one split: one for each of its events, in log order. A session's events of an earlier split are its
/// history; those of a later split do not exist for it.
#[derive(Clone, Debug)]
pub struct Rows<'a> {
    data: &'a Dataset,
    runs: Vec<Run>,
    len: usize,
}

/// The consecutive targets of one session.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// First event of the session.
    session: u64,
    /// First target.
    start: u64,
    /// One past the last target.
    end: u64,
    /// Rows before this run.
    before: u64,
}

/// A batch of examples.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The states.
    pub windows: Windows,
    /// The item of each example's event `[B]`: the action.
    pub targets: Vec<u32>,
    /// The kind of that event `[B]`.
    pub kinds: Vec<Kind>,
    /// The return from that event on `[B]`, its own reward included; empty unless asked for.
    pub returns: Vec<f64>,
}

/// What follows each example of a batch: the other half of a transition.
#[derive(Clone, Debug, Default)]
pub struct Next {
    /// The states after the examples' events.
    pub windows: Windows,
    /// Whether the event is its session's last, so that nothing follows `[B]`.
    pub ends: Vec<bool>,
}

/// How a batch's returns are counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReturnRule {
    /// What an event is worth.
    pub rewards: Rewards,
    /// The discount.
    pub lambda: f64,
    /// Its convention.
    pub discount: Discount,
}

impl<'a> Rows<'a> {
    /// The rows of a split. With `skip_first`, a session's first event, whose state is empty, is no example.
    pub fn new(data: &'a Dataset, split: Split, skip_first: bool) -> Self {
        let splits = data.splits();
        let (mut runs, mut len) = (Vec::new(), 0);
        for session in data.sessions() {
            let parts = &splits[session.clone()];
            let skipped = session.start + usize::from(skip_first);
            let start = (session.start + parts.partition_point(|&s| s < split)).max(skipped);
            let end = session.start + parts.partition_point(|&s| s <= split);
            if start < end {
                let (session, start, end, before) =
                    (session.start as u64, start as u64, end as u64, len as u64);
                runs.push(Run {
                    session,
                    start,
                    end,
                    before,
                });
                len += (end - start) as usize;
            }
        }
        Self { data, runs, len }
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The number of sessions that have a row.
    pub fn sessions(&self) -> usize {
        self.runs.len()
    }

    /// The kinds of each session's events up to its last row: what a return is a sum over.
    pub fn episodes(&self) -> impl Iterator<Item = &'a [Kind]> + '_ {
        let kinds = self.data.kinds();
        self.runs
            .iter()
            .map(move |r| &kinds[r.session as usize..r.end as usize])
    }

    /// For each row, the number of its session among those that have rows: the unit that is resampled for an interval.
    pub fn session_of_rows(&self) -> Vec<u32> {
        let runs = self.runs.iter().enumerate();
        runs.flat_map(|(i, r)| std::iter::repeat_n(i as u32, (r.end - r.start) as usize))
            .collect()
    }

    /// `batch` distinct rows drawn at random: the protocol's draw, independent from step to step. A pure function of
    /// `(seed, step)`.
    pub fn draw(&self, seed: u64, step: u64, batch: usize) -> Vec<usize> {
        let mut rng = prl_seed::stream(seed, "draw", step);
        index::sample(&mut rng, self.len, batch.min(self.len)).into_vec()
    }

    /// The given rows as a batch of windows of length `width`. Returns are filled in under a `rule`.
    pub fn batch(
        &self,
        rows: impl IntoIterator<Item = usize>,
        width: usize,
        rule: Option<ReturnRule>,
    ) -> Batch {
        let (items, kinds) = (self.data.item_indices(), self.data.kinds());
        let pad = self.data.items().len() as u32;
        let mut batch = Batch {
            windows: Windows::new(width),
            ..Batch::default()
        };
        for row in rows {
            let (history, end) = self.event(row);
            let event = history.end;
            batch.targets.push(items[event]);
            batch.kinds.push(kinds[event]);
            if let Some(rule) = rule {
                let t = history.len();
                let episode = &kinds[history.start..end];
                batch
                    .returns
                    .push(returns(episode, rule.rewards, rule.lambda, rule.discount)[t]);
            }
            batch.windows.push(&items[history], pad);
        }
        batch
    }

    /// What follows the given rows, in windows of length `width`.
    pub fn next(&self, rows: impl IntoIterator<Item = usize>, width: usize) -> Next {
        let items = self.data.item_indices();
        let pad = self.data.items().len() as u32;
        let mut next = Next {
            windows: Windows::new(width),
            ends: Vec::new(),
        };
        for row in rows {
            let (history, end) = self.event(row);
            next.windows.push(&items[history.start..=history.end], pad);
            next.ends.push(history.end + 1 == end);
        }
        next
    }

    /// What each row's session has given before the row's event: its rewards so far, discounted as `rule` says for returns
    /// (under the relative convention as seen from the session's start).
    pub fn given(&self, rows: impl IntoIterator<Item = usize>, rule: ReturnRule) -> Vec<f64> {
        let kinds = self.data.kinds();
        rows.into_iter()
            .map(|row| given(&kinds[self.event(row).0], rule.rewards, rule.lambda))
            .collect()
    }

    /// The events before a row's event, and the end of its episode.
    fn event(&self, row: usize) -> (Range<usize>, usize) {
        let run = self.runs[self.runs.partition_point(|r| r.before <= row as u64) - 1];
        let event = run.start + (row as u64 - run.before);
        (run.session as usize..event as usize, run.end as usize)
    }
}
