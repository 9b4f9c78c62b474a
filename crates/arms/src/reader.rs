//! Reader of the log's files.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Take};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::record::Record;

/// Longest line: an answer of 1,000 items whose ids have 256 bytes each, escaped.
pub(crate) const MAX_LINE: u64 = 4 << 20;

/// A log: the files of a directory, as they were when it was opened. Records that are written later
/// are not read.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    files: Vec<LogFile>,
}

#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    /// Bytes of the whole lines.
    bytes: u64,
    /// Bytes after the last line break: a line that a killed writer did not finish.
    torn_bytes: u64,
}

/// Place of a record: its file's position in the log and its line, both in order of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Position of the file, from 0.
    pub file: u32,
    /// Line, from 1.
    pub line: u64,
}

impl Log {
    /// Finds the files `*.jsonl` of a directory, by name, or the one file `*.jsonl` at `path`.
    ///
    /// # Errors
    /// [`Error::NoLog`] if there is none, [`Error::Io`] if one cannot be read.
    pub fn open(path: &Path) -> Result<Self> {
        let mut paths = Vec::new();
        if std::fs::metadata(path).map_err(Error::io(path))?.is_dir() {
            paths = log_files(path)?;
        } else if is_log_file(path) {
            paths.push(path.to_owned());
        }
        if paths.is_empty() {
            let path = path.to_owned();
            return Err(Error::NoLog { path });
        }
        let mut files = Vec::with_capacity(paths.len());
        for path in paths {
            files.push(LogFile::open(path)?);
        }
        let path = path.to_owned();
        Ok(Self { path, files })
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of files.
    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// Files whose last line is torn, with the bytes that are not read: what a killed writer had
    /// not finished, and had not acknowledged.
    pub fn torn(&self) -> Vec<(&Path, u64)> {
        let mut torn = Vec::new();
        for file in &self.files {
            if file.torn_bytes > 0 {
                torn.push((file.path.as_path(), file.torn_bytes));
            }
        }
        torn
    }

    /// All records in order of file and line, each with its place.
    pub fn records(&self) -> Records<'_> {
        Records {
            files: &self.files,
            next_file: 0,
            reader: None,
            place: Place { file: 0, line: 0 },
            line: Vec::new(),
        }
    }
}

impl LogFile {
    fn open(path: PathBuf) -> Result<Self> {
        let mut file = File::open(&path).map_err(Error::io(&path))?;
        let total = file.metadata().map_err(Error::io(&path))?.len();
        let torn_bytes = tail(&mut file, total).map_err(Error::io(&path))?;
        Ok(Self {
            path,
            bytes: total - torn_bytes,
            torn_bytes,
        })
    }
}

/// The files of the log in a directory, by name.
pub(crate) fn log_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(Error::io(dir))? {
        let found = entry.map_err(Error::io(dir))?.path();
        if is_log_file(&found) {
            paths.push(found);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Whether a file is one of a log, by its name. A hidden one is a replacement that is not finished.
fn is_log_file(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    !name.as_encoded_bytes().starts_with(b".")
        && path
            .extension()
            .is_some_and(|extension| extension == "jsonl")
}

/// Bytes after the last line break of a file's first `total` bytes.
fn tail(file: &mut File, total: u64) -> std::io::Result<u64> {
    use std::io::{Seek, SeekFrom};
    let mut block = vec![0; 1 << 16];
    let mut end = total;
    while end > 0 {
        let start = end.saturating_sub(block.len() as u64);
        let part = &mut block[..(end - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(part)?;
        if let Some(at) = part.iter().rposition(|&byte| byte == b'\n') {
            return Ok(total - start - at as u64 - 1);
        }
        end = start;
    }
    Ok(total)
}

/// Iterator over the records of a [`Log`].
pub struct Records<'a> {
    files: &'a [LogFile],
    next_file: usize,
    reader: Option<(&'a Path, Take<BufReader<File>>)>,
    place: Place,
    line: Vec<u8>,
}

impl Records<'_> {
    fn read(&mut self) -> Result<Option<(Place, Record)>> {
        loop {
            let Some((path, reader)) = &mut self.reader else {
                let Some(file) = self.files.get(self.next_file) else {
                    return Ok(None);
                };
                let opened = File::open(&file.path).map_err(Error::io(&file.path))?;
                let reader = BufReader::with_capacity(1 << 17, opened).take(file.bytes);
                self.reader = Some((&file.path, reader));
                self.place = Place {
                    file: u32::try_from(self.next_file).unwrap_or(u32::MAX),
                    line: 0,
                };
                self.next_file += 1;
                continue;
            };
            self.line.clear();
            let mut limited = reader.by_ref().take(MAX_LINE);
            let read = limited.read_until(b'\n', &mut self.line);
            if read.map_err(Error::io(path))? == 0 {
                self.reader = None;
                continue;
            }
            self.place.line += 1;
            let fail = |what: String| Error::Line {
                path: path.to_path_buf(),
                line: self.place.line,
                what,
            };
            if self.line.last() != Some(&b'\n') {
                let what = format!("not a record: longer than {MAX_LINE} bytes");
                return Err(fail(what));
            }
            let record = Record::parse(&self.line).map_err(fail)?;
            return Ok(Some((self.place, record)));
        }
    }
}

impl Iterator for Records<'_> {
    type Item = Result<(Place, Record)>;

    fn next(&mut self) -> Option<Self::Item> {
        let read = self.read().transpose();
        if matches!(read, Some(Err(_))) {
            // Nothing after an error is to be read as if it followed.
            (self.reader, self.next_file) = (None, self.files.len());
        }
        read
    }
}
