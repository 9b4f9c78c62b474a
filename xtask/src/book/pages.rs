//! The folder that the site is built of: the repository's Markdown files where they lie, with what
//! they link to.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::root;
use crate::tidy::{resolve, tracked_paths};

/// Settings of the site, relative to the root.
const SETTINGS: &str = "docs/book/mkdocs.yml";
/// The style sheet that they name.
const STYLE: &str = "docs/book/book.css";

/// Writes the settings and `src/` below `site`.
///
/// # Errors
/// If a file cannot be read or written.
pub(super) fn stage(site: &Path) -> Result<()> {
    let src = site.join("src");
    if src.exists() {
        fs::remove_dir_all(&src).with_context(|| format!("failed to remove {}", src.display()))?;
    }
    let tracked: BTreeSet<String> = tracked_paths()?.into_iter().collect();
    let mut linked = BTreeSet::new();
    for path in tracked.iter().filter(|path| path.ends_with(".md")) {
        let Ok(text) = fs::read_to_string(root().join(path)) else {
            continue;
        };
        let page = Page {
            path,
            tracked: &tracked,
        };
        let (text, files) = page.with_file_links(&text);
        linked.extend(files);
        write(&src.join(path), text.as_bytes())?;
    }
    for path in &linked {
        if !path.ends_with(".md") {
            write(&src.join(path), &fs::read(root().join(path))?)?;
        }
    }
    write(&src.join(STYLE), &fs::read(root().join(STYLE))?)?;
    fs::copy(root().join(SETTINGS), site.join("mkdocs.yml"))?;
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, bytes).with_context(|| format!("failed to write {}", path.display()))
}

/// A Markdown file among those of the repository.
struct Page<'a> {
    path: &'a str,
    tracked: &'a BTreeSet<String>,
}

impl Page<'_> {
    /// The text with links to folders as links to their README, and the files that it links to.
    fn with_file_links(&self, text: &str) -> (String, Vec<String>) {
        let (mut written, mut files) = (String::with_capacity(text.len()), Vec::new());
        let mut is_code_block = false;
        for line in text.lines() {
            is_code_block ^= line.trim_start().starts_with("```");
            let mut parts = line.split("](");
            written += parts.next().unwrap_or_default();
            for part in parts {
                written += "](";
                let end = part.find([')', ' ', '#']).unwrap_or(part.len());
                let (target, rest) = part.split_at(end);
                written += target;
                if !is_code_block && let Some(file) = self.file(target) {
                    if file.ends_with("/README.md") && !target.ends_with(".md") {
                        written += if target.ends_with('/') {
                            "README.md"
                        } else {
                            "/README.md"
                        };
                    }
                    files.push(file);
                }
                written += rest;
            }
            written.push('\n');
        }
        (written, files)
    }

    /// The tracked file of a link's target, of a folder its README.
    fn file(&self, target: &str) -> Option<String> {
        if target.is_empty() || target.contains("://") {
            return None;
        }
        let path = resolve(self.path, target)?;
        let readme = format!("{path}/README.md");
        [path, readme]
            .into_iter()
            .find(|path| self.tracked.contains(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_the_menu_exist() {
        let settings = fs::read_to_string(root().join(SETTINGS)).unwrap();
        let (_, menu) = settings.split_once("\nnav:\n").unwrap();
        let mut pages = 0;
        for line in menu.lines() {
            let Some((_, path)) = line.rsplit_once(": ") else {
                continue;
            };
            assert!(root().join(path).is_file(), "{path}");
            pages += 1;
        }
        assert!(pages > 20, "{pages} pages");
    }

    #[test]
    fn links_to_folders_become_links_to_their_readme() {
        let tracked = ["docs/a.md", "results/x/README.md", "crates/a.rs"].map(str::to_owned);
        let page = Page {
            path: "docs/a.md",
            tracked: &BTreeSet::from(tracked),
        };
        let text =
            "[x](../results/x/) [y](../results/x#z) [c](../crates/a.rs) [w](https://a.b/c)\n";
        let (written, files) = page.with_file_links(text);
        let expected = "[x](../results/x/README.md) [y](../results/x/README.md#z) [c](../crates/a.rs) [w](https://a.b/c)\n";
        assert_eq!(written, expected);
        assert_eq!(
            files,
            ["results/x/README.md", "results/x/README.md", "crates/a.rs"]
        );
    }
}
