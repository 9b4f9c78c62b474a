//! `prl-bench value`: what prompts return in the simulated shop, whose truth is known.
//!
//! For each world of the shop: its log, the runs that are trained on it, and visitors of another
//! seed who are shown the lists of each arm. Worlds that differ only in how visitors treat lists
//! have one log and its runs. A finished world is kept.

mod page;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use prl_bench::jsonl;
use prl_experiments::prl_binary::PrlBinary;
use prl_experiments::{Machine, Workspace, write_file};
use serde_json::{Value, json};

use crate::cells::{LINE, call, finished, fresh, is_finished};

/// Worlds with the log of `base`: they differ in position, click or impatience.
const OF_BASE: [&str; 7] = [
    "base",
    "attention-wide",
    "attention-narrow",
    "clicks-few",
    "clicks-many",
    "patient",
    "impatient",
];

/// A trained run: its name in the arms, and its flags.
const RUNS: [(&str, &[&str]); 5] = [
    ("normal", &["--method", "normal"]),
    ("prl", &["--method", "prl"]),
    ("weighted", &["--method", "prl", "--loss-weight", "method"]),
    (
        "paper-normal",
        &[
            "--method",
            "normal",
            "--recipe",
            "paper",
            "--encoder",
            "gru",
        ],
    ),
    (
        "paper",
        &["--method", "prl", "--recipe", "paper", "--encoder", "gru"],
    ),
];

/// Runs whose prompts may be asked for a return of the state.
const FORECAST: [&str; 3] = ["prl", "weighted", "paper"];

/// Arms: a run and the fields of its requests. The first is compared with each other.
const ARMS: [(&str, &str); 20] = [
    ("normal", ""),
    ("normal", "tilt=0.5"),
    ("normal", "tilt=1"),
    ("normal", "tilt=2"),
    ("normal", "tilt=4"),
    ("prl", "mu=1"),
    ("prl", "mu=4"),
    ("prl", "quantile=0.9"),
    ("prl", "state_quantile=0.9"),
    ("prl", "kappa=5"),
    ("weighted", "mu=1"),
    ("weighted", "mu=2"),
    ("weighted", "mu=4"),
    ("weighted", "quantile=0.9"),
    ("weighted", "state_quantile=0.9"),
    ("weighted", "kappa=5"),
    ("paper-normal", ""),
    ("paper", "mu=1"),
    ("paper", "mu=2"),
    ("paper", "state_quantile=0.9"),
];

/// Lists without a model: no lists, popular items, and bounds that know the visitor's taste.
const WITHOUT_MODEL: [&str; 4] = ["none", "popular", "best-fit", "best-buy"];

/// The adaptive prompts compared with mu = 1 of the same run.
const ADAPTIVE: [(&str, &str); 3] = [
    ("weighted", "mu=1"),
    ("weighted", "state_quantile=0.9"),
    ("weighted", "kappa=5"),
];

/// Flags of `prl-bench value`.
#[derive(clap::Args)]
pub struct Args {
    /// Worlds of the shop
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "base,attention-wide,attention-narrow,clicks-few,clicks-many,patient,\
                         impatient,price-ignored,price-bound,fit-ignored,fit-bound"
    )]
    worlds: Vec<String>,
    /// Sessions of the log
    #[arg(long, default_value_t = 50_000)]
    log_sessions: u64,
    /// Visitors of each arm
    #[arg(long, default_value_t = 10_000)]
    sessions: u64,
    /// Make the page of the finished worlds, and run nothing
    #[arg(long)]
    page_only: bool,
}

/// Runs all worlds that are not finished; writes the raw lines and the page.
pub fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let machine = Machine::detect(workspace);
    let dir = workspace.root.join("runs/value");
    if !args.page_only {
        let prl = PrlBinary::find(workspace, "cpu")?;
        for world in &args.worlds {
            let shop = Shop::of(&dir, world);
            shop.perform(&prl, args, &machine.commit)
                .with_context(|| format!("the world {world}"))?;
        }
    }
    let lines = finished(&dir)?;
    ensure!(
        !lines.is_empty(),
        "no world is finished; run without --page-only"
    );
    let results = workspace.root.join("results/value");
    write_file(&results.join("worlds.jsonl"), jsonl::to_text(&lines))?;
    write_file(&results.join("README.md"), page::page(&lines, &machine))?;
    println!("{}", results.join("README.md").display());
    Ok(())
}

/// A world with the folder of its log and runs.
struct Shop<'a> {
    world: &'a str,
    /// The world whose log and runs it has.
    source: &'a str,
    /// Folder of the world's line.
    dir: PathBuf,
    /// Folder of log and runs.
    trained: PathBuf,
}

impl<'a> Shop<'a> {
    fn of(dir: &Path, world: &'a str) -> Self {
        let source = if OF_BASE.contains(&world) {
            "base"
        } else {
            world
        };
        Self {
            world,
            source,
            dir: dir.join(world),
            trained: dir.join("trained").join(source),
        }
    }

    /// Trains and simulates what is not finished.
    fn perform(&self, prl: &PrlBinary, args: &Args, commit: &str) -> Result<()> {
        let settings = json!({"log_sessions": args.log_sessions, "sessions": args.sessions});
        if is_finished(&self.dir, &settings)? {
            return Ok(());
        }
        self.train(prl, args.log_sessions)?;
        eprintln!("{}: simulate", self.world);
        let mut arms = Vec::new();
        for (run, fields) in ARMS {
            arms.push(self.arm(run, fields));
        }
        arms.extend(WITHOUT_MODEL.map(str::to_owned));
        let report = self.simulate(prl, args.sessions, &arms)?;
        let adaptive = ADAPTIVE.map(|(run, fields)| self.arm(run, fields));
        let adaptive = self.simulate(prl, args.sessions, &adaptive)?;
        let line = json!({
            "world": self.world,
            "code": prl.code,
            "commit": commit,
            "log_sessions": args.log_sessions,
            "sessions": args.sessions,
            "report": report,
            "adaptive": adaptive,
        });
        write_file(&self.dir.join(LINE), line.to_string())?;
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.trained.join(name)
    }

    /// The text of an arm; its name on the page is without the folder.
    fn arm(&self, run: &str, fields: &str) -> String {
        let run = self.path(run).display().to_string();
        let fields = if fields.is_empty() {
            String::new()
        } else {
            format!(",{fields}")
        };
        format!("run={run}{fields},exclude_seen=true")
    }

    /// Makes the log and trains the runs, unless they are there.
    fn train(&self, prl: &PrlBinary, sessions: u64) -> Result<()> {
        let data = self.path("data").display().to_string();
        if !self.path("data/manifest.json").exists() {
            eprintln!("{}: log", self.source);
            let (log, sessions) = (fresh(&self.path("log"))?, sessions.to_string());
            let flags = ["--world", self.source, "--sessions", &sessions];
            let synth = ["synth", "--like", "shop", "--out", &log];
            call(prl, &[&synth[..], &flags].concat())?;
            let events = self.path("log/events.csv").display().to_string();
            let out = fresh(&self.path("data"))?;
            let columns = "session=session,time=time,item=item,event=event";
            let read = ["prepare", "--source", "csv", "--input", &events];
            let kinds = ["--columns", columns, "--click", "view"];
            let rest = ["--purchase", "purchase", "--out", &out];
            call(prl, &[&read[..], &kinds, &rest].concat())?;
        }
        for (name, flags) in RUNS {
            if self.path(name).join("manifest.json").exists() {
                continue;
            }
            eprintln!("{}: train {name}", self.source);
            let out = fresh(&self.path(name))?;
            let train = ["train", "--data", &data, "--out", &out];
            call(prl, &[&train[..], flags].concat())?;
            if FORECAST.contains(&name) {
                call(prl, &["forecast", "--run", &out, "--json"])?;
            }
        }
        Ok(())
    }

    fn simulate(&self, prl: &PrlBinary, sessions: u64, arms: &[String]) -> Result<Value> {
        let sessions = sessions.to_string();
        let run = self.path(RUNS[0].0).display().to_string();
        let mut flags = vec!["simulate", "--run", &run, "--world", self.world];
        // Another seed than the log's.
        flags.extend(["--sessions", &sessions, "--seed", "1", "--json"]);
        for arm in arms {
            flags.extend(["--arm", arm]);
        }
        let output = call(prl, &flags)?.output;
        let mut report: Value = serde_json::from_str(&output)?;
        self.shorten(&mut report);
        Ok(report)
    }

    /// Names the arms by their run, without its folder and the field that all have.
    fn shorten(&self, report: &mut Value) {
        let folder = format!("run={}/", self.trained.display());
        for list in ["arms", "differences"] {
            for entry in report[list].as_array_mut().into_iter().flatten() {
                for key in ["arm", "minus"] {
                    if let Some(name) = entry[key].as_str() {
                        let name = name.replace(&folder, "").replace(",exclude_seen=true", "");
                        entry[key] = json!(name.replace(',', ", ").replace('=', " "));
                    }
                }
            }
        }
    }
}
