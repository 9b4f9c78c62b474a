//! The fuzz targets under libFuzzer, which makes inputs from those that reached something new, and AddressSanitizer.
//!
//! Each has a folder in `target/libfuzzer`: the inputs that it goes on from (`corpus`), those that ended it (`found`), a log.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::row::{Promise, Row};
use super::runs::Runs;
use crate::{binary, root};

/// What writes the first inputs, and the targets.
const PROGRAMS: [&str; 10] =
    ["seeds", "retailrocket", "rc15", "csv", "inter", "parquet", "dataset", "checkpoint", "config", "http"];

/// What came of a target.
struct Told {
    runs: u64,
    edges: u64,
    found: Vec<PathBuf>,
}

/// Runs each target for some minutes; a line for all of them.
pub fn run(runs: &Runs, minutes: f64) -> Result<Vec<Row>> {
    let [seeds, targets @ ..] = binary::with_libfuzzer(PROGRAMS)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (mut each, mut times, mut lost, mut ended) = (Vec::new(), 0, 0, 0);
    for (target, name) in targets.iter().zip(&PROGRAMS[1..]) {
        let told = fuzz(&seeds, target, name, minutes, cores)?;
        let spoiled = told.found.iter().filter(|input| *name != "parquet" || !is_survived(runs, target, input));
        let spoiled = spoiled.count() as u64;
        lost += spoiled;
        ended += told.found.len() as u64 - spoiled;
        times += told.runs;
        each.push(format!("{name} {} ({})", told.runs, told.edges));
        eprintln!("{}, {} found", each[each.len() - 1], told.found.len());
    }
    let tried = format!(
        "libFuzzer with AddressSanitizer, {minutes} min a reader on {cores} cores, inputs tried (edges reached): {}; {ended} of \
         the Parquet files end the process that polars reads them in, and are errors of `prl`",
        each.join(", ")
    );
    Ok(vec![Row { promise: Promise::Inputs, tried, times, lost }])
}

/// Runs a target on every core.
fn fuzz(seeds: &Path, target: &Path, name: &str, minutes: f64, cores: usize) -> Result<Told> {
    let dir = root().join("target/libfuzzer").join(name);
    let (corpus, found, log) = (dir.join("corpus"), dir.join("found"), dir.join("log"));
    _ = fs::remove_dir_all(&found);
    fs::create_dir_all(&found)?;
    // What the targets write in passing: small, and left behind by a process that is ended.
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let scratch = parent.join(format!("prl-libfuzzer-{}", std::process::id()));
    fs::create_dir_all(&scratch)?;
    let command = |program: &Path| {
        let mut command = Command::new(program);
        command
            .env("TMPDIR", &scratch)
            .env("ASAN_OPTIONS", "detect_leaks=0")
            .env_remove("PRL_BIN")
            .stdout(Stdio::null());
        command
    };
    let begun = command(seeds).arg(name).arg(&corpus).status().context("failed to run the seeds")?;
    ensure!(begun.success(), "the seeds of {name} ended with {begun}");
    let mut fuzzer = command(target);
    // A process that is ended is followed by another one.
    fuzzer.args(["-ignore_crashes=1", "-ignore_ooms=1", "-ignore_timeouts=1", "-detect_leaks=0"]);
    fuzzer.args(["-timeout=20", "-report_slow_units=20", "-rss_limit_mb=2048", "-max_len=65536"]);
    fuzzer.args([format!("-fork={cores}"), format!("-max_total_time={}", (minutes * 60.0).ceil())]);
    fuzzer.arg(format!("-artifact_prefix={}/", found.display())).arg(&corpus);
    // How it ends is how its last process ended; what it says is in its log.
    fuzzer.stderr(File::create(&log)?).status().with_context(|| format!("failed to run {name}"))?;
    fs::remove_dir_all(&scratch)?;
    let said = fs::read_to_string(&log)?;
    let (runs, edges) = counts(&said).with_context(|| format!("{name} ran nothing; {} says why", log.display()))?;
    let found = fs::read_dir(&found)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    Ok(Told { runs, edges, found })
}

/// Whether the binary makes an error of an input (or reads it): it reads Parquet in a process of its own.
fn is_survived(runs: &Runs, target: &Path, input: &Path) -> bool {
    let mut again = Command::new(target);
    again.arg("-timeout=60").arg(input).env("PRL_BIN", &runs.prl).env("ASAN_OPTIONS", "detect_leaks=0");
    again.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Inputs tried and edges reached, in the last line that says them.
fn counts(log: &str) -> Option<(u64, u64)> {
    log.lines().rev().find_map(|line| {
        let (runs, rest) = line.strip_prefix('#')?.split_once(": cov: ")?;
        Some((runs.parse().ok()?, rest.split(' ').next()?.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::counts;

    #[test]
    fn the_last_line_of_libfuzzer_is_read() {
        let line = "#812: cov: 3407 ft: 9120 corp: 96 exec/s: 57 oom/timeout/crash: 0/0/1 time: 9s job: 4 dft_time: 0";
        let log =
            format!("INFO: -fork=2: fuzzing in separate process(s)\n#5: cov: 1 ft: 1\n{line}\nINFO: exiting: 0\n");
        assert_eq!(counts(&log), Some((812, 3407)));
        assert_eq!(counts("INFO: Loaded 1 modules\n"), None);
    }
}
