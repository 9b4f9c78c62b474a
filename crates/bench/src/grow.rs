//! `prl-bench grow`: daily retraining. A log is cut by days; after each day a run is trained from
//! nothing, and one from the run of the day before (`prl train --from`). Both are evaluated on the
//! sessions of the next day.
//!
//! A chain of days is kept once it is finished, and not repeated.

mod measure;
mod page;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use prl_bench::jsonl;
use prl_experiments::prl_binary::PrlBinary;
use prl_experiments::{Machine, Workspace, write_file};
use serde_json::{Value, json};

use crate::cells::{LINE, call, finished, fresh, logs, perform_all};
use measure::{NewItems, clicks_on};

/// Flags of `prl-bench grow`.
#[derive(clap::Args)]
pub struct Args {
    /// Folder of the logs, NAME/events.csv [default: datasets]
    #[arg(long)]
    logs: Option<PathBuf>,
    /// Logs
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "retailrocket-week,retailrocket-slice"
    )]
    names: Vec<String>,
    /// Systems, by their numbers on the page
    #[arg(long, value_delimiter = ',', default_value = "1,2")]
    systems: Vec<usize>,
    /// Seeds of each chain
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Days after the first one of each chain
    #[arg(long, default_value_t = 4)]
    days: usize,
    /// Chains at once, each on one thread
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Make the page of the finished chains, and run nothing
    #[arg(long)]
    page_only: bool,
}

/// A log in RetailRocket's format.
pub struct Log {
    /// Name of its folder.
    name: &'static str,
    /// Month whose days the chain has.
    month: &'static str,
    /// First day whose events the first run is trained on to the end.
    first_day: usize,
    /// Origin.
    note: &'static str,
}

/// The logs.
const LOGS: [Log; 2] = [
    Log {
        name: "retailrocket-week",
        month: "2015-09",
        first_day: 12,
        note: "Nine days of RetailRocket with repeats, 46,350 events, from 10 September; after the \
               first three days each day adds a tenth to a third of the log.",
    },
    Log {
        name: "retailrocket-slice",
        month: "2015-09",
        first_day: 8,
        note: "The last fifth of RetailRocket's log, de-duplicated by who published it, 104,776 \
               events, from 15 August.",
    },
];

/// A system: its name on the page and its flags of `prl train`.
struct System {
    name: &'static str,
    flags: &'static [&'static str],
}

/// The systems. The paper's recipe validates every 2,000 steps, which on these logs is nearly the
/// whole training.
const SYSTEMS: [System; 2] = [
    System {
        name: "core, PRL, modern",
        flags: &[],
    },
    System {
        name: "GRU, PRL, paper",
        flags: &[
            "--recipe",
            "paper",
            "--encoder",
            "gru",
            "--eval-every",
            "0",
            "--epochs",
            "10",
            "--patience",
            "3",
        ],
    },
];

/// Validation in every training: the sessions that begin last, which no earlier run has seen.
const HOLD_OUT: [&str; 4] = ["--hold-out", "0.05", "--hold-out-by", "time"];

/// A system with a seed on the days of a log.
struct Chain<'a> {
    log: &'a Log,
    system: &'a System,
    seed: u64,
    days: usize,
}

/// Runs all chains that are not finished; writes the raw lines and the page.
pub fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let machine = Machine::detect(workspace);
    let dir = workspace.root.join("runs/grow");
    if !args.page_only {
        let mut chosen = Vec::new();
        for name in &args.names {
            let known = LOGS.iter().find(|log| log.name == name);
            chosen.push(known.with_context(|| format!("no log is named {name:?}"))?);
        }
        let prl = PrlBinary::find(workspace, "cpu")?;
        let raw = logs(workspace, args.logs.as_deref(), chosen[0].name)?;
        for log in &chosen {
            log.prepare(&prl, &raw.join(log.name), &dir, args.days)?;
        }
        let mut chains = Vec::new();
        for &number in &args.systems {
            let system = number.checked_sub(1).and_then(|i| SYSTEMS.get(i));
            let system = system.with_context(|| format!("no system has the number {number}"))?;
            for &log in &chosen {
                for seed in 0..args.seeds {
                    chains.push(Chain {
                        log,
                        system,
                        seed,
                        days: args.days,
                    });
                }
            }
        }
        perform_all(chains, args.jobs, |chain| {
            let named = || format!("{} on {}", chain.system.name, chain.log.name);
            chain
                .perform(&prl, &machine.commit, &dir)
                .with_context(named)
        })?;
    }
    let mut lines = Vec::new();
    for log in &LOGS {
        lines.extend(finished(&dir.join(log.name))?);
    }
    ensure!(
        !lines.is_empty(),
        "no chain is finished; run without --page-only"
    );
    let results = workspace.root.join("results");
    write_file(&results.join("grow.jsonl"), jsonl::to_text(&lines))?;
    write_file(&results.join("grow.md"), page::page(&lines, &machine))?;
    println!("{}", results.join("grow.md").display());
    Ok(())
}

impl Log {
    /// The date of a day of the chain.
    fn date(&self, day: usize) -> String {
        format!("{}-{:02}", self.month, self.first_day + day)
    }

    /// The log until the end of a day, or that day's next one alone, under `dir`.
    fn dataset(&self, dir: &Path, day: usize, is_next: bool) -> PathBuf {
        let name = if is_next { "next" } else { "until" };
        dir.join(self.name)
            .join(format!("{name}-{}", self.date(day)))
    }

    /// Prepares the log for each day: all events until its end, and those of the next day.
    fn prepare(&self, prl: &PrlBinary, raw: &Path, dir: &Path, days: usize) -> Result<()> {
        let input = raw.join("events.csv").display().to_string();
        for day in 0..=days {
            let (next, after) = (self.date(day + 1), self.date(day + 2));
            for is_next in [false, true] {
                let out = self.dataset(dir, day, is_next);
                if out.join("manifest.json").exists() {
                    continue;
                }
                let out = out.display().to_string();
                let mut flags = vec!["prepare", "--source", "csv", "--input", &input];
                flags.extend(["--columns", COLUMNS, "--drop-other-events"]);
                flags.extend(["--click", "view", "--purchase", "addtocart"]);
                flags.extend(["--min-session-events", "2", "--min-item-events", "1"]);
                flags.extend(["--val", "0", "--test", "0", "--out", &out]);
                match is_next {
                    false => flags.extend(["--until", &next]),
                    true => flags.extend(["--from", &next, "--until", &after]),
                }
                call(prl, &flags)?;
            }
        }
        Ok(())
    }
}

const COLUMNS: &str = "session=visitorid,time=timestamp,item=itemid,event=event";

impl Chain<'_> {
    /// Trains and evaluates every day unless the chain is finished.
    fn perform(&self, prl: &PrlBinary, commit: &str, dir: &Path) -> Result<()> {
        let name = self.system.name.to_lowercase().replace([',', ' '], "-");
        let chain = dir
            .join(self.log.name)
            .join(format!("{name}-{}", self.seed));
        if chain.join(LINE).exists() {
            return Ok(());
        }
        let mut days: Vec<Value> = Vec::new();
        for day in 0..=self.days {
            eprintln!("{}, {}: {}", self.log.name, self.log.date(day), name);
            days.push(self.day(prl, (&chain, dir), day)?);
        }
        let line = json!({
            "log": self.log.name,
            "system": self.system.name,
            "seed": self.seed,
            "code": prl.code,
            "commit": commit,
            "days": days,
        });
        write_file(&chain.join(LINE), format!("{line}\n"))
    }

    /// The runs of a day under `chain`, evaluated on the next one.
    fn day(&self, prl: &PrlBinary, (chain, dir): (&Path, &Path), day: usize) -> Result<Value> {
        let data = self.log.dataset(dir, day, false);
        let next = self.log.dataset(dir, day, true);
        let run = |kind: &str, day: usize| match day {
            // The chains of the first day start from one run.
            0 => chain.join(format!("nothing-{}", self.log.date(0))),
            _ => chain.join(format!("{kind}-{}", self.log.date(day))),
        };
        let before = (day > 0).then(|| self.log.dataset(dir, day - 1, false));
        let new_items = NewItems::between(before.as_deref(), &data)?;
        let mut result = json!({ "date": self.log.date(day), "new_items": new_items.len() });
        let mut kinds: Vec<(&str, &[&str])> = vec![("nothing", &[])];
        if day > 0 {
            kinds.push(("grown", &[]));
            kinds.push(("co-occurrence", &["--new-items", "co-occurrence"]));
        }
        for (kind, flags) in kinds {
            let out = run(kind, day);
            let (data, seed) = (data.display().to_string(), self.seed.to_string());
            let path = fresh(&out)?;
            let mut call_flags = vec!["train", "--data", &data, "--out", &path];
            let parent = run(kind, day.saturating_sub(1)).display().to_string();
            if kind == "nothing" {
                call_flags.extend(self.system.flags);
                call_flags.extend(HOLD_OUT);
                call_flags.extend(["--seed", &seed]);
            } else {
                call_flags.extend(["--from", &parent]);
            }
            call_flags.extend(flags);
            let trained = call(prl, &call_flags)?;
            let mut line = clicks_on(prl, &out, &next, &new_items)?;
            let manifest = prl_experiments::files::read_json::<Value>(&out.join("manifest.json"))?;
            line["steps"] = manifest["steps"].clone();
            line["seconds"] = json!(trained.seconds);
            result[kind] = line;
        }
        if day > 0 {
            result["yesterday"] = clicks_on(prl, &run("grown", day - 1), &next, &new_items)?;
        }
        Ok(result)
    }
}
