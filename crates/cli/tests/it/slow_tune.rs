//! Searches over settings: whole, killed, interrupted, and with trials that fail.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::common::ring;

const SPACE: &str = "dim = 8\nwindow = 4\nbatch_size = 64\nmethod = \"normal\"\nepochs = 2\n\
                     encoder = [\"core\", \"gru\"]\nlr = { min = 0.001, max = 0.05, log = true }\n\
                     update_bias = { min = 0.0, max = 2.0, when = { encoder = \"gru\" } }\n";

/// A search; one that is resumed has its space already.
fn tune(dir: &Path, out: &str, more: &str) -> Command {
    let mut prl = Command::new(env!("CARGO_BIN_EXE_prl"));
    prl.current_dir(dir);
    prl.args(["tune", "--data", "ring", "--out", out]);
    if !dir.join(out).join("search.json").exists() {
        prl.args(["--space", "space.toml"]);
    }
    prl.args(more.split_whitespace());
    prl.stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    prl
}

fn run(dir: &Path, out: &str, more: &str) -> Output {
    tune(dir, out, more).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Waits until the first trial of a search in `out` has validated.
fn wait_for_validation(dir: &Path, search: &mut Child) {
    while !dir.join("out/trials/0000/metrics.jsonl").exists() {
        assert!(search.try_wait().unwrap().is_none(), "the search has ended");
        sleep(Duration::from_millis(5));
    }
}

/// Trials of a search as `--json` prints them, without the times.
fn trials(dir: &Path, out: &str, count: usize) -> Vec<Value> {
    let output = run(dir, out, &format!("--resume --json --trials {count}"));
    assert!(output.status.success(), "{}", text(&output.stderr));
    let all: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut trials = all["trials"].as_array().unwrap().clone();
    for trial in &mut trials {
        trial.as_object_mut().unwrap().remove("seconds");
    }
    trials
}

fn with_space(space: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    ring(dir.path(), 100);
    fs::write(dir.path().join("space.toml"), space).unwrap();
    dir
}

#[test]
fn search_leaves_a_leaderboard_a_page_and_the_best_run() {
    let dir = with_space(SPACE);
    let output = run(dir.path(), "out", "--trials 4 --jobs 2");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let board = text(&output.stdout);
    assert!(
        board.starts_with("rank  trial  ndcg@20  epoch  seconds"),
        "{board}"
    );
    assert!(board.contains("\n4 trials: 4 finished\n"), "{board}");
    let page = fs::read_to_string(dir.path().join("out/index.html")).unwrap();
    assert!(page.contains("4 finished") && page.contains("<svg"));

    let trials = trials(dir.path(), "out", 4);
    let value = |trial: &Value| trial["value"].as_f64().unwrap();
    let best = trials.iter().map(value).fold(f64::MIN, f64::max);
    let mut prl = Command::new(env!("CARGO_BIN_EXE_prl"));
    prl.current_dir(dir.path());
    prl.args(["evaluate", "--run", "out/best", "--split", "val", "--json"]);
    let evaluated = prl.output().unwrap();
    let report: Value = serde_json::from_slice(&evaluated.stdout).unwrap();
    assert_eq!(report["all"]["NDCG@20"].as_f64().unwrap(), best, "{report}");

    let again = run(dir.path(), "out", "--trials 4");
    assert_eq!(again.status.code(), Some(2));
    assert!(text(&again.stderr).contains("already holds a search; go on with --resume"));
    fs::write(dir.path().join("other.toml"), SPACE.replace("0.05", "0.5")).unwrap();
    for flag in [
        "--seed 1",
        "--select hr@20",
        "--space other.toml",
        "--pruner none",
    ] {
        let other = run(dir.path(), "out", &format!("--trials 4 --resume {flag}"));
        assert_eq!(other.status.code(), Some(2));
        let name = flag.split(' ').next().unwrap();
        let message = text(&other.stderr);
        assert!(
            message.contains(&format!("differs in {name};")),
            "{message}"
        );
    }
}

#[cfg(feature = "data")]
#[test]
fn synthetic_log_is_searched() {
    let dir = tempfile::tempdir().unwrap();
    for line in [
        "synth --like tiny --sessions 600 --out raw",
        "prepare --source retailrocket --input raw/events.csv --out ring",
    ] {
        let mut prl = Command::new(env!("CARGO_BIN_EXE_prl"));
        let output = prl.current_dir(dir.path()).args(line.split(' ')).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    fs::write(dir.path().join("space.toml"), SPACE).unwrap();
    let output = run(
        dir.path(),
        "out",
        "--trials 3 --select click-hr@20 --pruner hyperband",
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("click-hr@20"));
    let page = fs::read_to_string(dir.path().join("out/index.html")).unwrap();
    assert!(page.contains("SYNTHETIC DATA"));
}

#[test]
fn search_killed_at_any_time_resumes_to_the_same_trials() {
    const COUNT: usize = 6;
    let dir = with_space(&SPACE.replace("epochs = 2", "epochs = 4"));
    let whole = run(dir.path(), "whole", "--trials 6");
    assert!(whole.status.success(), "{}", text(&whole.stderr));
    let expected = trials(dir.path(), "whole", COUNT);
    for round in 0_u64..6 {
        let mut child = tune(dir.path(), "killed", "--trials 6 --resume")
            .spawn()
            .unwrap();
        sleep(Duration::from_millis(100 + 150 * round));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert_eq!(trials(dir.path(), "killed", COUNT), expected);
}

#[test]
fn diverged_trial_is_recorded_and_the_search_goes_on() {
    let space = SPACE.replace("{ min = 0.001, max = 0.05, log = true }", "[0.01, 1e38]");
    let dir = with_space(&space.replace("encoder = [\"core\", \"gru\"]", "encoder = \"gru\""));
    let output = run(dir.path(), "out", "--trials 4");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let trials = trials(dir.path(), "out", 4);
    for trial in &trials {
        let is_large = trial["settings"]["lr"].as_f64() == Some(1e38);
        assert_eq!(trial["status"] == "failed", is_large, "{trial}");
        assert_eq!(trial["message"].is_string(), is_large, "{trial}");
    }
    assert!(trials.iter().any(|trial| trial["status"] == "failed"));
    let page = fs::read_to_string(dir.path().join("out/index.html")).unwrap();
    assert!(page.contains("failed</span>"));
}

#[test]
fn search_of_which_every_trial_fails_ends_with_their_message() {
    let dir = with_space(&SPACE.replace("{ min = 0.001, max = 0.05, log = true }", "1e38"));
    let output = run(dir.path(), "out", "--trials 1000 --jobs 2");
    assert_eq!(output.status.code(), Some(1));
    let message = text(&output.stderr);
    let last = message.lines().last().unwrap();
    assert!(
        last.starts_with("error: no trial has finished of "),
        "{last}"
    );
    assert!(last.contains("the last error is: "), "{last}");
    assert!(message.matches(" failed: ").count() < 13, "{message}");
}

#[test]
fn interrupted_search_leaves_a_checkpoint_and_ends_with_130() {
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;
    let dir = with_space(&SPACE.replace("epochs = 2", "epochs = 1000000\npatience = 1000000"));
    let mut child = tune(dir.path(), "out", "--trials 2").spawn().unwrap();
    wait_for_validation(dir.path(), &mut child);
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("interrupted after 0 trials; continue"));
    assert!(dir.path().join("out/trials/0000/checkpoint").exists());

    // The end of the budget interrupts in the same way; nothing has finished.
    let output = run(dir.path(), "out", "--resume --budget 1s");
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("no trial has finished of 1;"), "{message}");
}

#[test]
fn second_search_in_a_directory_reports_the_holder() {
    let dir = with_space(&SPACE.replace("epochs = 2", "epochs = 1000000\npatience = 1000000"));
    let mut first = tune(dir.path(), "out", "--trials 1").spawn().unwrap();
    wait_for_validation(dir.path(), &mut first);
    let second = run(dir.path(), "out", "--trials 1 --resume");
    assert_eq!(second.status.code(), Some(1));
    assert!(text(&second.stderr).contains(&format!("in use by process {} ", first.id())));
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;
    kill(Pid::from_raw(first.id() as i32), Signal::SIGTERM).unwrap();
    first.wait().unwrap();
}

#[test]
fn default_space_is_printed_and_an_invalid_one_refused() {
    let dir = with_space("lr = [0.1, -0.1]\n");
    let mut prl = Command::new(env!("CARGO_BIN_EXE_prl"));
    let printed = prl.args(["tune", "--print-space"]).output().unwrap();
    assert!(printed.status.success());
    assert!(text(&printed.stdout).contains("\nencoder = [\"core\", \"gru\", \"sasrec\"]\n"));
    let refused = run(dir.path(), "out", "--trials 1");
    assert_eq!(refused.status.code(), Some(2));
    assert_eq!(
        text(&refused.stderr),
        "error: space.toml:1: lr = -0.1: lr must be above 0\n"
    );
    assert!(!dir.path().join("out").exists());
}
