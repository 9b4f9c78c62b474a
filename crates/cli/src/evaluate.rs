//! `prl evaluate`: metrics of a run's best weights on a split, or on another log.

mod cases;
mod curve;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use prl_core::{PromptSpec, TargetReturn};
use prl_dataset::Dataset;
use prl_eval::{CaseSplit, Conventions, Report};
use prl_runs::{CaseLog, CaseSink, Evaluation, RankedCase, Run};
use prl_tracking::track_scores;

use crate::evaluate::cases::CaseFile;
use crate::exit::Usage;
use crate::flags::{Compute, FromRun, Prompt, Track, named};
use crate::output::outln;
use crate::remote::Remote;
pub(crate) use curve::Curve;

/// Cutoffs of a report whose conventions differ from the default and that names none.
const CUTOFFS: [u32; 3] = [5, 10, 20];

/// Evaluate a run on a split: each event is a case, ranked among all items
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    from: FromRun,
    /// The split; `all` with --other-log only
    #[arg(long, default_value = "test", value_parser = named(&CaseSplit::ALL, CaseSplit::name))]
    split: CaseSplit,
    /// Directory of the prepared dataset that the run was trained on, if it was moved
    #[arg(long)]
    data: Option<PathBuf>,
    /// Evaluate on another prepared dataset, such as a later log. Its events of items outside the
    /// run's catalogue are in no state, and as targets they are misses; both are counted
    #[arg(long, value_name = "DIR", conflicts_with = "data")]
    other_log: Option<PathBuf>,
    #[command(flatten)]
    conventions: ConventionFlags,
    /// Add HR, NDCG, MRR, precision and coverage at these cutoffs, 1 to 1000 [default: 5,10,20
    /// with any of --skip-first, --exclude-last, --exclude-seen and --other-log]
    #[arg(short, long, value_name = "K,..", value_delimiter = ',',
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    k: Vec<u32>,
    /// Cases ranked per batch; results do not depend on it
    #[arg(long, default_value_t = 256)]
    batch_size: usize,
    /// Write the cases to this file, in the order of the log. CSV: session, kind and rank. A name
    /// in .parquet or .jsonl: also the target's id, the list of the top items, the time step and
    /// the target return that the prompt used. A target that is not ranked has an empty rank
    #[arg(long, value_name = "FILE")]
    cases: Option<PathBuf>,
    /// Evaluate a running server (http://HOST:PORT) instead of loading the model: the same metrics
    /// except MRR without a cutoff, which a list does not determine; cutoffs up to 999, as a server
    /// lists at most 1000 items; the environment variable PRL_API_KEY holds the API key
    #[arg(long, value_name = "URL", conflicts_with_all = ["cases", "batch_size", "device", "threads", "sequence_wise"])]
    via: Option<String>,
    /// Compare prompts on the same cases: metrics, overlap with the lists of the first prompt (that
    /// of the other flags), and how often the items shown are bought in other sessions. Settings of
    /// dials, as in mu=1,2,4 quantile=0.5,0.9 tilt=0.5,1 oracle [default: these four]; with a
    /// forecast also state_quantile and kappa
    #[arg(long, num_args = 0.., value_name = "DIAL=SETTINGS", conflicts_with_all = ["via", "cases", "k"])]
    curve: Option<Vec<String>>,
    /// Another prompt than a target return: oracle is the return that the session has, which bounds
    /// what any choice of a target return can change
    #[arg(long = "prompt", value_name = "NAME", conflicts_with_all = ["mu", "eps", "max_return", "quantile", "target_return"])]
    prompt_of: Option<PromptOf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    prompt: Prompt,
    #[command(flatten)]
    track: Track,
    #[command(flatten)]
    compute: Compute,
}

/// A prompt that only an evaluation knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum PromptOf {
    /// The return that the session has
    Oracle,
}

/// Which events are cases, and which items are ranked.
#[derive(clap::Args)]
struct ConventionFlags {
    /// First events of sessions are not cases
    #[arg(long)]
    skip_first: bool,
    /// Leave the state's latest item out of the ranking; a target that is this item is a miss
    #[arg(long)]
    exclude_last: bool,
    /// Leave the session's items so far out of the ranking; a target that is one of them is a miss
    #[arg(long)]
    exclude_seen: bool,
}

impl ConventionFlags {
    fn is_default(&self) -> bool {
        !(self.skip_first || self.exclude_last || self.exclude_seen)
    }
}

impl Args {
    /// The cutoffs of the report, if the flags need any.
    fn cutoffs(&self) -> Option<&[u32]> {
        if !self.k.is_empty() {
            Some(&self.k)
        } else if self.conventions.is_default() && self.other_log.is_none() {
            None
        } else {
            Some(&CUTOFFS)
        }
    }

    fn conventions(&self, run: &Run) -> Conventions {
        let flags = &self.conventions;
        Conventions {
            // A run that was trained without first events is measured without them.
            skip_first: flags.skip_first || run.config().skip_first,
            exclude_last: flags.exclude_last,
            exclude_seen: flags.exclude_seen,
        }
    }
}

/// Result of an evaluation.
pub(crate) enum Evaluated {
    /// Metrics of a split.
    Report(Box<Report>),
    /// Prompts compared.
    Curve(Box<curve::Curve>),
}

impl Evaluated {
    /// One JSON object.
    pub(crate) fn json(&self) -> serde_json::Result<String> {
        match self {
            Self::Report(report) => serde_json::to_string(report),
            Self::Curve(curve) => serde_json::to_string(&curve.output()),
        }
    }

    /// The same as a value.
    pub(crate) fn value(&self) -> serde_json::Result<serde_json::Value> {
        match self {
            Self::Report(report) => serde_json::to_value(report),
            Self::Curve(curve) => serde_json::to_value(curve.output()),
        }
    }
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let evaluated = evaluated(&args, &AtomicBool::new(false))?;
    if args.json {
        outln!("{}", evaluated.json()?)?;
        return Ok(());
    }
    match evaluated {
        Evaluated::Report(report) => outln!("{report}")?,
        Evaluated::Curve(curve) => curve.print()?,
    }
    Ok(())
}

/// Adds the scores to the run in its trackers, under the split's name.
fn track(args: &Args, run: &Run, report: &Report) -> anyhow::Result<()> {
    let targets = &args.track.targets;
    let (false, Some(manifest)) = (targets.is_empty(), run.manifest()?) else {
        return Ok(());
    };
    let at = (args.split.name(), manifest.best_step);
    if let Err(error) = track_scores(run, targets, at, &report.scores) {
        tracing::warn!("the scores are not tracked: {error}");
    }
    Ok(())
}

/// Ends an evaluation when its flag is set.
struct Stop<'a>(&'a AtomicBool);

impl CaseSink for Stop<'_> {
    fn push(
        &mut self,
        _: &RankedCase<'_>,
    ) -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync>> {
        match self.0.load(Ordering::Relaxed) {
            true => Err("the evaluation was interrupted".into()),
            false => Ok(()),
        }
    }
}

/// Evaluates as the flags say; prints nothing. `stop` ends it with an error, except that of a
/// curve.
pub(crate) fn evaluated(args: &Args, stop: &AtomicBool) -> anyhow::Result<Evaluated> {
    if args.split == CaseSplit::All && args.other_log.is_none() {
        let what = "--split all includes the events that the run was trained on; name one split, \
                    or another log with --other-log";
        return Err(Usage(what.into()).into());
    }
    if !args.track.targets.is_empty() && (args.other_log.is_some() || args.curve.is_some()) {
        let what = "--track is for the metrics of a split of the run's own dataset; leave \
                    --other-log and --curve out";
        return Err(Usage(what.into()).into());
    }
    let run = Run::open(&args.from.run)?;
    let mut ask = args.prompt.ask(run.ask())?;
    if args.prompt_of == Some(PromptOf::Oracle) {
        ask.target = TargetReturn::Oracle;
    }
    let conventions = args.conventions(&run);
    let data = match &args.other_log {
        Some(dir) => Dataset::open(dir)?,
        None => run.data(args.data.as_deref())?,
    };
    let log = match args.other_log {
        Some(_) => CaseLog::other(&run, &data, args.split, conventions)?,
        None => CaseLog::own(&run, &data, args.split, conventions)?,
    };
    let cutoffs = args.cutoffs();
    let report = match &args.via {
        Some(url) => Remote::connect(url, &run)?.evaluate(&log, ask, cutoffs)?,
        None => {
            let mut file = match &args.cases {
                Some(path) => Some(CaseFile::create(path, run.items())?),
                None => None,
            };
            let model = run.load(&args.compute.open()?)?;
            if ask.tilt != 0.0 {
                let tilted = model.can_tilt();
                tilted.map_err(|cause| Usage(format!("--tilt: {cause}")))?;
            }
            if let Some(dials) = &args.curve {
                let model_dials = curve::Dials {
                    is_prompted: model.is_prompted(),
                    tilt: model.can_tilt(),
                };
                let asked = curve::asked(dials, ask, model_dials)?;
                let prompts: Vec<PromptSpec> = asked.iter().map(|asked| asked.prompt).collect();
                let points = prl_runs::curve(&run, &model, &log, &prompts, args.batch_size)?;
                let curve = curve::Curve { asked, points };
                return Ok(Evaluated::Curve(Box::new(curve)));
            }
            let mut evaluation = Evaluation::new(&run, &model)
                .prompt(ask)
                .batch_size(args.batch_size);
            if let Some(k) = cutoffs {
                evaluation = evaluation.cutoffs(k);
            }
            let mut stop = Stop(stop);
            let mut sinks: Vec<&mut dyn CaseSink> = vec![&mut stop];
            if let Some(file) = &mut file {
                sinks.push(file);
            }
            let report = evaluation.run(&log, &mut sinks)?;
            if let Some(file) = file {
                file.finish()?;
            }
            report
        }
    };
    track(args, &run, &report)?;
    Ok(Evaluated::Report(Box::new(report)))
}
