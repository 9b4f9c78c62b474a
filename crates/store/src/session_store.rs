//! The contract of session stores.

use std::time::Duration;

use async_trait::async_trait;

use crate::error::Result;

/// An event of a session, by raw item id.
pub type Event = prl_dataset::Event<Box<str>>;

/// A session with the time since its last access, as back-ups hold it.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedSession {
    /// Name of the session.
    pub session: String,
    /// Time since the last access.
    pub idle: Duration,
    /// Events, oldest first.
    pub events: Vec<Event>,
}

/// Sessions by name.
///
/// Appending to and reading a session are accesses. A session without access for the time to live
/// does not exist any more; when there are too many, the least recently used one is evicted. The
/// number of events in a session changes as a whole: a reader sees all events of an `add` or none.
#[async_trait]
pub trait SessionStore: Send + Sync {
    /// Appends events to a session, which is created if needed; returns its number of events.
    ///
    /// # Errors
    /// [`Error::SessionTooLong`](crate::Error::SessionTooLong) if it would exceed the maximum;
    /// nothing is appended then. [`Error::Unavailable`](crate::Error::Unavailable) if the events
    /// could not be stored or it is not known whether they were.
    async fn add(&self, name: &str, events: Vec<Event>) -> Result<usize>;

    /// The events of a session, oldest first; `None` if it does not exist.
    ///
    /// # Errors
    /// If the store is not available or damaged.
    async fn events(&self, name: &str) -> Result<Option<Vec<Event>>>;

    /// Deletes a session; returns whether it existed.
    ///
    /// # Errors
    /// If the store is not available.
    async fn delete(&self, name: &str) -> Result<bool>;

    /// Number of sessions.
    ///
    /// # Errors
    /// If the store is not available.
    async fn count(&self) -> Result<usize>;

    /// Names of all sessions, for a back-up.
    ///
    /// # Errors
    /// If the store is not available.
    async fn names(&self) -> Result<Vec<String>>;

    /// A session for a back-up; not an access. `None` if it does not exist.
    ///
    /// # Errors
    /// If the store is not available or damaged.
    async fn saved(&self, name: &str) -> Result<Option<SavedSession>>;

    /// Writes a session of a back-up, replacing one of that name; expired ones are dropped.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    async fn restore(&self, session: SavedSession) -> Result<()>;
}
