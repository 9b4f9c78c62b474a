//! Atomic writing of raw files that never replaces real data.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::error::{Error, Result};
use crate::options::SyntheticFile;

/// Marker file of a directory with synthetic raw data.
pub(crate) const MARKER: &str = "SYNTHETIC.json";

/// Raw file under construction, with a temporary name; removed on drop before
/// [`finish`](Self::finish).
#[derive(Debug)]
pub(crate) struct RawFile {
    out: BufWriter<NamedTempFile>,
    path: PathBuf,
    name: &'static str,
    rows: u64,
}

/// Complete raw file that still has its temporary name.
#[derive(Debug)]
pub(crate) struct Finished {
    file: NamedTempFile,
    path: PathBuf,
    pub(crate) entry: SyntheticFile,
}

impl RawFile {
    /// Creates a temporary file for `name` in `dir`.
    ///
    /// # Errors
    /// [`Error::Occupied`] if a file of that name may be real data.
    pub(crate) fn create(dir: &Path, name: &'static str) -> Result<Self> {
        let path = dir.join(name);
        if path.exists() && !dir.join(MARKER).exists() {
            return Err(Error::Occupied {
                path,
                marker: MARKER,
            });
        }
        let out = BufWriter::with_capacity(1 << 18, temporary(dir)?);
        Ok(Self {
            out,
            path,
            name,
            rows: 0,
        })
    }

    /// Writes the header line.
    pub(crate) fn header(&mut self, line: &str) -> Result<()> {
        self.out
            .write_all(line.as_bytes())
            .map_err(Error::io(&self.path))
    }

    /// Writes one data row.
    pub(crate) fn row(&mut self, line: &[u8]) -> Result<()> {
        self.rows += 1;
        self.out.write_all(line).map_err(Error::io(&self.path))
    }

    /// Flushes and fsyncs the file.
    pub(crate) fn finish(self) -> Result<Finished> {
        let io = Error::io(&self.path);
        let file = match self.out.into_inner() {
            Ok(file) => file,
            Err(error) => return Err(io(error.into_error())),
        };
        file.as_file().sync_all().map_err(io)?;
        Ok(Finished {
            file,
            entry: SyntheticFile {
                name: self.name.to_owned(),
                rows: self.rows,
            },
            path: self.path,
        })
    }
}

/// Renames the finished files into place, the marker first: synthetic data never exists without it.
pub(crate) fn publish(dir: &Path, marker: &[u8], files: Vec<Finished>) -> Result<()> {
    let path = dir.join(MARKER);
    let mut file = temporary(dir)?;
    file.write_all(marker).map_err(Error::io(&path))?;
    file.as_file().sync_all().map_err(Error::io(&path))?;
    persist(file, &path)?;
    for finished in files {
        persist(finished.file, &finished.path)?;
    }
    let dir_file = File::open(dir).map_err(Error::io(dir))?;
    dir_file.sync_all().map_err(Error::io(dir))
}

fn persist(file: NamedTempFile, path: &Path) -> Result<()> {
    match file.persist(path) {
        Ok(_) => Ok(()),
        Err(error) => Err(Error::io(path)(error.error)),
    }
}

fn temporary(dir: &Path) -> Result<NamedTempFile> {
    fs::create_dir_all(dir).map_err(Error::io(dir))?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(".prl-synth-");
    // tempfile creates files readable by their owner only; raw files follow the user's umask.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(dir).map_err(Error::io(dir))
}
