//! The fuzz targets under libFuzzer, which makes inputs from those that reached something new, and AddressSanitizer.
//!
//! Each has a folder in `target/libfuzzer`: the inputs that it goes on from (`corpus`), those that ended it (`found`), a log.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::row::{Promise, Row};
use super::runs::Runs;
use crate::{programs, root};

/// What writes the first inputs, and the targets.
const PROGRAMS: [&str; 10] = [
    "seeds",
    "retailrocket",
    "rc15",
    "csv",
    "inter",
    "parquet",
    "dataset",
    "checkpoint",
    "config",
    "http",
];

/// What came of a target.
struct Told {
    runs: u64,
    edges: u64,
    found: Vec<PathBuf>,
}

/// Runs the targets for some minutes, all at once; a line for all of them.
pub fn run(runs: &Runs, minutes: f64) -> Result<Vec<Row>> {
    let [seeds, targets @ ..] = programs::with_libfuzzer(PROGRAMS)?;
    // What the targets write in passing: small, and left behind by a process that is ended.
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() {
        memory.to_owned()
    } else {
        std::env::temp_dir()
    };
    let scratch = &parent.join(format!("prl-libfuzzer-{}", std::process::id()));
    fs::create_dir_all(scratch)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let forks = cores.div_ceil(targets.len());
    let before = processor_minutes();
    let named = || targets.iter().zip(&PROGRAMS[1..]);
    let told = std::thread::scope(|scope| {
        let running: Vec<_> = named()
            .map(|(target, name)| {
                scope.spawn(|| fuzz(&seeds, target, name, minutes, forks, scratch))
            })
            .collect();
        running
            .into_iter()
            .map(|target| target.join().expect("a target is watched without a panic"))
            .collect::<Result<Vec<Told>>>()
    })?;
    let (mut each, mut times, mut lost, mut ended) = (Vec::new(), 0, 0, 0);
    for (
        (target, name),
        Told {
            runs: tried,
            edges,
            mut found,
        },
    ) in named().zip(told)
    {
        // A machine that pauses makes any input slow.
        found.retain(|input| !is_of_time(input) || !passes(target, input, None, scratch));
        // The binary reads Parquet in a process of its own, and makes an error of its end.
        let is_survived =
            |input: &PathBuf| *name == "parquet" && passes(target, input, Some(&runs.prl), scratch);
        let survived = found.iter().filter(|input| is_survived(input)).count();
        (ended, lost) = (ended + survived, lost + found.len() - survived);
        times += tried;
        each.push(format!("{name} {tried} ({edges})"));
        eprintln!("{}, {} found", each[each.len() - 1], found.len());
    }
    fs::remove_dir_all(scratch)?;
    let spent = before
        .zip(processor_minutes())
        .map(|(before, after)| format!(" ({:.0} min of processor time in all)", after - before));
    let tried = format!(
        "libFuzzer with AddressSanitizer, {minutes} min a reader, all at once on {cores} cores{}, inputs tried (edges \
         reached): {}; {ended} of the Parquet files end the process that polars reads them in, and are errors of `prl`",
        spent.unwrap_or_default(),
        each.join(", ")
    );
    Ok(vec![Row {
        promise: Promise::Inputs,
        tried,
        times,
        lost: lost as u64,
    }])
}

/// Runs a target, in so many processes.
fn fuzz(
    seeds: &Path,
    target: &Path,
    name: &str,
    minutes: f64,
    forks: usize,
    scratch: &Path,
) -> Result<Told> {
    let dir = root().join("target/libfuzzer").join(name);
    let (corpus, found, log) = (dir.join("corpus"), dir.join("found"), dir.join("log"));
    _ = fs::remove_dir_all(&found);
    fs::create_dir_all(&found)?;
    let command = |program: &Path| {
        let mut command = Command::new(program);
        command
            .env("TMPDIR", scratch)
            .env("ASAN_OPTIONS", "detect_leaks=0")
            .env_remove("PRL_BIN")
            .stdout(Stdio::null());
        command
    };
    let begun = command(seeds)
        .arg(name)
        .arg(&corpus)
        .status()
        .context("failed to run the seeds")?;
    ensure!(begun.success(), "the seeds of {name} ended with {begun}");
    let mut fuzzer = command(target);
    // A process that is ended is followed by another one.
    fuzzer.args([
        "-ignore_crashes=1",
        "-ignore_ooms=1",
        "-ignore_timeouts=1",
        "-detect_leaks=0",
    ]);
    fuzzer.args([
        "-timeout=20",
        "-report_slow_units=20",
        "-rss_limit_mb=2048",
        "-max_len=65536",
    ]);
    fuzzer.args([
        format!("-fork={forks}"),
        format!("-max_total_time={}", (minutes * 60.0).ceil()),
    ]);
    fuzzer
        .arg(format!("-artifact_prefix={}/", found.display()))
        .arg(&corpus);
    // How it ends is how its last process ended; what it says is in its log.
    fuzzer
        .stderr(File::create(&log)?)
        .status()
        .with_context(|| format!("failed to run {name}"))?;
    let said = fs::read_to_string(&log)?;
    let (runs, edges) =
        counts(&said).with_context(|| format!("{name} ran nothing; {} says why", log.display()))?;
    let found = fs::read_dir(&found)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    Ok(Told { runs, edges, found })
}

/// Whether libFuzzer kept an input because it took long.
fn is_of_time(input: &Path) -> bool {
    let name = input.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with("slow-unit-") || name.starts_with("timeout-")
}

/// Whether a target comes to its end on an input alone, and in time; with the binary, where one is given.
fn passes(target: &Path, input: &Path, prl: Option<&Path>, scratch: &Path) -> bool {
    let mut again = Command::new(target);
    again
        .args(["-timeout=20", "-rss_limit_mb=2048"])
        .arg(input)
        .env("ASAN_OPTIONS", "detect_leaks=0");
    again
        .env("TMPDIR", scratch)
        .env_remove("PRL_BIN")
        .envs(prl.map(|prl| ("PRL_BIN", prl)));
    again
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Processor time of the programs that this one has run to their end; nothing where the system does not say.
fn processor_minutes() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name, in brackets, may hold spaces; behind it the 14th and 15th are the programs' hundredths of a second.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields
        .get(13..15)?
        .iter()
        .map(|field| field.parse::<f64>().ok())
        .sum::<Option<f64>>()?;
    Some(ticks / 6000.0)
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
        let log = format!(
            "INFO: -fork=2: fuzzing in separate process(s)\n#5: cov: 1 ft: 1\n{line}\nINFO: exiting: 0\n"
        );
        assert_eq!(counts(&log), Some((812, 3407)));
        assert_eq!(counts("INFO: Loaded 1 modules\n"), None);
    }
}
