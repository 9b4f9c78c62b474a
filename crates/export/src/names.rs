//! Names of the tensors of a foreign file: `--names MAP.toml`.

use std::collections::BTreeMap;
use std::path::Path;

use prl_fs::read_at_most;

use crate::error::{Error, Result};

/// Largest file of names.
const MAX_NAMES: u64 = 1 << 20;

/// Reads a table of `"name of the network" = "name in the file"`.
///
/// # Errors
/// If it is not such a table.
pub(crate) fn read(path: &Path) -> Result<BTreeMap<String, String>> {
    let mend = "expected lines of the form \"head.weight\" = \"decoder.weight\"";
    let bytes = read_at_most(path, MAX_NAMES)?;
    let text = String::from_utf8(bytes).map_err(|e| Error::input(path, format!("{e}; {mend}")))?;
    toml::from_str(&text).map_err(|e| Error::input(path, format!("{}; {mend}", e.message())))
}
