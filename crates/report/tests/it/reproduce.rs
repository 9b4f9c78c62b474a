//! `cargo xtask reproduce` from outside, with a script that plays `prl`: killed, failing, again, and its page in a browser.
#![cfg(unix)]

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A study in a folder of its own.
struct Study {
    dir: TempDir,
}

impl Study {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Tells the script to hang or to diverge in runs of such names.
    fn tell(&self, what: &str, runs: &str) {
        fs::write(self.path(what), runs).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut xtask = Command::new(env!("CARGO_BIN_EXE_prl-reproduce"));
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake/prl.sh");
        xtask
            .args(["reproduce", "--datasets"])
            .arg(self.path("datasets"));
        xtask
            .arg("--runs")
            .arg(self.path("runs"))
            .arg("--out")
            .arg(self.path("out"))
            .args(args);
        xtask
            .env("PRL_BIN", script)
            .env("FAKE_DIR", self.dir.path());
        xtask.stdin(Stdio::null());
        xtask
    }

    fn call(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// What the script was called for since the last time.
    fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.path("calls")).unwrap_or_default();
        self.tell("calls", "");
        calls
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect()
    }

    fn page(&self, name: &str) -> String {
        fs::read_to_string(self.path("out").join(name)).unwrap()
    }
}

fn trained(calls: &[String]) -> Vec<&String> {
    calls
        .iter()
        .filter(|call| call.starts_with("train "))
        .collect()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Waits until something is so.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "{what} takes too long"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Kills a process and all its children at once, without a chance to tidy up.
fn kill(mut child: Child) {
    let group = format!("-{}", child.id());
    assert!(
        Command::new("kill")
            .args(["-9", "--", &group])
            .status()
            .unwrap()
            .success()
    );
    child.wait().unwrap();
}

const GRU: [&str; 6] = [
    "--logs",
    "rc15",
    "--encoders",
    "gru",
    "--methods",
    "popularity,normal,prl,sac",
];

#[test]
fn a_study_that_was_killed_goes_on() {
    let study = Study::new();
    study.tell("hang", "gru-normal-1");
    let child = study
        .command(&GRU)
        .process_group(0)
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let begun = || {
        let runs = fs::read_dir(study.path("runs/quick"))
            .into_iter()
            .flatten()
            .flatten();
        runs.into_iter()
            .any(|run| run.path().join("checkpoint").exists())
    };
    until("training", begun);
    let second = study.call(&GRU);
    assert!(
        !second.status.success()
            && said(&second).contains(&format!("in use by process {} ", child.id()))
    );
    kill(child);
    let before = study.calls();
    // 1 seed of popularity and SAC, 3 of GRU normal and PRL; what is first runs with seed 0.
    assert_eq!(trained(&before).len(), 5, "{before:?}");

    let output = study.call(&GRU);
    assert!(output.status.success(), "{}", said(&output));
    let after = study.calls();
    let again: Vec<&String> = trained(&after);
    assert_eq!(again.len(), 8 - 4, "{again:?}");
    assert!(
        again[0].contains("rc15-gru-normal-1-") && again[0].ends_with("yes from a checkpoint"),
        "{again:?}"
    );

    let pages = [
        "README.md",
        "index.html",
        "table2.md",
        "table2.csv",
        "runs.csv",
        "curves.csv",
        "figure4.svg",
    ];
    let first = pages.map(|name| study.page(name));
    let output = study.call(&GRU);
    assert!(
        output.status.success() && study.calls().is_empty(),
        "nothing is left: {}",
        said(&output)
    );
    assert_eq!(first, pages.map(|name| study.page(name)));
}

#[test]
fn a_pack_is_its_own_repository() {
    let study = Study::new();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake/prl.sh");
    let (bin, data) = (study.path("bin"), study.path("data/of-rc15"));
    for folder in [&bin, &data] {
        fs::create_dir_all(folder).unwrap();
    }
    fs::copy(&script, bin.join("prl")).unwrap();
    fs::copy(script.with_file_name("ranks.awk"), bin.join("ranks.awk")).unwrap();
    fs::write(
        study.path("built.json"),
        r#"{"rustc": "rustc 1.0", "commit": "abc + changes", "code": "c0de"}"#,
    )
    .unwrap();
    let call = |log: &str| {
        let mut xtask = Command::new(env!("CARGO_BIN_EXE_prl-reproduce"));
        xtask.args([
            "reproduce",
            "--encoders",
            "gru",
            "--methods",
            "normal",
            "--repeats",
            "1",
            "--logs",
            log,
        ]);
        xtask
            .env("PRL_PACK", study.dir.path())
            .env("FAKE_DIR", study.dir.path())
            .env_remove("PRL_BIN");
        xtask
            .current_dir(study.dir.path())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    };
    let output = call("rc15");
    assert!(
        !output.status.success() && said(&output).contains("no prepared rc15 in "),
        "{}",
        said(&output)
    );
    let mut prepare = Command::new(bin.join("prl"));
    prepare
        .args(["prepare", "--source", "rc15", "--clicks"])
        .arg(study.path("built.json"))
        .arg("--out")
        .arg(&data);
    assert!(
        prepare
            .env("FAKE_DIR", study.dir.path())
            .status()
            .unwrap()
            .success()
    );
    study.calls();
    let output = call("rc15");
    assert!(output.status.success(), "{}", said(&output));
    assert!(
        study
            .calls()
            .iter()
            .all(|call| !call.starts_with("synth ") && !call.starts_with("prepare "))
    );
    let page = fs::read_to_string(study.path("results/quick/README.md")).unwrap();
    for told in ["rustc 1.0", "abc + changes", "c0de"] {
        assert!(page.contains(told), "{told} is not on the page: {page}");
    }
}

#[test]
fn a_failure_is_recorded_and_tried_again_only_when_asked() {
    let study = Study::new();
    study.tell("diverge", "gru-sac");
    let output = study.call(&GRU);
    assert!(
        !output.status.success() && said(&output).contains("error: 1 runs failed"),
        "{}",
        said(&output)
    );
    assert_eq!(trained(&study.calls()).len(), 8, "the rest is run");
    let why = "the loss is NaN at step 1234: training has diverged";
    assert!(
        study
            .page("table2.md")
            .contains(&format!("| **GRU SAC** | seed 0 | FAILED: error: {why}"))
    );
    assert!(
        study
            .page("index.html")
            .contains(&format!("seed 0 FAILED: error: {why}"))
    );
    assert!(
        study
            .page("runs.csv")
            .contains(&format!("sac,0,FAILED: error: {why}"))
    );

    let output = study.call(&GRU);
    assert!(output.status.success(), "it is known: {}", said(&output));
    assert!(said(&output).contains("1 runs failed before") && study.calls().is_empty());

    fs::remove_file(study.path("diverge")).unwrap();
    let retry: Vec<&str> = GRU.into_iter().chain(["--retry-failed"]).collect();
    let output = study.call(&retry);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(trained(&study.calls()).len(), 1);
    assert!(!study.page("table2.md").contains("FAILED"));
}

#[test]
fn other_flags_are_other_runs() {
    let study = Study::new();
    let call = |more: &[&str]| {
        let args = ["--logs", "rc15", "--encoders", "gru", "--methods", "sqn"]
            .into_iter()
            .chain(more.iter().copied());
        let output = study.call(&args.collect::<Vec<_>>());
        assert!(output.status.success(), "{}", said(&output));
        trained(&study.calls()).len()
    };
    assert_eq!(call(&[]), 1);
    assert_eq!(call(&["--steps", "60"]), 1);
    assert_eq!(call(&["--threads", "1"]), 0, "threads shape no result");
    assert_eq!(
        call(&["--code", "0123456789ab"]),
        0,
        "nothing is run for other code"
    );
    assert!(study.page("README.md").contains("0 of 1 runs are done"));
    assert_eq!(study.call(&["--methods", "qsn"]).status.code(), Some(1));
}

/// The browser, if there is one.
fn browser() -> Option<&'static str> {
    let is_there = |name: &&str| {
        Command::new(name)
            .arg("--version")
            .output()
            .is_ok_and(|output| output.status.success())
    };
    [
        "chromium",
        "chromium-browser",
        "google-chrome",
        "google-chrome-stable",
    ]
    .into_iter()
    .find(is_there)
}

/// The page as a browser sees it after its scripts, and what its console said.
fn dump(browser: &str, page: &Path, width: u32) -> (String, String) {
    let mut command = Command::new(browser);
    command.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
    ]);
    command.args([
        "--allow-file-access-from-files",
        "--enable-logging=stderr",
        "--virtual-time-budget=5000",
        "--dump-dom",
    ]);
    command
        .arg(format!("--window-size={width},900"))
        .arg(format!("file://{}", page.display()));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        said(&output),
    )
}

/// A page that holds another in a frame as wide as a phone, and writes down by how much the other wants to be wider.
const FRAME: &str = "<!doctype html><iframe id=f style=\"width:390px;height:800px;border:0\" src=\"index.html\"></iframe><script>\
    onload = () => { const page = f.contentDocument.documentElement;\
    document.title = `${page.scrollWidth - page.clientWidth} too wide, ${f.contentDocument.querySelectorAll('svg').length} drawings`; }\
    </script>";

#[test]
fn the_page_shows_in_a_browser() {
    let Some(browser) = browser() else {
        // To the terminal itself: a test that passes keeps its own output to itself.
        let _ = Command::new("sh")
            .args([
                "-c",
                "echo 'SKIPPED: no chromium here, so the page was not looked at' >&2",
            ])
            .status();
        return;
    };
    let study = Study::new();
    study.tell("diverge", "nextitnet-sac");
    let some = [
        "--methods",
        "popularity,normal,sac,prl,prl-control,prl-mean,prl-wo",
        "--jobs",
        "2",
    ];
    assert!(!study.call(&some).status.success(), "one diverges");
    let (dom, console) = dump(browser, &study.path("out/index.html"), 1200);
    assert!(!console.contains("CONSOLE"), "{console}");
    for id in [
        "table1",
        "table2-rc15",
        "table3-retailrocket",
        "table4-rc15",
        "table5-retailrocket",
        "figure4",
        "figure5",
        "curves",
    ] {
        assert!(dom.contains(&format!("<section id=\"{id}\">")), "no {id}");
    }
    assert!(dom.contains("SYNTHETIC DATA") && dom.contains("training has diverged"));
    assert!(
        dom.contains("<small class=\"paper\">paper 0.4514*</small>"),
        "the paper's number, with its star"
    );
    assert!(
        dom.contains("RC15, not run: ") && dom.contains("PRL-cumu"),
        "what was left out"
    );

    fs::write(study.path("out/frame.html"), FRAME).unwrap();
    let (dom, console) = dump(browser, &study.path("out/frame.html"), 1200);
    assert!(!console.contains("CONSOLE"), "{console}");
    let title = dom
        .split("<title>")
        .nth(1)
        .and_then(|rest| rest.split("</title>").next())
        .unwrap_or("nothing");
    // 2 logs: 2 plots of the main numbers, 2 figures, and curves of 2 numbers for 4 + 1 + 1 encoders.
    assert_eq!(
        title,
        format!("0 too wide, {} drawings", 2 * (2 + 2 + 2 * 6))
    );
}
