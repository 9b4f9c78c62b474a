//! Sessions of a log: answers joined with the events that follow them.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::reader::{Log, Place};
use crate::record::{Answer, Event, EventKind, Record};

/// Settings of [`Log::sessions`].
#[derive(Clone, Debug, Default)]
pub struct SessionOptions {
    /// Name of the experiment; may be absent if the log has one only.
    pub experiment: Option<String>,
}

/// Value of what follows a session's first answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reward {
    /// A sum over events by their kind.
    Kinds {
        /// Reward of a click.
        click: f64,
        /// Reward of a purchase.
        purchase: f64,
    },
    /// The sum of the events' own values, such as money.
    Value,
}

impl Default for Reward {
    /// The rewards of the paper: 0.2 for a click, 1 for a purchase.
    fn default() -> Self {
        Self::Kinds {
            click: 0.2,
            purchase: 1.0,
        }
    }
}

impl Reward {
    /// Return of a session.
    pub fn of(&self, session: &SessionRecord) -> f64 {
        match self {
            Self::Kinds { click, purchase } => {
                click * f64::from(session.clicks) + purchase * f64::from(session.purchases)
            }
            Self::Value => session.value,
        }
    }
}

/// One session of an experiment.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionRecord {
    /// Its name.
    pub session: String,
    /// Position of its arm in [`SessionLog::arms`]: that of its first answer with an arm.
    pub arm: u32,
    /// Probability of that arm.
    pub p: f64,
    /// Time of that answer, in milliseconds since the Unix epoch.
    pub time: u64,
    /// Time step of that answer.
    pub step: u32,
    /// Clicks before that answer, as far as they are in the log.
    pub clicks_before: u32,
    /// Purchases before that answer, as far as they are in the log.
    pub purchases_before: u32,
    /// Answers with an arm.
    pub answers: u32,
    /// Clicks after that answer.
    pub clicks: u32,
    /// Purchases after that answer.
    pub purchases: u32,
    /// Sum of the values of the events after that answer.
    pub value: f64,
}

/// The sessions of one experiment.
#[derive(Clone, Debug)]
pub struct SessionLog {
    /// The log.
    pub path: PathBuf,
    /// Name of the experiment.
    pub experiment: String,
    /// Names of the arms that sessions were assigned to, sorted.
    pub arms: Vec<String>,
    /// The sessions, by the time of their first answer, then by name.
    pub records: Vec<SessionRecord>,
    /// Answers of the log, those without an arm included.
    pub answers: u64,
    /// Events of the log.
    pub events: u64,
    /// Answers without an arm: their requests set a prompt of their own.
    pub answers_without_arm: u64,
    /// Events of sessions without an answer of the experiment.
    pub other_events: u64,
    /// Purchases after a first answer that have no value.
    pub purchases_without_value: u64,
    /// Sessions that were answered by more than one arm; each counts for its first.
    pub sessions_of_several_arms: u64,
    /// Files with a torn last line, and the bytes that were not read.
    pub torn: Vec<(PathBuf, u64)>,
}

/// Order of records: by time; within a millisecond, by file and line.
type Order = (u64, Place);

/// A session while the log is read.
struct Joined {
    first: Order,
    record: SessionRecord,
    has_several_arms: bool,
}

impl Log {
    /// Joins answers and events to sessions. The log is read twice, as an event may be read before
    /// the answer that precedes it, from another server's file; memory grows with the sessions.
    ///
    /// # Errors
    /// [`Error::Line`] for a line that is no record, [`Error::NoPropensities`] if no answer has an
    /// arm, [`Error::Experiment`] if it is unknown or not the only one, [`Error::Io`] if a file
    /// cannot be read.
    pub fn sessions(&self, options: &SessionOptions) -> Result<SessionLog> {
        let mut join = Join::default();
        for read in self.records() {
            let (place, record) = read?;
            match record {
                Record::Answer(answer) => join.add_answer(place, answer, options),
                Record::Event(_) => join.events += 1,
            }
        }
        let experiment = join.experiment(self, options)?;
        for read in self.records() {
            if let (place, Record::Event(event)) = read? {
                join.add_event(place, &event);
            }
        }
        Ok(join.finish(self, experiment))
    }
}

/// State of reading.
#[derive(Default)]
struct Join {
    sessions: HashMap<String, Joined>,
    /// Arms in the order in which they were found.
    arms: Vec<String>,
    /// Answers with an arm of each experiment.
    experiments: BTreeMap<String, u64>,
    answers: u64,
    answers_without_arm: u64,
    events: u64,
    other_events: u64,
    purchases_without_value: u64,
}

impl Join {
    fn add_answer(&mut self, place: Place, answer: Answer, options: &SessionOptions) {
        self.answers += 1;
        let (Some(experiment), Some(arm)) = (answer.experiment, answer.arm) else {
            self.answers_without_arm += 1;
            return;
        };
        // Another program's log may name arms without their probabilities.
        let Some(p) = answer.p else {
            self.answers_without_arm += 1;
            return;
        };
        let is_asked = match &options.experiment {
            Some(name) => *name == experiment,
            None => self.experiments.is_empty() || self.experiments.contains_key(&experiment),
        };
        *self.experiments.entry(experiment).or_default() += 1;
        if !is_asked {
            return;
        }
        let arm = self.arm(arm);
        let first = (answer.time, place);
        let Some(joined) = self.sessions.get_mut(&answer.session) else {
            let record = SessionRecord {
                session: String::new(),
                arm,
                p,
                time: answer.time,
                step: answer.step,
                clicks_before: 0,
                purchases_before: 0,
                answers: 1,
                clicks: 0,
                purchases: 0,
                value: 0.0,
            };
            let joined = Joined {
                first,
                record,
                has_several_arms: false,
            };
            self.sessions.insert(answer.session, joined);
            return;
        };
        let record = &mut joined.record;
        record.answers = record.answers.saturating_add(1);
        joined.has_several_arms |= record.arm != arm;
        if first < joined.first {
            joined.first = first;
            (record.arm, record.p) = (arm, p);
            (record.time, record.step) = (answer.time, answer.step);
        }
    }

    /// Position of an arm in the order in which they were found.
    fn arm(&mut self, name: String) -> u32 {
        let found = self.arms.iter().position(|arm| *arm == name);
        let index = found.unwrap_or(self.arms.len());
        if found.is_none() {
            self.arms.push(name);
        }
        u32::try_from(index).unwrap_or(u32::MAX)
    }

    /// Name of the experiment that was asked for, or of the only one.
    fn experiment(&self, log: &Log, options: &SessionOptions) -> Result<String> {
        let path = log.path().to_owned();
        let mut names = self.experiments.keys();
        let what = match (&options.experiment, names.next(), names.next()) {
            (_, None, _) => {
                let answers = self.answers;
                return Err(Error::NoPropensities { path, answers });
            }
            (Some(name), ..) if self.experiments.contains_key(name) => return Ok(name.clone()),
            (None, Some(name), None) => return Ok(name.clone()),
            (Some(name), ..) => format!("experiment {name:?} has no answer"),
            (None, ..) => format!("the log has {} experiments", self.experiments.len()),
        };
        let names = self.experiments.keys().cloned().collect();
        Err(Error::Experiment { path, what, names })
    }

    fn add_event(&mut self, place: Place, event: &Event) {
        let Some(joined) = self.sessions.get_mut(&event.session) else {
            self.other_events += 1;
            return;
        };
        let record = &mut joined.record;
        let is_after = (event.time, place) > joined.first;
        let count = match (event.kind, is_after) {
            (EventKind::Click, false) => &mut record.clicks_before,
            (EventKind::Click, true) => &mut record.clicks,
            (EventKind::Purchase, false) => &mut record.purchases_before,
            (EventKind::Purchase, true) => &mut record.purchases,
        };
        *count = count.saturating_add(1);
        if is_after {
            record.value += event.value.unwrap_or(0.0);
            let is_missing = event.kind == EventKind::Purchase && event.value.is_none();
            self.purchases_without_value += u64::from(is_missing);
        }
    }

    fn finish(self, log: &Log, experiment: String) -> SessionLog {
        // The order of the files must not show: arms are numbered by name, sessions sorted.
        let mut arms = self.arms.clone();
        arms.sort();
        let mut renumbered = Vec::with_capacity(arms.len());
        for name in &self.arms {
            let index = arms.iter().position(|arm| arm == name).unwrap_or(0);
            renumbered.push(u32::try_from(index).unwrap_or(u32::MAX));
        }
        let mut sessions_of_several_arms = 0;
        let mut records = Vec::with_capacity(self.sessions.len());
        for (session, joined) in self.sessions {
            sessions_of_several_arms += u64::from(joined.has_several_arms);
            let mut record = joined.record;
            record.arm = renumbered[record.arm as usize];
            record.session = session;
            records.push(record);
        }
        records.sort_by(|a, b| (a.time, &a.session).cmp(&(b.time, &b.session)));
        let torn = log.torn().into_iter();
        SessionLog {
            path: log.path().to_owned(),
            experiment,
            arms,
            records,
            answers: self.answers,
            events: self.events,
            answers_without_arm: self.answers_without_arm,
            other_events: self.other_events,
            purchases_without_value: self.purchases_without_value,
            sessions_of_several_arms,
            torn: torn.map(|(path, bytes)| (path.to_owned(), bytes)).collect(),
        }
    }
}
