//! Options of preparing a dataset: source, table mapping and split. Every field that affects the
//! dataset is serialised into its manifest; paths are not, so that a manifest is independent of the
//! machine.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;

use prl_dataset::{EventDetails, EventKind, Kind};
use serde::Serialize;

use crate::columns::{Columns, time_is_missing};
use crate::error::{Error, Result};
use crate::table_reader::time_parser;

mod inputs;
mod text;
mod values;

pub use inputs::{InputPart, Inputs};
pub use text::{Delimiter, Encoding, TextFormat};
pub use values::ValueRules;

mod steps;

pub use steps::{Gap, KindOptions, LongSessions, Moment, Steps};

/// Options of [`prepare()`](crate::prepare()).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Options {
    /// Raw log.
    #[serde(flatten)]
    pub source: Source,
    /// Division of the events into training, validation and test.
    pub split: SplitRule,
    /// Share of sessions in validation, for [`SplitRule::Random`] and [`SplitRule::Time`]; rounded
    /// down.
    pub val_fraction: f64,
    /// Share of sessions in test; rounded down.
    pub test_fraction: f64,
    /// Maximum number of events per session. Longer sessions are dropped after Table 1 is counted;
    /// `None` keeps all.
    pub max_length: Option<usize>,
    /// Seed of sampling and splitting.
    #[serde(skip)]
    pub seed: u64,
    /// Maximum size in bytes of a decompressed file; larger files are rejected.
    #[serde(skip)]
    pub max_unpacked: u64,
    /// Path of an additional Parquet file of the events: `session, item, kind, time, split`, raw
    /// ids, one row per event.
    #[serde(skip)]
    pub parquet: Option<PathBuf>,
    /// Steps beside the protocol's.
    #[serde(flatten)]
    pub steps: Steps,
    /// Treatment of the results.
    #[serde(skip)]
    pub output: Output,
}

/// Treatment of the results of a preparation; it does not change the arrays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Fails if the log is implausible, instead of logging warnings.
    pub strict: bool,
    /// Replaces another dataset in the directory, instead of failing.
    pub replace: bool,
    /// Keeps the raw events beside the arrays, so that further events can be appended.
    pub keep_log: bool,
    /// Properties of items to keep beside the arrays.
    pub items: Option<ItemsFile>,
    /// Dataset whose properties of items are kept, unless a file of them is given.
    pub items_of: Option<PathBuf>,
    /// Command-line flags, with their values; noted beside kept raw events.
    pub arguments: BTreeMap<String, Vec<String>>,
}

/// File of item properties: delimited text, Parquet or JSON lines, by the ending of its name, or a
/// folder of such files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemsFile {
    /// Path of the file or folder.
    pub path: PathBuf,
    /// Column of the raw item ids; `None` finds it by its name.
    pub id: Option<String>,
}

impl Options {
    /// Defaults of the protocol: random 80/10/10 split, sessions of more than 50 events dropped,
    /// seed 0.
    pub fn new(source: Source) -> Self {
        Self {
            source,
            split: SplitRule::Random,
            val_fraction: 0.1,
            test_fraction: 0.1,
            max_length: Some(50),
            seed: 0,
            max_unpacked: 64 << 30,
            parquet: None,
            steps: Steps::default(),
            output: Output::default(),
        }
    }

    /// Rejects contradictory options.
    pub(crate) fn check(&self) -> Result<()> {
        let (val, test) = (self.val_fraction, self.test_fraction);
        if !(val >= 0.0 && test >= 0.0 && val + test < 1.0) {
            let why = format!(
                "the validation and test fractions {val} and {test} must be at least 0 and sum to less than 1"
            );
            return Err(Error::Options(why));
        }
        self.steps.check(&self.source, self.max_length)?;
        if (self.split == SplitRule::Date) == self.steps.split_at.is_empty() {
            return Err(Error::Options(
                "a split by date needs its dates, and dates need that split".into(),
            ));
        }
        match &self.source {
            Source::Csv { table, .. } => {
                if table.mapping()?.time.is_none() {
                    return Err(time_is_missing());
                }
            }
            Source::Parquet { table, .. }
            | Source::Jsonl { table, .. }
            | Source::ArmsLog { table, .. }
            | Source::Frame { table } => {
                table.mapping()?;
            }
            Source::Rc15 { sample: 0, .. } => {
                let why = "a sample of 0 sessions leaves nothing";
                return Err(Error::Options(why.into()));
            }
            Source::Inter { .. } | Source::RetailRocket { .. } | Source::Rc15 { .. } => {}
        }
        if let Some(inputs) = self.source.inputs() {
            inputs.check()?;
        }
        TextFormat::check(&self.source)?;
        if let Some(table) = self.source.table() {
            table.check(self.source.inputs())?;
            time_parser(table)?;
        }
        self.check_split()
    }

    /// Rejects a given split without its rule, and the rule without a given split.
    fn check_split(&self) -> Result<()> {
        let columns = self.source.table().and_then(|table| table.columns.as_ref());
        let by_column = columns.is_some_and(|columns| columns.split.is_some());
        let by_files = self.source.inputs().is_some_and(Inputs::has_splits);
        let why = match (self.split == SplitRule::Given, by_column, by_files) {
            (true, false, false) => {
                "the split is to be given, but nothing gives it; add split=NAME to the column mapping, or name \
                 files for training and test"
            }
            (false, true, _) | (false, _, true) => {
                "the log gives a split of its own, but another rule is asked for; take the split rule \"given\", \
                 or leave out the log's split"
            }
            (_, true, true) => {
                "the split is given by a column and by files; leave out one of the two"
            }
            _ => return Ok(()),
        };
        Err(Error::Options(why.into()))
    }
}

/// Raw log. An input is one file or a folder of partitions, read in the order of their names; gzip
/// and zstd are detected from the first bytes.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "source", rename_all = "lowercase")]
pub enum Source {
    /// RetailRocket's `events.csv`.
    RetailRocket {
        /// Path of the file.
        #[serde(skip)]
        input: PathBuf,
    },
    /// RecSys Challenge 2015.
    Rc15 {
        /// Path of `yoochoose-clicks.dat`, a file or folder.
        #[serde(skip)]
        clicks: PathBuf,
        /// Path of `yoochoose-buys.dat`, a file or folder.
        #[serde(skip)]
        buys: PathBuf,
        /// Number of sessions to sample; the paper uses [`Source::RC15_SAMPLE`].
        sample: usize,
    },
    /// Delimited text with a header line.
    Csv {
        /// Files and folders.
        #[serde(skip_serializing_if = "Inputs::is_plain")]
        input: Inputs,
        /// Field delimiter.
        delimiter: Delimiter,
        /// Column mapping and filters.
        #[serde(flatten)]
        table: Table,
    },
    /// Parquet.
    Parquet {
        /// Files and folders.
        #[serde(skip_serializing_if = "Inputs::is_plain")]
        input: Inputs,
        /// Column mapping and filters.
        #[serde(flatten)]
        table: Table,
    },
    /// RecBole's atomic interaction file, with `name:type` headers.
    Inter {
        /// Files and folders.
        #[serde(skip_serializing_if = "Inputs::is_plain")]
        input: Inputs,
        /// Field delimiter; RecBole writes tabs.
        #[serde(skip_serializing_if = "Delimiter::is_tab")]
        delimiter: Delimiter,
        /// Column mapping and filters. Default mapping: `session_id` or else `user_id`,
        /// `timestamp`, `item_id`.
        #[serde(flatten)]
        table: Table,
    },
    /// JSON lines: an object a line, which is an event, or a session with a list of events or with
    /// a list for each field.
    Jsonl {
        /// Files and folders.
        #[serde(skip_serializing_if = "Inputs::is_plain")]
        input: Inputs,
        /// Field mapping and filters. A name with dots is a path: `events.item`.
        #[serde(flatten)]
        table: Table,
    },
    /// Log of a server's experiment, as JSON lines: its events, without its answers.
    #[serde(rename = "arms-log")]
    ArmsLog {
        /// Files and folders.
        #[serde(skip_serializing_if = "Inputs::is_plain")]
        input: Inputs,
        /// Field mapping and filters.
        #[serde(flatten)]
        table: Table,
    },
    /// Polars frame, given to [`prepare_frame()`](crate::prepare_frame()).
    Frame {
        /// Column mapping and filters.
        #[serde(flatten)]
        table: Table,
    },
}

impl Source {
    /// Number of sessions that the paper samples from RC15.
    pub const RC15_SAMPLE: usize = 200_000;

    /// Inputs of a table that is read from files.
    pub(crate) fn inputs(&self) -> Option<&Inputs> {
        match self {
            Source::Csv { input, .. }
            | Source::Parquet { input, .. }
            | Source::Inter { input, .. }
            | Source::Jsonl { input, .. }
            | Source::ArmsLog { input, .. } => Some(input),
            _ => None,
        }
    }

    /// Column mapping and filters, except for the public formats.
    pub(crate) fn table(&self) -> Option<&Table> {
        match self {
            Source::Csv { table, .. }
            | Source::Parquet { table, .. }
            | Source::Inter { table, .. }
            | Source::Jsonl { table, .. }
            | Source::ArmsLog { table, .. }
            | Source::Frame { table } => Some(table),
            _ => None,
        }
    }

    /// Name in the manifest and on the command line.
    pub fn name(&self) -> &'static str {
        match self {
            Source::RetailRocket { .. } => "retailrocket",
            Source::Rc15 { .. } => "rc15",
            Source::Csv { .. } => "csv",
            Source::Parquet { .. } => "parquet",
            Source::Inter { .. } => "inter",
            Source::Jsonl { .. } => "jsonl",
            Source::ArmsLog { .. } => "arms-log",
            Source::Frame { .. } => "frame",
        }
    }
}

/// Column mapping, event kinds and filters of a table of events.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Table {
    /// Column mapping; optional for `.inter` files only.
    pub columns: Option<Columns>,
    /// Unit of numeric times.
    pub time_unit: TimeUnit,
    /// Event kinds that are clicks.
    pub click: Vec<String>,
    /// Event kinds that are purchases.
    pub purchase: Vec<String>,
    /// Drops and counts rows of any other kind, instead of rejecting them.
    pub drop_other_events: bool,
    /// Minimum number of events per session, applied next (one pass; 0 keeps all).
    pub min_session_events: usize,
    /// Minimum number of events per item, applied last (one pass; 0 keeps all).
    pub min_item_events: usize,
    /// Header and encoding of text.
    #[serde(flatten)]
    pub format: TextFormat,
    /// Missing values, and times as text.
    #[serde(flatten)]
    pub rules: ValueRules,
    /// Names and rewards of the event kinds.
    #[serde(flatten)]
    pub kinds: KindOptions,
}

impl Table {
    /// Mapping of the log of a server's experiment, whose fields have fixed names. With `has_value`
    /// the events' values are rewards, as [`Columns::value`] says.
    pub fn of_arms_log(has_value: bool) -> Self {
        let name = |name: &str| Some(name.to_owned());
        Self {
            columns: Some(Columns {
                session: "session".into(),
                time: name("time"),
                item: "item".into(),
                event: name("event"),
                split: None,
                value: has_value.then(|| "value".into()),
            }),
            time_unit: TimeUnit::Milliseconds,
            click: vec!["click".into()],
            purchase: vec!["purchase".into()],
            ..Self::default()
        }
    }
}

impl Table {
    /// Column mapping; an error if there is none. Only `.inter` files have a default.
    pub(crate) fn mapping(&self) -> Result<&Columns> {
        match &self.columns {
            Some(columns) => Ok(columns),
            None => Err(Error::Options(
                "name the columns: session=..,time=..,item=..[,event=..]".into(),
            )),
        }
    }

    /// Named event kinds: clicks, purchases, and those that only a reward names, which count as
    /// clicks. A kind's position is its label.
    pub(crate) fn named_kinds(&self) -> Vec<EventKind> {
        let mut named: Vec<EventKind> = Vec::new();
        let by_reward: Vec<String> = self.kinds.rewards.keys().cloned().collect();
        for (names, role) in [
            (&self.click, Kind::Click),
            (&self.purchase, Kind::Purchase),
            (&by_reward, Kind::Click),
        ] {
            for name in names {
                if named.iter().any(|kind| kind.name == *name) {
                    continue;
                }
                named.push(EventKind {
                    name: name.clone(),
                    role,
                    reward: self.kinds.rewards.get(name).copied(),
                });
            }
        }
        named
    }

    /// The table with the kinds `click` and `purchase` named, if inputs have kinds of their own.
    pub(crate) fn with_kinds_of(&self, inputs: &Inputs) -> Cow<'_, Self> {
        let mut table = Cow::Borrowed(self);
        if !inputs.has_kinds() {
            return table;
        }
        if !self.names_kind("click") {
            table.to_mut().click.push("click".into());
        }
        if !self.names_kind("purchase") {
            table.to_mut().purchase.push("purchase".into());
        }
        table
    }

    fn names_kind(&self, kind: &str) -> bool {
        let mut named = self.click.iter().chain(&self.purchase);
        named.any(|own| own == kind) || self.kinds.rewards.contains_key(kind)
    }

    fn check(&self, inputs: Option<&Inputs>) -> Result<()> {
        if let Some(both) = self.click.iter().find(|k| self.purchase.contains(k)) {
            return Err(Error::Options(format!(
                "event kind {both:?} is named as a click and as a purchase"
            )));
        }
        let columns: Vec<&str> = self.columns.iter().flat_map(Columns::names).collect();
        for (i, column) in columns.iter().enumerate() {
            if columns[..i].contains(column) {
                return Err(Error::Options(format!(
                    "column mapping: {column:?} is given two roles"
                )));
            }
        }
        self.kinds.check()?;
        let named = self.named_kinds();
        if named.len() > EventDetails::MAX_KINDS {
            return Err(Error::Options(format!(
                "{} event kinds are named; at most {} can be",
                named.len(),
                EventDetails::MAX_KINDS
            )));
        }
        let kinds_of_inputs = inputs.is_some_and(Inputs::has_kinds);
        let has_kinds = !named.is_empty();
        let has_column = self.columns.as_ref().is_some_and(|c| c.event.is_some());
        let why = match (has_column, has_kinds) {
            (true, _) if kinds_of_inputs => {
                "kinds are given by the inputs and by a column; leave out event=.. or the kinds of the inputs"
            }
            (false, true) if !kinds_of_inputs => {
                "event kinds are named but no column holds them; add event=.. to the column mapping"
            }
            (true, false) => {
                "an event column is named but no kind in it; name the kinds that are clicks or purchases"
            }
            _ => return self.check_kinds_of(inputs),
        };
        Err(Error::Options(why.into()))
    }

    /// Rejects inputs of an unnamed kind.
    fn check_kinds_of(&self, inputs: Option<&Inputs>) -> Result<()> {
        let Some(inputs) = inputs else {
            return Ok(());
        };
        let table = self.with_kinds_of(inputs);
        for part in &inputs.0 {
            if let Some(kind) = &part.kind
                && !table.names_kind(kind)
            {
                let path = part.path.display();
                return Err(Error::Options(format!(
                    "input {path} has kind {kind:?}, which is neither click nor purchase; name it among the clicks \
                     or the purchases or give it a reward, or write ./ before a path that has an ="
                )));
            }
        }
        Ok(())
    }
}

/// Unit of times written as numbers since 1970, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TimeUnit {
    /// Unit by the largest magnitude in the whole column: below 10^11 seconds (until the year
    /// 5138), below 10^14 milliseconds, below 10^17 microseconds, else nanoseconds. Times in the
    /// first days of 1970 need an explicit unit.
    #[default]
    Auto,
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
    /// Microseconds.
    Microseconds,
    /// Nanoseconds.
    Nanoseconds,
    /// Days since 1899-12-30, as spreadsheets count them.
    Excel,
}

/// Rule for dividing the events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SplitRule {
    /// Whole sessions, shuffled by the seed.
    #[default]
    Random,
    /// Whole sessions, by the time of their last event: the latest are test, the ones before are
    /// validation.
    Time,
    /// Last event of every session of three events or more as test, the one before it as
    /// validation.
    LeaveLastOut,
    /// Split that the log gives: by a column in the role `split`, or by files for each split. It is
    /// kept exactly; the fractions do not apply.
    Given,
    /// Whole sessions, by the time of their last event and the dates of [`Steps::split_at`].
    Date,
}
