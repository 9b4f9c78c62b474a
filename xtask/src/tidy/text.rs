//! Rules for all text files: no absolute paths of a developer's machine, no notes to self, no dead
//! links in Markdown, and no tracked data.

use std::collections::HashSet;

use super::{File, Finding};

/// A note to self; in two halves, as this file is checked too.
const NOTE: &str = concat!("FIX", "ME");

/// Top folders that are a developer's own.
const MACHINE_FOLDERS: [&str; 6] = ["Users", "home", "mnt", "root", "tmp", "work"];

pub(super) fn check(files: &[File], paths: &[String]) -> Vec<Finding> {
    let mut known = HashSet::new();
    for path in paths {
        known.extend(ancestors(path));
    }
    let mut findings = Vec::new();
    for file in files {
        findings.extend(check_lines(file));
        if file.path.ends_with(".md") {
            findings.extend(check_links(file, &known));
        }
    }
    for path in paths {
        if path.starts_with("datasets/") && path != "datasets/README.md" {
            let hint = "describe in datasets/README.md where to get it";
            findings.push(Finding::new(path, 1, "data in the repository", hint));
        }
    }
    findings
}

fn check_lines(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (i, line) in file.text.lines().enumerate() {
        let mut find = |problem: &str, hint| {
            findings.push(Finding::new(&file.path, i + 1, problem, hint));
        };
        for folder in MACHINE_FOLDERS {
            if has_root_folder(line, folder) {
                let problem = format!("a path of one machine (/{folder})");
                find(&problem, "make it relative to the repository");
                break;
            }
        }
        if line.contains(NOTE) {
            find(NOTE, "resolve it");
        }
    }
    findings
}

/// Whether a line holds `/folder/` as the start of a path, not inside a longer path or an address.
fn has_root_folder(line: &str, folder: &str) -> bool {
    let within = |c: char| c.is_alphanumeric() || "_-.~}$*)".contains(c);
    let start = format!("/{folder}/");
    line.match_indices(&start)
        .any(|(at, _)| !line[..at].ends_with(within))
}

/// A path and all folders that contain it.
fn ancestors(path: &str) -> Vec<&str> {
    let mut found = vec![path];
    let mut rest = path;
    while let Some((folder, _)) = rest.rsplit_once('/') {
        found.push(folder);
        rest = folder;
    }
    found
}

/// The links of a Markdown file whose target is no file of the repository.
fn check_links(file: &File, known: &HashSet<&str>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut is_code_block = false;
    for (i, line) in file.text.lines().enumerate() {
        is_code_block ^= line.trim_start().starts_with("```");
        if is_code_block {
            continue;
        }
        for link in line.split("](").skip(1) {
            let target = link.split([')', ' ', '#']).next().unwrap_or_default();
            let is_external = target.contains("://") || target.starts_with("mailto:");
            if target.is_empty() || is_external {
                continue;
            }
            let path = resolve(&file.path, target);
            if !path.is_some_and(|path| path.is_empty() || known.contains(path.as_str())) {
                let problem = format!("dead link ({target})");
                let hint = "correct or remove it";
                findings.push(Finding::new(&file.path, i + 1, problem, hint));
            }
        }
    }
    findings
}

/// Path relative to the root of a link's target in the file `from`; `None` outside the repository.
pub fn resolve(from: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => _ = parts.pop()?,
            _ => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        let paths = [
            "README.md",
            "docs/guide.md",
            "docs/plots/loss.svg",
            "datasets/README.md",
        ]
        .map(str::to_owned);
        let findings = check(&[File::new(path, text)], &paths);
        findings.iter().map(Finding::to_string).collect()
    }

    #[test]
    fn paths_of_one_machine_are_found() {
        for folder in MACHINE_FOLDERS {
            assert_eq!(
                found("a.toml", &format!("one\ndir = \"/{folder}/me\"\n")).len(),
                1,
                "{folder}"
            );
        }
        let folder = MACHINE_FOLDERS[0];
        assert!(
            found(
                "a.toml",
                &format!("https://example.org/{folder}/x ../{folder}/ a/{folder}/b /{folder}work")
            )
            .is_empty()
        );
    }

    #[test]
    fn links_are_resolved_from_their_file() {
        let good = "[a](guide.md#top) [b](../README.md) [c](plots/) ![d](plots/loss.svg \"Loss\") [e](#here) [f](https://x.y) [g](..)";
        assert!(found("docs/other.md", good).is_empty());
        let bad = found(
            "docs/other.md",
            "text\n[a](gone.md) and [b](../../outside.md)\n```\n[c](in/code)\n```\n",
        );
        assert_eq!(bad.len(), 2);
        assert_eq!(
            bad[0],
            "docs/other.md:2: dead link (gone.md); correct or remove it"
        );
    }

    #[test]
    fn tracked_data_and_notes_are_found() {
        let data = ["datasets/README.md", "datasets/rc15/clicks.dat"].map(str::to_owned);
        assert_eq!(check(&[], &data).len(), 1);
        assert_eq!(found("a.sh", &format!("# {NOTE} later")).len(), 1);
    }
}
