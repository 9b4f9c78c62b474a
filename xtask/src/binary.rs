//! Programs of this repository, built by cargo, or those of a folder that `pack` made.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::{packed, root};

/// The cargo that runs this task, in this repository's root.
pub fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What the cargo that runs this task says of this package: build scripts of dependencies look at it (ring's does), and
    // half of the release build would be made anew each time one turns from one caller to the other.
    let of_package =
        |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
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
    let [prl] = build(&["--package", "prl-cli"], ["prl"], device)?;
    Ok(prl)
}

/// The same without the raw readers, which take longest to build: what trains and answers from prepared data.
///
/// # Errors
/// If it does not build.
pub fn prl_without_readers(device: &str) -> Result<PathBuf> {
    let lean = [
        "--package",
        "prl-cli",
        "--no-default-features",
        "--features",
        "gru,caser,nextitnet,sasrec",
    ];
    let [prl] = build(&lean, ["prl"], device)?;
    Ok(prl)
}

/// The step bench for a device.
///
/// # Errors
/// If it does not build.
pub fn step_speed(device: &str) -> Result<PathBuf> {
    let [bench] = build(
        &["--package", "prl-train", "--example", "step_speed"],
        ["step_speed"],
        device,
    )?;
    Ok(bench)
}

/// This program.
///
/// # Errors
/// If it does not build.
pub fn xtask() -> Result<PathBuf> {
    let [xtask] = build(&["--package", "xtask"], ["xtask"], "cpu")?;
    Ok(xtask)
}

/// The tests that need a GPU: of the operations, and of training.
pub const GPU_TESTS: [&str; 2] = ["gpu_ops", "gpu"];

/// The programs of [`GPU_TESTS`].
///
/// # Errors
/// If they do not build, as without a CUDA toolkit.
pub fn gpu_tests() -> Result<[PathBuf; 2]> {
    let packages = [
        "--package",
        "prl-kernels",
        "--package",
        "prl-train",
        "--test",
        "gpu_ops",
        "--test",
        "gpu",
    ];
    build(&packages, GPU_TESTS, "cuda")
}

/// The `prl` binary and the smoke of the fuzz targets, built together: so what both are made of is built once.
///
/// # Errors
/// If they do not build.
pub fn prl_and_smoke() -> Result<[PathBuf; 2]> {
    build(
        &["--package", "prl-cli", "--package", "prl-fuzz"],
        ["prl", "smoke"],
        "cpu",
    )
}

/// Builds in one call of cargo, so that all share their dependencies, and returns where the programs of these names lie. In a
/// pack they lie there.
///
/// # Errors
/// If they do not build, or have other names; if the pack has them not.
pub fn build<const N: usize>(
    what: &[&str],
    names: [&str; N],
    device: &str,
) -> Result<[PathBuf; N]> {
    if let Some(pack) = packed::here() {
        return pack.programs(names);
    }
    let mut cargo = cargo();
    cargo.args(["build", "--release"]).args(what);
    if device.starts_with("cuda") {
        cargo.args(["--features", "cuda"]);
    }
    built(cargo, names)
}

/// Programs of the fuzz targets' package, with libFuzzer in them: every edge counts itself, and memory is watched by
/// AddressSanitizer. That last flag is one that stable Rust must be told to take.
///
/// # Errors
/// If they do not build, as without a C++ compiler, or on a system that has no AddressSanitizer.
pub fn with_libfuzzer<const N: usize>(names: [&str; N]) -> Result<[PathBuf; N]> {
    const FLAGS: [&str; 7] = [
        "-Cpasses=sancov-module",
        "-Cllvm-args=-sanitizer-coverage-level=4",
        "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
        "-Cllvm-args=-sanitizer-coverage-pc-table",
        "-Cllvm-args=-sanitizer-coverage-trace-compares",
        "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
        "-Zsanitizer=address",
    ];
    let mut cargo = cargo();
    cargo.args([
        "build",
        "--profile",
        "fuzz",
        "--package",
        "prl-fuzz",
        "--features",
        "libfuzzer",
    ]);
    // With a target named, the flags are not for build scripts and macros.
    cargo
        .args(["--target", "host-tuple"])
        .env("RUSTFLAGS", FLAGS.join(" "))
        .env("RUSTC_BOOTSTRAP", "1");
    cargo.env("RUSTC_WRAPPER", root().join("fuzz/rustc.sh"));
    built(cargo, names)
        .context("libFuzzer and AddressSanitizer need a C++ compiler, and Linux or macOS")
}

/// Runs a build, and returns where the programs of these names lie.
fn built<const N: usize>(mut cargo: Command, names: [&str; N]) -> Result<[PathBuf; N]> {
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
    let messages =
        serde_json::Deserializer::from_slice(&output.stdout).into_iter::<serde_json::Value>();
    let messages = messages
        .collect::<Result<Vec<_>, _>>()
        .context("cargo says something that is not JSON")?;
    let mut paths = [const { PathBuf::new() }; N];
    for (path, name) in paths.iter_mut().zip(names) {
        let own = messages
            .iter()
            .filter(|message| message["target"]["name"] == name);
        let built = own
            .filter_map(|message| message["executable"].as_str())
            .next_back();
        *path = built
            .with_context(|| format!("cargo built no program named {name}"))?
            .into();
    }
    Ok(paths)
}
