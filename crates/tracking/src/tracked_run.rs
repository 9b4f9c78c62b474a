//! Description of a run for a tracker, and the interface of trackers.

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::numbers::Record;

/// A run as its trackers show it.
#[derive(Clone, Debug)]
pub(crate) struct TrackedRun {
    /// Name in the trackers: folders separated by /.
    pub name: String,
    /// Run directory, absolute.
    pub dir: PathBuf,
    /// Names and values of the settings.
    pub settings: Vec<(String, toml::Value)>,
    /// Hash of the dataset.
    pub dataset: String,
}

/// State in which a training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunEnd {
    /// The run is complete.
    Finished,
    /// Interrupted; it can be resumed.
    Interrupted,
    /// Ended by an error.
    Failed,
}

/// A store of the numbers of runs. All calls come from one thread.
pub(crate) trait Tracker: Send {
    /// Opens the run, a new one or that of an earlier process, and returns the last step whose
    /// record it has. Called again after an error.
    fn open(&mut self) -> Result<Option<u64>>;

    /// Appends records in the order of their steps.
    fn log(&mut self, records: &[Record]) -> Result<()>;

    /// Notes the end of the training.
    fn end(&mut self, end: RunEnd) -> Result<()>;
}

/// Fails for a name that is not one or more folder names, since it is part of a path.
pub(crate) fn check_name(name: &str) -> Result<()> {
    for part in name.split('/') {
        let is_relative = part.chars().all(|c| c == '.');
        if is_relative || part.starts_with(' ') || !part.chars().all(is_allowed) {
            return Err(Error::Name(name.to_owned()));
        }
    }
    Ok(())
}

fn is_allowed(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | ' ')
}

/// A folder's name as a name in trackers: `-` in place of each character that a name cannot have.
pub fn name_of_folder(folder: &str) -> String {
    let mut name = String::with_capacity(folder.len());
    for c in folder.chars() {
        name.push(if is_allowed(c) { c } else { '-' });
    }
    let is_relative = name.chars().all(|c| c == '.');
    if is_relative || name.starts_with(' ') {
        name.insert(0, '-');
    }
    name
}

#[cfg(test)]
mod tests {
    use super::{check_name, name_of_folder};

    #[test]
    fn name_is_folders_inside_the_tracker() {
        for name in ["a", "tune/0003", "run-1.2_b"] {
            check_name(name).unwrap();
        }
        for name in ["", "..", "a/../b", "/a", "a/", "a\\b", "a\nb"] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn folder_of_any_name_has_one_in_trackers() {
        for (folder, name) in [
            ("run-1", "run-1"),
            ("lr=1", "lr-1"),
            ("..", "-.."),
            ("", "-"),
            (" a", "- a"),
        ] {
            assert_eq!(name_of_folder(folder), name);
            check_name(name).unwrap();
        }
    }
}
