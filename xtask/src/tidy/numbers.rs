//! Numbers that a Markdown file copies from result pages. Text between `<!-- from: PAGES -->` and
//! `<!-- end -->` may hold only numbers that occur in one of the pages:
//!
//! ```text
//! <!-- from: results/bench/README.md results/bench/serve.md -->
//! | encoder | ms a step |
//! |---|---:|
//! | GRU | 18.5 |
//! <!-- end -->
//! ```
//!
//! Commas between thousands do not matter, and a number with decimals may be a rounded one of the
//! page. Words such as `p90` and `H200`, code in backticks and link targets are not read.

use std::collections::HashSet;

use super::{File, Finding};

const START: &str = "<!-- from:";
const START_END: &str = "-->";
const END: &str = "<!-- end -->";
const WITHOUT_END: &str = "a block without an end";
const CLOSE_IT: &str = "close it with <!-- end -->";

pub(super) fn check(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        if file.path.ends_with(".md") {
            check_file(file, files, &mut findings);
        }
    }
    findings
}

fn check_file(file: &File, files: &[File], findings: &mut Vec<Finding>) {
    let mut find = |line: usize, problem: &str, hint: &str| {
        findings.push(Finding::new(&file.path, line + 1, problem, hint));
    };
    // First line and pages of the open block.
    let mut block: Option<(usize, Pages)> = None;
    let mut is_code_block = false;
    for (i, line) in file.text.lines().enumerate() {
        let marker = line.trim();
        is_code_block ^= marker.starts_with("```");
        if is_code_block {
            continue;
        }
        if let Some(rest) = marker.strip_prefix(START) {
            if let Some((start, _)) = &block {
                find(*start, WITHOUT_END, CLOSE_IT);
            }
            let names = rest.trim_end_matches(START_END);
            let pages = Pages::read(names, files);
            for name in &pages.missing {
                let problem = format!("{name} is no file of the repository");
                find(i, &problem, "name a result page");
            }
            block = Some((i, pages));
        } else if marker == END {
            if block.take().is_none() {
                let hint = "open it with <!-- from: PAGE -->";
                find(i, "an end without a block", hint);
            }
        } else if let Some((_, pages)) = &block {
            for number in numbers(&prose(line)) {
                if !pages.missing.is_empty() || pages.numbers.contains(&number) {
                    continue;
                }
                let problem = format!("{number} is not in {}", pages.names.join(" or "));
                let hint = "copy the page's number, or close the block before it";
                find(i, &problem, hint);
            }
        }
    }
    if let Some((start, _)) = block {
        find(start, WITHOUT_END, CLOSE_IT);
    }
}

/// The pages of a block.
struct Pages {
    names: Vec<String>,
    /// Names that are no files.
    missing: Vec<String>,
    /// Numbers of all pages, also rounded to fewer decimals.
    numbers: HashSet<String>,
}

impl Pages {
    fn read(names: &str, files: &[File]) -> Self {
        let mut pages = Self {
            names: names.split_whitespace().map(str::to_owned).collect(),
            missing: Vec::new(),
            numbers: HashSet::new(),
        };
        for name in &pages.names {
            let Some(page) = files.iter().find(|file| file.path == *name) else {
                pages.missing.push(name.clone());
                continue;
            };
            for number in numbers(&page.text) {
                pages.numbers.extend(rounded(&number));
                pages.numbers.insert(number);
            }
        }
        pages
    }
}

/// A number rounded to each smaller count of decimals, at least one.
fn rounded(number: &str) -> Vec<String> {
    let decimals = number
        .split_once('.')
        .map_or(0, |(_, decimals)| decimals.len());
    let Ok(value) = number.parse::<f64>() else {
        return Vec::new();
    };
    (1..decimals).map(|d| format!("{value:.d$}")).collect()
}

/// A Markdown line without code in backticks and link targets.
fn prose(line: &str) -> String {
    let mut text = String::new();
    for outside in line.split('`').step_by(2) {
        let mut parts = outside.split("](");
        text += parts.next().unwrap_or_default();
        for part in parts {
            text.push(' ');
            text += part.split_once(')').map_or("", |(_, rest)| rest);
        }
        text.push(' ');
    }
    text
}

/// The decimal numbers of a text that are no part of a word, without commas between thousands.
fn numbers(text: &str) -> Vec<String> {
    let mut numbers = Vec::new();
    let is_part = |c: char| c.is_ascii_digit() || c == '.' || c == ',';
    let mut rest = text;
    let mut before = ' ';
    while let Some(c) = rest.chars().next() {
        if !c.is_ascii_digit() {
            before = c;
            rest = &rest[c.len_utf8()..];
            continue;
        }
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let token = rest[..end].trim_end_matches(['.', ',']);
        if !before.is_alphanumeric() && before != '_' {
            numbers.push(token.replace(',', ""));
        }
        before = '0';
        rest = &rest[end..];
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "results/page.md";

    fn found(readme: &str, page: &str) -> Vec<String> {
        let files = [File::new("README.md", readme), File::new(PAGE, page)];
        check(&files).iter().map(Finding::to_string).collect()
    }

    fn table(cells: &str) -> String {
        format!("99\n<!-- from: {PAGE} -->\n|{cells}|\n<!-- end -->\n98\n")
    }

    #[test]
    fn numbers_of_the_page_pass() {
        let page = "| 1,642,816 | 0.1279 | HR@20 | 18.54 |";
        for cells in ["1642816", "1,642,816", "0.1279", "HR@20", "18.5", "+0.128"] {
            assert_eq!(found(&table(cells), page), [""; 0], "{cells}");
        }
    }

    #[test]
    fn other_numbers_are_found_with_their_line() {
        let page = "18.54, 1.0, 20";
        let wrong = found(&table("18.4"), page);
        let wanted = "README.md:3: 18.4 is not in results/page.md; copy the page's number, or close \
                      the block before it";
        assert_eq!(wrong, [wanted]);
        assert_eq!(found(&table("19 | 1 | 18.540 | 2"), page).len(), 4);
    }

    #[test]
    fn words_code_and_links_hold_no_numbers() {
        let cells = "p50 | `--k 7` | H200 | [six](bench/6.md) | bf16";
        assert_eq!(found(&table(cells), "none"), [""; 0]);
        assert_eq!(found(&table("[7](x.md) 8 s"), "none").len(), 2);
    }

    #[test]
    fn several_pages_may_be_named() {
        let text = format!("<!-- from: {PAGE} README.md -->\n5\n<!-- end -->\n");
        assert_eq!(found(&text, "none"), [""; 0]);
    }

    #[test]
    fn malformed_blocks_are_found() {
        let open = format!("<!-- from: {PAGE} -->\n");
        assert_eq!(found(&open, "").len(), 1);
        assert_eq!(found(&format!("{open}{open}<!-- end -->\n"), "").len(), 1);
        assert_eq!(found("<!-- end -->\n", "").len(), 1);
        let gone = found("<!-- from: results/gone.md -->\n5\n<!-- end -->\n", "");
        assert_eq!(gone.len(), 1);
        assert!(gone[0].contains("results/gone.md is no file"), "{gone:?}");
    }

    #[test]
    fn markers_in_code_blocks_are_text() {
        assert_eq!(found("```\n<!-- from: x -->\n5\n```\n", ""), [""; 0]);
    }
}
