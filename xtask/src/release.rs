//! `cargo xtask release`: the files of a release for one target, as a tag makes them: an archive
//! with the program, its manual pages and shell completions, the bill of materials, the notes and
//! the checksums.
//!
//! Equal programs give equal archives: times are the commit's, and owners are left out.

mod archive;
mod notes;
mod sbom;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use prl_fs::sha256_hex;

use crate::{licenses, programs, root};
use archive::Archive;

/// Features of the released binary: the default ones.
const FEATURES: &str = "data,tables,serve,gru,caser,nextitnet,sasrec,core";
/// Shells and the places of their completion scripts in the archive.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "share/bash-completion/completions/prl"),
    ("zsh", "share/zsh/site-functions/_prl"),
    ("fish", "share/fish/vendor_completions.d/prl.fish"),
];
/// Files of the repository in the archive.
const DOCUMENTS: [&str; 3] = ["README.md", "LICENSE", "CHANGELOG.md"];
/// Checksums of a release's files.
const CHECKSUMS: &str = "SHA256SUMS";

/// Flags of `release`.
#[derive(clap::Args)]
pub struct Args {
    /// Directory for the files; created, or one whose files are replaced
    #[arg(long)]
    out: PathBuf,
    /// Target of the program [default: that of this machine]
    #[arg(long, value_name = "TRIPLE")]
    target: Option<String>,
    /// The program, built for the target and runnable here, instead of building it
    #[arg(long, value_name = "FILE")]
    prl: Option<PathBuf>,
    /// Also build the Python wheel, by maturin
    #[arg(long)]
    wheel: bool,
    /// Fail unless this tag is the version and the change log has a section of it
    #[arg(long)]
    tag: Option<String>,
}

/// Makes the files.
///
/// # Errors
/// If the tag is not the version, the program does not build or run, or a file cannot be written.
pub fn run(args: &Args) -> Result<()> {
    let version = version()?;
    let changes = read(&root().join("CHANGELOG.md"))?;
    if let Some(tag) = &args.tag {
        ensure!(
            *tag == format!("v{version}"),
            "the tag is {tag} and the version of Cargo.toml {version}; they must agree"
        );
        notes::section(&changes, &version)
            .with_context(|| format!("CHANGELOG.md has no section [{version}]; write it first"))?;
    }
    let target = match &args.target {
        Some(target) => target.clone(),
        None => host()?,
    };
    let prl = match &args.prl {
        Some(prl) => prl.clone(),
        None => build(&target)?,
    };
    fs::create_dir_all(&args.out).with_context(|| args.out.display().to_string())?;
    let name = format!("prl-{version}-{target}");
    let commit = commit()?;
    let licenses = licenses::collect(FEATURES)?;
    let files = Files {
        prl: &prl,
        licenses: &licenses,
        time: commit.time,
    };
    let archive = files.archive(&name)?;
    write(&args.out.join(format!("{name}.tar.gz")), &archive)?;
    let bill = sbom::of_program(&target, &version, &commit)?;
    write(&args.out.join(format!("{name}.cdx.json")), bill.as_bytes())?;
    let notes =
        notes::section(&changes, &version).or_else(|| notes::section(&changes, "Unreleased"));
    let notes = notes.context("CHANGELOG.md has no section [Unreleased]")?;
    write(&args.out.join("NOTES.md"), notes.as_bytes())?;
    if args.wheel {
        build_wheel(&args.out)?;
    }
    write_checksums(&args.out)?;
    println!(
        "{}: {name}.tar.gz and the files beside it",
        args.out.display()
    );
    Ok(())
}

/// Content of an archive.
struct Files<'a> {
    prl: &'a Path,
    licenses: &'a str,
    /// Seconds since 1970 that all files get.
    time: u64,
}

impl Files<'_> {
    fn archive(&self, name: &str) -> Result<Vec<u8>> {
        let mut archive = Archive::new(name, self.time);
        let program = fs::read(self.prl).with_context(|| self.prl.display().to_string())?;
        archive.add_program("bin/prl", &program)?;
        for (shell, path) in COMPLETIONS {
            archive.add(path, &self.output(&["completions", shell])?)?;
        }
        let pages = tempfile::tempdir()?;
        let dir = pages.path().display().to_string();
        self.output(&["man", "--out", &dir])?;
        for page in sorted_files(pages.path())? {
            let name = page.file_name().unwrap_or_default().to_string_lossy();
            archive.add(&format!("share/man/man1/{name}"), &fs::read(&page)?)?;
        }
        for document in DOCUMENTS {
            archive.add(document, read(&root().join(document))?.as_bytes())?;
        }
        archive.add("LICENSES.txt", self.licenses.as_bytes())?;
        archive.finish()
    }

    /// Output of the program.
    fn output(&self, args: &[&str]) -> Result<Vec<u8>> {
        let failed = || format!("failed to run {}", self.prl.display());
        let output = Command::new(self.prl).args(args).output();
        let output = output.with_context(failed)?;
        ensure!(
            output.status.success(),
            "{} {}: {}",
            self.prl.display(),
            args.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(output.stdout)
    }
}

/// Commit that the release is made of.
struct Commit {
    hash: String,
    /// Seconds since 1970.
    time: u64,
}

fn commit() -> Result<Commit> {
    let shown = output(Command::new("git").args(["show", "-s", "--format=%H %ct", "HEAD"]))?;
    let (hash, time) = shown.split_once(' ').context("git show printed no time")?;
    Ok(Commit {
        hash: hash.to_owned(),
        time: time.parse()?,
    })
}

/// Version of the workspace.
///
/// # Errors
/// If Cargo.toml has none.
pub fn version() -> Result<String> {
    let manifest: toml::Table = read(&root().join("Cargo.toml"))?.parse()?;
    let version = manifest["workspace"]["package"]["version"].as_str();
    Ok(version.context("Cargo.toml has no version")?.to_owned())
}

/// Target of this machine.
fn host() -> Result<String> {
    let text = output(Command::new("rustc").arg("-vV"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(line.context("rustc -vV names no host")?.to_owned())
}

/// Builds the program in the release profile, which strips it.
fn build(target: &str) -> Result<PathBuf> {
    let mut cargo = programs::cargo();
    cargo.args(["build", "--release", "--locked", "--package", "prl-cli"]);
    cargo.args(["--bin", "prl", "--target", target]);
    let [prl] = prl_experiments::programs::run_build(cargo, ["prl"])?;
    Ok(prl)
}

fn build_wheel(out: &Path) -> Result<()> {
    let mut maturin = Command::new("maturin");
    maturin.args(["build", "--release", "--locked"]);
    maturin.args(["--manifest-path", "crates/python/Cargo.toml", "--out"]);
    maturin.arg(std::path::absolute(out)?).current_dir(root());
    let status = maturin.status();
    let status = status.context("failed to run maturin; install it by `pip install maturin`")?;
    ensure!(status.success(), "maturin failed: {status}");
    Ok(())
}

/// Writes the checksums of all files of a directory, as `sha256sum -c` reads them.
fn write_checksums(dir: &Path) -> Result<()> {
    let mut text = String::new();
    for file in sorted_files(dir)? {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        if name != CHECKSUMS {
            text.push_str(&format!("{}  {name}\n", sha256_hex(&fs::read(&file)?)));
        }
    }
    ensure!(!text.is_empty(), "{} has no file", dir.display());
    write(&dir.join(CHECKSUMS), text.as_bytes())
}

/// Files of a directory, by name.
fn sorted_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.current_dir(root()).output();
    let output = output.with_context(|| format!("failed to run {command:?}"))?;
    ensure!(output.status.success(), "{command:?} failed");
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| path.display().to_string())
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    Ok(prl_fs::write_atomic(path, bytes)?)
}

#[cfg(all(test, unix))]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A program that prints its arguments, and writes a manual page.
    const PROGRAM: &str =
        "#!/bin/sh\nif [ \"$1\" = man ]; then echo page > \"$3/prl.1\"; fi\necho \"$*\"\n";

    fn program(dir: &Path) -> PathBuf {
        let prl = dir.join("prl");
        fs::write(&prl, PROGRAM).unwrap();
        fs::set_permissions(&prl, fs::Permissions::from_mode(0o755)).unwrap();
        prl
    }

    #[test]
    fn archive_has_program_pages_and_completions_and_is_reproducible() {
        let dir = tempfile::tempdir().unwrap();
        let prl = program(dir.path());
        let files = Files {
            prl: &prl,
            licenses: "a 1: MIT\n",
            time: 1_700_000_000,
        };
        let archive = files.archive("prl-1-t").unwrap();
        assert!(archive == files.archive("prl-1-t").unwrap());
        let mut entries = BTreeMap::new();
        let mut unpacked = tar::Archive::new(flate2::read::GzDecoder::new(archive.as_slice()));
        for entry in unpacked.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let header = entry.header();
            let (mode, time) = (header.mode().unwrap(), header.mtime().unwrap());
            assert_eq!((header.uid().unwrap(), time), (0, 1_700_000_000));
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            entries.insert(path, (mode, text));
        }
        let entry = |path: &str| entries[&format!("prl-1-t/{path}")].clone();
        assert_eq!(entry("bin/prl"), (0o755, PROGRAM.to_owned()));
        assert_eq!(entry("share/man/man1/prl.1"), (0o644, "page\n".to_owned()));
        let zsh = entry("share/zsh/site-functions/_prl");
        assert_eq!(zsh, (0o644, "completions zsh\n".to_owned()));
        assert_eq!(entry("LICENSES.txt").1, "a 1: MIT\n");
        assert_eq!(entries.len(), 9);
    }

    #[test]
    fn checksums_are_those_of_the_files() {
        let dir = tempfile::tempdir().unwrap();
        assert!(write_checksums(dir.path()).is_err());
        fs::write(dir.path().join("b"), "abc").unwrap();
        fs::write(dir.path().join("a"), "").unwrap();
        for _ in 0..2 {
            write_checksums(dir.path()).unwrap();
            let text = fs::read_to_string(dir.path().join(CHECKSUMS)).unwrap();
            let expected = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  a\n\
                            ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  b\n";
            assert_eq!(text, expected);
        }
    }
}
