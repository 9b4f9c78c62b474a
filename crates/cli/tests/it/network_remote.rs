//! `prl evaluate --via`: the metrics of a running server equal the offline ones.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::AtomicBool;

use crate::common;
use prl_dataset::{Arrays, ItemMap, Kind, ManifestInput, Split, write};
use prl_runs::{Device, Method};
use prl_train::{Evaluation, Observer};
use serde_json::Value;

struct Quiet;

impl Observer for Quiet {
    fn step(&mut self, _: u64, _: u64, _: f64) {}
    fn evaluated(&mut self, _: &Evaluation, _: bool) {}
}

pub fn train(dir: &Path, method: Method) -> PathBuf {
    let out = dir.join(method.name());
    let mut config = common::quick(common::ring(
        &dir.join(format!("{}-data", method.name())),
        200,
    ));
    (config.method, config.max_steps) = (method, Some(100));
    // The states hold purchases, so that a request without its kinds gets other scores.
    config.model.event_kinds = true;
    prl_train::Trainer::new(&config, &out)
        .device(&Device::Cpu)
        .stop_flag(&AtomicBool::new(false))
        .run(&mut Quiet)
        .unwrap();
    out
}

/// A log with items of the runs' catalogue, those below 60, and others.
fn later_log(dir: &Path) -> PathBuf {
    let (out, mut ids) = (dir.join("later"), Vec::new());
    for i in 50..70 {
        ids.push(format!("item-{i}"));
    }
    let n = 90;
    let arrays = Arrays {
        offsets: (0..=n / 3).map(|s| 3 * s).collect(),
        items: (0..n as u32).map(|i| i * i % 20).collect(),
        kinds: vec![Kind::Click; n as usize],
        times: (0..n as i64).collect(),
        splits: vec![Split::Train; n as usize],
    };
    let items = ItemMap::new(ids).unwrap();
    write(&out, &arrays, &items, ManifestInput::default()).unwrap();
    out
}

/// `prl serve` on a free port; killed when dropped.
pub struct Served(Child, pub String);

impl Served {
    pub fn start(run: &Path) -> Self {
        Self::with_flags(run, "")
    }

    pub fn with_flags(run: &Path, flags: &str) -> Self {
        let mut serve = Command::new(env!("CARGO_BIN_EXE_prl"));
        serve
            .args(["serve", "--addr", "127.0.0.1:0", "--run"])
            .arg(run)
            .args(flags.split_whitespace())
            .env("PRL_API_KEY", "k")
            .env("PRL_LOG", "info");
        let mut process = serve.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap())
            .lines()
            .map(Result::unwrap);
        // A small model may be ready before the address is printed.
        let (mut url, mut is_ready) = (None, false);
        while url.is_none() || !is_ready {
            let line = lines.next().expect("the server ended");
            is_ready |= line.contains("ready");
            if let Some(found) = line.strip_prefix("listening on ") {
                url = Some(found.to_owned());
            }
        }
        let url = url.unwrap();
        // The server would fail on a closed stderr.
        std::thread::spawn(move || lines.for_each(drop));
        Self(process, url)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

fn evaluate(run: &Path, flags: &[&str]) -> Output {
    let mut evaluate = Command::new(env!("CARGO_BIN_EXE_prl"));
    evaluate
        .args(["evaluate", "--json", "--run"])
        .arg(run)
        .args(flags)
        .env("PRL_API_KEY", "k")
        .output()
        .unwrap()
}

/// The report without MRR, which lists do not determine, and without its speed.
fn comparable(output: &Output) -> Value {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut report: Value = serde_json::from_slice(&output.stdout).unwrap();
    report["events_per_second"].take();
    for part in ["purchase", "click", "all"] {
        report[part]["MRR"].take();
        report["intervals"][part]["MRR"].take();
    }
    report
}

#[test]
fn server_metrics_match_offline_metrics() {
    let dir = tempfile::tempdir().unwrap();
    // Popularity has many ties.
    let runs = [Method::Prl, Method::Popularity].map(|method| train(dir.path(), method));
    let servers = [Served::start(&runs[0]), Served::start(&runs[1])];
    let later = later_log(dir.path());
    let other_log = ["--other-log", later.to_str().unwrap(), "--split", "all"];
    let prompts: [&[&str]; 9] = [
        &[],
        &["--mu", "0.5", "--eps", "0.5"],
        &["--quantile", "0.9"],
        &["--max-return"],
        &["--split", "val"],
        &["--skip-first", "--exclude-last"],
        &["--exclude-seen", "-k", "1,30", "-k", "60"],
        &["-k", "7", "--exclude-last", "--exclude-seen"],
        &other_log,
    ];
    for (run, server) in runs.iter().zip(&servers) {
        for prompt in prompts {
            let offline = comparable(&evaluate(run, prompt));
            let online = comparable(&evaluate(run, &[prompt, &["--via", &server.1]].concat()));
            assert_eq!(online, offline, "{prompt:?}");
            assert!(
                offline["click"]["HR@20"].as_f64().unwrap() > 0.0
                    && offline["reward@1"].is_number()
            );
        }
    }
    let many = evaluate(&runs[0], &["--via", &servers[0].1, "-k", "1000"]);
    let message = String::from_utf8(many.stderr).unwrap();
    assert_eq!(many.status.code(), Some(2), "{message}");
    assert!(message.contains("use at most 999"), "{message}");
    let wrong = evaluate(&runs[0], &["--via", &servers[1].1]);
    let message = String::from_utf8(wrong.stderr).unwrap();
    assert_eq!(wrong.status.code(), Some(1), "{message}");
    assert!(
        message.contains("serves model") && message.contains("--run"),
        "{message}"
    );
    let nobody = evaluate(&runs[0], &["--via", "http://127.0.0.1:1"]);
    assert!(
        String::from_utf8(nobody.stderr)
            .unwrap()
            .contains("no answer from http://127.0.0.1:1")
    );
}
