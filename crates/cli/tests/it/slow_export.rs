//! Exported networks in onnxruntime, and weights from PyTorch as runs. The Python interpreter is
//! PRL_EXPORT_PYTHON, by default python3; without the packages a test is skipped with a message.

use std::ffi::OsString;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{ITEMS, ring};

/// The Python that has some modules, if there is one. PRL_EXPORT_PYTHON must have them if set.
fn python(modules: &str) -> Option<OsString> {
    let named = std::env::var_os("PRL_EXPORT_PYTHON");
    let python = named.clone().unwrap_or_else(|| "python3".into());
    let import = format!("import {modules}");
    let tried = Command::new(&python).args(["-c", &import]).output();
    if tried.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    assert!(
        named.is_none(),
        "PRL_EXPORT_PYTHON is set, but lacks one of {modules}"
    );
    eprintln!("SKIPPED: one of {modules} (pip install) is missing");
    None
}

fn crate_dir() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn ok(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn prl(dir: &Path, line: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_prl"));
    ok(command.current_dir(dir).args(line.split(' ')))
}

/// Requests of sessions of 0 to 8 events, some with a purchase.
fn requests(path: PathBuf) {
    let mut lines = String::new();
    for case in 0..40_u32 {
        let (mut items, mut kinds) = (Vec::new(), Vec::new());
        for event in 0..case % 9 {
            items.push(format!("item-{}", (case * 7 + event * event) % ITEMS));
            kinds.push(if (case + event) % 4 == 0 {
                "purchase"
            } else {
                "click"
            });
        }
        let mu = 0.25 * f64::from(case % 12);
        let request = serde_json::json!({ "items": items, "kinds": kinds, "k": 20, "mu": mu });
        writeln!(lines, "{request}").unwrap();
    }
    std::fs::write(path, lines).unwrap();
}

#[test]
fn onnxruntime_has_the_scores_of_every_encoder_and_recipe() {
    let Some(python) = python("onnxruntime, numpy") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    ring(dir, 60);
    requests(dir.join("requests.jsonl"));
    let script = crate_dir().join("../export/tests/compare_onnx.py");
    for recipe in ["paper", "modern"] {
        for encoder in ["gru", "caser", "nextitnet", "sasrec", "core"] {
            let name = format!("{recipe}-{encoder}");
            let settings = format!(
                "--recipe {recipe} --encoder {encoder} --method prl --dim 16 --max-steps 5"
            );
            prl(
                dir,
                &format!("train --data ring {settings} --no-validation --out {name}"),
            );
            prl(
                dir,
                &format!("export {name} --to {name}-export --format onnx"),
            );
            prl(
                dir,
                &format!("recommend --run {name} --input requests.jsonl --out {name}.jsonl"),
            );
            let mut compare = Command::new(&python);
            compare.current_dir(dir).arg(&script);
            ok(compare.args([
                format!("{name}-export"),
                "requests.jsonl".into(),
                format!("{name}.jsonl"),
            ]));
        }
    }
}

#[test]
fn weights_of_a_pytorch_script_have_its_ranks() {
    let Some(python) = python("torch, numpy, safetensors") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    ring(dir, 200);
    let example = crate_dir().join("../../examples/train-in-pytorch");
    let mut train = Command::new(&python);
    train.current_dir(dir).arg(example.join("train.py"));
    let line = "--data ring --out w.safetensors --ranks theirs.csv --epochs 2";
    ok(train.args(line.split(' ')));
    let config = example.join("config.toml");
    prl(
        dir,
        &format!(
            "import --weights w.safetensors --config {} --data ring --out run",
            config.display()
        ),
    );
    prl(dir, "evaluate --run run --cases ours.csv");
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
    let (ours, theirs) = (read("ours.csv"), read("theirs.csv"));
    assert!(ours.lines().count() > 100, "{ours}");
    assert_eq!(ours, theirs);
}
