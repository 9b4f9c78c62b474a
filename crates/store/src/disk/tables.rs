//! Tables of the redb file.
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | `format` | version of the format |
//! | `sessions` | name | last access in ms since the Unix epoch, number of events |
//! | `events` | name, number of earlier events | chunk of events |

use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase, ReadableTable, Table, TableDefinition, WriteTransaction};

use crate::FORMAT;
use crate::encoding::{decode_chunk, encode_chunk};
use crate::error::{Error, Result};
use crate::lru_sessions::LruSessions;
use crate::session_store::Event;

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const SESSIONS: TableDefinition<'_, &str, (u64, u32)> = TableDefinition::new("sessions");
const EVENTS: TableDefinition<'_, (&str, u32), &[u8]> = TableDefinition::new("events");

/// Key of the version in `meta`.
const FORMAT_KEY: &str = "format";
/// Memory that redb may use for pages: the sessions themselves are in memory.
const CACHE_BYTES: usize = 32 << 20;

/// The open file.
pub(super) struct Tables {
    file: PathBuf,
    database: Database,
}

impl Tables {
    /// Opens the file, or creates it with empty tables.
    pub(super) fn open(file: &Path) -> Result<Self> {
        let opened = Database::builder().set_cache_size(CACHE_BYTES).create(file);
        let database = opened.map_err(|error| Error::of_redb(file, error))?;
        let tables = Self {
            file: file.to_owned(),
            database,
        };
        let transaction = tables.begin()?;
        let found = {
            let mut meta = tables.check(transaction.open_table(META))?;
            let found = tables
                .check(meta.get(FORMAT_KEY))?
                .map(|found| found.value());
            if found.is_none() {
                tables.check(meta.insert(FORMAT_KEY, FORMAT))?;
            }
            found
        };
        if let Some(found) = found.filter(|&found| found != FORMAT) {
            return Err(Error::Format {
                store: file.display().to_string(),
                found: found.to_string(),
                supported: FORMAT,
            });
        }
        tables.check(transaction.open_table(SESSIONS).map(drop))?;
        tables.check(transaction.open_table(EVENTS).map(drop))?;
        tables.check(transaction.commit())?;
        // The file may be new: its name must survive a crash as its content does.
        if let Some(dir) = file.parent() {
            let synced = std::fs::File::open(dir).and_then(|dir| dir.sync_all());
            synced.map_err(prl_fs::Error::io(dir))?;
        }
        Ok(tables)
    }

    /// The file.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// Reads the sessions that have not expired, the least recently used first; returns the names
    /// of the others.
    pub(super) fn load(&self, into: &mut LruSessions, now: u64) -> Result<Vec<String>> {
        let transaction = self.check(self.database.begin_read())?;
        let sessions = self.check(transaction.open_table(SESSIONS))?;
        let events = self.check(transaction.open_table(EVENTS))?;
        let mut by_access = Vec::new();
        for row in self.check(sessions.iter())? {
            let (name, value) = self.check(row)?;
            by_access.push((value.value(), name.value().to_owned()));
        }
        by_access.sort_unstable();
        let mut expired = Vec::new();
        for ((accessed_at, count), name) in by_access {
            let mut all = Vec::new();
            for row in self.check(events.range((name.as_str(), 0)..=(name.as_str(), u32::MAX)))? {
                let (_, chunk) = self.check(row)?;
                if decode_chunk(chunk.value(), &mut all).is_none() {
                    return Err(self.damaged(format!("session {name:?} has an unreadable event")));
                }
            }
            if all.len() != count as usize {
                let found = all.len();
                return Err(self.damaged(format!("session {name:?} has {found} of {count} events")));
            }
            // A clock that was set back must not keep a session for ever.
            into.replace(&name, all, accessed_at.min(now));
            if into.peek(&name, now).is_none() {
                expired.push(name);
            }
        }
        Ok(expired)
    }

    /// Starts a transaction; its changes are on disk when [`commit`](Self::commit) returns.
    pub(super) fn begin(&self) -> Result<WriteTransaction> {
        self.check(self.database.begin_write())
    }

    /// Commits a transaction durably.
    pub(super) fn commit(&self, transaction: WriteTransaction) -> Result<()> {
        self.check(transaction.commit())
    }

    /// The tables of sessions in a transaction.
    pub(super) fn rows<'t>(&'t self, transaction: &'t WriteTransaction) -> Result<Rows<'t>> {
        Ok(Rows {
            file: &self.file,
            sessions: self.check(transaction.open_table(SESSIONS))?,
            events: self.check(transaction.open_table(EVENTS))?,
        })
    }

    fn check<T, E: Into<redb::Error>>(&self, result: std::result::Result<T, E>) -> Result<T> {
        check(&self.file, result)
    }

    fn damaged(&self, cause: String) -> Error {
        Error::Damaged {
            store: self.file.display().to_string(),
            cause,
        }
    }
}

/// Tables of sessions in a transaction.
pub(super) struct Rows<'t> {
    file: &'t Path,
    sessions: Table<'t, &'static str, (u64, u32)>,
    events: Table<'t, (&'static str, u32), &'static [u8]>,
}

impl Rows<'_> {
    /// Appends events to a session of `count` events.
    pub(super) fn append(
        &mut self,
        name: &str,
        count: usize,
        events: &[Event],
        now: u64,
    ) -> Result<()> {
        let [before, total] = [count, count + events.len()].map(to_u32);
        if !events.is_empty() {
            let chunk = encode_chunk(events);
            let added = self.events.insert((name, before), chunk.as_slice());
            check(self.file, added.map(drop))?;
        }
        check(
            self.file,
            self.sessions.insert(name, (now, total)).map(drop),
        )
    }

    /// Sets the last access of a session, if it exists.
    pub(super) fn touch(&mut self, name: &str, accessed_at: u64) -> Result<()> {
        let row = check(self.file, self.sessions.get(name))?;
        let Some((_, count)) = row.map(|row| row.value()) else {
            return Ok(());
        };
        let set = self.sessions.insert(name, (accessed_at, count));
        check(self.file, set.map(drop))
    }

    /// Deletes a session, if it exists.
    pub(super) fn delete(&mut self, name: &str) -> Result<()> {
        check(self.file, self.sessions.remove(name).map(drop))?;
        let all = (name, 0)..=(name, u32::MAX);
        check(self.file, self.events.retain_in(all, |_, _| false))
    }
}

/// The limit of events in a session is far below 2^32.
fn to_u32(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Attaches a file to an error of redb.
fn check<T, E: Into<redb::Error>>(file: &Path, result: std::result::Result<T, E>) -> Result<T> {
    result.map_err(|error| Error::of_redb(file, error))
}
