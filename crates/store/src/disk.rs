//! Sessions on disk, in a redb file.
//!
//! All sessions are in memory too, so reading one costs what it costs in [`MemoryStore`]. One
//! thread writes: whatever waits when a transaction is committed forms the next one, so that under
//! load many requests share an fsync. A request is answered after the commit that holds its events,
//! and only then do readers see them.
//!
//! Accesses that only read are written from time to time: after a crash a session may expire
//! earlier by a twentieth of the time to live.
//!
//! [`MemoryStore`]: crate::MemoryStore

mod tables;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use prl_fs::DirLock;
use tokio::sync::oneshot;

use crate::error::{Error, Result};
use crate::limits::SessionLimits;
use crate::lru_sessions::LruSessions;
use crate::session_store::{Event, SavedSession, SessionStore};
use tables::Tables;
use writer::{Change, Request, Writer};

/// Name of the file in the directory of the store.
const FILE: &str = "sessions.redb";
/// Requests that may wait for the writer; further ones wait to be queued.
const QUEUE: usize = 4_096;

/// Sessions in the file `sessions.redb` of a directory, which one process uses at a time.
pub struct DiskStore {
    file: PathBuf,
    shared: Arc<Shared>,
    requests: Option<mpsc::SyncSender<Request>>,
    thread: Option<JoinHandle<()>>,
    /// Held until the writer has ended.
    _lock: DirLock,
}

/// What readers and the writer share.
struct Shared {
    sessions: Mutex<LruSessions>,
    /// Sessions that were read since their access was last written, by name.
    touched: Mutex<std::collections::HashMap<Box<str>, u64>>,
    limits: SessionLimits,
    clock: Clock,
}

/// Milliseconds since the Unix epoch that do not go back while the process runs.
struct Clock {
    start: Instant,
    start_ms: u64,
}

impl Clock {
    fn new() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            start: Instant::now(),
            start_ms: since.map_or(0, millis),
        }
    }

    fn now(&self) -> u64 {
        self.start_ms.saturating_add(millis(self.start.elapsed()))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Shared {
    fn sessions(&self) -> MutexGuard<'_, LruSessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DiskStore {
    /// Opens the store in `dir`, which is created if needed, and reads its sessions.
    ///
    /// # Errors
    /// If another process uses the directory, the file has another format or is damaged, or the
    /// thread that writes cannot be started.
    pub fn open(dir: &Path, limits: SessionLimits) -> Result<Self> {
        std::fs::create_dir_all(dir).map_err(prl_fs::Error::io(dir))?;
        let lock = DirLock::acquire(dir)?;
        let file = dir.join(FILE);
        let tables = Tables::open(&file)?;
        let clock = Clock::new();
        let mut sessions = LruSessions::new(limits);
        sessions.record_dropped();
        let expired = tables.load(&mut sessions, clock.now())?;
        let shared = Arc::new(Shared {
            sessions: Mutex::new(sessions),
            touched: Mutex::default(),
            limits,
            clock,
        });
        let (requests, queue) = mpsc::sync_channel(QUEUE);
        let writer = Writer::new(tables, Arc::clone(&shared), expired);
        let thread = std::thread::Builder::new()
            .name("session-store".into())
            .spawn(move || writer.run(&queue))
            .map_err(|error| Error::unavailable(&file, error))?;
        Ok(Self {
            file,
            shared,
            requests: Some(requests),
            thread: Some(thread),
            _lock: lock,
        })
    }

    /// Has the writer make a change; returns the number of events that the session then has (or
    /// had, if it is deleted).
    async fn write(&self, change: Change) -> Result<usize> {
        let (reply, answer) = oneshot::channel();
        let mut request = Request { change, reply };
        if let Some(requests) = &self.requests {
            // A full queue means that the disk is slow: wait as an asynchronous task, not as a
            // blocked thread.
            loop {
                match requests.try_send(request) {
                    Ok(()) => break,
                    Err(mpsc::TrySendError::Full(back)) => request = back,
                    Err(mpsc::TrySendError::Disconnected(_)) => return Err(self.stopped()),
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        answer.await.map_err(|_| self.stopped())?
    }

    fn stopped(&self) -> Error {
        Error::unavailable(&self.file, "the thread that writes has ended")
    }
}

impl Drop for DiskStore {
    fn drop(&mut self) {
        drop(self.requests.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the writer was reported when it happened.
            _ = thread.join();
        }
    }
}

#[async_trait]
impl SessionStore for DiskStore {
    async fn add(&self, name: &str, events: Vec<Event>) -> Result<usize> {
        let name = name.to_owned();
        self.write(Change::Add { name, events }).await
    }

    async fn events(&self, name: &str) -> Result<Option<Vec<Event>>> {
        let now = self.shared.clock.now();
        let events = self.shared.sessions().events(name, now);
        if events.is_some() {
            let touched = self.shared.touched.lock();
            let mut touched = touched.unwrap_or_else(PoisonError::into_inner);
            touched.insert(name.into(), now);
        }
        Ok(events)
    }

    async fn delete(&self, name: &str) -> Result<bool> {
        let name = name.to_owned();
        Ok(self.write(Change::Delete { name }).await? > 0)
    }

    async fn count(&self) -> Result<usize> {
        Ok(self.shared.sessions().len(self.shared.clock.now()))
    }

    async fn names(&self) -> Result<Vec<String>> {
        Ok(self.shared.sessions().names(self.shared.clock.now()))
    }

    async fn saved(&self, name: &str) -> Result<Option<SavedSession>> {
        let now = self.shared.clock.now();
        let mut sessions = self.shared.sessions();
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
        if session.idle < self.shared.limits.ttl {
            let accessed_at = self.shared.clock.now().saturating_sub(millis(session.idle));
            let (name, events) = (session.session, session.events);
            let change = Change::Replace {
                name,
                events,
                accessed_at,
            };
            self.write(change).await?;
        }
        Ok(())
    }
}
