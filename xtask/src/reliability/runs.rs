//! Small runs of the binary, on a small dataset that it makes up, and when two of them ended alike.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{programs, root};

/// The binaries, and a folder to work in.
pub struct Runs {
    /// The binary.
    pub prl: PathBuf,
    /// The smoke of the fuzz targets.
    pub smoke: PathBuf,
    dir: PathBuf,
}

impl Runs {
    /// Builds the binaries and makes the dataset. `PRL_BIN` and `PRL_SMOKE` name binaries that are built already.
    pub fn new() -> Result<Self> {
        let [prl, smoke] = match (std::env::var_os("PRL_BIN"), std::env::var_os("PRL_SMOKE")) {
            (Some(prl), Some(smoke)) => [prl, smoke].map(PathBuf::from),
            _ => programs::prl_and_smoke()?,
        };
        let dir = root().join("target/reliability");
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        fs::create_dir_all(&dir)?;
        let runs = Self { prl, smoke, dir };
        let raw = runs.path("raw");
        runs.done(
            runs.prl(["synth", "--like", "tiny", "--sessions", "400", "--out"])
                .arg(&raw),
        )?;
        let events = raw.join("events.csv");
        runs.done(
            runs.prl(["prepare", "--source", "retailrocket", "--input"])
                .arg(events)
                .arg("--out")
                .arg(runs.data()),
        )?;
        Ok(runs)
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The dataset.
    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// A call of the binary, quiet.
    pub fn prl<const N: usize>(&self, args: [&str; N]) -> Command {
        let mut command = Command::new(&self.prl);
        command
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// A small training that goes on where it is: a dozen steps, a checkpoint every two.
    pub fn train(&self, encoder: &str, method: &str, out: &Path) -> Command {
        let mut command = self.prl([
            "train",
            "--resume",
            "--max-steps",
            "12",
            "--eval-every",
            "2",
            "--batch-size",
            "16",
        ]);
        command.args([
            "--dim",
            "8",
            "--window",
            "5",
            "--threads",
            "2",
            "--encoder",
            encoder,
            "--method",
            method,
        ]);
        command.arg("--data").arg(self.data()).arg("--out").arg(out);
        command
    }

    /// Runs a call that must succeed.
    pub fn done(&self, command: &mut Command) -> Result<()> {
        let status = command
            .status()
            .with_context(|| format!("failed to run {}", self.prl.display()))?;
        ensure!(status.success(), "{command:?} ended with {status}");
        Ok(())
    }

    /// Begins a call.
    pub fn begin(&self, command: &mut Command) -> Result<Child> {
        command
            .spawn()
            .with_context(|| format!("failed to run {}", self.prl.display()))
    }
}

/// Whether two runs ended alike, to the bit: weights, moments, what was measured (times apart), and what is used.
pub fn same_end(a: &Path, b: &Path) -> Result<bool> {
    for file in ["best/weights", "checkpoint/weights", "checkpoint/moments"] {
        let [a, b] = [a, b].map(|run| fs::read(run.join(format!("{file}.safetensors"))));
        if a? != b? {
            return Ok(false);
        }
    }
    Ok(measured(a)? == measured(b)?)
}

/// Every line of what a run measured, and its manifest, without the times.
fn measured(run: &Path) -> Result<Vec<Value>> {
    let text = fs::read_to_string(run.join("metrics.jsonl"))?
        + &fs::read_to_string(run.join("manifest.json"))?;
    let mut values: Vec<Value> = serde_json::Deserializer::from_str(&text)
        .into_iter()
        .collect::<Result<_, _>>()?;
    for value in &mut values {
        value
            .as_object_mut()
            .context("not an object")?
            .remove("seconds");
    }
    Ok(values)
}

/// Whether a run directory holds something that was being written.
pub fn is_unfinished(run: &Path) -> bool {
    let entries = fs::read_dir(run).into_iter().flatten().flatten();
    entries
        .into_iter()
        .any(|entry| entry.file_name().to_string_lossy().starts_with(".staged"))
}
