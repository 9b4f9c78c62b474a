//! `cargo xtask licenses`: the crates in the `prl` binary with their licences.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use toml::{Table, Value};

use crate::{programs, root};

/// Features of the binary in the image (docs/deploy/Dockerfile).
const IMAGE: &str = "gru,caser,nextitnet,sasrec,serve";

#[derive(clap::Args)]
pub struct Args {
    /// Features of the binary
    #[arg(long, default_value = IMAGE)]
    features: String,
    /// File to write, instead of printing
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Lists the crates, and fails for one with a licence that deny.toml does not allow.
pub fn run(args: &Args) -> Result<()> {
    let list = collect(&args.features)?;
    match &args.out {
        Some(file) => std::fs::write(file, list).with_context(|| file.display().to_string())?,
        None => print!("{list}"),
    }
    Ok(())
}

/// The crates of the binary with these features, a line each.
///
/// # Errors
/// If one has a licence that deny.toml does not allow.
pub fn collect(features: &str) -> Result<String> {
    let deny: Table = std::fs::read_to_string(root().join("deny.toml"))?.parse()?;
    let allowed = deny["licenses"].get("allow").and_then(Value::as_array);
    let mut names = BTreeSet::new();
    for name in allowed.context("deny.toml: licenses.allow is missing")? {
        names.extend(name.as_str());
    }
    let output = programs::cargo()
        .args(["tree", "--locked", "--package", "prl-cli"])
        .args(["--edges", "normal", "--prefix", "none"])
        .args(["--no-default-features", "--features", features])
        .args(["--format", "{p}\t{l}"])
        .output()?;
    ensure!(
        output.status.success(),
        "cargo tree: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    list(&String::from_utf8(output.stdout)?, &names)
}

/// A line for each crate: name, version and licence; those of this repository are left out.
fn list(tree: &str, allowed: &BTreeSet<&str>) -> Result<String> {
    let mut lines = BTreeSet::new();
    for line in tree.lines() {
        let (package, license) = line.split_once('\t').unwrap_or((line, ""));
        // Of this repository: its path follows the version.
        if package.contains(" (/") {
            continue;
        }
        let mut words = package.split(' ');
        let (name, version) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let license = license.trim_end_matches(" (*)");
        if name.is_empty() {
            continue;
        }
        if !is_allowed(license, allowed) {
            bail!("{name} {version}: the licence {license:?} is not allowed by deny.toml");
        }
        lines.insert(format!("{name} {version}: {license}\n"));
    }
    ensure!(!lines.is_empty(), "cargo tree printed no crate");
    Ok(lines.into_iter().collect())
}

/// Whether an SPDX expression can be met by allowed licences. `AND` binds closer than `OR`; a slash
/// is an old `OR`.
fn is_allowed(expression: &str, allowed: &BTreeSet<&str>) -> bool {
    let text = expression.replace('/', " OR ");
    let text = text.replace('(', " ( ").replace(')', " ) ");
    // An exception is part of its licence's name.
    let text = text.replace(" WITH ", "+WITH+");
    let tokens: Vec<&str> = text.split_whitespace().collect();
    let mut rest = &tokens[..];
    let is_met = any(&mut rest, allowed);
    is_met && rest.is_empty()
}

fn any(rest: &mut &[&str], allowed: &BTreeSet<&str>) -> bool {
    let mut is_met = all(rest, allowed);
    while rest.first() == Some(&"OR") {
        *rest = &rest[1..];
        is_met |= all(rest, allowed);
    }
    is_met
}

fn all(rest: &mut &[&str], allowed: &BTreeSet<&str>) -> bool {
    let mut is_met = one(rest, allowed);
    while rest.first() == Some(&"AND") {
        *rest = &rest[1..];
        is_met &= one(rest, allowed);
    }
    is_met
}

fn one(rest: &mut &[&str], allowed: &BTreeSet<&str>) -> bool {
    let Some((first, tail)) = rest.split_first() else {
        return false;
    };
    *rest = tail;
    if *first != "(" {
        return allowed.contains(first.replace("+WITH+", " WITH ").as_str());
    }
    let is_met = any(rest, allowed);
    let is_closed = rest.first() == Some(&")");
    *rest = rest.get(1..).unwrap_or_default();
    is_met && is_closed
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{is_allowed, list};

    fn allowed() -> BTreeSet<&'static str> {
        ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].into()
    }

    #[test]
    fn expression_is_met_by_allowed_licences_only() {
        for (expression, expected) in [
            ("MIT", true),
            ("GPL-3.0", false),
            ("GPL-3.0 OR MIT", true),
            ("GPL-3.0/MIT", true),
            ("MIT AND ISC", true),
            ("MIT AND GPL-3.0", false),
            ("(GPL-3.0 OR MIT) AND ISC", true),
            ("GPL-3.0 OR MIT AND GPL-2.0", false),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("Apache-2.0", false),
            ("(MIT", false),
            ("MIT )", false),
            ("", false),
        ] {
            assert_eq!(is_allowed(expression, &allowed()), expected, "{expression}");
        }
    }

    #[test]
    fn list_has_each_foreign_crate_once() {
        let tree = "prl-cli v0.1.0 (/src/cli)\tMIT\nring v0.17.14\tISC\nring v0.17.14\tISC (*)\n\
                    quote v1.0.0 (proc-macro)\tMIT\n";
        let text = list(tree, &allowed()).unwrap();
        assert_eq!(text, "quote v1.0.0: MIT\nring v0.17.14: ISC\n");
        let error = list("evil v1.0.0\tGPL-3.0\n", &allowed()).unwrap_err();
        let expected = "evil v1.0.0: the licence \"GPL-3.0\" is not allowed by deny.toml";
        assert_eq!(error.to_string(), expected);
        assert!(list("", &allowed()).is_err());
    }
}
