//! The image of docs/deploy, built by buildah on the clean system as its base.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::root;

/// Name of the base image.
const BASE: &str = "localhost/prl-clean-base";
/// Name of the image.
const IMAGE: &str = "localhost/prl-clean";

/// Builds the image from the system and the program, and runs the program in it.
///
/// # Errors
/// If it does not build, or its program does not run as a user without rights.
pub(super) fn check(system: &Path, prl: &Path) -> Result<()> {
    if !super::is_there("buildah") {
        println!("skipped: the image needs buildah");
        return Ok(());
    }
    let store = tempfile::tempdir()?;
    let buildah = Buildah(store.path());
    let base = buildah.output(&["from", "scratch"])?;
    buildah.output(&["add", "-q", &base, &system.display().to_string(), "/"])?;
    buildah.output(&["commit", "-q", &base, BASE])?;
    let program = store.path().join("program");
    fs::create_dir(&program)?;
    fs::copy(prl, program.join("prl")).with_context(|| prl.display().to_string())?;
    let (file, context) = (
        root().join("docs/deploy/Dockerfile"),
        root().join("docs/deploy"),
    );
    buildah.output(&[
        "build",
        "--quiet",
        "--isolation=chroot",
        "--target=prebuilt",
        &format!("--build-arg=BASE={BASE}"),
        &format!("--build-context=program={}", program.display()),
        &format!("--tag={IMAGE}"),
        &format!("--file={}", file.display()),
        &context.display().to_string(),
    ])?;
    let container = buildah.output(&["from", IMAGE])?;
    let run = |words: &[&str]| {
        let run = ["run", "--isolation=chroot", &container, "--"];
        buildah.output(&[&run, words].concat())
    };
    let (version, user) = (run(&["prl", "--version"])?, run(&["id", "-u"])?);
    ensure!(
        user == "65534",
        "the image's user is {user}; expected 65534"
    );
    println!("{IMAGE}: {version}, as user {user}");
    Ok(())
}

/// buildah with a store of its own in a directory.
struct Buildah<'a>(&'a Path);

impl Buildah<'_> {
    /// Output of a command, without the line end.
    fn output(&self, args: &[&str]) -> Result<String> {
        let mut command = Command::new("buildah");
        command.arg("--root").arg(self.0.join("images"));
        command.arg("--runroot").arg(self.0.join("state"));
        // The only driver that works in any file system.
        command.args(["--storage-driver", "vfs"]).args(args);
        let output = command.output().context("failed to run buildah")?;
        ensure!(
            output.status.success(),
            "buildah {}: {}",
            args[0],
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
    }
}
