//! The Python package in a system with Python alone: its wheel, pandas and the first notebook.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::System;
use crate::root as repository;

/// Packages of the system beyond its minimum.
const PACKAGES: [&str; 3] = ["python3", "python3-venv", "ca-certificates"];
/// Longest time from the wheel to a table of recommendations.
const FIRST_MINUTES: Duration = Duration::from_secs(180);
/// Folder of the user in the system.
const HOME: &str = "srv/python";
/// Commands of the user. The second pip is for the notebook alone.
const STEPS: &str = "set -e
cd /srv/python
python3 -m venv venv
venv/bin/pip install --quiet ./*.whl pandas pyarrow
venv/bin/pip install --quiet nbclient ipykernel
venv/bin/python run.py 1-*.ipynb
";

/// Installs the wheel in the system and runs the first notebook: a log as CSV, prepared, trained,
/// and a frame of recommendations, which the notebook checks.
///
/// # Errors
/// If a step fails, the outputs differ from the notebook's, or it takes longer than three minutes.
pub(super) fn check(root: &Path, mirror: Option<&str>, wheel: &Path) -> Result<()> {
    let system = System::open(root, mirror, &PACKAGES)?;
    let home = root.join(HOME);
    if home.exists() {
        fs::remove_dir_all(&home)?;
    }
    fs::create_dir_all(&home)?;
    let notebooks = repository().join("crates/python/notebooks");
    let name = wheel.file_name().context("the wheel has no name")?;
    copy(wheel, &home.join(name))?;
    for name in ["run.py", "1-from-a-log-to-recommendations.ipynb"] {
        copy(&notebooks.join(name), &home.join(name))?;
    }
    // The network of this machine: its resolver and the authorities that it trusts.
    for file in [
        "etc/resolv.conf",
        "etc/hosts",
        "etc/ssl/certs/ca-certificates.crt",
    ] {
        let here = Path::new("/").join(file);
        if here.exists() {
            copy(&here, &root.join(file))?;
        }
    }
    let _processes = Mount::new(root)?;
    // In the environment, not on the command line, which every user of this machine reads.
    let mut steps = system.command(&["sh", "-c", STEPS]);
    steps.envs(pip_settings());
    let start = Instant::now();
    let output = steps.output().context("failed to run chroot")?;
    ensure!(
        output.status.success(),
        "the wheel in the clean system: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let taken = start.elapsed();
    println!(
        "{}: installed, and a frame of recommendations from a CSV file, in {:.1} s",
        wheel.display(),
        taken.as_secs_f64()
    );
    ensure!(
        taken < FIRST_MINUTES,
        "that is longer than {} s",
        FIRST_MINUTES.as_secs()
    );
    Ok(())
}

/// Variables by which this machine's pip reaches its index.
fn pip_settings() -> Vec<(String, String)> {
    let mut settings = Vec::new();
    for (name, value) in std::env::vars() {
        if name.starts_with("PIP_") || name.to_ascii_lowercase().ends_with("_proxy") {
            settings.push((name, value));
        }
    }
    settings
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| from.display().to_string())?;
    Ok(())
}

/// `/proc` of a system, which Jupyter reads; unmounted when dropped.
struct Mount(PathBuf);

impl Mount {
    fn new(root: &Path) -> Result<Self> {
        let to = root.join("proc");
        let status = Command::new("mount")
            .args(["-t", "proc", "proc"])
            .arg(&to)
            .status();
        ensure!(
            status.is_ok_and(|status| status.success()),
            "failed to mount {}",
            to.display()
        );
        Ok(Self(to))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        _ = Command::new("umount").arg(&self.0).status();
    }
}
