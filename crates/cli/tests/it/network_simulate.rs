//! `prl simulate --via`: lists of a server return what those of its run do.

use crate::network_remote::Served;
use crate::slow_simulate::{prl, shop, simulate};

#[test]
fn lists_of_a_server_return_what_those_of_its_run_do() {
    let flags = "--sessions 150 --arm mu=1,sequence_wise=true";
    let local = simulate(flags);
    let several = "--sessions 150 --arm mu=1 --arm mu=2,k=5,exclude_seen=true";
    let server = Served::start(&shop().join("run"));
    let via = format!("--via {} --connections 3", server.1);
    assert_eq!(simulate(&format!("{several} {via}")), simulate(several));
    let stored = format!("{flags} {via} --stored");
    assert_eq!(simulate(&stored), local);
    // The server has these sessions already.
    let (code, _, stderr) = prl(shop(), &format!("simulate {stored}"));
    assert!(
        code == 1 && stderr.contains("it was stored before"),
        "{stderr}"
    );
    let (code, _, stderr) = prl(shop(), &format!("simulate {several} {via} --stored"));
    assert!(code == 2 && stderr.contains("give one arm"), "{stderr}");
}

/// Two arms that differ in their prompt.
const EXPERIMENT: &str = "name = 'dial'
[[arm]]
name = 'low'
ask = { mu = 1.0 }
[[arm]]
name = 'high'
share = 3
ask = { mu = 2.0 }
";

#[test]
fn experiment_of_a_server_is_that_of_a_simulation() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("dial.toml");
    std::fs::write(&file, EXPERIMENT).unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let experiment = format!("--experiment {}", file.display());
    let local = simulate(&format!(
        "--sessions 200 {experiment} --log {}",
        path("local")
    ));
    let flags = format!("{experiment} --experiment-log {}", path("served"));
    let server = Served::with_flags(&shop().join("run"), &flags);
    let served = simulate(&format!("--sessions 200 --via {} --events", server.1));
    drop(server);
    // The server's arms are sorted by name.
    assert_eq!(served["arms"][0], local["arms"][1]);
    assert_eq!(served["arms"][1], local["arms"][0]);
    let estimate = |log: &str| {
        let line = format!("ope --log {} --json --value --min-ess 20", path(log));
        let (code, stdout, stderr) = prl(shop(), &line);
        assert_eq!(code, 0, "{stderr}");
        serde_json::from_str::<serde_json::Value>(&stdout).unwrap()
    };
    let (local, served) = (estimate("local"), estimate("served"));
    assert_eq!(served["events"], local["events"]);
    assert_eq!(served["answers"], local["answers"]);
    assert_eq!(
        served["policies"][0]["sessions"],
        local["policies"][0]["sessions"]
    );
    let mean =
        |report: &serde_json::Value| report["policies"][0]["snips"]["value"].as_f64().unwrap();
    assert!((mean(&served) - mean(&local)).abs() < 1e-9 && mean(&served) > 0.0);
}
