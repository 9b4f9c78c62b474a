//! Failing and full disks: every n-th storage operation fails (by the tests of `prl-train`), and a
//! training runs on file systems of growing size that are too small for it.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::promise::{Promise, Trial};
use super::runs::{Runs, is_same_result};
use super::test_suites;

/// Size of the smallest disk in KiB.
const FIRST_KIB: u64 = 24;
/// Growth from one disk to the next in KiB.
const STEP_KIB: u64 = 8;

/// Runs a command on a disk of $1 KiB mounted at $2, where it must fail, and again after growing
/// the disk, where it must succeed. The run is copied to $3.
const SCRIPT: &str = r#"
size=$1; disk=$2; copy=$3; shift 3
mount -t tmpfs -o size="${size}k" none "$disk" || exit 90
if "$@"; then full=no; else full=yes; fi
ls "$disk/run/checkpoint" >/dev/null 2>&1 && had=yes || had=no
mount -o remount,size=64m "$disk" || exit 90
"$@" || exit 91
cp -r "$disk/run" "$copy" || exit 90
[ $full = yes ] || exit 10
[ $had = yes ] || exit 11
"#;
/// Exit code of [`SCRIPT`]: as promised, a checkpoint was on the full disk.
const WITH_CHECKPOINT: i32 = 0;
/// Exit code: the disk was large enough.
const LARGE_ENOUGH: i32 = 10;
/// Exit code: as promised, without a checkpoint on the full disk.
const WITHOUT_CHECKPOINT: i32 = 11;
/// Exit code: the system gives users no file system of their own.
const NO_DISK: i32 = 90;

/// Tests failing operations, damaged files and full disks.
pub fn run(runs: &Runs) -> Result<Vec<Trial>> {
    let marked = test_suites::marked_lines("prl-train", "faults")?;
    let mut faults = None;
    let mut damage = None;
    for line in &marked {
        match line.split_once(' ') {
            Some(("faults", rest)) => faults = rest.split_once(' '),
            Some(("damage", rest)) => damage = Some(rest),
            _ => {}
        }
    }
    let (faults, kinds) = faults.context("the tests of faults print no count of faults")?;
    let damage = damage.context("the tests of faults print no count of damaged files")?;
    let kinds: Value = serde_json::from_str(kinds)?;
    let mut counts = Vec::new();
    for (kind, n) in kinds.as_object().into_iter().flatten() {
        counts.push(format!("{n} {kind}"));
    }
    Ok(vec![
        Trial::new(
            Promise::Atomic,
            format!(
                "the n-th storage operation of a training fails, or the process ends there, for every \
                 n ({}); resumed, it gives the same result",
                counts.join(", ")
            ),
            faults.parse()?,
            0,
        ),
        Trial::new(
            Promise::Atomic,
            "a file of a run truncated, extended, with one bit flipped, or of another run: refused by \
             name",
            damage.parse()?,
            0,
        ),
        run_on_full_disks(runs)?,
    ])
}

fn run_on_full_disks(runs: &Runs) -> Result<Trial> {
    let (reference, disk, copy) = (runs.path("whole"), runs.path("disk"), runs.path("copy"));
    runs.remove(&reference)?;
    fs::create_dir_all(&disk)?;
    runs.complete(&mut runs.train("gru", "prl", &reference))?;
    let train = runs.train("gru", "prl", &disk.join("run"));
    let (mut times, mut with_checkpoint, mut lost) = (0, 0, 0);
    let mut size = FIRST_KIB;
    loop {
        runs.remove(&copy)?;
        let code = run_on_disk(size, &disk, &copy, &train);
        if code == NO_DISK {
            ensure!(times == 0, "failed to mount a disk of {size} KiB");
            let tried = "full disks: not tried, this system lets users mount no file system";
            return Ok(Trial::new(Promise::Atomic, tried, 0, 0));
        }
        if code == LARGE_ENOUGH {
            break;
        }
        times += 1;
        with_checkpoint += u64::from(code == WITH_CHECKPOINT);
        let is_expected = [WITH_CHECKPOINT, WITHOUT_CHECKPOINT].contains(&code);
        lost += u64::from(!is_expected || !is_same_result(&reference, &copy)?);
        size += STEP_KIB;
    }
    let tried = format!(
        "full disks of {FIRST_KIB} KiB and more: the run fails with an error, and resumed with more \
         space gives the same result ({with_checkpoint} had a checkpoint before)"
    );
    Ok(Trial::new(Promise::Atomic, tried, times, lost))
}

/// Exit code of [`SCRIPT`] in a user namespace of its own.
fn run_on_disk(size: u64, disk: &Path, copy: &Path, train: &Command) -> i32 {
    let mut shell = Command::new("unshare");
    shell.args(["--user", "--map-root-user", "--mount"]);
    shell.args(["sh", "-c", SCRIPT, "sh", &size.to_string()]);
    shell.arg(disk).arg(copy);
    shell.arg(train.get_program()).args(train.get_args());
    let status = shell
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match status {
        Ok(status) => status.code().unwrap_or(NO_DISK),
        Err(_) => NO_DISK,
    }
}
