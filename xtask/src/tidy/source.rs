//! Rules for Rust files: module doc, length, `unsafe`, unfinished code and the width of comments.

use super::lexer::{self, Line};
use super::{File, Finding};

/// Upper bound of a file's lines.
const MAX_LINES: usize = 600;
/// Lines from which a file is reported as a warning.
const MANY_LINES: usize = 530;
/// Upper bound of a comment line's columns; rustfmt wraps code but not comments.
const MAX_COLUMNS: usize = 100;
/// Whether wide comments are violations, or still warnings.
const WIDE_COMMENTS_FAIL: bool = true;

/// Macros for missing code; each in two halves, as this file is checked too.
const UNFINISHED: [&str; 2] = [concat!("todo", "!"), concat!("unimplemented", "!")];

/// Files outside the kernels that may use `unsafe`: the memory maps, and Arrow's C interface.
const UNSAFE_FILES: [&str; 3] = [
    "crates/fs/src/mmap.rs",
    "crates/python/src/frame.rs",
    "examples/load-encoder/src/main.rs",
];

pub(super) fn check(file: &File) -> Vec<Finding> {
    let lines = lexer::lines(&file.text);
    let mut findings = Vec::new();
    findings.extend(check_module_doc(file));
    findings.extend(check_length(file, lines.len()));
    findings.extend(check_comment_width(file, &lines));
    let raw: Vec<&str> = file.text.lines().collect();
    for (i, line) in lines.iter().enumerate() {
        let mut find = |problem: String, hint| {
            findings.push(Finding::new(&file.path, i + 1, problem, hint));
        };
        for unfinished in UNFINISHED {
            if line.code.contains(unfinished) {
                find(format!("`{unfinished}`"), "finish it or leave it out");
            }
        }
        if !has_word(&line.code, "unsafe") {
            continue;
        }
        let may_use_unsafe = file.path.starts_with("crates/kernels/");
        if !may_use_unsafe && !UNSAFE_FILES.contains(&file.path.as_str()) {
            let problem = "`unsafe` outside the kernels";
            find(problem.into(), "write it safely or move it there");
        } else if !is_justified(&raw[..=i]) {
            let hint = "state in a `SAFETY:` comment above why it is sound";
            find("`unsafe` without a reason".into(), hint);
        }
    }
    findings
}

fn check_module_doc(file: &File) -> Option<Finding> {
    let hint = "open with `//!`: what the module is, and its one design decision";
    let finding = Finding::new(&file.path, 1, "no module doc", hint);
    (!file.text.starts_with("//!")).then_some(finding)
}

fn check_length(file: &File, lines: usize) -> Option<Finding> {
    if lines <= MANY_LINES {
        return None;
    }
    let is_warning = lines <= MAX_LINES;
    let line = if is_warning { MANY_LINES } else { MAX_LINES } + 1;
    let hint = format!("split it by topic: at most {MAX_LINES}");
    let finding = Finding::new(&file.path, line, format!("{lines} lines"), hint);
    Some(finding.with_warning(is_warning))
}

/// One finding for all comment lines that are too wide. An address cannot be wrapped.
fn check_comment_width(file: &File, lines: &[Line]) -> Option<Finding> {
    let mut wide = Vec::new();
    for (i, (line, raw)) in lines.iter().zip(file.text.lines()).enumerate() {
        let is_comment = !line.has_code && line.comment.is_some();
        if is_comment && raw.chars().count() > MAX_COLUMNS && !raw.contains("://") {
            wide.push(i + 1);
        }
    }
    let problem = format!("{} comment lines over {MAX_COLUMNS} columns", wide.len());
    let finding = Finding::new(&file.path, *wide.first()?, problem, "wrap them");
    Some(finding.with_warning(!WIDE_COMMENTS_FAIL))
}

fn has_word(code: &str, word: &str) -> bool {
    code.split(|c: char| c != '_' && !c.is_alphanumeric())
        .any(|found| found == word)
}

/// Whether a safety comment is on the last line, in its statement, or in the comments and
/// attributes above it.
fn is_justified(lines: &[&str]) -> bool {
    for (above, line) in lines.iter().rev().enumerate() {
        let text = line.trim();
        // rustfmt may move the statement of a match arm into a block of its own.
        let ends_statement =
            text.is_empty() || text.ends_with([';', '{', '}']) && !text.ends_with("=> {");
        if above > 0 && ends_statement && !text.starts_with("//") {
            return false;
        }
        if line.contains("SAFETY:") || line.contains("# Safety") {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<Finding> {
        check(&File::new(path, text))
    }

    fn found_lines(path: &str, text: &str) -> Vec<usize> {
        findings(path, text).iter().map(|f| f.line).collect()
    }

    #[test]
    fn missing_module_doc_is_found() {
        assert!(found_lines("a.rs", "//! A noun.\nfn f() {}\n").is_empty());
        assert_eq!(found_lines("a.rs", "use std::fmt;\n"), [1]);
        assert_eq!(found_lines("a.rs", ""), [1]);
    }

    #[test]
    fn long_file_is_a_warning_then_a_violation() {
        let of_length = |lines: usize| findings("a.rs", &"//! Doc.\n".repeat(lines));
        assert_eq!(of_length(MANY_LINES), []);
        assert!(of_length(MAX_LINES)[0].is_warning);
        assert!(!of_length(MAX_LINES + 1)[0].is_warning);
    }

    #[test]
    fn wide_comments_are_found_once_per_file() {
        let wide = format!("    // {}\n", "x".repeat(MAX_COLUMNS));
        let text = format!("//! Doc.\n{wide}{wide}fn f() {{}}\n");
        let found = findings("a.rs", &text);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].line, 2);
        assert!(found[0].problem.starts_with("2 comment lines"));
        assert_eq!(found[0].is_warning, !WIDE_COMMENTS_FAIL);
        let address = format!("//! <https://example.org/{}>\n", "x".repeat(MAX_COLUMNS));
        let text = format!("{address}let s = \"// {}\";\n", "x".repeat(MAX_COLUMNS));
        assert!(findings("a.rs", &text).is_empty());
    }

    #[test]
    fn unsafe_needs_its_place_and_a_reason() {
        let bare = "//! Doc.\nlet x =\n    unsafe { f() };\n";
        let reasoned =
            "//! Doc.\n// SAFETY: f is sound.\n// Really.\nlet x =\n    unsafe { f() };\n";
        let above = "//! Doc.\n// SAFETY: of g only.\nunsafe { g() };\nunsafe { f() };\n";
        let arm = "//! Doc.\nmatch x {\n    // SAFETY: f is sound.\n    1 => {\n        unsafe { f() }\n    }\n}\n";
        assert!(found_lines("crates/kernels/src/a.rs", arm).is_empty());
        assert_eq!(found_lines("crates/nn/src/a.rs", reasoned), [5]);
        assert!(found_lines("crates/kernels/src/a.rs", reasoned).is_empty());
        assert_eq!(found_lines(UNSAFE_FILES[0], bare), [3]);
        assert_eq!(found_lines("crates/kernels/src/a.rs", above), [4]);
    }

    #[test]
    fn words_in_comments_and_strings_are_no_code() {
        let text = "//! No unsafe here.\n#![deny(unsafe_code)]\nlet s = \"an \\\"unsafe\\\" // word\"; // unsafe\n\
                    let t = \"two\n unsafe lines\";\n";
        assert!(found_lines("a.rs", text).is_empty());
        let text = format!("//! Doc.\nlet s = \"//\"; {}(\"later\")\n", UNFINISHED[0]);
        assert_eq!(found_lines("a.rs", &text), [2]);
    }
}
