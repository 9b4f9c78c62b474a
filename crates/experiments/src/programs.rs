//! Programs of a workspace: built by cargo in a repository, prebuilt in a bundle.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::workspace::Workspace;

/// The cargo that runs this program, with the workspace's root as its directory.
pub fn cargo(workspace: &Workspace) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // `cargo run` sets variables about the package it runs. Build scripts of dependencies (ring's)
    // track them, and would rebuild half of the release profile whenever the caller changes.
    for (name, _) in std::env::vars_os() {
        let is_of_package = name
            .to_str()
            .is_some_and(|n| n.starts_with("CARGO_PKG_") || n.starts_with("CARGO_MANIFEST_"));
        if is_of_package {
            cargo.env_remove(name);
        }
    }
    cargo.current_dir(&workspace.root);
    cargo
}

/// Path of the `prl` binary for a device, built in release.
///
/// # Errors
/// If it does not build, or the bundle lacks it.
pub fn prl(workspace: &Workspace, device: &str) -> Result<PathBuf> {
    let [prl] = build(workspace, &["--package", "prl-cli"], ["prl"], device)?;
    Ok(prl)
}

/// Builds programs in one call of cargo, so that they share dependencies, and returns their paths.
/// `packages` are the flags that select them; a device that starts with `cuda` enables that
/// feature. In a bundle nothing is built.
///
/// # Errors
/// If the programs do not build or have other names, or the bundle lacks one.
pub fn build<const N: usize>(
    workspace: &Workspace,
    packages: &[&str],
    names: [&str; N],
    device: &str,
) -> Result<[PathBuf; N]> {
    if let Some(bundle) = workspace.bundle() {
        return bundle.programs(names);
    }
    let mut cargo = cargo(workspace);
    cargo.args(["build", "--release"]).args(packages);
    if device.starts_with("cuda") {
        cargo.args(["--features", "cuda"]);
    }
    run_build(cargo, names)
}

/// Runs a `cargo build` command and returns the paths of the executables with these names.
///
/// # Errors
/// If the build fails or produces no executable of such a name.
pub fn run_build<const N: usize>(mut cargo: Command, names: [&str; N]) -> Result<[PathBuf; N]> {
    cargo.args(["--message-format", "json-render-diagnostics"]);
    let output = cargo
        .stderr(Stdio::inherit())
        .output()
        .context("failed to run cargo")?;
    ensure!(
        output.status.success(),
        "{} does not build",
        names.join(", ")
    );
    let mut messages = Vec::new();
    for message in serde_json::Deserializer::from_slice(&output.stdout).into_iter::<Value>() {
        messages.push(message.context("cargo printed something that is not JSON")?);
    }
    let mut paths = [const { PathBuf::new() }; N];
    for (path, name) in paths.iter_mut().zip(names) {
        *path = executable(&messages, name)
            .with_context(|| format!("cargo built no program named {name}"))?;
    }
    Ok(paths)
}

/// The last executable of this target name among cargo's messages.
fn executable(messages: &[Value], name: &str) -> Option<PathBuf> {
    for message in messages.iter().rev() {
        if message["target"]["name"] == name
            && let Some(path) = message["executable"].as_str()
        {
            return Some(path.into());
        }
    }
    None
}
