//! A project outside the workspace that uses the packaged libraries, from their archives alone.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use flate2::read::GzDecoder;

use crate::programs::cargo;
use crate::root;

/// The project's program: a log, the examples of it, an encoder's states, a prompt's hidden vector
/// and a metric, each of another library.
const MAIN: &str = r#"use candle_core::{DType, Device, Tensor};
use prl_core::{EncodedState, PromptBlock, PromptBlockConfig, Prompts};
use prl_dataset::{Arrays, Dataset, ItemMap, Kind, ManifestInput, Split, SplitExamples, write};
use prl_encoders::{EncoderKind, PaddedBatch};
use prl_eval::{Case, Rewards, Scores, pessimistic_rank};
use prl_nn::{ForwardCtx, SeededVarMap};

const DIM: usize = 8;
const WINDOW: usize = 4;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::path::PathBuf::from(std::env::args().nth(1).ok_or("no directory")?);
    let arrays = Arrays {
        offsets: vec![0, 3],
        items: vec![0, 1, 0],
        kinds: vec![Kind::Click, Kind::Click, Kind::Purchase],
        times: vec![0, 1_000, 2_000],
        splits: vec![Split::Train; 3],
    };
    write(&dir, &arrays, &ItemMap::new(["a", "b"])?, ManifestInput::default())?;
    let data = Dataset::open(&dir)?;
    let batch = SplitExamples::new(&data, Split::Train, false).batch([2], WINDOW, None);

    let vb = SeededVarMap::new(42).var_builder(DType::F32, &Device::Cpu);
    let encoder = EncoderKind::Gru.config().build(DIM, WINDOW, vb.pp("encoder"))?;
    let xs = Tensor::ones((1, WINDOW, DIM), DType::F32, &Device::Cpu)?;
    let state = encoder.encode(&PaddedBatch { xs: &xs, lengths: &[2] }, &ForwardCtx::infer())?;
    let block = PromptBlock::new(PromptBlockConfig::default(), DIM, vb.pp("prompt"))?;
    let prompts = Prompts { returns: vec![2.0], steps: vec![2], tilt: 0.0 };
    let hidden = block.hidden(&EncodedState::Last(&state), &prompts, &ForwardCtx::infer())?;

    let rank = pessimistic_rank(&[0.9, 0.1], batch.targets[0])?;
    let scores = Scores::new(&[Case { kind: batch.kinds[0], rank }], Rewards::default())?;
    println!("{:?} {:?} {:?}", hidden.dims(), batch.windows.items, scores.purchase.hr5);
    Ok(())
}
"#;
/// Its output.
const EXPECTED: &str = "[1, 8] [0, 1, 2, 2] Some(1.0)";
/// Libraries that it depends on, beside candle.
const USES: [&str; 5] = ["core", "dataset", "encoders", "eval", "nn"];

/// Unpacks the archives of the packages `folders`, builds a project of them and runs it.
///
/// # Errors
/// If an archive is missing, the project does not build, or it prints something else.
pub(super) fn check<'a>(folders: impl Iterator<Item = &'a String>, version: &str) -> Result<()> {
    let target = target_dir()?;
    let project = tempfile::tempdir()?;
    let mut patches = String::new();
    for folder in folders {
        let name = format!("prl-{folder}");
        let archive = target.join(format!("package/{name}-{version}.crate"));
        unpack(&archive, project.path())?;
        patches.push_str(&format!("{name} = {{ path = \"{name}-{version}\" }}\n"));
    }
    let mut dependencies = "candle-core = \"0.11.1\"\n".to_owned();
    for library in USES {
        dependencies.push_str(&format!("prl-{library} = \"{version}\"\n"));
    }
    // An archive names the others by their versions, as a registry has them.
    let manifest = format!(
        "[package]\nname = \"consumer\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n\
         [dependencies]\n{dependencies}\n[patch.crates-io]\n{patches}"
    );
    fs::create_dir(project.path().join("src"))?;
    fs::write(project.path().join("Cargo.toml"), manifest)?;
    fs::write(project.path().join("src/main.rs"), MAIN)?;
    // The dependencies that this repository is tested with.
    fs::copy(root().join("Cargo.lock"), project.path().join("Cargo.lock"))?;
    let mut run = cargo();
    run.args(["run", "--quiet", "--manifest-path"]);
    run.arg(project.path().join("Cargo.toml"));
    run.arg("--").arg(project.path().join("data"));
    // Kept, so that a second call is quick.
    run.env("CARGO_TARGET_DIR", target.join("package-consumer"));
    let output = run.output().context("failed to run cargo")?;
    ensure!(
        output.status.success(),
        "a project that uses the packages does not build or run:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let printed = String::from_utf8(output.stdout)?;
    ensure!(
        printed.trim() == EXPECTED,
        "a project that uses the packages printed {:?}; expected {EXPECTED:?}",
        printed.trim()
    );
    println!("a project outside the workspace uses the packages: {EXPECTED}");
    Ok(())
}

/// Directory of cargo's output.
fn target_dir() -> Result<PathBuf> {
    let output = cargo()
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .output()?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let dir = metadata["target_directory"].as_str();
    Ok(dir
        .context("cargo metadata names no target directory")?
        .into())
}

fn unpack(archive: &Path, into: &Path) -> Result<()> {
    let file = fs::File::open(archive).with_context(|| archive.display().to_string())?;
    tar::Archive::new(GzDecoder::new(file))
        .unpack(into)
        .with_context(|| archive.display().to_string())
}
