//! The thread that writes: group commit of changes.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, mpsc};
use std::time::Duration;

use tokio::sync::oneshot;

use super::Shared;
use super::tables::{Rows, Tables};
use crate::error::{Error, Result};
use crate::session_store::Event;

/// Maximum number of changes in a transaction.
const BATCH: usize = 1_024;
/// Share of the time to live after which accesses that only read are written.
const TOUCHES_PER_TTL: u32 = 20;

/// A change of a session.
pub(super) enum Change {
    Add {
        name: String,
        events: Vec<Event>,
    },
    Delete {
        name: String,
    },
    Replace {
        name: String,
        events: Vec<Event>,
        accessed_at: u64,
    },
}

impl Change {
    fn name(&self) -> &str {
        match self {
            Self::Add { name, .. } | Self::Delete { name } | Self::Replace { name, .. } => name,
        }
    }
}

/// A change, and where its result goes.
pub(super) struct Request {
    pub(super) change: Change,
    pub(super) reply: oneshot::Sender<Result<usize>>,
}

/// State of the thread.
pub(super) struct Writer {
    file: PathBuf,
    /// `None` after a failure: redb refuses a file after an error of the disk until it is reopened.
    tables: Option<Tables>,
    shared: Arc<Shared>,
    /// Sessions that expired or were evicted and are still on disk.
    dropped: Vec<Box<str>>,
    /// Sessions that expired or were evicted while events were appended to them on disk.
    rewrites: Vec<String>,
    /// When accesses that only read were last written.
    touched_at: u64,
}

impl Writer {
    /// A writer that will delete the sessions `expired`.
    pub(super) fn new(tables: Tables, shared: Arc<Shared>, expired: Vec<String>) -> Self {
        let mut dropped = Vec::new();
        for name in expired {
            dropped.push(name.into());
        }
        Self {
            file: tables.file().to_owned(),
            tables: Some(tables),
            touched_at: shared.clock.now(),
            shared,
            dropped,
            rewrites: Vec::new(),
        }
    }

    /// Writes until all senders of requests are gone.
    pub(super) fn run(mut self, queue: &mpsc::Receiver<Request>) {
        let idle = (self.shared.limits.ttl / TOUCHES_PER_TTL)
            .clamp(Duration::from_millis(50), Duration::from_secs(600));
        loop {
            let mut requests = Vec::new();
            let ended = match queue.recv_timeout(idle) {
                Ok(request) => {
                    requests.push(request);
                    requests.extend(queue.try_iter().take(BATCH - 1));
                    false
                }
                Err(mpsc::RecvTimeoutError::Timeout) => false,
                Err(mpsc::RecvTimeoutError::Disconnected) => true,
            };
            let now = self.shared.clock.now();
            let is_due = now.saturating_sub(self.touched_at) >= super::millis(idle);
            self.write(requests, now, is_due || ended);
            if ended {
                return;
            }
        }
    }

    /// Commits the changes of requests, applies them to the sessions in memory, and replies.
    fn write(&mut self, requests: Vec<Request>, now: u64, with_touches: bool) {
        let touched = if with_touches {
            self.touched_at = now;
            let touched = self.shared.touched.lock();
            std::mem::take(&mut *touched.unwrap_or_else(PoisonError::into_inner))
        } else {
            HashMap::new()
        };
        self.collect_dropped(now);
        let is_clean = self.dropped.is_empty() && self.rewrites.is_empty();
        if requests.is_empty() && touched.is_empty() && is_clean {
            return;
        }
        match self.commit(&requests, &touched, now) {
            Ok(counts) => self.apply(requests, counts, now),
            Err(error) => {
                tracing::error!(%error, requests = requests.len(), "sessions not written");
                self.tables = None;
                for request in requests {
                    let cause = match &error {
                        Error::Unavailable { cause, .. } => cause.clone(),
                        error => error.to_string(),
                    };
                    _ = request
                        .reply
                        .send(Err(Error::unavailable(&self.file, cause)));
                }
            }
        }
    }

    /// Takes the names of sessions that expired or were evicted in memory.
    fn collect_dropped(&mut self, now: u64) {
        let mut sessions = self.shared.sessions();
        // Expired sessions are noticed at an access; this is one.
        sessions.len(now);
        for name in sessions.take_dropped() {
            // It may have begun again since.
            if sessions.peek(&name, now).is_none() {
                self.dropped.push((&*name).into());
            }
        }
    }

    /// Commits a transaction; returns for each request the number of events of its session, or that
    /// it is too long.
    fn commit(
        &mut self,
        requests: &[Request],
        touched: &HashMap<Box<str>, u64>,
        now: u64,
    ) -> Result<Vec<Result<usize>>> {
        let tables = match self.tables.take() {
            Some(tables) => tables,
            None => Tables::open(&self.file)?,
        };
        let tables = self.tables.insert(tables);
        let transaction = tables.begin()?;
        let mut results = Vec::with_capacity(requests.len());
        {
            let mut rows = tables.rows(&transaction)?;
            for name in &self.dropped {
                rows.delete(name)?;
            }
            for (name, &accessed_at) in touched {
                rows.touch(name, accessed_at)?;
            }
            for name in &self.rewrites {
                rows.delete(name)?;
                let mut sessions = self.shared.sessions();
                if let Some((events, accessed_at)) = sessions.peek(name, now) {
                    rows.append(name, 0, events, accessed_at)?;
                }
            }
            let mut counts = Counts {
                shared: &self.shared,
                now,
                changed: HashMap::new(),
            };
            for request in requests {
                results.push(match counts.of_changed(&request.change) {
                    Ok(before) => Ok(counts.write(&mut rows, &request.change, before)?),
                    Err(too_long) => Err(too_long),
                });
            }
        }
        tables.commit(transaction)?;
        self.dropped.clear();
        self.rewrites.clear();
        Ok(results)
    }

    /// Applies committed changes to the sessions in memory, and replies.
    fn apply(&mut self, requests: Vec<Request>, results: Vec<Result<usize>>, now: u64) {
        let mut sessions = self.shared.sessions();
        for (Request { change, reply }, result) in requests.into_iter().zip(results) {
            if let Ok(written) = &result {
                match change {
                    Change::Add { name, events } => {
                        let added = sessions.add(&name, events, now);
                        if !added.is_ok_and(|added| added == *written) {
                            self.rewrites.push(name);
                        }
                    }
                    Change::Delete { name } => _ = sessions.delete(&name, now),
                    Change::Replace {
                        name,
                        events,
                        accessed_at,
                    } => sessions.replace(&name, events, accessed_at),
                }
            }
            _ = reply.send(result);
        }
    }
}

/// Numbers of events of sessions, with the changes of the open transaction.
struct Counts<'a> {
    shared: &'a Shared,
    now: u64,
    changed: HashMap<String, usize>,
}

impl Counts<'_> {
    /// Number of events of a change's session before it; an error if it would be too long after it.
    fn of_changed(&self, change: &Change) -> Result<usize> {
        let name = change.name();
        let mut sessions = self.shared.sessions();
        let stored = sessions
            .peek(name, self.now)
            .map_or(0, |found| found.0.len());
        let before = self.changed.get(name).copied().unwrap_or(stored);
        match change {
            Change::Add { events, .. } => sessions.check_length(before + events.len())?,
            Change::Replace { events, .. } => sessions.check_length(events.len())?,
            Change::Delete { .. } => {}
        }
        Ok(before)
    }

    /// Writes a change of a session of `before` events; returns the number of its events
    /// afterwards, or before it was deleted.
    fn write(&mut self, rows: &mut Rows<'_>, change: &Change, before: usize) -> Result<usize> {
        let name = change.name();
        let (kept, events, accessed_at) = match change {
            Change::Add { events, .. } => (before, events.as_slice(), self.now),
            Change::Delete { .. } => (0, [].as_slice(), self.now),
            Change::Replace {
                events,
                accessed_at,
                ..
            } => (0, events.as_slice(), *accessed_at),
        };
        if kept == 0 {
            // Also what an evicted session of that name may have left.
            rows.delete(name)?;
        }
        let total = kept + events.len();
        if total > 0 {
            rows.append(name, kept, events, accessed_at)?;
        }
        self.changed.insert(name.to_owned(), total);
        Ok(if let Change::Delete { .. } = change {
            before
        } else {
            total
        })
    }
}
