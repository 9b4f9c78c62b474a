//! File names, size limits and format versions of a run directory.

use std::path::Path;

use crate::error::{Error, Result};

pub(crate) const CONFIG: &str = "config.toml";
pub(crate) const MANIFEST: &str = "manifest.json";
pub(crate) const ITEMS: &str = "items.safetensors";
pub(crate) const PROPERTIES: &str = "properties.safetensors";
pub(crate) const PURCHASE_COUNTS: &str = "purchase_counts.safetensors";
pub(crate) const PARENT: &str = "parent.json";
/// Upper bound on the bytes of `config.toml` and of `returns.json`, which have a few thousand.
pub(crate) const MAX_TEXT: u64 = 1 << 20;
/// Upper bound on the bytes of a manifest, which has a few hundred.
pub(crate) const MAX_JSON: u64 = 1 << 20;

/// Fails with a hint if a manifest has another format or version.
pub(crate) fn check_format(
    path: &Path,
    manifest: &serde_json::Value,
    format: &str,
    version: u32,
) -> Result<()> {
    let (of, found) = (&manifest["format"], &manifest["format_version"]);
    let what = match (of == format, found.as_u64()) {
        (true, Some(n)) if n == u64::from(version) => return Ok(()),
        (true, Some(n)) if n > u64::from(version) => {
            format!(
                "{format} version {n}, this build reads up to {version}; use the newer prl that wrote it"
            )
        }
        _ => format!(
            "format {of} version {found}, this build reads {format} {version}; train the run again"
        ),
    };
    Err(Error::run(path, what))
}
