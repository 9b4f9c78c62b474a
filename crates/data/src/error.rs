//! Errors of preparing a dataset: the fault, its place and a hint.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::dropped::flags;

/// Result of preparing a dataset.
pub type Result<T> = std::result::Result<T, Error>;

/// Error of preparing a dataset. Lines count from 1, header included, as in an editor.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Contradictory options: an error of usage, not of data.
    #[error("{0}")]
    Options(String),
    /// Failed input or output operation.
    #[error("{}: {source}", path.display())]
    Io {
        /// File or directory.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// Fault of a file as a whole.
    #[error("{}: {what}", path.display())]
    File {
        /// File or directory.
        path: PathBuf,
        /// Fault and hint.
        what: String,
    },
    /// Line that is not a record of the table.
    #[error("{}:{line}: {what}", path.display())]
    Line {
        /// Path of the file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: u64,
        /// Fault and hint.
        what: String,
    },
    /// Required column that does not exist.
    #[error("{}:1: no column {column:?}; the columns are {}; {}{mend}", path.display(), names(found), similar(column, found))]
    MissingColumn {
        /// Path of the file.
        path: PathBuf,
        /// Name of the required column.
        column: String,
        /// Names of the existing columns.
        found: Vec<String>,
        /// Hint.
        mend: &'static str,
    },
    /// Value that its column cannot hold.
    #[error("{}{place}: column {column:?}: found {:?}, expected {expected}", path.display(), clip(found))]
    Cell {
        /// Path of the file.
        path: PathBuf,
        /// Line or row of the value.
        place: Place,
        /// Name of the column.
        column: String,
        /// Value found.
        found: String,
        /// Expected value and hint.
        expected: String,
    },
    /// Session that contradicts the options.
    #[error("session {session:?} {what}")]
    Session {
        /// Id of the session.
        session: String,
        /// Fault and hint.
        what: &'static str,
    },
    /// Event kinds that are neither clicks nor purchases.
    #[error(
        "column {column:?} holds event kinds that are neither named as clicks nor as purchases: {}; name them, or drop \
         them with --drop-other-events",
        list(kinds)
    )]
    Kinds {
        /// Name of the event column.
        column: String,
        /// Kinds and their numbers of rows, most frequent first.
        kinds: Vec<(String, u64)>,
    },
    /// Warnings about a log, under [`Output::strict`](crate::Output::strict).
    #[error("the log looks wrong, and --strict allows no warning: {}", warnings.join("; "))]
    Implausible {
        /// The warnings.
        warnings: Vec<String>,
    },
    /// Empty result: no events are left.
    #[error(
        "no session is left of {rows} rows; dropped: {}{}",
        list(dropped),
        governing(dropped)
    )]
    NothingLeft {
        /// Number of rows read.
        rows: u64,
        /// Number of rows dropped, by reason.
        dropped: Vec<(String, u64)>,
    },
    /// Child process that read the log, ended from outside.
    #[error("{}: reading was ended by {status}", path.display())]
    Interrupted {
        /// File or directory.
        path: PathBuf,
        /// Exit status of the child.
        status: std::process::ExitStatus,
    },
    /// Failed computation of a polars frame.
    #[error("the frame could not be computed: {0}")]
    Frame(#[from] polars::prelude::PolarsError),
    /// Failed write of the dataset.
    #[error(transparent)]
    Write(#[from] prl_dataset::Error),
}

/// Place in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Line of a text file, from 1.
    Line(u64),
    /// Row of a Parquet file, from 1.
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
    /// Returns true if the raw data is at fault, rather than the options or the machine.
    pub fn is_bad_input(&self) -> bool {
        match self {
            Error::Io { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
            Error::Options(_) | Error::Write(_) | Error::Interrupted { .. } => false,
            _ => true,
        }
    }

    /// The error of a value, with another description of the expected one.
    pub(crate) fn expecting(mut self, what: String) -> Error {
        if let Error::Cell { expected, .. } = &mut self {
            *expected = what;
        }
        self
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

/// Flags that govern the largest of these losses, as the end of a message.
fn governing(dropped: &[(String, u64)]) -> String {
    let mut largest = ("", 0);
    for (reason, rows) in dropped {
        if *rows > largest.1 {
            largest = (reason.as_str(), *rows);
        }
    }
    match flags(largest.0) {
        Some(flags) => format!("; see {flags}"),
        None => String::new(),
    }
}

/// Beginning of a value: one without its end may be the rest of the file.
fn clip(value: &str) -> String {
    const MOST: usize = 200;
    match value.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}..", &value[..end]),
        None => value.to_owned(),
    }
}

/// Question after the existing column whose name is most similar to the required one, if any is.
fn similar(column: &str, found: &[String]) -> String {
    const MIN_SIMILARITY: f64 = 0.8;
    let wanted = column.to_lowercase();
    let (mut best, mut nearest) = (MIN_SIMILARITY, None);
    for name in found {
        let similarity = strsim::jaro_winkler(&wanted, &name.to_lowercase());
        if similarity >= best {
            (best, nearest) = (similarity, Some(name));
        }
    }
    nearest.map_or_else(String::new, |name| format!("did you mean {name:?}? "))
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

/// Lists at most ten entries: a column of ids mistaken for event kinds has millions.
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
