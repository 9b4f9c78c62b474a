//! Every text file: paths of a machine, notes to self, links in Markdown; and data that is tracked.

use std::collections::HashSet;

use super::{File, Finding};

/// A note to self; written in halves, as this file is checked too.
const NOTE: &str = concat!("FIX", "ME");

/// Folders at the root of somebody's machine.
const MACHINE: [&str; 6] = ["Users", "home", "mnt", "root", "tmp", "work"];

pub(super) fn check(files: &[File], paths: &[String]) -> Vec<Finding> {
    let mut findings: Vec<Finding> = files.iter().flat_map(lines).collect();
    let known: HashSet<&str> = paths.iter().flat_map(|path| ancestors(path)).collect();
    findings.extend(
        files
            .iter()
            .filter(|file| file.path.ends_with(".md"))
            .flat_map(|file| links(file, &known)),
    );
    let data = paths
        .iter()
        .filter(|path| path.starts_with("datasets/") && *path != "datasets/README.md");
    findings.extend(data.map(|path| {
        Finding::new(
            path,
            1,
            "data in the repository",
            "say where to get it in datasets/README.md",
        )
    }));
    findings
}

fn lines(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (i, line) in file.text.lines().enumerate() {
        if let Some(folder) = MACHINE.iter().find(|folder| has_root_folder(line, folder)) {
            let what = format!("a path of one machine (/{folder})");
            findings.push(Finding::new(
                &file.path,
                i + 1,
                what,
                "name it relative to the repository",
            ));
        }
        if line.contains(NOTE) {
            findings.push(Finding::new(&file.path, i + 1, NOTE, "mend it now"));
        }
    }
    findings
}

/// Whether a line holds `/folder/` as the start of a path, not as a part of a longer one or of an address.
fn has_root_folder(line: &str, folder: &str) -> bool {
    let within = |c: char| c.is_alphanumeric() || "_-.~}$*)".contains(c);
    let start = format!("/{folder}/");
    line.match_indices(&start)
        .any(|(at, _)| !line[..at].ends_with(within))
}

/// A path, and every folder that holds it.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| {
        path.rsplit_once('/').map(|(folder, _)| folder)
    })
}

/// The links of a Markdown file that lead to no file of the repository.
fn links(file: &File, known: &HashSet<&str>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut fenced = false;
    for (i, line) in file.text.lines().enumerate() {
        fenced ^= line.trim_start().starts_with("```");
        for target in line
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split([')', ' ', '#']).next())
        {
            if fenced
                || target.is_empty()
                || target.contains("://")
                || target.starts_with("mailto:")
            {
                continue;
            }
            if !resolve(&file.path, target)
                .is_some_and(|path| path.is_empty() || known.contains(path.as_str()))
            {
                findings.push(Finding::new(
                    &file.path,
                    i + 1,
                    format!("a link to nowhere ({target})"),
                    "mend or remove it",
                ));
            }
        }
    }
    findings
}

/// The path from the root of what a link in the file `from` leads to; `None` if it leads out of the repository.
fn resolve(from: &str, target: &str) -> Option<String> {
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
        let file = File {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        check(&[file], &paths)
            .iter()
            .map(Finding::to_string)
            .collect()
    }

    #[test]
    fn paths_of_a_machine_are_found() {
        for folder in MACHINE {
            assert_eq!(
                found("a.toml", &format!("one\ndir = \"/{folder}/me\"\n")).len(),
                1,
                "{folder}"
            );
        }
        let folder = MACHINE[0];
        assert!(
            found(
                "a.toml",
                &format!("https://example.org/{folder}/x ../{folder}/ a/{folder}/b /{folder}work")
            )
            .is_empty()
        );
    }

    #[test]
    fn links_resolve_from_their_file() {
        let good = "[a](guide.md#top) [b](../README.md) [c](plots/) ![d](plots/loss.svg \"Loss\") [e](#here) [f](https://x.y) [g](..)";
        assert!(found("docs/other.md", good).is_empty());
        let bad = found(
            "docs/other.md",
            "text\n[a](gone.md) and [b](../../outside.md)\n```\n[c](in/code)\n```\n",
        );
        assert_eq!(bad.len(), 2);
        assert_eq!(
            bad[0],
            "docs/other.md:2: a link to nowhere (gone.md), mend or remove it"
        );
    }

    #[test]
    fn data_and_notes_are_found() {
        let data = ["datasets/README.md", "datasets/rc15/clicks.dat"].map(str::to_owned);
        assert_eq!(check(&[], &data).len(), 1);
        assert_eq!(found("a.sh", &format!("# {NOTE} later")).len(), 1);
    }
}
