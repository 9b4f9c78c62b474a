//! Disks that fill: a training on a file system of its own, which is too small at first, at every place of its course.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use serde_json::Value;

use super::row::{Promise, Row};
use super::runs::{Runs, same_end};
use super::suites;

/// KiB of the smallest disk and of the step to the next one.
const FIRST: u64 = 24;
const STEP: u64 = 8;

/// On a disk of $1 KiB at $2: the call that follows must fail; with room, it must succeed. The run is copied to $3.
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

/// Fails each operation (by the test of that name), and fills disks where the system lets a user have one.
pub fn run(runs: &Runs) -> Result<Vec<Row>> {
    let said = suites::said("prl-train", "faults")?;
    let count = |what: &str| {
        said.iter()
            .find(|line| line.starts_with(what))
            .and_then(|line| line.split(' ').nth(1)?.parse().ok())
    };
    let [faults, damage] = ["faults", "damage"].map(|what| count(what).unwrap_or(0));
    ensure!(
        faults > 0 && damage > 0,
        "the test of faults does not say how often it tried"
    );
    let kinds = said
        .iter()
        .find_map(|line| line.splitn(3, ' ').nth(2))
        .unwrap_or_default();
    let kinds: Value = serde_json::from_str(kinds)?;
    let kinds: Vec<String> = kinds
        .as_object()
        .into_iter()
        .flatten()
        .map(|(kind, n)| format!("{n} {kind}"))
        .collect();
    let row = |tried: String, times, lost| Row {
        promise: Promise::Whole,
        tried,
        times,
        lost,
    };
    let failed = format!(
        "the n-th operation of a training on the disk fails, or is its last, for every n ({}); then it goes on to the same end",
        kinds.join(", ")
    );
    let mut rows = vec![row(failed, faults, 0)];
    rows.push(row(
        "a file of a run cut short, longer, one bit flipped, or another's: refused by its name"
            .into(),
        damage,
        0,
    ));
    rows.push(full(runs)?);
    Ok(rows)
}

fn full(runs: &Runs) -> Result<Row> {
    let (whole, disk, copy) = (runs.path("whole"), runs.path("disk"), runs.path("copy"));
    _ = fs::remove_dir_all(&whole);
    fs::create_dir_all(&disk)?;
    runs.done(&mut runs.train("gru", "prl", &whole))?;
    let (mut times, mut had, mut lost) = (0, 0, 0);
    for size in (FIRST..).step_by(STEP as usize) {
        _ = fs::remove_dir_all(&copy);
        let code = on_disk(
            size,
            &disk,
            &copy,
            &runs.train("gru", "prl", &disk.join("run")),
        )?;
        if code == 90 && times == 0 {
            let tried =
                "a disk that fills: not tried, this system gives no file system to a user".into();
            return Ok(Row {
                promise: Promise::Whole,
                tried,
                times: 0,
                lost: 0,
            });
        }
        ensure!(code != 90, "a disk of {size} KiB cannot be had");
        if code == 10 {
            break;
        }
        times += 1;
        had += u64::from(code == 0);
        lost += u64::from(code == 91 || !same_end(&whole, &copy)?);
    }
    let tried = format!(
        "a disk that fills, of {FIRST} KiB and more: the error is loud, and with room the run goes on to the same end ({had} had \
         a checkpoint before)"
    );
    Ok(Row {
        promise: Promise::Whole,
        tried,
        times,
        lost,
    })
}

/// How the script ended: 0 and 11 as it should, with and without a checkpoint before; 10 if the disk was large enough.
fn on_disk(size: u64, disk: &Path, copy: &Path, train: &Command) -> Result<i32> {
    let mut shell = Command::new("unshare");
    shell.args([
        "--user",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        SCRIPT,
        "sh",
        &size.to_string(),
    ]);
    shell
        .arg(disk)
        .arg(copy)
        .arg(train.get_program())
        .args(train.get_args());
    let status = shell
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    Ok(status.ok().and_then(|status| status.code()).unwrap_or(90))
}
