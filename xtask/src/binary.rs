//! The `prl` binary, built from this repository.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::root;

/// Builds the `prl` binary for a device, in release, and returns where it lies.
///
/// # Errors
/// If it does not build.
pub fn prl(device: &str) -> Result<PathBuf> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root()).args(["build", "--release", "--package", "prl-cli"]);
    cargo.args(["--message-format", "json-render-diagnostics"]);
    if device.starts_with("cuda") {
        cargo.args(["--features", "cuda"]);
    }
    let output = cargo.stderr(Stdio::inherit()).output().context("failed to run cargo")?;
    ensure!(output.status.success(), "prl does not build; set PRL_BIN to use another binary");
    let messages = serde_json::Deserializer::from_slice(&output.stdout).into_iter::<serde_json::Value>();
    for message in messages {
        let message = message.context("cargo says something that is not JSON")?;
        if let (Some("prl"), Some(path)) = (message["target"]["name"].as_str(), message["executable"].as_str()) {
            return Ok(path.into());
        }
    }
    bail!("cargo built no binary named prl")
}
