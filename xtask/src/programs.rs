//! Programs of this repository that the chores build and run.

use std::path::PathBuf;
use std::process::Command;
use std::thread;

use anyhow::{Context, Result};
use prl_experiments::programs;

use crate::{root, workspace};

/// The cargo that runs this task, with the repository's root as its directory.
pub fn cargo() -> Command {
    programs::cargo(workspace())
}

/// Results of a function for each item, in their order; every item has a thread of its own.
///
/// # Errors
/// If a thread returns an error or panics.
pub fn in_parallel<T: Sync, R: Send>(
    items: &[T],
    f: impl Fn(&T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for item in items {
            threads.push(scope.spawn(|| f(item)));
        }
        let mut results = Vec::new();
        for thread in threads {
            results.push(thread.join().ok().context("a thread panicked")??);
        }
        Ok(results)
    })
}

/// Builds programs in one call of cargo and returns their paths, see [`programs::build`];
/// `packages` are flags separated by spaces.
fn build<const N: usize>(packages: &str, names: [&str; N], device: &str) -> Result<[PathBuf; N]> {
    let packages: Vec<&str> = packages.split(' ').collect();
    programs::build(workspace(), &packages, names, device)
}

/// The `prl` binary without the readers of raw logs, which take longest to build: trains and
/// recommends from prepared data.
///
/// # Errors
/// If it does not build.
pub fn prl_without_readers(device: &str) -> Result<PathBuf> {
    let lean = "--package prl-cli --no-default-features --features gru,caser,nextitnet,sasrec";
    let [prl] = build(lean, ["prl"], device)?;
    Ok(prl)
}

/// The `prl` binary.
///
/// # Errors
/// If it does not build.
pub fn prl() -> Result<PathBuf> {
    let [prl] = build("--package prl-cli", ["prl"], "cpu")?;
    Ok(prl)
}

/// The `prl` binary that a build of all tests leaves beside them, if it is there.
#[cfg(test)]
pub fn prl_of_tests() -> Option<PathBuf> {
    let folder = std::env::current_exe().ok()?.parent()?.parent()?.to_owned();
    let prl = folder.join(format!("prl{}", std::env::consts::EXE_SUFFIX));
    if prl.is_file() {
        return Some(prl);
    }
    eprintln!(
        "SKIPPED: no prl in {}; build the workspace's tests",
        folder.display()
    );
    None
}

/// The benchmark of training steps for a device.
///
/// # Errors
/// If it does not build.
pub fn step_speed(device: &str) -> Result<PathBuf> {
    let packages = "--package prl-train --example step_speed";
    let [bench] = build(packages, ["step_speed"], device)?;
    Ok(bench)
}

/// The programs that run and report the experiments and the benches.
///
/// # Errors
/// If they do not build.
pub fn prl_reproduce_and_bench() -> Result<[PathBuf; 2]> {
    let packages = "--package prl-report --package prl-bench";
    build(packages, ["prl-reproduce", "prl-bench"], "cpu")
}

/// Names of the test programs that need a GPU: operations and training.
pub const GPU_TESTS: [&str; 2] = ["gpu_ops", "gpu"];

/// The programs of [`GPU_TESTS`].
///
/// # Errors
/// If they do not build, as without a CUDA toolkit.
pub fn gpu_tests() -> Result<[PathBuf; 2]> {
    let packages = "--package prl-kernels --package prl-train --test gpu_ops --test gpu";
    build(packages, GPU_TESTS, "cuda")
}

/// The `prl` binary and the smoke test of the fuzz targets, built together to share dependencies.
///
/// # Errors
/// If they do not build.
pub fn prl_and_smoke() -> Result<[PathBuf; 2]> {
    let packages = "--package prl-cli --package prl-fuzz";
    build(packages, ["prl", "smoke"], "cpu")
}

/// Programs of the fuzz package with libFuzzer: edge coverage counters and AddressSanitizer, whose
/// flag needs `RUSTC_BOOTSTRAP` on stable Rust.
///
/// # Errors
/// If they do not build, for example without a C++ compiler or AddressSanitizer.
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
    cargo.args(["build", "--profile", "fuzz"]);
    cargo.args(["--package", "prl-fuzz", "--features", "libfuzzer"]);
    // With an explicit target, the flags do not apply to build scripts and macros.
    cargo
        .args(["--target", "host-tuple"])
        .env("RUSTFLAGS", FLAGS.join(" "))
        .env("RUSTC_BOOTSTRAP", "1");
    cargo.env("RUSTC_WRAPPER", root().join("crates/fuzz/rustc.sh"));
    programs::run_build(cargo, names)
        .context("libFuzzer and AddressSanitizer need a C++ compiler, and Linux or macOS")
}
