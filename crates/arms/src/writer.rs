//! Writer of the log.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::erase::{Erased, erase_sessions};
use crate::error::{Error, Result};
use crate::record::{Answer, Event, Record};

const MILLIS_PER_DAY: u64 = 24 * 60 * 60 * 1_000;

/// Settings of a [`LogWriter`].
#[derive(Clone, Debug)]
pub struct WriterOptions {
    /// Size in bytes beyond which a new file is begun. A new one is also begun each UTC day.
    pub max_bytes: u64,
    /// Time between two fsyncs: what a power failure can lose.
    pub sync_interval: Duration,
}

impl Default for WriterOptions {
    fn default() -> Self {
        Self {
            max_bytes: 128 << 20,
            // Records wait while some file systems commit: once in 5 s delays too few of them to
            // show in the 99th percentile.
            sync_interval: Duration::from_secs(5),
        }
    }
}

/// Writer that appends records to files of its own in a directory, which any number of writers can
/// share.
///
/// [`append`](Self::append) hands the whole line to the operating system before it returns, so the
/// end of the process, by SIGKILL too, loses no record; a power failure loses at most those of the
/// last [`sync_interval`](WriterOptions::sync_interval). Threads can share a writer.
pub struct LogWriter {
    state: Arc<Mutex<State>>,
    /// Dropped to end the thread that syncs.
    stop: Option<Sender<()>>,
    syncing: Option<JoinHandle<()>>,
}

struct State {
    dir: PathBuf,
    max_bytes: u64,
    /// Start of the writer and its number among those that started at the same time: the part of
    /// the file names that is this writer's own.
    stem: String,
    /// Number of the current file, from 1.
    counter: u32,
    file: File,
    path: PathBuf,
    day: u64,
    bytes: u64,
    /// Bytes that are not synced yet.
    is_dirty: bool,
    /// Earlier files that are not synced yet.
    unsynced: Vec<(File, PathBuf)>,
    /// The last line may be torn: the next record goes to a new file.
    is_torn: bool,
}

impl LogWriter {
    /// Begins a file in `dir`, which is created if absent.
    ///
    /// # Errors
    /// [`Error::Io`] if the directory or the file cannot be created.
    pub fn open(dir: &Path, options: WriterOptions) -> Result<Self> {
        std::fs::create_dir_all(dir).map_err(Error::io(dir))?;
        let start = now();
        let (mut file, mut number) = (None, 0);
        let mut stem = String::new();
        while file.is_none() {
            number += 1;
            stem = format!("{}-{number}", file_time(start));
            file = create(dir, &stem, 1)?;
        }
        let Some((file, path)) = file else {
            return Err(Error::io(dir)(io::ErrorKind::AlreadyExists.into()));
        };
        let state = Arc::new(Mutex::new(State {
            dir: dir.to_owned(),
            max_bytes: options.max_bytes,
            stem,
            counter: 1,
            file,
            path,
            day: start / MILLIS_PER_DAY,
            bytes: 0,
            is_dirty: false,
            unsynced: Vec::new(),
            is_torn: false,
        }));
        let (stop, stopped) = channel::<()>();
        let shared = Arc::clone(&state);
        let syncing = std::thread::Builder::new()
            .name("log-sync".into())
            .spawn(move || {
                while stopped.recv_timeout(options.sync_interval) == Err(RecvTimeoutError::Timeout)
                {
                    // An fsync that fails is tried again at the next record.
                    _ = sync(&shared);
                }
            })
            .map_err(Error::io(dir))?;
        Ok(Self {
            state,
            stop: Some(stop),
            syncing: Some(syncing),
        })
    }

    /// Appends a record.
    ///
    /// # Errors
    /// [`Error::Record`] for a record that no reader would accept, [`Error::Io`] if it cannot be
    /// written; the records before it are whole.
    pub fn append(&self, record: Record) -> Result<()> {
        self.append_lines(&record.into_line()?)
    }

    /// Appends an answer.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn append_answer(&self, answer: Answer) -> Result<()> {
        self.append(Record::Answer(answer))
    }

    /// Appends an event.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn append_event(&self, event: Event) -> Result<()> {
        self.append(Record::Event(event))
    }

    /// Appends records together: all of them are in one file, or none if this fails.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn append_all(&self, records: impl IntoIterator<Item = Record>) -> Result<()> {
        let mut lines = Vec::new();
        for record in records {
            lines.extend(record.into_line()?);
        }
        self.append_lines(&lines)
    }

    /// Removes the records of sessions from all files of the directory that no other writer is
    /// writing; records that are appended meanwhile stay.
    ///
    /// # Errors
    /// As [`erase_sessions`](crate::erase_sessions).
    pub fn erase(&self, sessions: &BTreeSet<String>) -> Result<Erased> {
        let dir = {
            let mut state = lock(&self.state);
            if state.bytes > 0 {
                let day = now() / MILLIS_PER_DAY;
                state.rotate(day)?;
            }
            state.dir.clone()
        };
        // Closes the earlier files, which are locked while they are open.
        self.sync()?;
        erase_sessions(&dir, sessions)
    }

    /// Path of the current file.
    pub fn path(&self) -> PathBuf {
        lock(&self.state).path.clone()
    }

    /// Waits until all records are on the disk.
    ///
    /// # Errors
    /// [`Error::Io`] if the system refuses.
    pub fn sync(&self) -> Result<()> {
        sync(&self.state)
    }

    fn append_lines(&self, lines: &[u8]) -> Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        lock(&self.state).append(lines)
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(syncing) = self.syncing.take() {
            _ = syncing.join();
        }
        _ = self.sync();
    }
}

impl State {
    fn append(&mut self, lines: &[u8]) -> Result<()> {
        let day = now() / MILLIS_PER_DAY;
        let is_full = self.bytes > 0 && self.bytes + lines.len() as u64 > self.max_bytes;
        if self.is_torn || is_full || day != self.day {
            self.rotate(day)?;
        }
        if let Err(source) = self.file.write_all(lines) {
            // A part may have been written, if the disk is full: it is cut off, and if that fails
            // too, it stays the torn last line of its file.
            self.is_torn = self.file.set_len(self.bytes).is_err();
            return Err(Error::io(&self.path)(source));
        }
        self.bytes += lines.len() as u64;
        self.is_dirty = true;
        Ok(())
    }

    fn rotate(&mut self, day: u64) -> Result<()> {
        let counter = self.counter + 1;
        let created = create(&self.dir, &self.stem, counter)?;
        let Some((file, path)) = created else {
            let path = self.dir.join(file_name(&self.stem, counter));
            return Err(Error::io(&path)(io::ErrorKind::AlreadyExists.into()));
        };
        let older = std::mem::replace(&mut self.file, file);
        let older_path = std::mem::replace(&mut self.path, path);
        if self.is_dirty {
            self.unsynced.push((older, older_path));
        }
        self.counter = counter;
        (self.day, self.bytes, self.is_dirty, self.is_torn) = (day, 0, false, false);
        Ok(())
    }
}

/// The state, also after a panic of another thread: a line is written by one call, so it is whole.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Syncs what has changed, without the lock: records are appended meanwhile.
fn sync(state: &Mutex<State>) -> Result<()> {
    let mut files = {
        let mut state = lock(state);
        let mut files = std::mem::take(&mut state.unsynced);
        if state.is_dirty {
            let file = state.file.try_clone().map_err(Error::io(&state.path))?;
            files.push((file, state.path.clone()));
            state.is_dirty = false;
        }
        files
    };
    while let Some((file, path)) = files.last() {
        if let Err(source) = file.sync_data() {
            let error = Error::io(path)(source);
            lock(state).unsynced.append(&mut files);
            return Err(error);
        }
        files.pop();
    }
    Ok(())
}

/// Creates a file of the log; `None` if it exists.
fn create(dir: &Path, stem: &str, counter: u32) -> Result<Option<(File, PathBuf)>> {
    let path = dir.join(file_name(stem, counter));
    match OpenOptions::new().append(true).create_new(true).open(&path) {
        Ok(file) => {
            // Tells an erasure that the file still grows. Some network file systems have no locks.
            _ = file.try_lock();
            sync_dir(dir).map_err(Error::io(dir))?;
            Ok(Some((file, path)))
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
        Err(error) => Err(Error::io(&path)(error)),
    }
}

/// Makes the names of a directory durable.
#[cfg(unix)]
fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Does nothing: other systems do not open directories.
#[cfg(not(unix))]
fn sync_dir(_: &Path) -> io::Result<()> {
    Ok(())
}

/// `START-NUMBER-COUNTER.jsonl`: names sort by the writer's start, then by age.
fn file_name(stem: &str, counter: u32) -> String {
    format!("{stem}-{counter:06}.jsonl")
}

/// Milliseconds since the Unix epoch; 0 before it.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// A time in UTC as a part of file names, `20260102T030405678Z`.
fn file_time(millis: u64) -> String {
    let (days, in_day) = (millis / MILLIS_PER_DAY, millis % MILLIS_PER_DAY);
    let (year, month, day) = civil_date(days);
    let (seconds, millis) = (in_day / 1_000, in_day % 1_000);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}{millis:03}Z")
}

/// Year, month and day of the Gregorian calendar, from days since 1970-01-01 (H. Hinnant,
/// "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`).
fn civil_date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, in_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (in_era - in_era / 1_460 + in_era / 36_524 - in_era / 146_096) / 365;
    let in_year = in_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * in_year + 2) / 153;
    let day = in_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reader::Log;
    use crate::record::EventKind;

    fn event(time: u64) -> Event {
        Event {
            time,
            session: "s".into(),
            item: "7".into(),
            kind: EventKind::Click,
            value: None,
        }
    }

    #[test]
    fn record_after_a_failed_write_is_in_a_new_file() {
        let dir = tempfile::tempdir().unwrap();
        let log = LogWriter::open(dir.path(), WriterOptions::default()).unwrap();
        log.append_event(event(1)).unwrap();
        let path = log.path();
        // A handle that can neither be written nor cut stands in for a disk that is full.
        lock(&log.state).file = File::open(&path).unwrap();
        let Err(Error::Io { path: failed, .. }) = log.append_event(event(2)) else {
            panic!("written to a read-only file");
        };
        assert_eq!(failed, path);
        log.append_event(event(3)).unwrap();
        assert_ne!(log.path(), path);
        let mut times = Vec::new();
        for read in Log::open(dir.path()).unwrap().records() {
            if let (_, Record::Event(event)) = read.unwrap() {
                times.push(event.time);
            }
        }
        assert_eq!(times, [1, 3]);
    }

    #[test]
    fn file_is_changed_with_the_day() {
        let dir = tempfile::tempdir().unwrap();
        let log = LogWriter::open(dir.path(), WriterOptions::default()).unwrap();
        log.append_event(event(1)).unwrap();
        let path = log.path();
        lock(&log.state).day -= 1;
        log.append_event(event(2)).unwrap();
        log.append_event(event(3)).unwrap();
        assert_ne!(log.path(), path);
        assert_eq!(Log::open(dir.path()).unwrap().files(), 2);
        log.sync().unwrap();
        assert!(lock(&log.state).unsynced.is_empty() && !lock(&log.state).is_dirty);
    }

    #[test]
    fn file_time_is_the_utc_date() {
        // By `date -u -d @SECONDS`.
        for (seconds, expected) in [
            (0, "19700101T000000"),
            (951_782_399, "20000228T235959"),
            (951_782_400, "20000229T000000"),
            (1_709_210_096, "20240229T123456"),
            (1_767_225_599, "20251231T235959"),
            (4_107_542_400, "21000301T000000"),
        ] {
            assert_eq!(file_time(seconds * 1_000 + 7), format!("{expected}007Z"));
        }
    }
}
