//! Files that are whole or absent, and Markdown tables.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result};

/// Writes a file under a temporary name and renames it; a kill leaves the old one or the new one.
pub fn write_whole(path: &Path, bytes: impl AsRef<[u8]>) -> Result<()> {
    let write = || {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".part");
        let part = path.with_file_name(name);
        let mut file = File::create(&part)?;
        file.write_all(bytes.as_ref())?;
        file.sync_all()?;
        fs::rename(part, path)
    };
    write().with_context(|| format!("failed to write {}", path.display()))
}

/// A Markdown table; columns from `left` on are numbers, set to the right.
pub fn markdown_table(header: &[&str], left: usize, rows: &[Vec<String>]) -> String {
    let mut text = format!("| {} |\n|", header.join(" | "));
    (0..header.len()).for_each(|i| text.push_str(if i < left { "---|" } else { "---:|" }));
    text.push('\n');
    for row in rows {
        let cells: Vec<String> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/table.md");
        write_whole(&path, "old").unwrap();
        write_whole(&path, "new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_bar_in_a_cell_stays_in_its_cell() {
        let table = markdown_table(&["a", "b"], 1, &[vec!["x|y".into(), "1".into()]]);
        assert_eq!(table, "| a | b |\n|---|---:|\n| x\\|y | 1 |\n");
    }
}
