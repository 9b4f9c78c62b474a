//! `tracking.json` of a run directory: what the run is called in each tracker.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prl_fs::{read_at_most, write_atomic};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

const FILE: &str = "tracking.json";
const MAX_BYTES: u64 = 1 << 20;

/// Content of the file.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Content {
    /// Identifier of the run in each tracker, by the tracker.
    runs: BTreeMap<String, String>,
}

/// The identifiers of a run, shared by the threads of its trackers.
#[derive(Clone, Debug)]
pub(crate) struct RunIds {
    path: PathBuf,
    content: Arc<Mutex<Content>>,
}

impl RunIds {
    /// The identifiers that are stored in a run directory; none if there is no file.
    pub fn open(run: &Path) -> Result<Self> {
        let path = run.join(FILE);
        let content = if path.exists() {
            let bytes = read_at_most(&path, MAX_BYTES)?;
            let damaged = |error: serde_json::Error| {
                Error::damaged(&path, format!("{error}; remove it to track as new runs"))
            };
            serde_json::from_slice(&bytes).map_err(damaged)?
        } else {
            Content::default()
        };
        Ok(Self {
            path,
            content: Arc::new(Mutex::new(content)),
        })
    }

    /// The identifier in a tracker.
    pub fn get(&self, tracker: &str) -> Option<String> {
        self.lock().runs.get(tracker).cloned()
    }

    /// Stores the identifier in a tracker.
    pub fn set(&self, tracker: &str, id: &str) -> Result<()> {
        let mut content = self.lock();
        content.runs.insert(tracker.to_owned(), id.to_owned());
        let json = serde_json::to_vec_pretty(&*content);
        let json = json.map_err(|error| Error::damaged(&self.path, error.to_string()))?;
        Ok(write_atomic(&self.path, json)?)
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let ids = RunIds::open(dir.path()).unwrap();
        assert_eq!(ids.get("mlflow=a"), None);
        ids.set("mlflow=a", "1").unwrap();
        ids.set("tensorboard=b", "2").unwrap();
        let read = RunIds::open(dir.path()).unwrap();
        assert_eq!(read.get("mlflow=a").as_deref(), Some("1"));
        assert_eq!(read.get("tensorboard=b").as_deref(), Some("2"));
        std::fs::write(dir.path().join(FILE), "{").unwrap();
        let error = RunIds::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("remove it to track as new runs"), "{error}");
    }
}
