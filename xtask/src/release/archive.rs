//! A compressed archive whose bytes depend on its files and one time alone.

use anyhow::Result;
use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, EntryType, Header};

/// An archive under construction, in memory.
pub(super) struct Archive {
    builder: Builder<GzEncoder<Vec<u8>>>,
    folder: String,
    time: u64,
}

impl Archive {
    /// An archive whose files are in `folder` and have the time `time`, in seconds since 1970.
    pub fn new(folder: &str, time: u64) -> Self {
        // The encoder writes no time and no name of its own.
        let encoder = GzEncoder::new(Vec::new(), Compression::best());
        Self {
            builder: Builder::new(encoder),
            folder: folder.to_owned(),
            time,
        }
    }

    /// Adds a file.
    pub fn add(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        self.append(path, bytes, 0o644)
    }

    /// Adds a program.
    pub fn add_program(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        self.append(path, bytes, 0o755)
    }

    fn append(&mut self, path: &str, bytes: &[u8], mode: u32) -> Result<()> {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(self.time);
        header.set_size(bytes.len() as u64);
        let path = format!("{}/{path}", self.folder);
        self.builder.append_data(&mut header, path, bytes)?;
        Ok(())
    }

    /// The bytes.
    pub fn finish(self) -> Result<Vec<u8>> {
        Ok(self.builder.into_inner()?.finish()?)
    }
}
