//! Small runs of the `prl` binary on a small synthetic dataset, and the comparison of two results.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{programs, root};

/// The binaries and a working directory.
pub struct Runs {
    /// Path of `prl`.
    pub prl: PathBuf,
    /// Path of the fuzz smoke test.
    pub smoke: PathBuf,
    dir: PathBuf,
}

impl Runs {
    /// Builds the binaries, or takes those that `PRL_BIN` and `PRL_SMOKE` name; then prepares the
    /// dataset.
    pub fn new() -> Result<Self> {
        let [prl, smoke] = match (env::var_os("PRL_BIN"), env::var_os("PRL_SMOKE")) {
            (Some(prl), Some(smoke)) => [prl.into(), smoke.into()],
            _ => programs::prl_and_smoke()?,
        };
        let dir = root().join("target/reliability");
        let runs = Self { prl, smoke, dir };
        runs.remove(&runs.dir)?;
        fs::create_dir_all(&runs.dir)?;
        let raw = runs.path("raw");
        let mut synth = runs.prl(&["synth", "--like", "tiny", "--sessions", "400", "--out"]);
        runs.complete(synth.arg(&raw))?;
        let mut prepare = runs.prl(&["prepare", "--source", "retailrocket", "--input"]);
        prepare.arg(raw.join("events.csv"));
        runs.complete(prepare.arg("--out").arg(runs.data()))?;
        Ok(runs)
    }

    /// A path in the working directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The prepared dataset.
    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// A command of `prl` without output.
    pub fn prl(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.prl);
        command.args(args).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// A training of a dozen steps with a checkpoint every two, resumed if the run exists.
    pub fn train(&self, encoder: &str, method: &str, out: &Path) -> Command {
        let mut command = self.prl(&[
            "train",
            "--resume",
            "--recipe",
            "paper",
            "--encoder",
            encoder,
        ]);
        command.args(["--method", method, "--dim", "8", "--window", "5"]);
        command.args(["--max-steps", "12", "--eval-every", "2"]);
        command.args(["--batch-size", "16", "--threads", "2"]);
        command.arg("--data").arg(self.data()).arg("--out").arg(out);
        command
    }

    /// Runs a command that must succeed.
    pub fn complete(&self, command: &mut Command) -> Result<()> {
        let status = command
            .status()
            .with_context(|| format!("failed to run {}", self.prl.display()))?;
        ensure!(status.success(), "{command:?} ended with {status}");
        Ok(())
    }

    /// Starts a command.
    pub fn spawn(&self, command: &mut Command) -> Result<Child> {
        command
            .spawn()
            .with_context(|| format!("failed to run {}", self.prl.display()))
    }

    /// Removes a directory if it exists.
    pub fn remove(&self, dir: &Path) -> Result<()> {
        if dir.exists() {
            fs::remove_dir_all(dir)
                .with_context(|| format!("failed to remove {}", dir.display()))?;
        }
        Ok(())
    }
}

/// Whether two runs have the same bits: weights, moments, metrics and manifest, times apart.
pub fn is_same_result(a: &Path, b: &Path) -> Result<bool> {
    for file in ["best/weights", "checkpoint/weights", "checkpoint/moments"] {
        let file = format!("{file}.safetensors");
        if fs::read(a.join(&file))? != fs::read(b.join(&file))? {
            return Ok(false);
        }
    }
    Ok(metrics_and_manifest(a)? == metrics_and_manifest(b)?)
}

/// Each line of a run's metrics, and its manifest, without the times.
fn metrics_and_manifest(run: &Path) -> Result<Vec<Value>> {
    let mut values = Vec::new();
    for file in ["metrics.jsonl", "manifest.json"] {
        let text = fs::read_to_string(run.join(file))?;
        for value in serde_json::Deserializer::from_str(&text).into_iter() {
            let mut value: Value = value?;
            let object = value.as_object_mut().context("not a JSON object")?;
            object.remove("seconds");
            values.push(value);
        }
    }
    Ok(values)
}

/// Whether a run directory has a file or directory that was being written.
pub fn has_unfinished_files(run: &Path) -> bool {
    for entry in fs::read_dir(run).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(".staged") {
            return true;
        }
    }
    false
}
