//! In-memory store of sessions with limits on time, number and memory.
//!
//! A least-recently-used list serves all limits: every access moves a session to the end, so the
//! first session is the next to expire and the first to be evicted when memory is short.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::request::Event;

/// Upper estimate of an event's memory in bytes, without its id.
const EVENT_BYTES: usize = 48;
/// Upper estimate of a session's memory in bytes, without its events and its name.
const SESSION_BYTES: usize = 256;

/// Limits of a [`SessionStore`].
#[derive(Clone, Copy, Debug)]
pub struct SessionLimits {
    /// Time to live after the last access.
    pub ttl: Duration,
    /// Maximum number of sessions.
    pub sessions: usize,
    /// Maximum number of events in one session.
    pub events: usize,
    /// Maximum memory of all sessions in bytes (estimated).
    pub bytes: usize,
}

impl Default for SessionLimits {
    /// 30 minutes, 100,000 sessions, 8,000 events in each, 256 MiB in total.
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(1_800),
            sessions: 100_000,
            events: 8_000,
            bytes: 256 << 20,
        }
    }
}

/// Sessions by name. All methods take the current time, so that tests control it.
#[derive(Debug)]
pub struct SessionStore {
    sessions: Mutex<LruSessions>,
    limits: SessionLimits,
}

#[derive(Debug, Default)]
struct LruSessions {
    by_name: HashMap<Arc<str>, StoredSession>,
    /// Names by the number of their last access.
    by_access: BTreeMap<u64, Arc<str>>,
    accesses: u64,
    bytes: usize,
}

#[derive(Debug)]
struct StoredSession {
    events: Vec<Event>,
    accessed_at: Instant,
    /// Key in `by_access`.
    access: u64,
    bytes: usize,
}

impl SessionStore {
    /// An empty store.
    pub fn new(limits: SessionLimits) -> Self {
        Self {
            sessions: Mutex::default(),
            limits,
        }
    }

    /// Appends events to a session, which is created if needed; returns its number of events.
    ///
    /// # Errors
    /// [`Error::SessionTooLong`] if it would exceed the maximum; nothing is appended then.
    pub fn add(&self, name: &str, events: Vec<Event>, now: Instant) -> Result<usize> {
        let mut sessions = self.unexpired(now);
        let mut session = sessions
            .remove(name)
            .unwrap_or_else(|| StoredSession::new(name, now));
        let total = session.events.len() + events.len();
        let fits = total <= self.limits.events;
        if fits {
            for event in &events {
                session.bytes += EVENT_BYTES + event.item.len();
            }
            session.events.extend(events);
        }
        if fits || !session.events.is_empty() {
            sessions.insert(name, session, now);
        }
        while sessions.by_name.len() > self.limits.sessions || sessions.bytes > self.limits.bytes {
            sessions.evict_oldest();
        }
        if fits {
            Ok(total)
        } else {
            Err(Error::SessionTooLong {
                events: total,
                max: self.limits.events,
            })
        }
    }

    /// The events of a session, oldest first; `None` if it does not exist. Counts as an access.
    pub fn events(&self, name: &str, now: Instant) -> Option<Vec<Event>> {
        let mut sessions = self.unexpired(now);
        let session = sessions.remove(name)?;
        let events = session.events.clone();
        sessions.insert(name, session, now);
        Some(events)
    }

    /// Deletes a session; returns whether it existed.
    pub fn delete(&self, name: &str, now: Instant) -> bool {
        self.unexpired(now).remove(name).is_some()
    }

    /// Number of sessions.
    pub fn len(&self) -> usize {
        self.lock().by_name.len()
    }

    /// True if there is no session.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Locks the sessions after removing the expired ones.
    fn unexpired(&self, now: Instant) -> MutexGuard<'_, LruSessions> {
        let mut sessions = self.lock();
        while let Some(oldest) = sessions.oldest()
            && now.saturating_duration_since(oldest.accessed_at) >= self.limits.ttl
        {
            sessions.evict_oldest();
        }
        sessions
    }

    fn lock(&self) -> MutexGuard<'_, LruSessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StoredSession {
    fn new(name: &str, now: Instant) -> Self {
        Self {
            events: Vec::new(),
            accessed_at: now,
            access: 0,
            bytes: SESSION_BYTES + 2 * name.len(),
        }
    }
}

impl LruSessions {
    fn oldest(&self) -> Option<&StoredSession> {
        self.by_name.get(self.by_access.values().next()?)
    }

    fn evict_oldest(&mut self) {
        if let Some(name) = self.by_access.values().next().cloned() {
            self.remove(&name);
        }
    }

    fn remove(&mut self, name: &str) -> Option<StoredSession> {
        let session = self.by_name.remove(name)?;
        self.by_access.remove(&session.access);
        self.bytes -= session.bytes;
        Some(session)
    }

    fn insert(&mut self, name: &str, mut session: StoredSession, now: Instant) {
        self.accesses += 1;
        self.bytes += session.bytes;
        session.accessed_at = now;
        session.access = self.accesses;
        let name: Arc<str> = name.into();
        self.by_access.insert(session.access, Arc::clone(&name));
        self.by_name.insert(name, session);
    }
}

#[cfg(test)]
mod tests {
    use super::{EVENT_BYTES, SESSION_BYTES, SessionLimits, SessionStore};
    use crate::{Error, Event};
    use std::time::{Duration, Instant};

    fn clicks(items: &[&str]) -> Vec<Event> {
        items
            .iter()
            .map(|&item| Event::click(item.into()))
            .collect()
    }

    #[test]
    fn session_add_appends_until_deleted() {
        let (store, now) = (SessionStore::new(SessionLimits::default()), Instant::now());
        assert_eq!(store.add("u", clicks(&["a", "b"]), now).unwrap(), 2);
        assert_eq!(store.add("u", clicks(&["c"]), now).unwrap(), 3);
        assert_eq!(store.events("u", now), Some(clicks(&["a", "b", "c"])));
        assert!(store.delete("u", now) && !store.delete("u", now));
        assert_eq!((store.events("u", now), store.len()), (None, 0));
        assert_eq!(store.lock().bytes, 0);
    }

    #[test]
    fn session_unused_for_ttl_expires() {
        let ttl = Duration::from_secs(10);
        let store = SessionStore::new(SessionLimits {
            ttl,
            ..SessionLimits::default()
        });
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        store.add("a", clicks(&["x"]), at(0)).unwrap();
        store.add("b", clicks(&["x"]), at(0)).unwrap();
        assert!(store.events("a", at(9)).is_some());
        assert!(store.events("b", at(10)).is_none());
        assert!(store.events("a", at(18)).is_some());
        assert!(store.events("a", at(28)).is_none());
    }

    #[test]
    fn full_store_evicts_least_recently_used_session() {
        let store = SessionStore::new(SessionLimits {
            sessions: 2,
            ..SessionLimits::default()
        });
        let now = Instant::now();
        store.add("a", clicks(&["x"]), now).unwrap();
        store.add("b", clicks(&["x"]), now).unwrap();
        store.events("a", now);
        store.add("c", clicks(&["x"]), now).unwrap();
        assert!(store.events("b", now).is_none());
        assert!(store.events("a", now).is_some() && store.events("c", now).is_some());
    }

    #[test]
    fn store_limits_events_and_bytes() {
        let bytes = 10 * (SESSION_BYTES + 2 + EVENT_BYTES + 1);
        let store = SessionStore::new(SessionLimits {
            events: 3,
            bytes,
            ..SessionLimits::default()
        });
        let now = Instant::now();
        assert!(matches!(
            store.add("u", clicks(&["a"; 4]), now),
            Err(Error::SessionTooLong { events: 4, max: 3 })
        ));
        assert!(store.is_empty());
        for name in b'A'..b'A' + 30 {
            let name = char::from(name).to_string();
            store.add(&name, clicks(&["x"]), now).unwrap();
        }
        assert_eq!(store.len(), 10);
    }
}
