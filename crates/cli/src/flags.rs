//! Flags that several commands share.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use prl_core::{PromptSpec, TargetReturn};
use prl_encoders::EncoderKind;
use prl_runs::Method;

use crate::exit::Usage;

/// Where and with how many threads a command runs.
#[derive(clap::Args)]
pub struct Compute {
    /// auto (a GPU where the build and the machine have one), cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    pub device: String,
    /// Threads on the CPU; results do not depend on it [default: one for each core]
    #[arg(long)]
    pub threads: Option<usize>,
}

impl Compute {
    /// Sets the threads up and opens the device.
    pub fn open(&self) -> anyhow::Result<prl_runs::Device> {
        if self.threads == Some(0) {
            return Err(Usage("--threads must be at least 1".into()).into());
        }
        if let Some(threads) = self.threads {
            rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build_global()?;
        }
        Ok(prl_model::device(&self.device)?)
    }
}

/// What a recommendation is asked to be worth.
#[derive(clap::Args)]
pub struct Prompt {
    /// Ask for this many times the mean return of the step [default: the run's, 2]
    #[arg(long, allow_negative_numbers = true, conflicts_with_all = ["max_return", "quantile", "target_return"])]
    pub mu: Option<f64>,
    /// Standard deviation of that factor: exploration [default: the run's, 0]
    #[arg(long, conflicts_with_all = ["max_return", "quantile", "target_return"])]
    pub eps: Option<f64>,
    /// Ask for the largest return that a training session had at the step
    #[arg(long)]
    pub max_return: bool,
    /// Ask for the return that this share (0 to 1) of the training sessions did not exceed at the step
    #[arg(long, conflicts_with = "max_return", value_name = "SHARE")]
    pub quantile: Option<f64>,
    /// Ask for this return, in units of reward
    #[arg(long, conflicts_with_all = ["max_return", "quantile"], value_name = "RETURN")]
    pub target_return: Option<f64>,
    /// Ask it of the whole session: what the user has really given is subtracted
    #[arg(long)]
    pub sequence_wise: bool,
}

impl Prompt {
    /// The prompt meant, on top of the run's own.
    pub fn ask(&self, default: PromptSpec) -> anyhow::Result<PromptSpec> {
        let goal = match (self.target_return, self.quantile) {
            (Some(value), _) => TargetReturn::Absolute(value),
            (None, Some(q)) => TargetReturn::Quantile(q),
            (None, None) if self.max_return => TargetReturn::Max,
            (None, None) => default.target.adjusted(self.mu, self.eps),
        };
        check(PromptSpec {
            target: goal,
            sequence_wise: self.sequence_wise || default.sequence_wise,
        })
    }
}

/// Refuses a prompt that means nothing.
pub fn check(ask: PromptSpec) -> anyhow::Result<PromptSpec> {
    if ask.target.is_valid() {
        return Ok(ask);
    }
    let what =
        "a prompt is made of numbers of at most a million, eps not negative, a quantile in 0..=1";
    Err(Usage(what.into()).into())
}

/// A run directory to read.
#[derive(clap::Args)]
pub struct FromRun {
    /// The run directory that `prl train` wrote
    #[arg(long)]
    pub run: PathBuf,
}

/// Parses an encoder's name.
pub fn encoder() -> impl TypedValueParser<Value = EncoderKind> {
    named(EncoderKind::ALL, EncoderKind::name)
}

/// Parses a method's name.
pub fn method() -> impl TypedValueParser<Value = Method> {
    named(&Method::ALL, Method::name)
}

/// Parses one of some values by its name.
pub fn named<T: Copy + Send + Sync + 'static>(
    all: &'static [T],
    name: fn(T) -> &'static str,
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(all.iter().map(|&v| name(v))).try_map(move |given| {
        all.iter()
            .copied()
            .find(|&v| name(v) == given)
            .ok_or_else(|| format!("{given} is not one of the names"))
    })
}
