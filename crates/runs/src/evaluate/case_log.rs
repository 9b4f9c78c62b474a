//! The cases of a log, session by session: the run's own dataset, or another prepared log.

use std::ops::Range;

use prl_core::{PromptPosition, PromptSpec};
use prl_dataset::{Dataset, Kind, Split, Windows, return_so_far};
use prl_eval::{CaseSplit, Conventions, OtherLog};

use crate::error::{Error, Result};
use crate::run_dir::Run;

/// Item of another log that the run does not know.
const UNKNOWN: u32 = u32::MAX;

/// A log whose events are cases: of the run's own dataset, or of another one, whose raw item ids
/// are looked up in the run.
///
/// Events of unknown items are in no state; as targets they have no rank.
pub struct CaseLog<'a> {
    run: &'a Run,
    data: &'a Dataset,
    split: CaseSplit,
    conventions: Conventions,
    /// The run's index of each item of another log; `None` for the run's own.
    index: Option<Vec<u32>>,
}

/// Consecutive cases. Item indices are the run's.
#[derive(Debug, Default)]
pub struct CaseBatch {
    /// States.
    pub windows: Windows,
    /// Item of each case's event `[B]`; `None` if the run does not know it.
    pub targets: Vec<Option<u32>>,
    /// That item's index in the log `[B]`.
    pub log_items: Vec<u32>,
    /// Kind of that event `[B]`.
    pub kinds: Vec<Kind>,
    /// Number of the case's session among the sessions with a case `[B]`.
    pub sessions: Vec<u32>,
    /// Position of each prompt `[B]`.
    pub positions: Vec<PromptPosition>,
    /// Items left out of each ranking `[B]`, ascending.
    pub excluded: Vec<Vec<u32>>,
}

/// A session's events so far, without unknown items.
#[derive(Default)]
struct State {
    items: Vec<u32>,
    kinds: Vec<Kind>,
    /// Distinct items, ascending.
    seen: Vec<u32>,
}

impl<'a> CaseLog<'a> {
    /// The run's own dataset.
    pub fn own(
        run: &'a Run,
        data: &'a Dataset,
        split: CaseSplit,
        conventions: Conventions,
    ) -> Result<Self> {
        let log = Self {
            run,
            data,
            split,
            conventions,
            index: None,
        };
        log.check()
    }

    /// Another dataset than the run's.
    pub fn other(
        run: &'a Run,
        data: &'a Dataset,
        split: CaseSplit,
        conventions: Conventions,
    ) -> Result<Self> {
        let mut index = Vec::with_capacity(data.items().len());
        for item in 0..data.items().len() as u32 {
            let known = data.items().raw(item).and_then(|id| run.items().index(id));
            index.push(known.unwrap_or(UNKNOWN));
        }
        let log = Self {
            run,
            data,
            split,
            conventions,
            index: Some(index),
        };
        log.check()
    }

    /// Fails if there is no case.
    fn check(self) -> Result<Self> {
        let splits = self.data.splits();
        for session in self.data.sessions() {
            if !self.targets(session, splits).is_empty() {
                return Ok(self);
            }
        }
        Err(Error::EmptySplit {
            path: self.data.dir().to_owned(),
            split: self.split.name(),
        })
    }

    /// The dataset.
    pub fn data(&self) -> &'a Dataset {
        self.data
    }

    /// Split of the cases.
    pub fn split(&self) -> CaseSplit {
        self.split
    }

    /// Which events are cases, and which items are ranked.
    pub fn conventions(&self) -> Conventions {
        self.conventions
    }

    /// Whether the log is another than the run's.
    pub fn is_other(&self) -> bool {
        self.index.is_some()
    }

    /// Largest number of events of a session.
    pub fn longest_session(&self) -> usize {
        let mut longest = 0;
        for session in self.data.sessions() {
            longest = longest.max(session.len());
        }
        longest
    }

    /// Events of a session that are cases.
    fn targets(&self, session: Range<usize>, splits: &[Split]) -> Range<usize> {
        let first = session.start + usize::from(self.conventions.skip_first);
        let Some(split) = self.split.split() else {
            return first..session.end;
        };
        let parts = &splits[session.clone()];
        let start = session.start + parts.partition_point(|&s| s < split);
        let end = session.start + parts.partition_point(|&s| s <= split);
        start.max(first)..end
    }

    /// Calls `visit` with all cases in the order of the log, `batch_size` at a time, in windows of
    /// length `window_len`. Memory is bounded by a batch and a session.
    ///
    /// Returns the unknown items of another log.
    pub fn for_each_batch(
        &self,
        batch_size: usize,
        window_len: usize,
        ask: PromptSpec,
        visit: &mut dyn FnMut(CaseBatch) -> Result<()>,
    ) -> Result<Option<OtherLog>> {
        let (items, kinds, splits) = (
            self.data.item_indices(),
            self.data.kinds(),
            self.data.splits(),
        );
        let mut other_log = self.count_unknown_items();
        let (mut session_number, mut row) = (0, 0);
        let mut batch = CaseBatch::new(window_len);
        for session in self.data.sessions() {
            let targets = self.targets(session.clone(), splits);
            if targets.is_empty() {
                continue;
            }
            let mut state = State::default();
            for event in session.start..targets.end {
                let item = self.known(items[event]);
                if event >= targets.start {
                    let case = if ask.sequence_wise {
                        u64::from(session_number)
                    } else {
                        row
                    };
                    batch.targets.push(item);
                    batch.log_items.push(items[event]);
                    batch.kinds.push(kinds[event]);
                    batch.sessions.push(session_number);
                    self.push_state(&mut batch, &state, ask, case);
                    other_log.unknown_targets += u64::from(item.is_none());
                    row += 1;
                    if batch.targets.len() == batch_size.max(1) {
                        visit(std::mem::replace(&mut batch, CaseBatch::new(window_len)))?;
                    }
                }
                match item {
                    Some(item) => state.push(item, kinds[event], self.conventions.exclude_seen),
                    None if event + 1 < targets.end => other_log.unknown_in_states += 1,
                    None => {}
                }
            }
            session_number += 1;
        }
        if !batch.targets.is_empty() {
            visit(batch)?;
        }
        Ok(self.is_other().then_some(other_log))
    }

    fn count_unknown_items(&self) -> OtherLog {
        let mut unknown_items = 0;
        for &item in self.index.as_deref().unwrap_or_default() {
            unknown_items += u64::from(item == UNKNOWN);
        }
        OtherLog {
            trained_on: self.run.dataset().to_owned(),
            unknown_items,
            ..OtherLog::default()
        }
    }

    /// The run's index of an item of the log.
    fn known(&self, item: u32) -> Option<u32> {
        match &self.index {
            None => Some(item),
            Some(index) => Some(index[item as usize]).filter(|&item| item != UNKNOWN),
        }
    }

    /// Appends a state with its prompt's position and its excluded items.
    fn push_state(&self, batch: &mut CaseBatch, state: &State, ask: PromptSpec, case: u64) {
        batch
            .windows
            .push(&state.items, self.run.items().len() as u32);
        let step = state.items.len() as u32;
        let mut position = PromptPosition::at(step, case);
        if ask.sequence_wise {
            let config = self.run.config();
            position.return_so_far = return_so_far(&state.kinds, config.rewards, config.lambda);
            position.discount_to_step = self.run.decay(step);
        }
        batch.positions.push(position);
        batch.excluded.push(if self.conventions.exclude_seen {
            state.seen.clone()
        } else if self.conventions.exclude_last {
            state.items.last().copied().into_iter().collect()
        } else {
            Vec::new()
        });
    }
}

impl CaseBatch {
    fn new(window_len: usize) -> Self {
        Self {
            windows: Windows::new(window_len),
            ..Self::default()
        }
    }
}

impl State {
    fn push(&mut self, item: u32, kind: Kind, keep_seen: bool) {
        self.items.push(item);
        self.kinds.push(kind);
        if keep_seen && let Err(at) = self.seen.binary_search(&item) {
            self.seen.insert(at, item);
        }
    }
}
