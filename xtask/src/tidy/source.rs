//! Rust files: their module doc, their length, `unsafe`, and what was left open.

use super::{File, Finding};

/// A file longer than this holds two ideas.
const MOST_LINES: usize = 600;

/// From here on it is worth a thought.
const MANY_LINES: usize = 530;

/// Macros that stand for code that is not there; written in halves, as this file is checked too.
const UNFINISHED: [&str; 2] = [concat!("todo", "!"), concat!("unimplemented", "!")];

pub(super) fn check(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find =
        |line, what: String, mend: &str| findings.push(Finding::new(&file.path, line, what, mend));
    let lines: Vec<&str> = file.text.lines().collect();
    if !lines.first().is_some_and(|line| line.starts_with("//!")) {
        find(
            1,
            "no module doc".into(),
            "open with `//!`: what it is, and the one design decision",
        );
    }
    if lines.len() > MOST_LINES {
        find(
            MOST_LINES + 1,
            format!("{} lines", lines.len()),
            "split it by idea",
        );
    }
    for (i, line) in lines.iter().enumerate() {
        let code = code(line);
        if let Some(open) = UNFINISHED.iter().find(|open| code.contains(**open)) {
            find(i + 1, format!("`{open}`"), "finish it or leave it out");
        }
        if !has_word(&code, "unsafe") {
            continue;
        }
        if !file.path.starts_with("crates/kernels/") && file.path != "crates/fs/src/mmap.rs" {
            find(
                i + 1,
                "`unsafe` outside the kernels".into(),
                "write it safely or move it there",
            );
        } else if !is_justified(&lines[..=i]) {
            find(
                i + 1,
                "`unsafe` without its reason".into(),
                "say in a `SAFETY:` comment above why it is sound",
            );
        }
    }
    if (MANY_LINES + 1..=MOST_LINES).contains(&lines.len()) {
        let what = format!("{} lines", lines.len());
        let warning = Finding::new(
            &file.path,
            MANY_LINES + 1,
            what,
            format!("{MOST_LINES} are the most"),
        );
        findings.push(Finding {
            warning: true,
            ..warning
        });
    }
    findings
}

/// A line without its comment and without what stands in strings (those that end on it).
fn code(line: &str) -> String {
    let mut code = String::new();
    let mut chars = line.chars().peekable();
    let mut in_string = false;
    while let Some(c) = chars.next() {
        match c {
            '\\' if in_string => _ = chars.next(),
            '"' => in_string = !in_string,
            '/' if !in_string && chars.peek() == Some(&'/') => break,
            _ if !in_string => code.push(c),
            _ => {}
        }
    }
    code
}

fn has_word(code: &str, word: &str) -> bool {
    code.split(|c: char| c != '_' && !c.is_alphanumeric())
        .any(|found| found == word)
}

/// Whether the statement that ends with the last line, or the comments and attributes above it, say why it is sound.
fn is_justified(lines: &[&str]) -> bool {
    let says = |line: &str| line.contains("SAFETY:") || line.contains("# Safety");
    let Some((last, above)) = lines.split_last() else {
        return false;
    };
    let belongs = |line: &&&str| {
        let line = line.trim();
        line.starts_with("//") || !line.is_empty() && !line.ends_with([';', '{', '}'])
    };
    says(last)
        || above
            .iter()
            .rev()
            .take_while(belongs)
            .any(|line| says(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<usize> {
        check(&File {
            path: path.to_owned(),
            text: text.to_owned(),
        })
        .iter()
        .map(|finding| finding.line)
        .collect()
    }

    #[test]
    fn a_file_opens_with_its_doc() {
        assert!(found("a.rs", "//! What it is.\nfn f() {}\n").is_empty());
        assert_eq!(found("a.rs", "use std::fmt;\n"), [1]);
        assert_eq!(found("a.rs", ""), [1]);
    }

    #[test]
    fn long_files_are_found() {
        let file = |lines: usize| File {
            path: "a.rs".into(),
            text: "//! Doc.\n".repeat(lines),
        };
        assert_eq!(check(&file(MANY_LINES)), []);
        assert!(check(&file(MOST_LINES))[0].warning);
        assert!(
            check(&file(MOST_LINES + 1))
                .iter()
                .all(|finding| !finding.warning)
        );
    }

    #[test]
    fn unsafe_needs_a_place_and_a_reason() {
        let bare = "//! Doc.\nlet x =\n    unsafe { f() };\n";
        let reasoned =
            "//! Doc.\n// SAFETY: f is sound.\n// Really.\nlet x =\n    unsafe { f() };\n";
        let above = "//! Doc.\n// SAFETY: of g only.\nunsafe { g() };\nunsafe { f() };\n";
        assert_eq!(found("crates/nn/src/a.rs", reasoned), [5]);
        assert!(found("crates/kernels/src/a.rs", reasoned).is_empty());
        assert_eq!(found("crates/fs/src/mmap.rs", bare), [3]);
        assert_eq!(found("crates/kernels/src/a.rs", above), [4]);
    }

    #[test]
    fn words_in_comments_strings_and_names_are_no_code() {
        let text = "//! No unsafe here.\n#![deny(unsafe_code)]\nlet s = \"an \\\"unsafe\\\" // word\"; // unsafe\n";
        assert!(found("a.rs", text).is_empty());
        assert_eq!(
            found(
                "a.rs",
                &format!("//! Doc.\nlet s = \"//\"; {}(\"later\")\n", UNFINISHED[0])
            ),
            [2]
        );
    }
}
