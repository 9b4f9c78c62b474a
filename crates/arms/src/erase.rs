//! Erasure of sessions from a log.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use prl_fs::StagedFile;
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::reader::{MAX_LINE, log_files};

/// Result of an erasure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// Number of erased records.
    pub records: usize,
    /// Files with records of the sessions that another process is writing; nothing was erased
    /// there.
    pub files_in_use: Vec<PathBuf>,
}

/// The session of a record.
#[derive(Deserialize)]
struct OfSession {
    session: String,
}

/// Removes the records of sessions from the log in `dir`. Each file is replaced atomically; files
/// that a [`LogWriter`](crate::LogWriter) is writing are left as they are.
///
/// # Errors
/// [`Error::Io`] if a file cannot be read or replaced; it is then unchanged.
pub fn erase_sessions(dir: &Path, sessions: &BTreeSet<String>) -> Result<Erased> {
    let mut erased = Erased::default();
    for path in log_files(dir)? {
        let file = File::open(&path).map_err(Error::io(&path))?;
        // A writer holds the lock of its file; a file without one does not change any more.
        if file.try_lock().is_ok() {
            erased.records += erase_in_file(&path, &file, sessions)?;
        } else if split(&path, &file, sessions, |_| Ok(()))? > 0 {
            erased.files_in_use.push(path);
        }
    }
    Ok(erased)
}

fn erase_in_file(path: &Path, file: &File, sessions: &BTreeSet<String>) -> Result<usize> {
    let failed = |error: prl_fs::Error| match error {
        prl_fs::Error::Io { source, .. } => Error::io(path)(source),
        other => Error::io(path)(std::io::Error::other(other)),
    };
    let mut staged = StagedFile::create(path).map_err(failed)?;
    let records = split(path, file, sessions, |line| staged.write_all(line))?;
    if records > 0 {
        staged.publish().map_err(failed)?;
    }
    Ok(records)
}

/// Number of the lines of sessions in a file; passes on the others.
fn split(
    path: &Path,
    file: &File,
    sessions: &BTreeSet<String>,
    mut keep: impl FnMut(&[u8]) -> std::io::Result<()>,
) -> Result<usize> {
    let (mut lines, mut line, mut records) = (BufReader::new(file), Vec::new(), 0);
    loop {
        line.clear();
        let read = (&mut lines).take(MAX_LINE).read_until(b'\n', &mut line);
        if read.map_err(Error::io(path))? == 0 {
            return Ok(records);
        }
        if is_of(&line, sessions) {
            records += 1;
        } else {
            keep(&line).map_err(Error::io(path))?;
        }
    }
}

/// Whether a line is of one of the sessions. A torn line, which has no session that can be read,
/// was never acknowledged and may be of any: it goes too.
fn is_of(line: &[u8], sessions: &BTreeSet<String>) -> bool {
    match serde_json::from_slice::<OfSession>(line) {
        Ok(of) => sessions.contains(&of.session),
        Err(_) => !line.ends_with(b"\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Event, EventKind, Log, LogWriter, WriterOptions};

    fn event(session: &str) -> Event {
        Event {
            time: 7,
            session: session.into(),
            item: "1".into(),
            kind: EventKind::Click,
            value: None,
        }
    }

    fn sessions(dir: &Path) -> Vec<String> {
        let mut found = Vec::new();
        for record in Log::open(dir).unwrap().records() {
            match record.unwrap().1 {
                crate::Record::Event(event) => found.push(event.session),
                crate::Record::Answer(answer) => found.push(answer.session),
            }
        }
        found
    }

    #[test]
    fn erased_sessions_are_in_no_file_and_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        let gone = BTreeSet::from(["b".to_owned()]);
        let writer = LogWriter::open(dir.path(), WriterOptions::default()).unwrap();
        for session in ["a", "b", "c", "b"] {
            writer.append_event(event(session)).unwrap();
        }
        // Another process that does not hold the writer leaves its file alone.
        let erased = erase_sessions(dir.path(), &gone).unwrap();
        assert_eq!((erased.records, erased.files_in_use.len()), (0, 1));
        assert_eq!(sessions(dir.path()), ["a", "b", "c", "b"]);

        let erased = writer.erase(&gone).unwrap();
        assert_eq!((erased.records, erased.files_in_use), (2, vec![]));
        writer.append_event(event("d")).unwrap();
        assert_eq!(sessions(dir.path()), ["a", "c", "d"]);
        drop(writer);
        assert_eq!(
            erase_sessions(dir.path(), &gone).unwrap(),
            Erased::default()
        );
        let left = std::fs::read_dir(dir.path()).unwrap();
        assert!(left.count() <= 2);
    }

    #[test]
    fn torn_line_is_erased_with_the_session() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("0.jsonl");
        let line = crate::Record::Event(event("b")).into_line().unwrap();
        let torn = [line.as_slice(), &line[..20]].concat();
        std::fs::write(&file, torn).unwrap();
        let gone = BTreeSet::from(["b".to_owned()]);
        assert_eq!(erase_sessions(dir.path(), &gone).unwrap().records, 2);
        assert_eq!(std::fs::read(&file).unwrap(), b"");
    }
}
