//! `prl tune`: a search over the settings of `prl train`, each trial in a process of its own.

mod candidates;
mod output;
mod process;
mod search;
mod search_dir;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::value_parser;
use prl_dataset::Dataset;
use prl_runs::{Error, Validation};
use prl_tune::{DEFAULT_SPACE, Pruner, Space, Status, Trial, count};

use crate::exit::{EXIT_INTERRUPTED, Interrupted, Usage};
use crate::flags::{Track, named};
use crate::output::outln;
use candidates::Candidates;
use output::Output;
use process::Launcher;
use search::{End, Limits, Search};
use search_dir::{SearchDir, SearchIdentity, stored_space};

/// Maximum size of a space in bytes.
const MAX_SPACE_BYTES: u64 = 1 << 20;
/// Time of a search for which neither a time nor a number of trials is given.
const DEFAULT_BUDGET: Duration = Duration::from_secs(30 * 60);

/// Search for the best settings of a training
///
/// Each trial is a `prl train` with settings drawn from a space; trials are compared by a metric of
/// the validation, never of the test split. Ctrl-C and the end of the budget leave everything
/// resumable. The best finished trial is the run directory OUT/best, and OUT/index.html shows all.
#[derive(clap::Args)]
pub struct Args {
    /// Directory of the prepared dataset, as written by `prl prepare`
    #[arg(long, required_unless_present = "print_space")]
    data: Option<PathBuf>,
    /// Directory for the search
    #[arg(long, required_unless_present = "print_space")]
    out: Option<PathBuf>,
    /// Settings to search over, in TOML [default: the space of --print-space, or of the search that
    /// is resumed]
    #[arg(long, value_name = "FILE")]
    space: Option<PathBuf>,
    /// Print the default space, which explains its syntax
    #[arg(long)]
    print_space: bool,
    /// Time after which the trials are interrupted, such as 90s, 30m or 2h [default: 30m, or none
    /// with --trials]
    #[arg(long, value_parser = duration)]
    budget: Option<Duration>,
    /// Number of trials after which none is started, those before a resumption included
    #[arg(long, value_parser = value_parser!(u64).range(1..))]
    trials: Option<u64>,
    /// Trials at a time; each gets an equal share of the cores
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u64).range(1..=1024))]
    jobs: u64,
    /// Metric of the validation that compares trials, as for `prl train` [default: the recipe's]
    #[arg(long)]
    select: Option<String>,
    /// Early stopping of trials: median, hyperband or none
    #[arg(long, default_value = "median", value_parser = named(&Pruner::ALL, Pruner::name))]
    pruner: Pruner,
    /// Seed of the proposals
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Continue the search in the directory, if it has one
    #[arg(long)]
    resume: bool,
    /// Print all trials as one JSON object in place of the leaderboard
    #[arg(long)]
    json: bool,
    /// Device of the trainings, as for `prl train`
    #[arg(long, default_value = "auto")]
    device: String,
    #[command(flatten)]
    track: Track,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    if args.print_space {
        write_space()?;
        return Ok(());
    }
    static STOP: AtomicBool = AtomicBool::new(false);
    // The first signal interrupts the trials, which write checkpoints; the second one exits.
    ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(EXIT_INTERRUPTED.into());
        }
    })?;
    search(&args, &STOP, &mut |output, trials| {
        output.finish(trials, args.json)
    })
}

/// Searches as the flags say, and returns all trials as one JSON object.
pub(crate) fn searched(args: &Args, stop: &AtomicBool) -> anyhow::Result<serde_json::Value> {
    let mut all = serde_json::Value::Null;
    search(args, stop, &mut |output, trials| {
        output.report(trials)?;
        all = output.json(trials);
        Ok(())
    })?;
    Ok(all)
}

/// Searches as the flags say; `finish` takes the trials at the end.
fn search(
    args: &Args,
    stop: &AtomicBool,
    finish: &mut dyn FnMut(&Output<'_>, &[Trial]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let (Some(data), Some(out)) = (&args.data, &args.out) else {
        return Err(Usage("--data and --out are missing".into()).into());
    };
    let start = Instant::now();
    let stored = match (&args.space, args.resume) {
        (None, true) => stored_space(out)?,
        _ => None,
    };
    let space = match stored {
        Some(text) => Space::parse("the space of the search", &text)?,
        None => read_space(args.space.as_deref())?,
    };
    let candidates = Candidates::new(space, args.select.as_deref(), &std::path::absolute(data)?)?;
    prl_model::device(&args.device)?;
    let dataset = Dataset::open(data).map_err(|e| Error::of_dataset(e, None))?;
    check_validation(&candidates, &dataset)?;
    let identity = SearchIdentity::new(&dataset, &candidates, args.pruner, args.seed)?;
    let (dir, trials) = SearchDir::open(out, &identity, args.resume)?;
    let budget = match (args.budget, args.trials) {
        (None, None) => Some(DEFAULT_BUDGET),
        (budget, _) => budget,
    };
    let launcher = Launcher::new(args.device.clone(), args.jobs, args.track.targets.clone());
    let mut output = Output::new(&candidates, &dir, &dataset, args);
    let mut search = Search {
        candidates: &candidates,
        dir: &dir,
        launcher,
        pruner: args.pruner,
        seed: args.seed,
        limits: Limits {
            deadline: budget.map(|budget| start + budget),
            trials: args.trials,
            jobs: args.jobs as usize,
        },
        stop,
        trials,
    };
    let end = search.run(&mut output)?;
    finish(&output, &search.trials)?;
    let ended = search.trials.len() - count(&search.trials, Status::Incomplete);
    if end == End::Interrupted {
        return Err(Interrupted::after(format!("{ended} trials")).into());
    }
    anyhow::ensure!(
        count(&search.trials, Status::Finished) > 0,
        "no trial has finished of {}; {}",
        search.trials.len(),
        remedy(&search)
    );
    Ok(())
}

/// Remedy of a search without a finished trial.
fn remedy(search: &Search<'_>) -> String {
    let mut failed = search.trials.iter().rev();
    let failed = failed.find_map(|trial| trial.message.as_deref());
    match failed {
        Some(message) => format!("the last error is: {message}"),
        None => "continue with --resume and a larger --budget, or with fewer epochs".into(),
    }
}

fn write_space() -> std::io::Result<()> {
    outln!("{}", DEFAULT_SPACE.trim_end())
}

fn read_space(path: Option<&Path>) -> anyhow::Result<Space> {
    let Some(path) = path else {
        return Ok(Space::parse("the default space", DEFAULT_SPACE)?);
    };
    let name = path.display().to_string();
    let bytes = prl_fs::read_at_most(path, MAX_SPACE_BYTES)?;
    let Ok(text) = String::from_utf8(bytes) else {
        return Err(Usage(format!("{name}: not UTF-8; save it as UTF-8")).into());
    };
    Ok(Space::parse(&name, &text)?)
}

/// Fails if trainings on the dataset have no validation to compare them by.
fn check_validation(candidates: &Candidates, data: &Dataset) -> anyhow::Result<()> {
    let config = candidates.base()?;
    config.check_splits(data)?;
    if Validation::of(&config, data) == Validation::None {
        return Err(Usage(format!(
            "the val split of {} holds no event, and trials are compared by a validation; add \
             hold_out = 0.1 to the space",
            data.dir().display()
        ))
        .into());
    }
    Ok(())
}

/// Parser of a duration: a whole number above 0 and its unit, minutes by default.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = match unit.trim() {
        "s" => 1,
        "" | "m" | "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => 0,
    };
    // A century: the time of its end can be represented.
    let seconds = number.parse().ok().and_then(|n: u64| n.checked_mul(unit));
    match seconds {
        Some(seconds @ 1..=3_155_760_000) => Ok(Duration::from_secs(seconds)),
        _ => Err("expected a whole number and its unit (s, m, h or d), such as 30m".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn duration_has_a_unit_or_is_in_minutes() {
        let seconds = |text| duration(text).map(|d| d.as_secs()).ok();
        assert_eq!(
            ["90s", "30m", "2h", "5", "1 min"].map(seconds),
            [Some(90), Some(1800), Some(7200), Some(300), Some(60)]
        );
        assert_eq!(
            ["", "0m", "m", "1.5m", "-1m", "9999999999999999999h", "1w"].map(seconds),
            [None; 7]
        );
    }
}
