//! `cargo xtask bench`: milliseconds of a training step and evaluated events a second, with the machine they are of.

mod peers;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::files::{markdown_table, write_whole};
use crate::machine::Machine;
use crate::root;

/// Flags of `bench`.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    task: Option<Task>,
    /// Threads
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Steps of each case that are timed
    #[arg(long, default_value_t = 30)]
    steps: usize,
    /// Only these encoders [default: all]
    #[arg(long)]
    encoders: Option<String>,
    /// Only these methods
    #[arg(long, default_value = "normal,prl,sqn,sac")]
    methods: String,
    /// Where the figures go [default: results/bench]
    #[arg(long)]
    out: Option<PathBuf>,
}

#[derive(clap::Subcommand)]
enum Task {
    /// The same steps in PyTorch, in turn with ours, in one run: installs PyTorch in an environment under target/
    Peers(peers::Args),
}

/// Where the figures go unless told.
fn results() -> PathBuf {
    root().join("results/bench")
}

/// Runs the step bench with these flags and returns its lines, one JSON object a case.
fn steps<S: AsRef<std::ffi::OsStr>>(flags: impl IntoIterator<Item = S>) -> Result<String> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root()).args(["run", "--release", "-p", "prl-train", "--example", "step_speed", "--", "--json"]);
    let output = cargo.args(flags).stderr(Stdio::inherit()).output().context("failed to run cargo")?;
    ensure!(output.status.success(), "the bench failed");
    Ok(String::from_utf8(output.stdout)?)
}

/// Builds and runs the bench, keeps its raw lines and writes a page.
pub fn run(args: Args) -> Result<()> {
    if let Some(Task::Peers(args)) = args.task {
        return peers::run(&args);
    }
    let mut flags =
        vec!["--threads".to_owned(), args.threads.to_string(), "--steps".to_owned(), args.steps.to_string()];
    flags.extend(["--methods".to_owned(), args.methods.clone()]);
    flags.extend(args.encoders.iter().flat_map(|encoders| ["--encoders".to_owned(), encoders.clone()]));
    let raw = steps(&flags)?;
    let lines: Vec<Value> = raw.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let out: &Path = &args.out.unwrap_or_else(results);
    write_whole(&out.join("steps.jsonl"), &raw)?;
    let page = format!(
        "# Bench\n\nBatch 256, window 10, width 64, {} threads; median and least of {} steps, the parts are means. MB is the \
         peak of the process so far, which goes through the lines in this order.\n\n{}\n{}",
        args.threads,
        args.steps,
        Machine::here().to_markdown(),
        table(&lines)
    );
    write_whole(&out.join("README.md"), &page)?;
    println!("{page}");
    Ok(())
}

fn table(lines: &[Value]) -> String {
    let header =
        ["encoder", "method", "items", "ms a step", "least", "encoder", "head", "backward", "adam", "events/s", "MB"];
    let row = |line: &Value| {
        let text = |key: &str| line[key].as_str().map_or_else(|| line[key].to_string(), str::to_owned);
        let number = |key: &str, digits: usize| line[key].as_f64().map_or("-".into(), |x| format!("{x:.digits$}"));
        let mut cells = vec![text("encoder"), text("method"), text("items")];
        let ms = ["step_ms_median", "step_ms_min", "encoder_ms", "head_ms", "backward_ms", "adam_ms"];
        cells.extend(ms.map(|key| number(key, 1)));
        cells.extend([number("eval_events_per_s", 0), number("peak_rss_mb", 0)]);
        cells
    };
    markdown_table(&header, 2, &lines.iter().map(row).collect::<Vec<_>>())
}
