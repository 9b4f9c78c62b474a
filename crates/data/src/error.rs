//! What can be wrong with a raw log, where, and how to mend it.

use std::fmt;
use std::path::{Path, PathBuf};

/// The result of preparing a dataset.
pub type Result<T> = std::result::Result<T, Error>;

/// A dataset that could not be prepared. Lines count from 1, the header included, as an editor shows them.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Options that contradict themselves: a matter of usage, not of data.
    #[error("{0}")]
    Options(String),
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file as a whole is not what it should be.
    #[error("{}: {what}", path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong, and the mend.
        what: String,
    },
    /// A line is not a record of the table.
    #[error("{}:{line}: {what}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line.
        line: u64,
        /// What is wrong, and the mend.
        what: String,
    },
    /// A needed column does not exist.
    #[error("{}:1: no column {column:?}; the columns are {}; {mend}", path.display(), names(found))]
    MissingColumn {
        /// The file.
        path: PathBuf,
        /// The column that is needed.
        column: String,
        /// The columns there are.
        found: Vec<String>,
        /// What to do.
        mend: &'static str,
    },
    /// A value is not what its column must hold.
    #[error("{}{place}: column {column:?}: found {:?}, expected {expected}", path.display(), clip(found))]
    Cell {
        /// The file.
        path: PathBuf,
        /// Where in it.
        place: Place,
        /// The column.
        column: String,
        /// What stands there.
        found: String,
        /// What should, and the mend.
        expected: String,
    },
    /// Event kinds that are neither clicks nor purchases.
    #[error(
        "column {column:?} holds event kinds that are neither named as clicks nor as purchases: {}; name them, or drop \
         them with --drop-other-events",
        list(kinds)
    )]
    Kinds {
        /// The event column.
        column: String,
        /// The kinds and how many rows carry them, most frequent first.
        kinds: Vec<(String, u64)>,
    },
    /// Nothing is left to learn from.
    #[error("no session is left of {rows} rows; dropped: {}", list(dropped))]
    NothingLeft {
        /// Rows read.
        rows: u64,
        /// Rows dropped, by reason.
        dropped: Vec<(String, u64)>,
    },
    /// The child process that read the log was ended from outside.
    #[error("{}: reading was ended by {status}", path.display())]
    Interrupted {
        /// The file or directory.
        path: PathBuf,
        /// How it ended.
        status: std::process::ExitStatus,
    },
    /// A polars frame could not be computed.
    #[error("the frame could not be computed: {0}")]
    Frame(#[from] polars::prelude::PolarsError),
    /// The dataset could not be written.
    #[error(transparent)]
    Write(#[from] prl_dataset::Error),
}

/// A place in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A line of a text file, from 1.
    Line(u64),
    /// A row of a Parquet file, from 1.
    Row(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Line(line) => write!(f, ":{line}"),
            Place::Row(row) => write!(f, ": row {row}"),
        }
    }
}

impl Error {
    /// Whether the raw data is at fault, not the options or the machine.
    pub fn is_bad_input(&self) -> bool {
        match self {
            Error::Io { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
            Error::Options(_) | Error::Write(_) | Error::Interrupted { .. } => false,
            _ => true,
        }
    }

    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Io { path, source }
    }

    pub(crate) fn file(path: &Path, what: impl Into<String>) -> Error {
        Error::File {
            path: path.to_owned(),
            what: what.into(),
        }
    }

    pub(crate) fn line(path: &Path, line: u64, what: impl Into<String>) -> Error {
        Error::Line {
            path: path.to_owned(),
            line,
            what: what.into(),
        }
    }
}

/// The beginning of a value: one that lost its end may be the rest of the file.
fn clip(value: &str) -> String {
    const MOST: usize = 200;
    match value.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}..", &value[..end]),
        None => value.to_owned(),
    }
}

/// Names of columns, at most a hundred.
fn names(found: &[String]) -> String {
    const MOST: usize = 100;
    let shown: Vec<String> = found.iter().take(MOST).map(|name| clip(name)).collect();
    let more = found.len() - shown.len();
    if more > 0 {
        format!("{} and {more} more", shown.join(", "))
    } else {
        shown.join(", ")
    }
}

/// At most ten of them: a column of ids mistaken for event kinds has millions.
fn list(counted: &[(String, u64)]) -> String {
    let shown: Vec<String> = counted
        .iter()
        .take(10)
        .map(|(what, n)| format!("{:?} ({n})", clip(what)))
        .collect();
    match (shown.as_slice(), counted.len() - shown.len()) {
        ([], _) => "nothing".into(),
        (_, 0) => shown.join(", "),
        (_, more) => format!("{} and {more} more", shown.join(", ")),
    }
}
