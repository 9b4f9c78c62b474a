//! Sessions in the memory of the process.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;

use crate::error::Result;
use crate::limits::SessionLimits;
use crate::lru_sessions::LruSessions;
use crate::session_store::{Event, SavedSession, SessionStore};

/// Sessions in memory; they are lost with the process.
#[derive(Debug)]
pub struct MemoryStore {
    sessions: Mutex<LruSessions>,
    limits: SessionLimits,
    start: Instant,
}

impl MemoryStore {
    /// An empty store.
    pub fn new(limits: SessionLimits) -> Self {
        Self {
            sessions: Mutex::new(LruSessions::new(limits)),
            limits,
            start: Instant::now(),
        }
    }

    /// Milliseconds since the store was created, plus the time to live: a restored session may be
    /// older than the store.
    fn now(&self) -> u64 {
        let elapsed = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        elapsed.saturating_add(self.limits.ttl_ms())
    }

    fn lock(&self) -> MutexGuard<'_, LruSessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl SessionStore for MemoryStore {
    async fn add(&self, name: &str, events: Vec<Event>) -> Result<usize> {
        self.lock().add(name, events, self.now())
    }

    async fn events(&self, name: &str) -> Result<Option<Vec<Event>>> {
        Ok(self.lock().events(name, self.now()))
    }

    async fn delete(&self, name: &str) -> Result<bool> {
        Ok(self.lock().delete(name, self.now()))
    }

    async fn count(&self) -> Result<usize> {
        Ok(self.lock().len(self.now()))
    }

    async fn names(&self) -> Result<Vec<String>> {
        Ok(self.lock().names(self.now()))
    }

    async fn saved(&self, name: &str) -> Result<Option<SavedSession>> {
        let now = self.now();
        let mut sessions = self.lock();
        let Some((events, accessed_at)) = sessions.peek(name, now) else {
            return Ok(None);
        };
        Ok(Some(SavedSession {
            session: name.to_owned(),
            idle: Duration::from_millis(now.saturating_sub(accessed_at)),
            events: events.to_vec(),
        }))
    }

    async fn restore(&self, session: SavedSession) -> Result<()> {
        if session.idle >= self.limits.ttl {
            return Ok(());
        }
        let mut sessions = self.lock();
        sessions.check_length(session.events.len())?;
        let idle = u64::try_from(session.idle.as_millis()).unwrap_or(u64::MAX);
        let accessed_at = self.now().saturating_sub(idle);
        sessions.replace(&session.session, session.events, accessed_at);
        Ok(())
    }
}
