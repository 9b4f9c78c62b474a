//! Files that are whole or absent: written aside, synced, renamed.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use safetensors::tensor::TensorView;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// SHA-256 of bytes, in hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// Writes a file and forces it to the disk.
pub fn write_synced(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = File::create(path).map_err(Error::io(path))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(Error::io(path))
}

/// Forces a directory's entries to the disk.
pub fn sync_directory(path: &Path) -> Result<()> {
    File::open(path).and_then(|d| d.sync_all()).map_err(Error::io(path))
}

/// Puts the finished directory `from` where `to` is. An older `to` is moved aside first, so that at no moment a
/// half-written directory carries the name; both must lie on one file system.
pub fn replace_directory(from: &Path, to: &Path) -> Result<()> {
    let old = aside(to);
    if to.exists() {
        remove(&old)?;
        fs::rename(to, &old).map_err(Error::io(to))?;
    }
    fs::rename(from, to).map_err(Error::io(to))?;
    remove(&old)?;
    sync_directory(&parent(to))
}

/// Puts right what a killed [`replace_directory`] left behind: the older directory, if the newer one did not arrive.
pub fn recover_directory(to: &Path) -> Result<()> {
    let old = aside(to);
    if !to.exists() && old.exists() {
        fs::rename(&old, to).map_err(Error::io(&old))?;
    }
    remove(&old)
}

/// Where an older directory waits while the newer one takes its place.
fn aside(to: &Path) -> PathBuf {
    to.with_file_name(format!(".{}.old", to.file_name().unwrap_or_default().to_string_lossy()))
}

/// The directory a path lies in.
pub(crate) fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(path)(e)),
        _ => Ok(()),
    }
}

/// Writes tensors as one safetensors file and syncs it. Equal tensors give equal bytes.
pub(crate) fn save_tensors<'a>(
    path: &Path,
    tensors: impl IntoIterator<Item = (&'static str, TensorView<'a>)>,
) -> Result<()> {
    safetensors::serialize_to_file(tensors, None, path).map_err(|e| match e {
        safetensors::SafeTensorError::IoError(source) => Error::Io { path: path.to_owned(), source },
        other => Error::Invalid(other.to_string()),
    })?;
    File::open(path).and_then(|f| f.sync_all()).map_err(Error::io(path))
}

/// Gives a directory the permissions an ordinary `mkdir` would have given it (temporary ones are closed to others).
#[cfg(unix)]
pub fn open_to_readers(dir: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).map_err(Error::io(dir))
}

/// Gives a directory the permissions an ordinary `mkdir` would have given it.
#[cfg(not(unix))]
pub fn open_to_readers(_: &Path) -> Result<()> {
    Ok(())
}
