//! The cases of a log, session by session: the run's own dataset, or another prepared log.

use std::ops::Range;

use prl_core::{PromptPosition, PromptSpec};
use prl_dataset::{Dataset, Kind, SplitExamples, Windows, discounted_returns};
use prl_eval::{CaseSplit, Conventions, OtherLog};

use crate::error::{Error, Result};
use crate::run_dir::Run;

/// Item of another log that is not in the run's catalogue.
const UNKNOWN: u32 = u32::MAX;

/// A log whose events are cases: of the run's own dataset, or of another one, whose raw item ids
/// are looked up in the run.
///
/// Events of unknown items are in no state; as targets they have no rank.
pub struct CaseLog<'a> {
    run: &'a Run,
    data: &'a Dataset,
    split: CaseSplit,
    /// The examples of the split; `None` stands for all events.
    examples: Option<SplitExamples<'a>>,
    conventions: Conventions,
    /// The run's index of each item of another log; `None` for the run's own.
    index: Option<Vec<u32>>,
}

/// Consecutive cases. Item indices are the run's.
#[derive(Debug, Default)]
pub struct CaseBatch {
    /// States.
    pub windows: Windows,
    /// Item of each case's event `[B]`; `None` if it is not in the run's catalogue.
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
    /// Discounted sum of their rewards.
    return_so_far: f64,
    /// Distinct items, ascending.
    seen: Vec<u32>,
}

impl<'a> CaseLog<'a> {
    /// The run's own dataset, with the sessions that the run held out for validation.
    pub fn own(
        run: &'a Run,
        data: &'a Dataset,
        split: CaseSplit,
        conventions: Conventions,
    ) -> Result<Self> {
        let examples = split
            .split()
            .map(|split| run.config().examples(data, split));
        let log = Self {
            run,
            data,
            split,
            examples,
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
        let examples = split
            .split()
            .map(|split| SplitExamples::new(data, split, false));
        let log = Self {
            run,
            data,
            split,
            examples,
            conventions,
            index: Some(index),
        };
        log.check()
    }

    /// Fails if there is no case.
    fn check(self) -> Result<Self> {
        if self.targets().next().is_some() {
            return Ok(self);
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

    /// First event of each session with a case, and its cases, as event indices.
    fn targets(&self) -> Box<dyn Iterator<Item = (usize, Range<usize>)> + '_> {
        let sessions: Box<dyn Iterator<Item = (usize, Range<usize>)>> = match &self.examples {
            Some(examples) => Box::new(examples.targets()),
            None => Box::new(self.data.sessions().map(|session| (session.start, session))),
        };
        let skipped = usize::from(self.conventions.skip_first);
        let cases = sessions.map(move |(first, targets)| {
            let start = targets.start.max(first + skipped);
            (first, start..targets.end)
        });
        Box::new(cases.filter(|(_, targets)| !targets.is_empty()))
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
        let (items, kinds) = (self.data.item_indices(), self.data.kinds());
        let (config, event_rewards) = (self.run.config(), self.data.rewards());
        let mut other_log = self.count_unknown_items();
        let (mut session_number, mut row) = (0, 0);
        let mut batch = CaseBatch::new(window_len);
        for (first, targets) in self.targets() {
            let mut state = State::default();
            let observed = self.returns(first..targets.end);
            for event in first..targets.end {
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
                    if let Some(position) = batch.positions.last_mut() {
                        position.return_of_state = observed[event - first];
                    }
                    other_log.unknown_targets += u64::from(item.is_none());
                    row += 1;
                    if batch.targets.len() == batch_size.max(1) {
                        visit(std::mem::replace(&mut batch, CaseBatch::new(window_len)))?;
                    }
                }
                match item {
                    Some(item) => {
                        let reward = event_rewards.of(event, config.rewards);
                        state.push(item, reward, config.lambda, self.conventions.exclude_seen);
                        state.kinds.push(kinds[event]);
                    }
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

    /// The return of a session from each of its events on.
    fn returns(&self, session: Range<usize>) -> Vec<f64> {
        let (config, event_rewards) = (self.run.config(), self.data.rewards());
        let mut rewards = Vec::with_capacity(session.len());
        for event in session {
            rewards.push(event_rewards.of(event, config.rewards));
        }
        discounted_returns(rewards, config.lambda, config.discount)
    }

    /// The known events of each session that are cases: item and kind.
    pub(crate) fn sessions(&self) -> Vec<Vec<(u32, Kind)>> {
        let (items, kinds) = (self.data.item_indices(), self.data.kinds());
        let mut sessions = Vec::new();
        for (_, targets) in self.targets() {
            let mut session = Vec::with_capacity(targets.len());
            for event in targets {
                if let Some(item) = self.known(items[event]) {
                    session.push((item, kinds[event]));
                }
            }
            sessions.push(session);
        }
        sessions
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
            .push_events(&state.items, &state.kinds, self.run.items().len() as u32);
        let step = state.items.len() as u32;
        let mut position = PromptPosition::at(step, case);
        if ask.sequence_wise {
            position.return_so_far = state.return_so_far;
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
    fn push(&mut self, item: u32, reward: f64, lambda: f64, keep_seen: bool) {
        self.return_so_far += lambda.powi(self.items.len() as i32) * reward;
        self.items.push(item);
        if keep_seen && let Err(at) = self.seen.binary_search(&item) {
            self.seen.insert(at, item);
        }
    }
}
