//! Back-ups of stored sessions: a file of JSON lines.
//!
//! The first line is `{"prl_sessions":1,"time":MS}`, with the version of the format and the time of
//! the back-up in milliseconds since the Unix epoch; each further line is a session,
//! `{"session":NAME,"idle":MS,"events":[{"item":ID,"type":"click"}]}`, the least recently used one
//! first. A back-up restores into any kind of store.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prl_dataset::Kind;
use prl_fs::StagedFile;
use serde::{Deserialize, Serialize};

use crate::FORMAT;
use crate::error::{Error, Result};
use crate::session_store::{Event, SavedSession, SessionStore};

/// Longest line: a session of the most events with the longest ids, escaped.
const MAX_LINE: u64 = 64 << 20;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    prl_sessions: u64,
    time: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    session: String,
    idle: u64,
    events: Vec<LineEvent>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LineEvent {
    item: Box<str>,
    #[serde(rename = "type")]
    kind: Kind,
}

/// Writes all sessions of a store to `file`, which appears complete or not at all; returns their
/// number. Sessions that change meanwhile are written as they are when their turn comes.
///
/// # Errors
/// If the store is not available or the file cannot be written.
pub async fn write_backup(store: &dyn SessionStore, file: &Path) -> Result<usize> {
    let header = Header {
        prl_sessions: FORMAT,
        time: now(),
    };
    let mut staged = StagedLines::create(file)?;
    staged.line(&header)?;
    let mut sessions = 0;
    for name in store.names().await? {
        if let Some(saved) = store.saved(&name).await? {
            staged.line(&Line::from(saved))?;
            sessions += 1;
        }
    }
    staged.publish()?;
    Ok(sessions)
}

/// Writes the sessions of a back-up to a store, replacing those of the same names; returns their
/// number. The time since the back-up counts as time without access.
///
/// # Errors
/// [`Error::Format`] or [`Error::Damaged`] if `file` is no back-up of this format, and what the
/// store refuses; sessions of earlier lines are restored then.
pub async fn restore_backup(store: &dyn SessionStore, file: &Path) -> Result<usize> {
    let mut reader = BackupReader::open(file)?;
    let since = Duration::from_millis(now().saturating_sub(reader.time));
    let mut sessions = 0;
    while let Some(line) = reader.next()? {
        let mut saved = SavedSession::from(line);
        saved.idle = saved.idle.saturating_add(since);
        store.restore(saved).await?;
        sessions += 1;
    }
    Ok(sessions)
}

/// The sessions of a back-up, in its order.
///
/// # Errors
/// As for [`restore_backup`]; of a session, when its turn comes.
pub fn read_backup(file: &Path) -> Result<impl Iterator<Item = Result<SavedSession>>> {
    let mut reader = BackupReader::open(file)?;
    Ok(std::iter::from_fn(move || {
        let line = reader.next().transpose()?;
        Some(line.map(SavedSession::from))
    }))
}

/// Removes sessions from a back-up, which is replaced atomically; returns how many it held.
///
/// # Errors
/// As for [`restore_backup`]; the file is then unchanged.
pub fn erase_in_backup(file: &Path, sessions: &BTreeSet<String>) -> Result<usize> {
    let mut reader = BackupReader::open(file)?;
    let mut staged = StagedLines::create(file)?;
    staged.line(&Header {
        prl_sessions: FORMAT,
        time: reader.time,
    })?;
    let mut erased = 0;
    while let Some(line) = reader.next()? {
        if sessions.contains(&line.session) {
            erased += 1;
        } else {
            staged.line(&line)?;
        }
    }
    if erased > 0 {
        staged.publish()?;
    }
    Ok(erased)
}

impl From<SavedSession> for Line {
    fn from(saved: SavedSession) -> Self {
        let mut events = Vec::with_capacity(saved.events.len());
        for Event { item, kind } in saved.events {
            events.push(LineEvent { item, kind });
        }
        Self {
            session: saved.session,
            idle: u64::try_from(saved.idle.as_millis()).unwrap_or(u64::MAX),
            events,
        }
    }
}

impl From<Line> for SavedSession {
    fn from(line: Line) -> Self {
        let mut events = Vec::with_capacity(line.events.len());
        for LineEvent { item, kind } in line.events {
            events.push(Event { item, kind });
        }
        Self {
            session: line.session,
            idle: Duration::from_millis(line.idle),
            events,
        }
    }
}

/// Milliseconds since the Unix epoch.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// A file of JSON lines that appears complete or not at all.
struct StagedLines {
    file: StagedFile,
}

impl StagedLines {
    fn create(path: &Path) -> Result<Self> {
        Ok(Self {
            file: StagedFile::create(path)?,
        })
    }

    fn line(&mut self, line: &impl Serialize) -> Result<()> {
        let written = serde_json::to_writer(&mut self.file, line).map_err(std::io::Error::from);
        let written = written.and_then(|()| self.file.write_all(b"\n"));
        Ok(written.map_err(prl_fs::Error::io(self.file.path()))?)
    }

    fn publish(self) -> Result<()> {
        Ok(self.file.publish()?)
    }
}

/// Reader of a back-up's sessions.
struct BackupReader {
    path: PathBuf,
    lines: BufReader<File>,
    number: u64,
    /// Time of the back-up in milliseconds since the Unix epoch.
    time: u64,
}

impl BackupReader {
    fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(prl_fs::Error::io(path))?;
        let mut reader = Self {
            path: path.to_owned(),
            lines: BufReader::new(file),
            number: 0,
            time: 0,
        };
        let Some(line) = reader.line()? else {
            return Err(reader.damaged("it is empty"));
        };
        let header: Header = match serde_json::from_slice(&line) {
            Ok(header) => header,
            Err(_) => return Err(reader.damaged("it is no back-up of sessions")),
        };
        if header.prl_sessions != FORMAT {
            return Err(Error::Format {
                store: path.display().to_string(),
                found: header.prl_sessions.to_string(),
                supported: FORMAT,
            });
        }
        reader.time = header.time;
        Ok(reader)
    }

    fn next(&mut self) -> Result<Option<Line>> {
        let Some(line) = self.line()? else {
            return Ok(None);
        };
        match serde_json::from_slice(&line) {
            Ok(session) => Ok(Some(session)),
            Err(error) => Err(self.damaged(error)),
        }
    }

    /// The next line with its line break; `None` at the end of the file.
    fn line(&mut self) -> Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let read = (&mut self.lines)
            .take(MAX_LINE)
            .read_until(b'\n', &mut line);
        read.map_err(prl_fs::Error::io(&self.path))?;
        self.number += 1;
        if line.is_empty() {
            return Ok(None);
        }
        if line.pop() != Some(b'\n') {
            return Err(self.damaged("the line is cut off"));
        }
        Ok(Some(line))
    }

    fn damaged(&self, cause: impl ToString) -> Error {
        Error::Damaged {
            store: format!("{}:{}", self.path.display(), self.number),
            cause: cause.to_string(),
        }
    }
}
