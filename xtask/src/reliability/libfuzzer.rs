//! The fuzz targets under libFuzzer (coverage-guided inputs) and AddressSanitizer.
//!
//! Each target has a directory in `target/libfuzzer`: the inputs that it starts from (`corpus`),
//! those that ended it (`found`), and a log.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, ensure};

use super::promise::{Promise, Trial};
use super::runs::Runs;
use crate::{programs, root};

/// The program that writes the first inputs, and the targets.
const PROGRAMS: [&str; 15] = [
    "seeds",
    "retailrocket",
    "rc15",
    "csv",
    "inter",
    "text",
    "jsonl",
    "experiment",
    "arms_log",
    "parquet",
    "dataset",
    "checkpoint",
    "config",
    "space",
    "http",
];
/// Bounds of a single input: 20 s and 2 GiB.
const INPUT_BOUNDS: [&str; 2] = ["-timeout=20", "-rss_limit_mb=2048"];

/// A fuzzing campaign over all targets.
struct Campaign {
    seeds: PathBuf,
    minutes: f64,
    /// Processes per target.
    forks: usize,
    /// Directory for temporary files of the targets.
    scratch: PathBuf,
}

/// Result of one target.
struct Outcome {
    inputs: u64,
    edges: u64,
    /// Inputs that ended the target.
    found: Vec<PathBuf>,
}

/// Runs all targets in parallel for some minutes; one row for all of them.
pub fn run(runs: &Runs, minutes: f64) -> Result<Vec<Trial>> {
    let [seeds, targets @ ..] = programs::with_libfuzzer(PROGRAMS)?;
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let campaign = Campaign {
        seeds,
        minutes,
        forks: cores.div_ceil(targets.len()),
        scratch: scratch_dir(),
    };
    fs::create_dir_all(&campaign.scratch)?;
    let before = children_cpu_minutes();
    let named: Vec<_> = targets.iter().zip(&PROGRAMS[1..]).collect();
    let outcomes = programs::in_parallel(&named, |(target, name)| campaign.fuzz(target, name))?;
    let spent = match (before, children_cpu_minutes()) {
        (Some(before), Some(after)) => format!(" ({:.0} min of CPU time in all)", after - before),
        _ => String::new(),
    };
    let mut parts = Vec::new();
    let (mut times, mut lost, mut aborted) = (0, 0, 0);
    for ((target, name), outcome) in named.into_iter().zip(outcomes) {
        times += outcome.inputs;
        let mut found = 0;
        for input in &outcome.found {
            // On a machine that pauses any input is slow, so slow ones are tried again alone.
            if is_slow_input(input) && campaign.passes(target, input, None) {
                continue;
            }
            found += 1;
            // `prl` reads Parquet in a child process, whose abort is an error there.
            if *name == "parquet" && campaign.passes(target, input, Some(&runs.prl)) {
                aborted += 1;
            } else {
                lost += 1;
            }
        }
        eprintln!("{name}: {} inputs, {found} found", outcome.inputs);
        parts.push(format!("{name} {} ({})", outcome.inputs, outcome.edges));
    }
    fs::remove_dir_all(&campaign.scratch)?;
    let tried = format!(
        "libFuzzer with AddressSanitizer, {minutes} min a reader, all at once on {cores} cores{spent}, \
         inputs tried (edges reached): {}; {aborted} of the Parquet files abort the child process in \
         which polars reads them, and are errors of `prl`",
        parts.join(", ")
    );
    Ok(vec![Trial::new(Promise::Inputs, tried, times, lost)])
}

/// Directory for the targets' temporary files: in memory if the system has such a file system.
fn scratch_dir() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() {
        memory.to_owned()
    } else {
        env::temp_dir()
    };
    parent.join(format!("prl-libfuzzer-{}", std::process::id()))
}

impl Campaign {
    fn fuzz(&self, target: &Path, name: &str) -> Result<Outcome> {
        let dir = root().join("target/libfuzzer").join(name);
        let (corpus, found, log) = (dir.join("corpus"), dir.join("found"), dir.join("log"));
        if found.exists() {
            fs::remove_dir_all(&found)?;
        }
        fs::create_dir_all(&found)?;
        let seeds = self
            .command(&self.seeds)
            .arg(name)
            .arg(&corpus)
            .status()
            .context("failed to run the seeds")?;
        ensure!(seeds.success(), "the seeds of {name} ended with {seeds}");
        let mut fuzzer = self.command(target);
        // Processes that end are replaced.
        fuzzer.args(["-ignore_crashes=1", "-ignore_ooms=1", "-ignore_timeouts=1"]);
        fuzzer.args(INPUT_BOUNDS);
        fuzzer.args(["-detect_leaks=0", "-report_slow_units=20", "-max_len=65536"]);
        fuzzer.arg(format!("-fork={}", self.forks));
        fuzzer.arg(format!("-max_total_time={}", (self.minutes * 60.0).ceil()));
        fuzzer.arg(format!("-artifact_prefix={}/", found.display()));
        // The exit code is that of the last replaced process; the result is in the log.
        fuzzer
            .arg(&corpus)
            .stderr(File::create(&log)?)
            .status()
            .with_context(|| format!("failed to run {name}"))?;
        let (inputs, edges) = counts(&fs::read_to_string(&log)?)
            .with_context(|| format!("{name} ran no input; see {}", log.display()))?;
        let mut inputs_found = Vec::new();
        for entry in fs::read_dir(&found)? {
            inputs_found.push(entry?.path());
        }
        Ok(Outcome {
            inputs,
            edges,
            found: inputs_found,
        })
    }

    /// Whether a target succeeds on a single input within the bounds; with the `prl` binary for its
    /// child process if one is given.
    fn passes(&self, target: &Path, input: &Path, prl: Option<&Path>) -> bool {
        let mut command = self.command(target);
        command.args(INPUT_BOUNDS).arg(input).stderr(Stdio::null());
        if let Some(prl) = prl {
            command.env("PRL_BIN", prl);
        }
        command.status().is_ok_and(|status| status.success())
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env("TMPDIR", &self.scratch);
        command.env("ASAN_OPTIONS", "detect_leaks=0");
        command.env_remove("PRL_BIN").stdout(Stdio::null());
        command
    }
}

/// Whether libFuzzer stored an input for its time.
fn is_slow_input(input: &Path) -> bool {
    let name = input.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with("slow-unit-") || name.starts_with("timeout-")
}

/// CPU minutes of this process's finished children; `None` where the system does not report them.
fn children_cpu_minutes() -> Option<f64> {
    /// Clock ticks of `/proc` per minute.
    const TICKS: f64 = 6000.0;
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name in brackets may hold spaces; the 14th and 15th field after it are the children's
    // user and system time.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let user: f64 = fields.get(13)?.parse().ok()?;
    let system: f64 = fields.get(14)?.parse().ok()?;
    Some((user + system) / TICKS)
}

/// Inputs tried and edges reached, from the last status line of a log.
fn counts(log: &str) -> Option<(u64, u64)> {
    for line in log.lines().rev() {
        let status = line
            .strip_prefix('#')
            .and_then(|line| line.split_once(": cov: "));
        if let Some((inputs, rest)) = status {
            let edges = rest.split(' ').next()?;
            return Some((inputs.parse().ok()?, edges.parse().ok()?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::counts;

    #[test]
    fn counts_are_read_from_last_status_line() {
        let line = "#812: cov: 3407 ft: 9120 corp: 96 exec/s: 57 oom/timeout/crash: 0/0/1 time: 9s job: 4 dft_time: 0";
        let log = format!(
            "INFO: -fork=2: fuzzing in separate process(s)\n#5: cov: 1 ft: 1\n{line}\nINFO: exiting: 0\n"
        );
        assert_eq!(counts(&log), Some((812, 3407)));
        assert_eq!(counts("INFO: Loaded 1 modules\n"), None);
    }
}
