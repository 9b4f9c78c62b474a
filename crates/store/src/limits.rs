//! Limits of a session store.

use std::time::Duration;

/// Limits of a [`SessionStore`](crate::SessionStore).
#[derive(Clone, Copy, Debug)]
pub struct SessionLimits {
    /// Time to live after the last access.
    pub ttl: Duration,
    /// Maximum number of sessions.
    pub sessions: usize,
    /// Maximum number of events in one session.
    pub events: usize,
    /// Maximum memory of all sessions in bytes (estimated); in Redis, its own `maxmemory` counts.
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

impl SessionLimits {
    /// Time to live in milliseconds.
    pub(crate) fn ttl_ms(&self) -> u64 {
        u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX)
    }
}
