//! Programs that the benches run, built by cargo or taken from the bundle.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use prl_experiments::{Workspace, programs};

/// Path of the `step_speed` example of the trainer, built for a device.
///
/// # Errors
/// If it does not build, or the bundle lacks it.
pub fn step_speed(workspace: &Workspace, device: &str) -> Result<PathBuf> {
    example(workspace, "prl-train", "step_speed", device)
}

/// Path of the `batch_speed` example of the trainer.
///
/// # Errors
/// If it does not build, or the bundle lacks it.
pub fn batch_speed(workspace: &Workspace) -> Result<PathBuf> {
    example(workspace, "prl-train", "batch_speed", "cpu")
}

/// Path of the `neighbour_speed` example of the baselines.
///
/// # Errors
/// If it does not build, or the bundle lacks it.
pub fn neighbour_speed(workspace: &Workspace) -> Result<PathBuf> {
    example(workspace, "prl-baselines", "neighbour_speed", "cpu")
}

fn example(workspace: &Workspace, package: &str, name: &str, device: &str) -> Result<PathBuf> {
    let packages = ["--package", package, "--example", name];
    let [example] = programs::build(workspace, &packages, [name], device)?;
    Ok(example)
}

/// A Python that can import some packages: a virtual environment under `target/`, created on first
/// use.
///
/// # Errors
/// If Python or pip fails.
pub fn python_with(workspace: &Workspace, packages: &[&str]) -> Result<PathBuf> {
    let dir = workspace.root.join("target/peers");
    let python = dir.join("bin/python");
    if can_import(&python, packages) {
        return Ok(python);
    }
    let status = Command::new("python3")
        .args(["-m", "venv"])
        .arg(&dir)
        .status()
        .context("failed to run python3")?;
    ensure!(status.success(), "python3 -m venv failed: {status}");
    let status = Command::new(&python)
        .args(["-m", "pip", "install", "--quiet"])
        .args(packages)
        .status()?;
    ensure!(
        status.success(),
        "pip failed to install {packages:?}; name a Python that has them with --python"
    );
    Ok(python)
}

fn can_import(python: &Path, packages: &[&str]) -> bool {
    let import = format!("import {}", packages.join(", "));
    let status = Command::new(python)
        .args(["-c", &import])
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}
