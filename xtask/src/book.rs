//! `cargo xtask book`: the reference pages, which programs write, and the book as a site.
//!
//! The site is built by Zensical, which `pip install zensical` puts on a machine in seconds: search
//! and a layout for phones are part of it. Its settings are those of MkDocs, so that Material for
//! MkDocs, which it succeeds, builds the same book. Its pages are the Markdown files of this
//! repository where they lie, so that nothing is there twice.

mod commands;
mod http;
mod pages;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::{programs, root};

/// Flags of `book`.
#[derive(clap::Args)]
pub struct Args {
    /// Write the reference pages alone
    #[arg(long)]
    reference: bool,
    /// The program `prl` whose reference is written [default: that of a release build]
    #[arg(long, value_name = "FILE")]
    prl: Option<PathBuf>,
    /// The program that builds the site: zensical, or mkdocs with its theme material
    #[arg(long, value_name = "FILE", default_value = "zensical")]
    builder: PathBuf,
}

/// Folder of the reference pages, relative to the root.
const REFERENCE: &str = "docs/book/reference";

/// Writes the reference pages and builds the site.
///
/// # Errors
/// If a program fails.
pub fn run(args: &Args) -> Result<()> {
    let prl = match &args.prl {
        Some(prl) => std::path::absolute(prl)?,
        None => programs::prl()?,
    };
    let mut pages = reference(&prl)?.to_vec();
    pages.push((PYTHON_PAGE, python_page()?));
    for (name, text) in pages {
        let path = root().join(REFERENCE).join(name);
        std::fs::write(&path, text)
            .with_context(|| format!("failed to write {}", path.display()))?;
        println!("{REFERENCE}/{name}");
    }
    if args.reference {
        return Ok(());
    }
    let site = root().join("target/book");
    pages::stage(&site)?;
    let mut builder = Command::new(&args.builder);
    builder.args(["build", "--clean"]).current_dir(&site);
    let status = builder.status().with_context(|| {
        let program = args.builder.display();
        format!("failed to run {program}; install it by `pip install zensical`, or name it with --builder")
    })?;
    ensure!(status.success(), "the builder of the site failed: {status}");
    println!("{}", site.join("site/index.html").display());
    Ok(())
}

/// Names and contents of the reference pages.
fn reference(prl: &Path) -> Result<[(&'static str, String); 2]> {
    Ok([
        ("commands.md", commands::page(prl)?),
        ("http.md", http::page(prl)?),
    ])
}

/// Name of the reference of the Python package.
const PYTHON_PAGE: &str = "python.md";

/// Contents of that page, which a Python script writes: any Python 3.9 or newer reads the sources.
fn python_page() -> Result<String> {
    let mut python = Command::new("python3");
    python.arg("xtask/book/python_reference.py");
    python.arg("crates/python/python/prl").current_dir(root());
    let output = python.output().context("failed to run python3")?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        bail!("python_reference.py failed: {message}");
    }
    String::from_utf8(output.stdout).context("the page is not UTF-8")
}

/// Standard output of a `prl` command.
fn output(prl: &Path, args: &[&str], dir: &Path) -> Result<String> {
    let mut command = Command::new(prl);
    // The width of help texts is then the same everywhere.
    command.args(args).current_dir(dir).env_remove("COLUMNS");
    let output = command
        .output()
        .with_context(|| format!("failed to run {}", prl.display()))?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        bail!("prl {} failed: {message}", args.join(" "));
    }
    String::from_utf8(output.stdout).context("the output is not UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reference_pages_are_up_to_date() {
        let Some(prl) = programs::prl_of_tests() else {
            return;
        };
        let mut pages = reference(&prl).unwrap().to_vec();
        let has_python = Command::new("python3").arg("--version").output().is_ok();
        if has_python {
            pages.push((PYTHON_PAGE, python_page().unwrap()));
        } else {
            eprintln!("SKIPPED: no python3, which writes {PYTHON_PAGE}");
        }
        for (name, text) in pages {
            let path = root().join(REFERENCE).join(name);
            let written = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(
                written == text,
                "{name} is stale; run `cargo xtask book --reference`"
            );
        }
    }
}
