//! Small result files: atomic writes that create missing directories, and JSON reads that name
//! the file in their errors.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;

/// Writes a file atomically, creating its parent directory if it is missing.
///
/// # Errors
/// If the directory or the file cannot be written.
pub fn write_file(path: &Path, bytes: impl AsRef<[u8]>) -> Result<()> {
    let failed = || format!("failed to write {}", path.display());
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(failed)?;
    }
    prl_fs::write_atomic(path, bytes.as_ref()).with_context(failed)
}

/// Reads a JSON file.
///
/// # Errors
/// If the file cannot be read or has another structure.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let failed = || format!("failed to read {}", path.display());
    let bytes = fs::read(path).with_context(failed)?;
    serde_json::from_slice(&bytes).with_context(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn write_file_replaces_content_and_leaves_no_temporary() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/table.md");
        write_file(&path, "old").unwrap();
        write_file(&path, "new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
