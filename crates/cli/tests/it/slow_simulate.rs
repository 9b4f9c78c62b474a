//! The loop of a simulated shop: its log, a run trained on it, and what the run's lists return.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

const COLUMNS: &str = "session=session,time=time,item=item,event=event";

pub fn prl(dir: &Path, line: &str) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_prl"))
        .current_dir(dir)
        .args(line.split_whitespace())
        // That of the tests' servers.
        .env("PRL_API_KEY", "k")
        .output()
        .unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

fn ok(dir: &Path, line: &str) -> String {
    let (code, stdout, stderr) = prl(dir, line);
    assert_eq!(code, 0, "{line}: {stderr}");
    stdout
}

/// A directory with a run of a few steps on a shop's log, one for all tests.
pub fn shop() -> &'static Path {
    static DIR: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = DIR.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_owned();
        ok(&path, "synth --like shop --sessions 1500 --out log");
        let prepare = "prepare --source csv --input log/events.csv --click view";
        let out = "--purchase purchase --out data";
        ok(&path, &format!("{prepare} {out} --columns {COLUMNS}"));
        ok(&path, "train --data data --out run --dim 8 --max-steps 5");
        (dir, path)
    });
    path
}

/// The report of a simulation, without what depends on the machine.
pub fn simulate(flags: &str) -> Value {
    let text = ok(shop(), &format!("simulate --run run --json {flags}"));
    let mut report: Value = serde_json::from_str(&text).unwrap();
    for arm in report["arms"].as_array_mut().unwrap() {
        arm.as_object_mut().unwrap().remove("sessions_per_second");
    }
    report
}

#[test]
fn simulation_of_a_run_repeats_with_any_number_of_threads() {
    let flags = "--sessions 120 --arm none --arm mu=1 --arm mu=2,k=5,exclude_seen=true";
    let first = simulate(flags);
    assert_eq!(first, simulate(&format!("{flags} --threads 1")));
    assert_ne!(
        first["arms"],
        simulate(&format!("{flags} --seed 2"))["arms"]
    );
    assert_eq!(first["arms"][0]["list_clicks"]["mean"], 0.0);
    // The model's lists have an effect, and its arm is that of the flag.
    assert!(first["arms"][1]["list_clicks"]["mean"].as_f64().unwrap() > 0.0);
    let alone = simulate("--sessions 120 --mu 1");
    assert_eq!(alone["arms"][0]["return"], first["arms"][1]["return"]);
}

#[test]
fn return_is_in_the_rewards_of_the_run() {
    let report = simulate("--sessions 300 --arm best-fit --arm random");
    let mean = |arm: usize, name: &str| report["arms"][arm][name]["mean"].as_f64().unwrap();
    for arm in 0..2 {
        let (events, purchases) = (mean(arm, "events"), mean(arm, "purchases"));
        let expected = 0.2 * (events - purchases) + purchases;
        assert!((mean(arm, "return") - expected).abs() < 1e-9);
        assert!(mean(arm, "money") > 0.0 && mean(arm, "buying_sessions") <= purchases);
    }
    let difference = &report["differences"][0]["return"];
    let expected = mean(1, "return") - mean(0, "return");
    assert!((difference["mean"].as_f64().unwrap() - expected).abs() < 1e-9);
    assert!(difference["high"].as_f64().unwrap() < 0.0);
}

/// Lists without items, which are no lists, and lists of one item that most visitors do not want.
fn experiment(item: &str) -> String {
    let none = "[[arm]]\nname = 'none'\nask = { allow = [] }\n";
    let poor = format!("[[arm]]\nname = 'poor'\nask = {{ allow = ['{item}'] }}\n");
    format!("name = 'lists'\n{none}{poor}")
}

#[test]
fn arm_that_ope_picks_earns_what_its_interval_says() {
    let dir = tempfile::tempdir().unwrap();
    let events = std::fs::read_to_string(shop().join("log/events.csv")).unwrap();
    let item = events.lines().nth(1).unwrap().split(',').nth(2).unwrap();
    std::fs::write(dir.path().join("e.toml"), experiment(item)).unwrap();
    let (file, log) = (dir.path().join("e.toml"), dir.path().join("log"));
    let (file, log) = (file.display(), log.display());
    let world = "--world impatient --sessions 6000";
    let report = simulate(&format!("{world} --experiment {file} --log {log}"));
    let text = ok(shop(), &format!("ope --log {log} --json"));
    let estimates: Value = serde_json::from_str(&text).unwrap();
    let truth = simulate(&format!(
        "{world} --seed 2 --arm allow=[] --arm allow=[{item}]"
    ));
    let number = |value: &Value| value.as_f64().unwrap();
    for (arm, name) in ["arm:none", "arm:poor"].iter().enumerate() {
        let estimate = &estimates["policies"][arm];
        assert_eq!(estimate["policy"], *name);
        // The arms' means are those of the log.
        let (logged, sessions) = (&report["arms"][arm]["return"], &report["arms"][arm]);
        assert!((number(&estimate["snips"]["value"]) - number(&logged["mean"])).abs() < 1e-9);
        assert_eq!(estimate["sessions"], sessions["sessions"]);
        let mean = number(&truth["arms"][arm]["return"]["mean"]);
        let (low, high) = (&estimate["dr"]["low"], &estimate["dr"]["high"]);
        assert!(
            (number(low)..number(high)).contains(&mean),
            "{name}: {mean} {low} {high}"
        );
    }
    let picked = &estimates["policies"][0]["dr"]["low"];
    assert!(number(picked) > number(&estimates["policies"][1]["dr"]["value"]));
    assert!(number(&truth["differences"][0]["return"]["high"]) < 0.0);
}

#[test]
fn wrong_flags_are_errors_of_usage() {
    for (flags, says) in [
        ("--run run --sessions 0", "--sessions 0: expected 1 to"),
        ("--run run --world moon", "--world moon: unknown world"),
        ("--run run --arm best", "expected none, random, popular"),
        ("--run run --arm mu=1 --arm mu=1", "given twice"),
        ("--run run --arm quantile=2", "a number from 0 to 1"),
        ("--arm mu=1", "which run?"),
        ("--run run --experiment e.toml", "--log"),
        (
            "--run run --experiment run/config.toml --log e",
            "config.toml:7: unknown field",
        ),
        ("--run run -k 0", "expected a whole number from 1 to 1000"),
        (
            "--run run --via http://127.0.0.1:1 --connections 0",
            "--connections 0",
        ),
    ] {
        let (code, _, stderr) = prl(shop(), &format!("simulate {flags}"));
        assert_eq!(code, 2, "{flags}: {stderr}");
        assert!(stderr.contains(says), "{flags}: {stderr}");
    }
    let (code, _, stderr) = prl(shop(), "synth --like tiny --world base --out other");
    assert!(code == 2 && stderr.contains("--world names parameters of a shop"));
}
