//! The workflow of a user from a raw log to recommendations, and the exit codes of bad input.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

fn prl(dir: &Path, args: &[&str], stdin: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_prl"))
        .current_dir(dir)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that fails early closes stdin, so writing may fail.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap()
}

fn ok(dir: &Path, line: &str, stdin: &str) -> String {
    let output = prl(dir, &line.split(' ').collect::<Vec<_>>(), stdin);
    assert!(
        output.status.success(),
        "{line}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Share of purchases among the events of each item with at least five events, and of the whole
/// log.
fn purchase_rates(events: &Path) -> (HashMap<String, f64>, f64) {
    let mut counts: HashMap<String, (f64, f64)> = HashMap::new();
    for line in std::fs::read_to_string(events).unwrap().lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let count = counts.entry(fields[3].to_owned()).or_default();
        count.0 += f64::from(fields[2] == "addtocart");
        count.1 += 1.0;
    }
    let (bought, all) = counts
        .values()
        .fold((0.0, 0.0), |sum, c| (sum.0 + c.0, sum.1 + c.1));
    let rates = counts
        .into_iter()
        .filter(|(_, c)| c.1 >= 5.0)
        .map(|(item, c)| (item, c.0 / c.1));
    (rates.collect(), bought / all)
}

/// The first three items of each visitor with more than four events.
fn sessions(events: &Path) -> Vec<Vec<String>> {
    let mut visitors: HashMap<String, Vec<String>> = HashMap::new();
    for line in std::fs::read_to_string(events).unwrap().lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        visitors
            .entry(fields[1].to_owned())
            .or_default()
            .push(fields[3].to_owned());
    }
    let mut long: Vec<_> = visitors
        .into_iter()
        .filter(|(_, items)| items.len() > 4)
        .collect();
    long.sort();
    long.into_iter()
        .map(|(_, items)| items[..3].to_vec())
        .take(200)
        .collect()
}

#[test]
fn closed_output_pipe_is_not_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let run = |line: &str| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_prl"))
            .current_dir(dir.path())
            .args(line.split(' '))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop((child.stdout.take(), child.stderr.take()));
        assert!(child.wait().unwrap().success(), "{line}");
    };
    run("synth --like retailrocket --sessions 300 --out raw");
    run("prepare --source retailrocket --input raw/events.csv --out data");
    run("inspect data");
    run("train --data data --max-steps 4 --eval-every 2 --out run");
    for format in ["", " --json"] {
        run(&format!("evaluate --run run{format}"));
        run(&format!(
            "recommend --run run --items nothing,of,these{format}"
        ));
    }
}

/// Of the recipe paper, whose loss is weighted by the reward: under the modern recipe the effect is
/// a few times smaller.
#[test]
fn larger_target_return_recommends_purchased_items() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    ok(
        dir,
        "synth --like retailrocket --sessions 2500 --out raw",
        "",
    );
    ok(
        dir,
        "prepare --source retailrocket --input raw/events.csv --out data",
        "",
    );
    ok(
        dir,
        "train --data data --method prl --recipe paper --encoder gru --max-steps 250 --eval-every 250 --out run",
        "",
    );

    let (rates, average) = purchase_rates(&dir.join("raw/events.csv"));
    let sessions = sessions(&dir.join("raw/events.csv"));
    let share_of_heavy = |mu: f64| {
        let lines: String = sessions
            .iter()
            .map(|items| json!({"items": items, "mu": mu}).to_string() + "\n")
            .collect();
        let answers = ok(dir, "recommend --run run -k 20", &lines);
        let answers: Vec<Value> = answers
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(answers.len(), sessions.len());
        let items = answers
            .iter()
            .flat_map(|answer| answer["items"].as_array().unwrap());
        let rates: Vec<f64> = items
            .filter_map(|i| rates.get(i["item"].as_str()?).copied())
            .collect();
        rates.iter().filter(|&&rate| rate > average).count() as f64 / rates.len() as f64
    };
    let shares = [0.25, 1.0, 4.0].map(share_of_heavy);
    assert!(
        shares[0] < shares[1] && shares[1] < shares[2] && shares[2] > shares[0] + 0.02,
        "{shares:?}"
    );
}

#[test]
fn raw_log_to_recommendation_works() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    ok(dir, "synth --like tiny --out raw", "");
    ok(
        dir,
        "prepare --source retailrocket --input raw/events.csv --out data",
        "",
    );
    let audit: Value = serde_json::from_str(&ok(dir, "inspect data --json", "")).unwrap();
    assert_eq!(audit["synthetic"], true);
    ok(
        dir,
        "train --data data --method sqn --max-steps 20 --eval-every 10 --out run",
        "",
    );
    let report: Value =
        serde_json::from_str(&ok(dir, "evaluate --run run --json --cases cases.csv", "")).unwrap();
    let keys = [
        "split", "events", "purchase", "click", "reward@1", "tie_rule", "dataset", "mu", "eps",
    ];
    assert!(keys.iter().all(|key| report.get(key).is_some()), "{report}");
    let events = &report["events"];
    let cases = std::fs::read_to_string(dir.join("cases.csv")).unwrap();
    let count = events["click"].as_u64().unwrap() + events["purchase"].as_u64().unwrap();
    assert_eq!(cases.lines().count() as u64, 1 + count);
    let first_click = cases
        .lines()
        .filter(|line| line.ends_with(",click,1"))
        .count() as f64;
    let first_purchase = cases
        .lines()
        .filter(|line| line.ends_with(",purchase,1"))
        .count() as f64;
    assert!(
        (report["reward@1"].as_f64().unwrap() - 0.2 * first_click - first_purchase).abs() < 1e-9
    );
    let answer: Value =
        serde_json::from_str(&ok(dir, "recommend --run run --items none -k 3 --json", "")).unwrap();
    assert_eq!(answer["unknown_items"], json!(["none"]));
    let items: HashSet<&str> = answer["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|i| i["item"].as_str().unwrap())
        .collect();
    assert_eq!(items.len(), 3);
}

#[test]
fn exit_code_tells_kind_of_error() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::fs::write(
        dir.join("events.csv"),
        "timestamp,visitorid,event,itemid,transactionid\nnoon,1,view,2,\n",
    )
    .unwrap();
    let said = |line: &str| {
        let output = prl(dir, &line.split(' ').collect::<Vec<_>>(), "");
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, message) = said("prepare --source retailrocket --input events.csv --out data");
    assert_eq!(code, 3, "{message}");
    assert!(
        message.contains("events.csv") && message.contains('2') && message.contains("noon"),
        "{message}"
    );
    assert!(!dir.join("data").exists());
    // A page whose run length exceeds all memory.
    let parquet =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/run-without-end.parquet");
    std::fs::copy(parquet, dir.join("log.parquet")).unwrap();
    let columns = "--columns session=session,time=time,item=item,event=kind --click click --purchase purchase";
    let (code, message) = said(&format!(
        "prepare --source parquet --input log.parquet --out data {columns}"
    ));
    assert!(
        code == 3 && message.contains("log.parquet: damaged Parquet"),
        "{message}"
    );
    assert!(!dir.join("data").exists());
    assert_eq!(said("train --data nowhere --out run").0, 3);
    assert_eq!(said("train --out run").0, 2);
    assert_eq!(said("train --data d --out run --lr -1").0, 2);
    assert_eq!(said("train --data d --out run --attention released").0, 2);
    assert_eq!(said("recommend --run nowhere --items 1").0, 1);
    assert_eq!(said("recommend --run nowhere --items 1 --quantile 2").0, 1);
    assert_eq!(said("--no-such-flag").0, 2);
}
