//! What to prepare, from what, and how. Every field that shapes the dataset is serialised into its manifest; paths are
//! not, so that a manifest names no machine.

use std::path::PathBuf;

use serde::Serialize;

use crate::columns::Columns;
use crate::error::{Error, Result};

/// Everything [`prepare()`](crate::prepare()) needs to know.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Options {
    /// The raw log.
    #[serde(flatten)]
    pub source: Source,
    /// How events are divided into training, validation and test.
    pub split: SplitRule,
    /// The share of sessions in validation, for [`SplitRule::Random`] and [`SplitRule::Time`]; rounded down.
    pub val_fraction: f64,
    /// The share of sessions in test; rounded down.
    pub test_fraction: f64,
    /// Sessions of more events than this are dropped after Table 1 is counted; `None` keeps all.
    pub max_length: Option<usize>,
    /// The seed of sampling and splitting.
    #[serde(skip)]
    pub seed: u64,
    /// A compressed file that unpacks to more bytes than this is refused.
    #[serde(skip)]
    pub max_unpacked: u64,
    /// Also write the events as one Parquet file here: `session, item, kind, time, split`, raw ids, one row an event.
    #[serde(skip)]
    pub parquet: Option<PathBuf>,
}

impl Options {
    /// The protocol's defaults: random 80/10/10 split, sessions of more than 50 events dropped, seed 0.
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
        }
    }

    /// Refuses options that contradict themselves.
    pub(crate) fn check(&self) -> Result<()> {
        let (val, test) = (self.val_fraction, self.test_fraction);
        if !(val >= 0.0 && test >= 0.0 && val + test < 1.0) {
            let why = format!(
                "the validation and test fractions {val} and {test} must be at least 0 and sum to less than 1"
            );
            return Err(Error::Options(why));
        }
        match &self.source {
            Source::Csv { table, .. } | Source::Parquet { table, .. } => {
                table.mapping().and_then(|_| table.check())
            }
            Source::Frame { table } => table.mapping().and_then(|_| table.check()),
            Source::Inter { table, .. } => table.check(),
            Source::Rc15 { sample: 0, .. } => Err(Error::Options(
                "a sample of 0 sessions leaves nothing".into(),
            )),
            Source::RetailRocket { .. } | Source::Rc15 { .. } => Ok(()),
        }
    }
}

/// A raw log. An input is one file or a folder of partitions, read in the order of their names; gzip and zstd are
/// recognised by their first bytes.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "source", rename_all = "lowercase")]
pub enum Source {
    /// RetailRocket's `events.csv`.
    RetailRocket {
        /// The file.
        #[serde(skip)]
        input: PathBuf,
    },
    /// The RecSys Challenge 2015.
    Rc15 {
        /// `yoochoose-clicks.dat`.
        #[serde(skip)]
        clicks: PathBuf,
        /// `yoochoose-buys.dat`.
        #[serde(skip)]
        buys: PathBuf,
        /// Sessions to sample; the paper's is [`Source::RC15_SAMPLE`].
        sample: usize,
    },
    /// Any delimited text with a header line.
    Csv {
        /// The file or folder.
        #[serde(skip)]
        input: PathBuf,
        /// What stands between fields; one ASCII character.
        delimiter: char,
        /// What the columns mean.
        #[serde(flatten)]
        table: Table,
    },
    /// Parquet.
    Parquet {
        /// The file or folder.
        #[serde(skip)]
        input: PathBuf,
        /// What the columns mean.
        #[serde(flatten)]
        table: Table,
    },
    /// RecBole's atomic interaction file: tab-separated, `name:type` headers.
    Inter {
        /// The file or folder.
        #[serde(skip)]
        input: PathBuf,
        /// What the columns mean; without a mapping: `session_id` or else `user_id`, `timestamp`, `item_id`.
        #[serde(flatten)]
        table: Table,
    },
    /// A polars frame, given to [`prepare_frame()`](crate::prepare_frame()).
    Frame {
        /// What the columns mean.
        #[serde(flatten)]
        table: Table,
    },
}

impl Source {
    /// The sessions that the paper samples from RC15.
    pub const RC15_SAMPLE: usize = 200_000;

    /// The name in the manifest and on the command line.
    pub fn name(&self) -> &'static str {
        match self {
            Source::RetailRocket { .. } => "retailrocket",
            Source::Rc15 { .. } => "rc15",
            Source::Csv { .. } => "csv",
            Source::Parquet { .. } => "parquet",
            Source::Inter { .. } => "inter",
            Source::Frame { .. } => "frame",
        }
    }
}

/// How a table of events is read.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Table {
    /// Which column holds what.
    pub columns: Option<Columns>,
    /// The unit of times that are numbers.
    pub time_unit: TimeUnit,
    /// Event kinds that are clicks.
    pub click: Vec<String>,
    /// Event kinds that are purchases.
    pub purchase: Vec<String>,
    /// Drop and count rows of any other kind, instead of refusing them.
    pub drop_other_events: bool,
    /// Then drop sessions of fewer events than this (one pass; 0 keeps all).
    pub min_session_events: usize,
    /// Then drop items of fewer events than this (one pass; 0 keeps all).
    pub min_item_events: usize,
}

impl Table {
    /// The column mapping, which only `.inter` files do without.
    pub(crate) fn mapping(&self) -> Result<&Columns> {
        let missing =
            || Error::Options("name the columns: session=..,time=..,item=..[,event=..]".into());
        self.columns.as_ref().ok_or_else(missing)
    }

    fn check(&self) -> Result<()> {
        if let Some(both) = self.click.iter().find(|k| self.purchase.contains(k)) {
            return Err(Error::Options(format!(
                "event kind {both:?} is named as a click and as a purchase"
            )));
        }
        let columns: Vec<&str> = self.columns.iter().flat_map(Columns::names).collect();
        if let Some(twice) = columns
            .iter()
            .enumerate()
            .find_map(|(i, c)| columns[..i].contains(c).then_some(c))
        {
            return Err(Error::Options(format!(
                "column mapping: {twice:?} is given two roles"
            )));
        }
        let has_kinds = !(self.click.is_empty() && self.purchase.is_empty());
        let has_column = self.columns.as_ref().is_some_and(|c| c.event.is_some());
        match (has_column, has_kinds) {
            (false, true) => Err(Error::Options(
                "event kinds are named but no column holds them; add event=.. to the column mapping".into(),
            )),
            (true, false) => Err(Error::Options(
                "an event column is named but no kind in it; name the kinds that are clicks or purchases".into(),
            )),
            _ => Ok(()),
        }
    }
}

/// The unit of times written as numbers since 1970, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TimeUnit {
    /// By the largest magnitude in the whole column: below 10^11 seconds (until the year 5138), below 10^14
    /// milliseconds, below 10^17 microseconds, else nanoseconds. Times in the first days of 1970 need the unit said.
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
}

/// How events are divided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SplitRule {
    /// Whole sessions, shuffled by the seed.
    #[default]
    Random,
    /// Whole sessions, by the time of their last event: the latest are test, those before them validation.
    Time,
    /// Of every session of three events or more, the last event is test and the one before it validation.
    LeaveLastOut,
}
