//! Refused commands: each exits with its code, names the mend, and leaves all files as they were.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use prl_dataset::Split;

use crate::common::ring_in_splits;

fn prl(dir: &Path, line: &str) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_prl"))
        .current_dir(dir)
        .args(line.split_whitespace())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().unwrap(), text)
}

/// Every file and directory under `dir`, with the contents of the files.
fn tree(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut entries = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let bytes = if path.is_dir() {
                open.push(path.clone());
                Vec::new()
            } else {
                std::fs::read(&path).unwrap()
            };
            entries.insert(path.display().to_string(), bytes);
        }
    }
    entries
}

/// Moves a dataset of 40 sessions with these splits to `name`.
fn dataset(dir: &Path, name: &str, splits: &[Split]) {
    let made = ring_in_splits(dir, 40, splits);
    std::fs::rename(made, dir.join(name)).unwrap();
}

/// The command line, its exit code and a part of its message. `full` has all splits, `noval` no
/// validation split, `notrain` a test split alone; `run` was trained on `full`, and the dataset of
/// `moved` is elsewhere.
const REFUSED: &[(&str, i32, &str)] = &[
    ("train --out new --data gone", 3, "name one with --data"),
    ("train --out new", 2, "use --data"),
    (
        "train --out new --data notrain",
        3,
        "a larger training split",
    ),
    (
        "train --out new --data noval --patience 3",
        2,
        "patience needs a validation",
    ),
    (
        "train --out new --data full --hold-out .5",
        2,
        "leave hold_out out",
    ),
    (
        "train --out new --data noval --hold-out 1.5",
        2,
        "hold_out must lie",
    ),
    (
        "train --out new --data noval --hold-out .1 --no-validation",
        2,
        "no_validation excludes",
    ),
    (
        "train --out new --data full --epochs 0",
        2,
        "epochs and max_steps",
    ),
    (
        "train --out new --data full --max-steps 0",
        2,
        "epochs and max_steps",
    ),
    (
        "train --out new --data full --batch-size 0",
        2,
        "batch_size",
    ),
    (
        "train --out new --data full --encoder sasrec --window 0",
        2,
        "window",
    ),
    ("train --out new --data full --device tpu", 2, "tpu"),
    (
        "train --out new --data full --threads 0",
        2,
        "--threads is 0",
    ),
    (
        "train --out new --data full --config gone.toml",
        1,
        "gone.toml",
    ),
    (
        "train --out run --data full",
        1,
        "--resume, or name another --out",
    ),
    (
        "train --out run --data full --resume --seed 9",
        1,
        "other settings",
    ),
    (
        "train --out run --data noval --resume --max-steps 2 --dim 8",
        3,
        "--data",
    ),
    ("train --out full --data full", 1, "name another --out"),
    ("train --from run --out new", 2, "--from needs --data"),
    (
        "train --from gone --data full --out new",
        1,
        "`prl train --out`",
    ),
    (
        "train --from run --data full --out new --dim 16",
        2,
        "leave --dim out",
    ),
    (
        "train --from run --data full --out new --recipe paper",
        2,
        "was trained under modern",
    ),
    (
        "train --from run --data full --out new --config a.toml",
        2,
        "cannot be used with",
    ),
    ("train --data full --out new --optimizer carry", 2, "--from"),
    (
        "train --from run --data full --out run",
        1,
        "name another --out",
    ),
    (
        "train --from run --data full --out run --resume",
        1,
        "started from nothing",
    ),
    ("evaluate --run moved", 3, "name its directory with --data"),
    (
        "evaluate --run run --data gone",
        3,
        "name its directory with --data",
    ),
    (
        "evaluate --run run --data noval",
        3,
        "name the right one with --data",
    ),
    ("evaluate --run full", 1, "`prl train --out`"),
    (
        "recommend --run gone --items item-1",
        1,
        "`prl train --out`",
    ),
    (
        "blend run --out new --weights=-1",
        2,
        "a weight is negative",
    ),
    (
        "blend run run --out new --weights 1",
        2,
        "1 weights for 2 runs",
    ),
    ("blend run --out full", 1, "name another --out"),
    ("blend run gone --out new", 1, "`prl train --out`"),
    ("inspect gone", 3, "prl prepare"),
    #[cfg(feature = "data")]
    (
        "synth --like tiny --sessions 3 --out new",
        2,
        "--sessions 3",
    ),
    #[cfg(feature = "data")]
    ("synth --like tiny --out raw", 1, "name another --out"),
    #[cfg(feature = "data")]
    (
        "prepare --source retailrocket --input gone.csv --out new",
        3,
        "gone.csv",
    ),
];

#[test]
fn refused_command_names_the_mend_and_leaves_every_file() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    dataset(dir, "full", &[Split::Test, Split::Val]);
    dataset(dir, "noval", &[Split::Test]);
    dataset(dir, "notrain", &[Split::Test; 10]);
    dataset(dir, "away", &[Split::Test, Split::Val]);
    for (run, data) in [("run", "full"), ("moved", "away")] {
        let line = format!("train --out {run} --data {data} --max-steps 2 --dim 8");
        assert_eq!(prl(dir, &line).0, 0);
    }
    std::fs::rename(dir.join("away"), dir.join("elsewhere")).unwrap();
    std::fs::create_dir(dir.join("raw")).unwrap();
    let log = "timestamp,visitorid,event,itemid,transactionid\n1433221332117,1,view,2,\n";
    std::fs::write(dir.join("raw/events.csv"), log).unwrap();

    let before = tree(dir);
    let mut wrong = Vec::new();
    for &(line, code, part) in REFUSED {
        let (found, text) = prl(dir, line);
        let changed = tree(dir) != before;
        if found != code || !text.contains(part) || changed {
            wrong.push(format!("{line}: {found}, changed: {changed}, {text}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    // The message of a moved dataset leads to a command that works.
    assert_eq!(prl(dir, "evaluate --run moved --data elsewhere").0, 0);
}
