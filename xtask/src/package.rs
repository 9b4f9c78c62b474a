//! `cargo xtask package`: packages the libraries that other programs use, with the crates of this
//! workspace that they need, in one call of `cargo package`. That builds each from its archive, so
//! that a missing file or version is found.

mod consumer;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use toml::Table;

use crate::programs::cargo;
use crate::tidy::dependencies;
use crate::{release, root};

/// Folders of the packaged libraries.
const LIBRARIES: [&str; 4] = ["dataset", "eval", "encoders", "core"];

/// Flags of `package`.
#[derive(clap::Args)]
pub struct Args {
    /// Also build and run a project outside the workspace that uses the packages
    #[arg(long = "use")]
    uses: bool,
    /// Flags of `cargo package`, such as --no-verify or --allow-dirty
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    flags: Vec<String>,
}

/// Packages the libraries.
///
/// # Errors
/// If one does not package, or does not build from its archive.
pub fn run(args: &Args) -> Result<()> {
    let mut cargo = cargo();
    cargo.arg("package").args(&args.flags);
    let folders = with_dependencies(&root().join("crates"), &LIBRARIES)?;
    for folder in &folders {
        cargo.args(["--package", &format!("prl-{folder}")]);
    }
    let status = cargo.status().context("failed to run cargo")?;
    ensure!(status.success(), "cargo package failed: {status}");
    if args.uses {
        consumer::check(folders.iter(), &release::version()?)?;
    }
    Ok(())
}

/// Folders of some crates and of all crates of this workspace that their code depends on.
fn with_dependencies(crates: &Path, folders: &[&str]) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let mut open: Vec<String> = folders.iter().map(|&folder| folder.to_owned()).collect();
    while let Some(folder) = open.pop() {
        let path = crates.join(&folder).join("Cargo.toml");
        let text = fs::read_to_string(&path)
            .with_context(|| format!("failed to read {}", path.display()))?;
        let manifest: Table = text.parse()?;
        for (section, name) in dependencies(&manifest) {
            // Dependencies of tests alone are no part of an archive.
            if let Some(ours) = name.strip_prefix("prl-")
                && section != "dev-dependencies"
                && !found.contains(ours)
            {
                open.push(ours.to_owned());
            }
        }
        found.insert(folder);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_of_code_are_packaged_too() {
        let dir = tempfile::tempdir().unwrap();
        for (folder, manifest) in [
            (
                "a",
                "[dependencies]\nprl-b.workspace = true\nserde = \"1\"\n",
            ),
            ("b", "[dev-dependencies]\nprl-c.workspace = true\n"),
            ("c", ""),
        ] {
            fs::create_dir(dir.path().join(folder)).unwrap();
            fs::write(dir.path().join(folder).join("Cargo.toml"), manifest).unwrap();
        }
        let found = with_dependencies(dir.path(), &["a"]).unwrap();
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["a", "b"]);
        assert!(with_dependencies(dir.path(), &["gone"]).is_err());
    }
}
