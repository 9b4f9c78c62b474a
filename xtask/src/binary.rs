<<<<<<< HEAD
//! Programs of this repository, built by cargo.
=======
//! Binaries of this repository, built.
>>>>>>> 2f41861 (cargo xtask reliability; Parquet looked at before it is read, and read apart; version 1 kept; numbers, memory, kills tested)

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::root;

/// The cargo that runs this task, in this repository's root.
pub fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What the cargo that runs this task says of this package: build scripts of dependencies look at it (ring's does), and
    // half of the release build would be made anew each time one turns from one caller to the other.
    let of_package = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(of_package)) {
        cargo.env_remove(name);
    }
    cargo.current_dir(root());
    cargo
}

/// The `prl` binary for a device, in release.
///
/// # Errors
/// If it does not build.
pub fn prl(device: &str) -> Result<PathBuf> {
<<<<<<< HEAD
    build(&["--package", "prl-cli"], "prl", device)
}

/// The same without the raw readers, which take longest to build: what trains and answers from prepared data.
///
/// # Errors
/// If it does not build.
pub fn prl_without_readers(device: &str) -> Result<PathBuf> {
    let lean = ["--package", "prl-cli", "--no-default-features", "--features", "gru,caser,nextitnet,sasrec"];
    build(&lean, "prl", device)
}

/// The step bench for a device.
///
/// # Errors
/// If it does not build.
pub fn step_speed(device: &str) -> Result<PathBuf> {
    build(&["--package", "prl-train", "--example", "step_speed"], "step_speed", device)
}

fn build(what: &[&str], name: &str, device: &str) -> Result<PathBuf> {
    let mut cargo = cargo();
    cargo.args(["build", "--release", "--message-format", "json-render-diagnostics"]).args(what);
    if device.starts_with("cuda") {
        cargo.args(["--features", "cuda"]);
    }
    let output = cargo.stderr(Stdio::inherit()).output().context("failed to run cargo")?;
    ensure!(output.status.success(), "{name} does not build");
    for message in serde_json::Deserializer::from_slice(&output.stdout).into_iter::<serde_json::Value>() {
        let message = message.context("cargo says something that is not JSON")?;
        if let (Some(built), Some(path)) = (message["target"]["name"].as_str(), message["executable"].as_str())
            && built == name
        {
            return Ok(path.into());
        }
    }
    bail!("cargo built no program named {name}")
=======
    let cuda: &[&str] = if device.starts_with("cuda") { &["--features", "cuda"] } else { &[] };
    let [prl] = build(["prl"], &[&["--package", "prl-cli"], cuda].concat())?;
    Ok(prl)
}

/// Builds the binaries of these names, in release, and returns where they lie.
///
/// # Errors
/// If they do not build.
pub fn build<const N: usize>(names: [&str; N], flags: &[&str]) -> Result<[PathBuf; N]> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root()).args(["build", "--release"]).args(names.iter().flat_map(|name| ["--bin", name])).args(flags);
    cargo.args(["--message-format", "json-render-diagnostics"]);
    let output = cargo.stderr(Stdio::inherit()).output().context("failed to run cargo")?;
    ensure!(output.status.success(), "{} does not build; set PRL_BIN to use another binary", names.join(", "));
    let mut paths = [const { None }; N];
    let messages = serde_json::Deserializer::from_slice(&output.stdout).into_iter::<serde_json::Value>();
    for message in messages {
        let message = message.context("cargo says something that is not JSON")?;
        let (name, path) = (message["target"]["name"].as_str(), message["executable"].as_str());
        if let (Some(at), Some(path)) = (names.iter().position(|n| Some(*n) == name), path) {
            paths[at] = Some(PathBuf::from(path));
        }
    }
    let built = paths.into_iter().zip(names).map(|(path, name)| path.with_context(|| format!("cargo built no {name}")));
    let built = built.collect::<Result<Vec<_>>>()?;
    built.try_into().ok().context("cargo built too much")
>>>>>>> 2f41861 (cargo xtask reliability; Parquet looked at before it is read, and read apart; version 1 kept; numbers, memory, kills tested)
}
