//! `prl-reproduce reproduce` as a process: kills, failures, repetition, bundles, and its page in a
//! browser.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A temporary directory for datasets, runs and pages.
struct Workbench {
    dir: TempDir,
}

impl Workbench {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a control file of the script, such as `hang` or `diverge`: a pattern of run names.
    fn control(&self, what: &str, runs: &str) {
        fs::write(self.path(what), runs).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_prl-reproduce"));
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake/prl.sh");
        command
            .args(["reproduce", "--datasets"])
            .arg(self.path("datasets"));
        command
            .arg("--runs")
            .arg(self.path("runs"))
            .arg("--out")
            .arg(self.path("out"))
            .args(args);
        command
            .env("PRL_BIN", script)
            .env("FAKE_DIR", self.dir.path());
        command.stdin(Stdio::null());
        command
    }

    fn call(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Calls of the script since the last time.
    fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.path("calls")).unwrap_or_default();
        self.control("calls", "");
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

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Waits until a condition holds.
fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "{what} takes too long"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Kills a process group with SIGKILL.
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

/// Each is refused before the directories of the runs and of the pages are made.
#[test]
fn refused_experiment_leaves_no_directory() {
    let workbench = Workbench::new();
    fs::create_dir_all(workbench.path("datasets/rc15")).unwrap();
    fs::write(workbench.path("datasets/rc15/yoochoose-clicks.dat"), "").unwrap();
    fs::write(workbench.path("bad.toml"), "cpus = \"many\"\n").unwrap();
    let bad = workbench.path("bad.toml").display().to_string();
    let refused: [(&[&str], &str); 7] = [
        (&["--jobs", "0"], "--jobs"),
        (&["--repeats", "0"], "--repeats"),
        (&["--steps", "0"], "--steps"),
        (&["--logs", "diginetica"], "--logs diginetica"),
        (&["--methods", "magic"], "magic"),
        (&["--logs", "rc15"], "add it, or remove the rest"),
        (&["--launcher", "slurm", "--profile", &bad], "bad.toml"),
    ];
    for (flags, part) in refused {
        let output = workbench.call(flags);
        let text = stderr(&output);
        assert!(!output.status.success() && text.contains(part), "{text}");
        for name in ["runs", "out"] {
            assert!(!workbench.path(name).exists(), "{flags:?} made {name}");
        }
    }
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
fn killed_experiment_resumes_and_rewrites_equal_pages() {
    let workbench = Workbench::new();
    workbench.control("hang", "gru-normal-1");
    let child = workbench
        .command(&GRU)
        .process_group(0)
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let begun = || {
        let runs = fs::read_dir(workbench.path("runs/quick"))
            .into_iter()
            .flatten()
            .flatten();
        runs.into_iter()
            .any(|run| run.path().join("checkpoint").exists())
    };
    wait_until("training", begun);
    let second = workbench.call(&GRU);
    assert!(
        !second.status.success()
            && stderr(&second).contains(&format!("in use by process {} ", child.id()))
    );
    kill(child);
    let before = workbench.calls();
    // One seed of popularity and SAC, three of GRU normal and PRL; those with seed 0 run first.
    assert_eq!(trained(&before).len(), 5, "{before:?}");

    let output = workbench.call(&GRU);
    assert!(output.status.success(), "{}", stderr(&output));
    let after = workbench.calls();
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
    let first = pages.map(|name| workbench.page(name));
    let output = workbench.call(&GRU);
    assert!(
        output.status.success() && workbench.calls().is_empty(),
        "nothing is left: {}",
        stderr(&output)
    );
    assert_eq!(first, pages.map(|name| workbench.page(name)));
}

#[test]
fn bundle_needs_neither_repository_nor_raw_data() {
    let workbench = Workbench::new();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake/prl.sh");
    let (bin, data) = (workbench.path("bin"), workbench.path("data/of-rc15"));
    for folder in [&bin, &data] {
        fs::create_dir_all(folder).unwrap();
    }
    fs::copy(&script, bin.join("prl")).unwrap();
    fs::copy(script.with_file_name("ranks.awk"), bin.join("ranks.awk")).unwrap();
    fs::write(
        workbench.path("built.json"),
        r#"{"rustc": "rustc 1.0", "commit": "abc + changes", "code": "c0de"}"#,
    )
    .unwrap();
    let call = |log: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_prl-reproduce"));
        command.args([
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
        command
            .env("PRL_PACK", workbench.dir.path())
            .env("FAKE_DIR", workbench.dir.path())
            .env_remove("PRL_BIN");
        command
            .current_dir(workbench.dir.path())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    };
    let output = call("rc15");
    assert!(
        !output.status.success() && stderr(&output).contains("no prepared rc15 in "),
        "{}",
        stderr(&output)
    );
    let mut prepare = Command::new(bin.join("prl"));
    prepare
        .args(["prepare", "--source", "rc15", "--clicks"])
        .arg(workbench.path("built.json"))
        .arg("--out")
        .arg(&data);
    assert!(
        prepare
            .env("FAKE_DIR", workbench.dir.path())
            .status()
            .unwrap()
            .success()
    );
    workbench.calls();
    let output = call("rc15");
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(
        workbench
            .calls()
            .iter()
            .all(|call| !call.starts_with("synth ") && !call.starts_with("prepare "))
    );
    let page = fs::read_to_string(workbench.path("results/quick/README.md")).unwrap();
    for fact in ["rustc 1.0", "abc + changes", "c0de"] {
        assert!(page.contains(fact), "{fact} is not on the page: {page}");
    }
}

#[test]
fn failed_run_is_repeated_only_on_request() {
    let workbench = Workbench::new();
    workbench.control("diverge", "gru-sac");
    let output = workbench.call(&GRU);
    assert!(
        !output.status.success() && stderr(&output).contains("error: 1 runs failed"),
        "{}",
        stderr(&output)
    );
    assert_eq!(
        trained(&workbench.calls()).len(),
        8,
        "the other runs are made"
    );
    let why = "the loss is NaN at step 1234: training has diverged";
    assert!(
        workbench
            .page("table2.md")
            .contains(&format!("| **GRU SAC** | seed 0 | FAILED: error: {why}"))
    );
    assert!(
        workbench
            .page("index.html")
            .contains(&format!("seed 0 FAILED: error: {why}"))
    );
    assert!(
        workbench
            .page("runs.csv")
            .contains(&format!("sac,0,FAILED: error: {why}"))
    );

    let output = workbench.call(&GRU);
    assert!(
        output.status.success(),
        "the failure is recorded: {}",
        stderr(&output)
    );
    assert!(stderr(&output).contains("1 runs failed before") && workbench.calls().is_empty());

    fs::remove_file(workbench.path("diverge")).unwrap();
    let retry: Vec<&str> = GRU.into_iter().chain(["--retry-failed"]).collect();
    let output = workbench.call(&retry);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(trained(&workbench.calls()).len(), 1);
    assert!(!workbench.page("table2.md").contains("FAILED"));
}

#[test]
fn changed_settings_make_new_runs() {
    let workbench = Workbench::new();
    let call = |more: &[&str]| {
        let args = ["--logs", "rc15", "--encoders", "gru", "--methods", "sqn"]
            .into_iter()
            .chain(more.iter().copied());
        let output = workbench.call(&args.collect::<Vec<_>>());
        assert!(output.status.success(), "{}", stderr(&output));
        trained(&workbench.calls()).len()
    };
    assert_eq!(call(&[]), 1);
    assert_eq!(call(&["--steps", "60"]), 1);
    assert_eq!(
        call(&["--threads", "1"]),
        0,
        "threads do not change a result"
    );
    assert_eq!(
        call(&["--code", "0123456789ab"]),
        0,
        "nothing is run for other code"
    );
    assert!(workbench.page("README.md").contains("0 of 1 runs are done"));
    assert_eq!(workbench.call(&["--methods", "qsn"]).status.code(), Some(1));
}

/// Name of an installed browser.
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

/// DOM of a page in a browser, and the messages of its console.
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
    assert!(output.status.success(), "{}", stderr(&output));
    (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr(&output),
    )
}

/// A page with another in a frame as wide as a phone; its title becomes the width by which the
/// other one overflows, and the number of drawings.
const FRAME: &str = "<!doctype html><iframe id=f style=\"width:390px;height:800px;border:0\" src=\"index.html\"></iframe><script>\
    onload = () => { const page = f.contentDocument.documentElement;\
    document.title = `${page.scrollWidth - page.clientWidth} too wide, ${f.contentDocument.querySelectorAll('svg').length} drawings`; }\
    </script>";

#[test]
fn page_renders_in_a_browser_without_errors() {
    let Some(browser) = browser() else {
        // The output of a passing test is captured; that of a child process is not.
        let _ = Command::new("sh")
            .args([
                "-c",
                "echo 'SKIPPED: no chromium here, so the page was not rendered' >&2",
            ])
            .status();
        return;
    };
    let workbench = Workbench::new();
    workbench.control("diverge", "nextitnet-sac");
    let some = [
        "--methods",
        "popularity,normal,sac,prl,prl-control,prl-mean,prl-wo",
        "--jobs",
        "2",
    ];
    assert!(!workbench.call(&some).status.success(), "a run diverges");
    let (dom, console) = dump(browser, &workbench.path("out/index.html"), 1200);
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

    fs::write(workbench.path("out/frame.html"), FRAME).unwrap();
    let (dom, console) = dump(browser, &workbench.path("out/frame.html"), 1200);
    assert!(!console.contains("CONSOLE"), "{console}");
    let title = dom
        .split("<title>")
        .nth(1)
        .and_then(|rest| rest.split("</title>").next())
        .unwrap_or("nothing");
    // 2 logs: 2 plots of the main numbers, 3 figures, and curves of 2 numbers for 4 + 1 + 1
    // encoders.
    assert_eq!(
        title,
        format!("0 too wide, {} drawings", 2 * (2 + 3 + 2 * 6))
    );
}
