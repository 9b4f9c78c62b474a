//! A file that is complete or absent: written under a temporary name beside its path, then renamed.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::error::{Error, Result};

/// File under a temporary name in the folder of its path. Dropped without
/// [`publish`](Self::publish), it is removed and the path is left as it was.
#[derive(Debug)]
pub struct StagedFile {
    file: BufWriter<NamedTempFile>,
    path: PathBuf,
}

impl StagedFile {
    /// Creates the temporary file; the folder must exist.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be created.
    pub fn create(path: &Path) -> Result<Self> {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let mut builder = tempfile::Builder::new();
        builder.prefix(".prl-").suffix(".tmp");
        // Permissions of an ordinary file: temporary files are private by default.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
        let file = builder.tempfile_in(folder).map_err(Error::io(path))?;
        Ok(Self {
            file: BufWriter::new(file),
            path: path.to_owned(),
        })
    }

    /// Path of the finished file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A second handle on the temporary file, for a writer that owns its file.
    pub(crate) fn handle(&self) -> Result<File> {
        let file = self.file.get_ref().as_file();
        file.try_clone().map_err(Error::io(&self.path))
    }

    /// Syncs the file and renames it to its path, replacing an older file.
    ///
    /// # Errors
    /// [`Error::Io`] if an operation fails; the path is left as it was.
    pub fn publish(self) -> Result<()> {
        let Self { file, path } = self;
        let file = file
            .into_inner()
            .map_err(|e| Error::io(&path)(e.into_error()))?;
        file.as_file().sync_all().map_err(Error::io(&path))?;
        file.persist(&path).map_err(|e| Error::io(&path)(e.error))?;
        Ok(())
    }
}

impl Write for StagedFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}
