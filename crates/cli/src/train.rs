//! `prl train`: trains a run on a prepared dataset.

mod from;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use prl_model::{ProcessGroup, SingleProcess};
use prl_runs::{Run, Validation};
use prl_tracking::{RunEnd, Tracking};
use prl_train::{Evaluation, Observer, Observers, Outcome, Trainer};

use crate::exit::{EXIT_INTERRUPTED, Usage, interrupted_after};
use crate::flags::{Compute, Track};
use crate::output::{errln, outln};
use crate::settings::Settings;
use from::From;

/// Train a recommender
///
/// Every setting can be given in a TOML file (--config); flags override it. The resolved settings
/// are written to the run. With --from, the training starts from the weights of a finished run, on
/// a newly prepared dataset.
#[derive(clap::Args)]
pub struct Args {
    /// Directory for the run
    #[arg(long)]
    out: PathBuf,
    /// Settings in TOML
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    config: Option<PathBuf>,
    /// Continue from the run's checkpoint, if it has one
    #[arg(long)]
    resume: bool,
    #[command(flatten)]
    from: From,
    #[command(flatten)]
    settings: Settings,
    /// Train one model data-parallel on all processes started by mpirun
    #[cfg(feature = "mpi")]
    #[arg(long)]
    mpi: bool,
    #[command(flatten)]
    track: Track,
    /// Name of the run in the trackers, by which `prl tune` tells its trials apart [default: the
    /// name of the run directory]
    #[arg(long, value_name = "NAME", requires = "track")]
    track_name: Option<String>,
    #[command(flatten)]
    compute: Compute,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    #[cfg(feature = "mpi")]
    if args.mpi {
        return finish(crate::mpi::with_process_group(|ranks| {
            train(&args, &ranks)
        })?);
    }
    let alone: Arc<dyn ProcessGroup> = Arc::new(SingleProcess);
    finish(train(&args, &alone)?)
}

/// Trains as one process of a group; the first process prints the result.
fn train(args: &Args, ranks: &Arc<dyn ProcessGroup>) -> anyhow::Result<Outcome> {
    let start = Instant::now();
    static STOP: AtomicBool = AtomicBool::new(false);
    // The first signal requests a checkpoint; the second one exits at once.
    ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(EXIT_INTERRUPTED.into());
        }
    })?;
    let is_first = ranks.rank() == 0;
    let mut progress = Progress::new(is_first.then_some(start));
    let outcome = train_observed(args, ranks, &STOP, &mut progress)?;
    progress.bar.finish_and_clear();
    if let (true, Outcome::Finished(m)) = (is_first, &outcome) {
        let selected = match m.validation {
            Validation::Split => format!("best at step {} of {}", m.best_step, m.steps),
            Validation::HeldOut => format!(
                "best at step {} of {} on held-out sessions",
                m.best_step, m.steps
            ),
            Validation::None => format!("last weights, of step {}, without validation", m.steps),
        };
        outln!(
            "{}: model {}, {selected}, {:.0} s",
            args.out.display(),
            m.model,
            m.seconds
        )?;
    }
    Ok(outcome)
}

/// Trains as the flags say; prints nothing.
pub(crate) fn train_observed(
    args: &Args,
    ranks: &Arc<dyn ProcessGroup>,
    stop: &AtomicBool,
    observer: &mut dyn Observer,
) -> anyhow::Result<Outcome> {
    let resumed = match args.resume && Run::is_in(&args.out) {
        true => Some(Run::open(&args.out)?.config().clone()),
        false => None,
    };
    let mut config =
        match args
            .from
            .base(&args.out, resumed.as_ref(), args.settings.sets_length())?
        {
            Some(base) => args.settings.over_run(&base)?,
            None => {
                let resumed = resumed.map(|config| config.recipe);
                args.settings.resolve(args.config.as_deref(), resumed)?
            }
        };
    config.data = std::path::absolute(&config.data)?;
    let device = args.compute.open()?;
    // Of several processes, the first one alone validates.
    let targets = match ranks.rank() {
        0 => args.track.targets.clone(),
        _ => Vec::new(),
    };
    let tracking = Tracking::new(targets, args.track_name.clone());
    let mut tracking = tracking.map_err(|error| Usage(format!("--track-name: {error}")))?;
    let outcome = Trainer::new(&config, &args.out)
        .device(&device)
        .resume(args.resume)
        .process_group(ranks)
        .stop_flag(stop)
        .run(&mut Observers(vec![observer, &mut tracking]));
    tracking.finish(match &outcome {
        Ok(Outcome::Finished(_)) => RunEnd::Finished,
        Ok(Outcome::Interrupted(_)) => RunEnd::Interrupted,
        Err(_) => RunEnd::Failed,
    });
    Ok(outcome?)
}

fn finish(outcome: Outcome) -> anyhow::Result<()> {
    match outcome {
        Outcome::Finished(_) => Ok(()),
        Outcome::Interrupted(step) => Err(interrupted_after(step)),
    }
}

/// Progress on stderr: a bar on a terminal, and a line for the first step and each validation.
pub(crate) struct Progress {
    bar: ProgressBar,
    /// Start of the command, until the first step is reported.
    start: Option<Instant>,
}

impl Progress {
    /// Progress of a command that started at `start`; `None` shows nothing.
    pub(crate) fn new(start: Option<Instant>) -> Self {
        let bar = if start.is_some() && std::io::stderr().is_terminal() {
            ProgressBar::new(0)
        } else {
            ProgressBar::hidden()
        };
        let template = "{bar:30} {pos}/{len} steps  {per_sec}  {eta} left  {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self { bar, start }
    }
}

impl Observer for Progress {
    fn step(&mut self, step: u64, total: u64, loss: f64) {
        if let Some(start) = self.start.take() {
            let seconds = start.elapsed().as_secs_f64();
            self.bar
                .suspend(|| errln!("first step after {seconds:.2} s, loss {loss:.4}"));
        }
        self.bar.set_length(total);
        self.bar.set_position(step);
        self.bar.set_message(format!("loss {loss:.4}"));
    }

    fn evaluated(&mut self, e: &Evaluation, is_best: bool) {
        let val = match &e.val {
            Some(val) => format!(
                "val HR@5 purchase {} click {}{}",
                or_dash(val.purchase.hr5),
                or_dash(val.click.hr5),
                if is_best { "  best so far" } else { "" }
            ),
            None => "no validation".into(),
        };
        let line = format!(
            "step {:>7}  epoch {:>6.2}  loss {}  {val}",
            e.step,
            e.epoch,
            or_dash(e.loss)
        );
        self.bar.suspend(|| errln!("{line}"));
    }
}

/// A number with four digits; a dash if there is none.
fn or_dash(x: Option<f64>) -> String {
    x.map_or("-".into(), |x| format!("{x:.4}"))
}
