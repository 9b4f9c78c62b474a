//! Sessions that the engine's host keeps for its users: bounded in time, in number and in memory.
//!
//! One order serves both bounds. Every use moves a session to the end, so the front is at once the one that expires first and
//! the one used least recently, which goes when room is needed.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::request::Event;

/// Bytes that an event takes besides its id, and a session besides its events and its name: estimates from above.
const EVENT: usize = 48;
const SESSION: usize = 256;

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub struct SessionLimits {
    /// How long after its last use.
    pub keep: Duration,
    /// Sessions.
    pub sessions: usize,
    /// Events of one session.
    pub events: usize,
    /// Bytes of all of them, about.
    pub bytes: usize,
}

impl Default for SessionLimits {
    /// Half an hour, 100,000 sessions, 8,000 events of each, 256 MiB of all.
    fn default() -> Self {
        Self {
            keep: Duration::from_secs(1_800),
            sessions: 100_000,
            events: 8_000,
            bytes: 256 << 20,
        }
    }
}

/// The sessions that are kept, by name.
#[derive(Debug)]
pub struct SessionStore {
    store: Mutex<Store>,
    limits: SessionLimits,
}

#[derive(Debug, Default)]
struct Store {
    by_name: HashMap<Arc<str>, StoredSession>,
    /// Names by the turn of their last use.
    by_use: BTreeMap<u64, Arc<str>>,
    turn: u64,
    bytes: usize,
}

#[derive(Debug)]
struct StoredSession {
    events: Vec<Event>,
    used: Instant,
    turn: u64,
    bytes: usize,
}

impl SessionStore {
    /// None yet.
    pub fn new(limits: SessionLimits) -> Self {
        Self {
            store: Mutex::default(),
            limits,
        }
    }

    /// Adds events at the end of a session, which begins with them if it is not there. Returns how many it holds.
    ///
    /// # Errors
    /// If it would hold too many; nothing is added then.
    pub fn add(&self, name: &str, events: Vec<Event>, now: Instant) -> Result<usize> {
        let mut store = self.store(now);
        let mut kept = store
            .take(name)
            .unwrap_or_else(|| StoredSession::new(name, now));
        let total = kept.events.len() + events.len();
        let fits = total <= self.limits.events;
        if fits {
            kept.bytes += events.iter().map(|e| EVENT + e.item.len()).sum::<usize>();
            kept.events.extend(events);
        }
        if fits || !kept.events.is_empty() {
            store.put(name, kept, now);
        }
        while store.by_name.len() > self.limits.sessions || store.bytes > self.limits.bytes {
            store.drop_oldest();
        }
        if fits {
            Ok(total)
        } else {
            Err(Error::LongSession {
                events: total,
                most: self.limits.events,
            })
        }
    }

    /// The events of a session, if it is there.
    pub fn events(&self, name: &str, now: Instant) -> Option<Vec<Event>> {
        let mut store = self.store(now);
        let kept = store.take(name)?;
        let events = kept.events.clone();
        store.put(name, kept, now);
        Some(events)
    }

    /// Forgets a session; whether it was there.
    pub fn forget(&self, name: &str, now: Instant) -> bool {
        self.store(now).take(name).is_some()
    }

    /// How many are kept.
    pub fn len(&self) -> usize {
        self.lock().by_name.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The store without what has expired.
    fn store(&self, now: Instant) -> MutexGuard<'_, Store> {
        let mut store = self.lock();
        while store
            .oldest()
            .is_some_and(|kept| now.saturating_duration_since(kept.used) >= self.limits.keep)
        {
            store.drop_oldest();
        }
        store
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StoredSession {
    fn new(name: &str, now: Instant) -> Self {
        Self {
            events: Vec::new(),
            used: now,
            turn: 0,
            bytes: SESSION + 2 * name.len(),
        }
    }
}

impl Store {
    fn oldest(&self) -> Option<&StoredSession> {
        self.by_name.get(self.by_use.values().next()?)
    }

    fn drop_oldest(&mut self) {
        if let Some(name) = self.by_use.values().next().cloned() {
            self.take(&name);
        }
    }

    fn take(&mut self, name: &str) -> Option<StoredSession> {
        let kept = self.by_name.remove(name)?;
        self.by_use.remove(&kept.turn);
        self.bytes -= kept.bytes;
        Some(kept)
    }

    fn put(&mut self, name: &str, kept: StoredSession, now: Instant) {
        self.turn += 1;
        self.bytes += kept.bytes;
        let name: Arc<str> = name.into();
        self.by_use.insert(self.turn, Arc::clone(&name));
        self.by_name.insert(
            name,
            StoredSession {
                used: now,
                turn: self.turn,
                ..kept
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::{EVENT, SESSION, SessionLimits, SessionStore};
    use crate::{Error, Event};
    use prl_dataset::Kind;
    use std::time::{Duration, Instant};

    fn clicks(items: &[&str]) -> Vec<Event> {
        items
            .iter()
            .map(|&item| Event {
                item: item.into(),
                kind: Kind::Click,
            })
            .collect()
    }

    #[test]
    fn events_pile_up_until_forgotten() {
        let (sessions, now) = (SessionStore::new(SessionLimits::default()), Instant::now());
        assert_eq!(sessions.add("u", clicks(&["a", "b"]), now).unwrap(), 2);
        assert_eq!(sessions.add("u", clicks(&["c"]), now).unwrap(), 3);
        assert_eq!(sessions.events("u", now), Some(clicks(&["a", "b", "c"])));
        assert!(sessions.forget("u", now) && !sessions.forget("u", now));
        assert_eq!((sessions.events("u", now), sessions.len()), (None, 0));
        assert_eq!(sessions.lock().bytes, 0);
    }

    #[test]
    fn a_session_expires_after_its_last_use() {
        let keep = Duration::from_secs(10);
        let (sessions, start) = (
            SessionStore::new(SessionLimits {
                keep,
                ..SessionLimits::default()
            }),
            Instant::now(),
        );
        let at = |seconds| start + Duration::from_secs(seconds);
        sessions.add("a", clicks(&["x"]), at(0)).unwrap();
        sessions.add("b", clicks(&["x"]), at(0)).unwrap();
        assert!(sessions.events("a", at(9)).is_some());
        assert!(sessions.events("b", at(10)).is_none());
        assert!(sessions.events("a", at(18)).is_some());
        assert!(sessions.events("a", at(28)).is_none());
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let (sessions, now) = (
            SessionStore::new(SessionLimits {
                sessions: 2,
                ..SessionLimits::default()
            }),
            Instant::now(),
        );
        sessions.add("a", clicks(&["x"]), now).unwrap();
        sessions.add("b", clicks(&["x"]), now).unwrap();
        sessions.events("a", now);
        sessions.add("c", clicks(&["x"]), now).unwrap();
        assert!(sessions.events("b", now).is_none());
        assert!(sessions.events("a", now).is_some() && sessions.events("c", now).is_some());
    }

    #[test]
    fn events_and_bytes_are_bounded() {
        let bytes = 10 * (SESSION + 2 + EVENT + 1);
        let limits = SessionLimits {
            events: 3,
            bytes,
            ..SessionLimits::default()
        };
        let (sessions, now) = (SessionStore::new(limits), Instant::now());
        assert!(matches!(
            sessions.add("u", clicks(&["a"; 4]), now),
            Err(Error::LongSession { events: 4, most: 3 })
        ));
        assert!(sessions.is_empty());
        for name in 0..30_u8 {
            sessions
                .add(
                    std::str::from_utf8(&[b'A' + name]).unwrap(),
                    clicks(&["x"]),
                    now,
                )
                .unwrap();
        }
        assert_eq!(sessions.len(), 10);
    }
}
