//! Raw files that are whole or absent, and never in place of real ones.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::error::{Error, Result};
use crate::options::SyntheticFile;

/// The file that says a directory's raw data is made up.
pub(crate) const MARKER: &str = "SYNTHETIC.json";

/// One raw file being written under a temporary name. Dropped without [`finish`](Self::finish), it leaves nothing.
#[derive(Debug)]
pub(crate) struct RawFile {
    out: BufWriter<NamedTempFile>,
    path: PathBuf,
    name: &'static str,
    rows: u64,
}

/// A raw file that is complete but does not carry its name yet.
#[derive(Debug)]
pub(crate) struct Finished {
    file: NamedTempFile,
    path: PathBuf,
    pub(crate) entry: SyntheticFile,
}

impl RawFile {
    /// Opens `name` in `dir`, unless a file of that name may be real data.
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

    /// Writes a line that is no row of data.
    pub(crate) fn header(&mut self, line: &str) -> Result<()> {
        self.out
            .write_all(line.as_bytes())
            .map_err(Error::io(&self.path))
    }

    /// Writes one row.
    pub(crate) fn row(&mut self, line: &[u8]) -> Result<()> {
        self.rows += 1;
        self.out.write_all(line).map_err(Error::io(&self.path))
    }

    /// Forces the file to the disk.
    pub(crate) fn finish(self) -> Result<Finished> {
        let io = |e| Error::io(&self.path)(e);
        let file = self.out.into_inner().map_err(|e| io(e.into_error()))?;
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

/// Gives the finished files their names, the marker first: at no moment does made-up data stand without it.
pub(crate) fn publish(dir: &Path, marker: &[u8], files: Vec<Finished>) -> Result<()> {
    let path = dir.join(MARKER);
    let mut file = temporary(dir)?;
    file.write_all(marker)
        .and_then(|()| file.as_file().sync_all())
        .map_err(Error::io(&path))?;
    persist(file, &path)?;
    for finished in files {
        persist(finished.file, &finished.path)?;
    }
    File::open(dir)
        .and_then(|d| d.sync_all())
        .map_err(Error::io(dir))
}

fn persist(file: NamedTempFile, path: &Path) -> Result<()> {
    file.persist(path)
        .map(drop)
        .map_err(|e| Error::io(path)(e.error))
}

fn temporary(dir: &Path) -> Result<NamedTempFile> {
    fs::create_dir_all(dir).map_err(Error::io(dir))?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(".prl-synth-");
    // Temporary files are closed to others by default; these are to become ordinary ones, under the user's umask.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(dir).map_err(Error::io(dir))
}
