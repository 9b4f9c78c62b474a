//! `cargo xtask tidy --style`: counts of what the style guide names, per crate, beside the same
//! counts over candle-nn and ripgrep. A mirror, not a gate: nothing fails.
//!
//! | column | definition |
//! |---|---|
//! | odd docs | doc comments that open with What, Where, Who, How, Those or "The same", per cent |
//! | person. | personifying words per 1,000 words of documentation (code in it apart) |
//! | closures | closures per 100 code lines |
//! | chains | chains of three or more method calls per 100 code lines |
//! | comments | lines that are a `//` comment per 100 code lines |
//! | > 100 | lines of more than 100 columns |
//! | p90 | 90th percentile of a code line's length |
//!
//! Tests count for documentation and long lines alone.

mod measure;
mod reference;

use std::collections::BTreeMap;

use super::File;
use measure::{Counts, Place};

/// The table for the files below some folders (all without any), with the references below; with
/// `with_places` every counted place instead.
pub fn report(files: &[File], folders: &[String], with_places: bool) -> String {
    let (crates, places) = count(files, folders);
    let mut text = String::new();
    if with_places {
        for place in places {
            text += &format!("{}:{}: {}\n", place.path, place.line, place.what);
        }
        return text;
    }
    let mut all = Counts::default();
    text += &header();
    for (name, counts) in &crates {
        text += &row(name, counts);
        all.add(counts);
    }
    text += &row("all of these", &all);
    match reference::count() {
        Ok(references) => {
            for (name, counts) in &references {
                text += &row(name, counts);
            }
        }
        Err(error) => text += &format!("no reference crates: {error:#}\n"),
    }
    text
}

/// Counts per crate, and every place that was counted.
fn count(files: &[File], folders: &[String]) -> (BTreeMap<String, Counts>, Vec<Place>) {
    let mut manifests = Vec::new();
    for file in files {
        manifests.extend(file.path.strip_suffix("/Cargo.toml"));
    }
    let mut crates: BTreeMap<String, Counts> = BTreeMap::new();
    let mut places = Vec::new();
    for file in files {
        let is_wanted = folders.is_empty() || folders.iter().any(|f| is_below(&file.path, f));
        if !file.path.ends_with(".rs") || !is_wanted {
            continue;
        }
        let of_crate = manifests
            .iter()
            .filter(|folder| is_below(&file.path, folder));
        let name = of_crate.max_by_key(|folder| folder.len()).copied();
        let counts = crates
            .entry(name.unwrap_or("(root)").to_owned())
            .or_default();
        places.extend(measure::add_file(counts, &file.path, &file.text));
    }
    places.sort();
    (crates, places)
}

fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder.trim_end_matches('/'))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn header() -> String {
    format!(
        "{:<22}{:>6}{:>7}{:>9}{:>10}{:>8}{:>10}{:>7}{:>5}{:>7}\n",
        "", "docs", "odd %", "person.", "closures", "chains", "comments", "> 100", "p90", "code"
    )
}

fn row(name: &str, counts: &Counts) -> String {
    let line = format!(
        "{name:<22}{:>6}{:>7.1}{:>9.1}{:>10.1}{:>8.2}{:>10.1}{:>7}{:>5}{:>7}",
        counts.docs,
        ratio(100, counts.odd_docs, counts.docs),
        ratio(1000, counts.personifying_words, counts.doc_words),
        ratio(100, counts.closures, counts.code_lines()),
        ratio(100, counts.chains, counts.code_lines()),
        ratio(100, counts.comment_lines, counts.code_lines()),
        counts.long_lines,
        counts.line_length(90),
        counts.code_lines(),
    );
    match counts.unparsed_files {
        0 => line + "\n",
        n => format!("{line}  ({n} files not parsed)\n"),
    }
}

/// `part` per `scale` of `whole`; 0 of nothing.
fn ratio(scale: usize, part: usize, whole: usize) -> f64 {
    (scale * part) as f64 / whole.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_count_for_the_crate_whose_folder_holds_them() {
        let files = [
            File::new("crates/a/Cargo.toml", ""),
            File::new("crates/a/src/lib.rs", "//! What.\nfn f() {}\n"),
            File::new("crates/ab/Cargo.toml", ""),
            File::new("crates/ab/src/lib.rs", "//! Noun.\nfn f() {}\nfn g() {}\n"),
        ];
        let (crates, places) = count(&files, &[]);
        assert_eq!(crates.len(), 2);
        assert_eq!(
            (
                crates["crates/a"].code_lines(),
                crates["crates/ab"].code_lines()
            ),
            (1, 2)
        );
        assert_eq!(places.len(), 1);
        let (crates, _) = count(&files, &["crates/ab/".into()]);
        assert_eq!(crates.keys().collect::<Vec<_>>(), ["crates/ab"]);
    }

    #[test]
    fn rows_align_with_the_header() {
        let counts = Counts::default();
        assert_eq!(row("crates/x", &counts).len(), header().len());
    }
}
