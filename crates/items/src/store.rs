//! Durable storage of changes, shared by the servers of a shop.

use std::collections::{BTreeSet, HashMap};
use std::error::Error;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A version, and the documents that are newer than the one asked for, by key.
pub type Since = (u64, Vec<(String, Vec<u8>)>);

/// Storage of the latest document of each key. Servers that share one follow each other's changes.
pub trait ChangeStore: Send + Sync {
    /// Stores documents by key, all or none, durable on return; returns the new version, which is
    /// larger than any before.
    ///
    /// # Errors
    /// [`ChangeStoreError`] if they cannot be stored.
    fn put(&self, changes: &[(String, Vec<u8>)]) -> Result<u64, ChangeStoreError>;

    /// The current version, and the latest document of each key that was stored after `version`;
    /// all of them after version 0.
    ///
    /// # Errors
    /// [`ChangeStoreError`] if they cannot be read.
    fn since(&self, version: u64) -> Result<Since, ChangeStoreError>;
}

/// A storage that failed: what failed, and the cause.
#[derive(Debug)]
pub struct ChangeStoreError {
    message: String,
    cause: Option<Box<dyn Error + Send + Sync>>,
}

impl ChangeStoreError {
    /// A failure without another error as its cause.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            cause: None,
        }
    }

    /// A failure and its cause.
    pub fn caused_by(
        message: impl Into<String>,
        cause: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self {
            message: message.into(),
            cause: Some(cause.into()),
        }
    }
}

impl fmt::Display for ChangeStoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Some(cause) => write!(f, "{}: {cause}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl Error for ChangeStoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.cause {
            Some(cause) => Some(cause.as_ref()),
            None => None,
        }
    }
}

/// Changes in memory: they end with the process.
#[derive(Debug, Default)]
pub struct MemoryChangeStore {
    documents: Mutex<Documents>,
}

#[derive(Debug, Default)]
struct Documents {
    version: u64,
    by_key: HashMap<String, (u64, Vec<u8>)>,
    by_version: BTreeSet<(u64, String)>,
}

impl MemoryChangeStore {
    fn lock(&self) -> MutexGuard<'_, Documents> {
        let locked = self.documents.lock();
        locked.unwrap_or_else(PoisonError::into_inner)
    }
}

impl ChangeStore for MemoryChangeStore {
    fn put(&self, changes: &[(String, Vec<u8>)]) -> Result<u64, ChangeStoreError> {
        let mut documents = self.lock();
        documents.version += 1;
        let version = documents.version;
        for (key, document) in changes {
            let new = (version, document.clone());
            if let Some((old, _)) = documents.by_key.insert(key.clone(), new) {
                documents.by_version.remove(&(old, key.clone()));
            }
            documents.by_version.insert((version, key.clone()));
        }
        Ok(version)
    }

    fn since(&self, version: u64) -> Result<Since, ChangeStoreError> {
        let documents = self.lock();
        let mut newer = Vec::new();
        let first = (version.saturating_add(1), String::new());
        for (_, key) in documents.by_version.range(first..) {
            if let Some((_, document)) = documents.by_key.get(key) {
                newer.push((key.clone(), document.clone()));
            }
        }
        Ok((documents.version, newer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(store: &MemoryChangeStore, changes: &[(&str, &str)]) -> u64 {
        let mut owned = Vec::new();
        for (key, document) in changes {
            owned.push(((*key).to_owned(), document.as_bytes().to_vec()));
        }
        store.put(&owned).unwrap()
    }

    #[test]
    fn since_lists_the_latest_document_of_each_key() {
        let store = MemoryChangeStore::default();
        assert_eq!(store.since(0).unwrap(), (0, Vec::new()));
        assert_eq!(put(&store, &[("a", "1"), ("b", "1")]), 1);
        assert_eq!(put(&store, &[("a", "2")]), 2);
        let all = vec![("b".into(), b"1".to_vec()), ("a".into(), b"2".to_vec())];
        assert_eq!(store.since(0).unwrap(), (2, all));
        assert_eq!(
            store.since(1).unwrap(),
            (2, vec![("a".into(), b"2".to_vec())])
        );
        assert_eq!(store.since(2).unwrap(), (2, Vec::new()));
        assert_eq!(store.since(u64::MAX).unwrap(), (2, Vec::new()));
    }

    #[test]
    fn store_error_shows_its_cause() {
        let error = ChangeStoreError::caused_by("cannot write", std::io::Error::other("disk full"));
        assert_eq!(error.to_string(), "cannot write: disk full");
        assert!(error.source().is_some());
        assert!(ChangeStoreError::new("gone").source().is_none());
    }
}
