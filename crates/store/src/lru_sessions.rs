//! Sessions in memory, with limits on time, number and memory.
//!
//! A least-recently-used list serves all limits: every access moves a session to the end, so the
//! first session is the next to expire and the first to be evicted when memory is short. Times are
//! milliseconds of any clock that does not go back.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::limits::SessionLimits;
use crate::session_store::Event;

/// Upper estimate of an event's memory in bytes, without its id.
const EVENT_BYTES: usize = 48;
/// Upper estimate of a session's memory in bytes, without its events and its name.
const SESSION_BYTES: usize = 256;

/// Sessions by name and by their last access.
#[derive(Debug)]
pub(crate) struct LruSessions {
    limits: SessionLimits,
    by_name: HashMap<Arc<str>, Session>,
    /// Names by the number of their last access.
    by_access: BTreeMap<u64, Arc<str>>,
    accesses: u64,
    bytes: usize,
    /// Names of sessions that expired or were evicted, if they are recorded.
    dropped: Option<Vec<Arc<str>>>,
}

/// A stored session.
#[derive(Debug)]
struct Session {
    events: Vec<Event>,
    accessed_at: u64,
    /// Key in `by_access`.
    access: u64,
    bytes: usize,
}

impl LruSessions {
    /// No sessions.
    pub(crate) fn new(limits: SessionLimits) -> Self {
        Self {
            limits,
            by_name: HashMap::new(),
            by_access: BTreeMap::new(),
            accesses: 0,
            bytes: 0,
            dropped: None,
        }
    }

    /// Records from now on which sessions expire or are evicted.
    pub(crate) fn record_dropped(&mut self) {
        self.dropped = Some(Vec::new());
    }

    /// Names of the sessions that expired or were evicted since the last call.
    pub(crate) fn take_dropped(&mut self) -> Vec<Arc<str>> {
        self.dropped.as_mut().map_or(Vec::new(), std::mem::take)
    }

    /// Fails if a session of `events` events is too long.
    pub(crate) fn check_length(&self, events: usize) -> Result<()> {
        let max = self.limits.events;
        if events > max {
            return Err(Error::SessionTooLong { events, max });
        }
        Ok(())
    }

    /// Appends events to a session; returns its number of events. An attempt counts as an access.
    pub(crate) fn add(&mut self, name: &str, events: Vec<Event>, now: u64) -> Result<usize> {
        self.expire(now);
        let mut session = self.remove(name).unwrap_or_else(|| Session::new(name));
        let total = session.events.len() + events.len();
        let checked = self.check_length(total);
        if checked.is_ok() {
            session.append(events);
        }
        if !session.events.is_empty() {
            self.insert(name, session, now);
        }
        self.evict();
        checked.map(|()| total)
    }

    /// Replaces a session whose last access was at `accessed_at`; it is the latest from now on.
    pub(crate) fn replace(&mut self, name: &str, events: Vec<Event>, accessed_at: u64) {
        self.remove(name);
        let mut session = Session::new(name);
        session.append(events);
        self.insert(name, session, accessed_at);
        self.evict();
    }

    /// The events of a session; counts as an access.
    pub(crate) fn events(&mut self, name: &str, now: u64) -> Option<Vec<Event>> {
        self.expire(now);
        let session = self.remove(name)?;
        let events = session.events.clone();
        self.insert(name, session, now);
        Some(events)
    }

    /// The events and the last access of a session; not an access.
    pub(crate) fn peek(&mut self, name: &str, now: u64) -> Option<(&[Event], u64)> {
        self.expire(now);
        let session = self.by_name.get(name)?;
        Some((&session.events, session.accessed_at))
    }

    /// Deletes a session; returns whether it existed.
    pub(crate) fn delete(&mut self, name: &str, now: u64) -> bool {
        self.expire(now);
        self.remove(name).is_some()
    }

    /// Number of sessions.
    pub(crate) fn len(&mut self, now: u64) -> usize {
        self.expire(now);
        self.by_name.len()
    }

    /// Names by last access, the oldest first.
    pub(crate) fn names(&mut self, now: u64) -> Vec<String> {
        self.expire(now);
        self.by_access
            .values()
            .map(|name| name.to_string())
            .collect()
    }

    fn expire(&mut self, now: u64) {
        let ttl = self.limits.ttl_ms();
        while let Some(name) = self.by_access.values().next()
            && let Some(oldest) = self.by_name.get(name)
            && now.saturating_sub(oldest.accessed_at) >= ttl
        {
            self.drop_oldest();
        }
    }

    fn evict(&mut self) {
        while self.by_name.len() > self.limits.sessions || self.bytes > self.limits.bytes {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(name) = self.by_access.values().next().cloned() {
            self.remove(&name);
            if let Some(dropped) = &mut self.dropped {
                dropped.push(name);
            }
        }
    }

    fn remove(&mut self, name: &str) -> Option<Session> {
        let session = self.by_name.remove(name)?;
        self.by_access.remove(&session.access);
        self.bytes -= session.bytes;
        Some(session)
    }

    fn insert(&mut self, name: &str, mut session: Session, accessed_at: u64) {
        self.accesses += 1;
        self.bytes += session.bytes;
        session.accessed_at = accessed_at;
        session.access = self.accesses;
        let name: Arc<str> = name.into();
        self.by_access.insert(session.access, Arc::clone(&name));
        self.by_name.insert(name, session);
    }
}

impl Session {
    fn new(name: &str) -> Self {
        Self {
            events: Vec::new(),
            accessed_at: 0,
            access: 0,
            bytes: SESSION_BYTES + 2 * name.len(),
        }
    }

    fn append(&mut self, events: Vec<Event>) {
        for event in &events {
            self.bytes += EVENT_BYTES + event.item.len();
        }
        self.events.extend(events);
    }
}

#[cfg(test)]
mod tests {
    use super::{EVENT_BYTES, LruSessions, SESSION_BYTES};
    use crate::{Error, Event, SessionLimits};
    use std::time::Duration;

    fn clicks(items: &[&str]) -> Vec<Event> {
        let mut events = Vec::new();
        for &item in items {
            events.push(Event::click(item.into()));
        }
        events
    }

    #[test]
    fn session_add_appends_until_deleted() {
        let mut sessions = LruSessions::new(SessionLimits::default());
        assert_eq!(sessions.add("u", clicks(&["a", "b"]), 0).unwrap(), 2);
        assert_eq!(sessions.add("u", clicks(&["c"]), 0).unwrap(), 3);
        assert_eq!(sessions.events("u", 0), Some(clicks(&["a", "b", "c"])));
        assert!(sessions.delete("u", 0) && !sessions.delete("u", 0));
        assert_eq!((sessions.events("u", 0), sessions.len(0)), (None, 0));
        assert_eq!(sessions.bytes, 0);
    }

    #[test]
    fn session_unused_for_ttl_expires() {
        let mut sessions = LruSessions::new(SessionLimits {
            ttl: Duration::from_secs(10),
            ..SessionLimits::default()
        });
        sessions.record_dropped();
        sessions.add("a", clicks(&["x"]), 0).unwrap();
        sessions.add("b", clicks(&["x"]), 0).unwrap();
        assert!(sessions.events("a", 9_000).is_some());
        assert!(sessions.peek("b", 9_999).is_some());
        assert!(sessions.events("b", 10_000).is_none());
        assert!(sessions.events("a", 18_000).is_some());
        assert!(sessions.events("a", 28_000).is_none());
        let dropped = sessions.take_dropped();
        assert_eq!(
            dropped.iter().map(|name| &**name).collect::<Vec<_>>(),
            ["b", "a"]
        );
        assert!(sessions.take_dropped().is_empty());
    }

    #[test]
    fn full_store_evicts_least_recently_used_session() {
        let mut sessions = LruSessions::new(SessionLimits {
            sessions: 2,
            ..SessionLimits::default()
        });
        sessions.add("a", clicks(&["x"]), 0).unwrap();
        sessions.add("b", clicks(&["x"]), 0).unwrap();
        sessions.events("a", 0);
        sessions.add("c", clicks(&["x"]), 0).unwrap();
        assert_eq!(sessions.names(0), ["a", "c"]);
    }

    #[test]
    fn store_limits_events_and_bytes() {
        let bytes = 10 * (SESSION_BYTES + 2 + EVENT_BYTES + 1);
        let mut sessions = LruSessions::new(SessionLimits {
            events: 3,
            bytes,
            ..SessionLimits::default()
        });
        assert!(matches!(
            sessions.add("u", clicks(&["a"; 4]), 0),
            Err(Error::SessionTooLong { events: 4, max: 3 })
        ));
        assert_eq!(sessions.len(0), 0);
        for name in b'A'..b'A' + 30 {
            let name = char::from(name).to_string();
            sessions.add(&name, clicks(&["x"]), 0).unwrap();
        }
        assert_eq!(sessions.len(0), 10);
    }
}
