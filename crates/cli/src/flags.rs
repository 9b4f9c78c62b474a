//! Flags that several commands share.

use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use prl_core::PromptSpec;
use prl_encoders::EncoderKind;
use prl_runs::{Method, RequestFields};
use prl_tracking::Target;

use crate::exit::Usage;

/// Device and threads of a command.
#[derive(clap::Args)]
pub struct Compute {
    /// Device: auto (a GPU if the build and the machine have one), cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    pub device: String,
    /// CPU threads; results do not depend on it [default: one per core]
    #[arg(long)]
    pub threads: Option<usize>,
}

impl Compute {
    /// Starts the thread pool and opens the device.
    pub fn open(&self) -> anyhow::Result<prl_runs::Device> {
        if self.threads == Some(0) {
            return Err(Usage("--threads is 0; expected at least 1".into()).into());
        }
        if let Some(threads) = self.threads {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            // The pool is of the process: a second command in it finds one.
            if pool.build_global().is_err() && rayon::current_num_threads() != threads {
                return Err(Usage(format!(
                    "--threads {threads}: this process has {} threads since its first command; \
                     leave it out, or start another process",
                    rayon::current_num_threads()
                ))
                .into());
            }
        }
        Ok(prl_model::device(&self.device)?)
    }
}

/// The prompt: target return of a recommendation.
#[derive(clap::Args)]
pub struct Prompt {
    /// Target return as a multiple of the mean return at the step [default: the run's]
    #[arg(long, allow_negative_numbers = true, value_parser = number, conflicts_with_all = ["max_return", "quantile", "target_return"])]
    pub mu: Option<f64>,
    /// Standard deviation of mu: exploration [default: the run's]
    #[arg(long, allow_negative_numbers = true, value_parser = number, conflicts_with_all = ["max_return", "quantile", "target_return"])]
    pub eps: Option<f64>,
    /// Target return: the largest return of a training session at the step
    #[arg(long)]
    pub max_return: bool,
    /// Target return: this quantile (0 to 1) of the training sessions' returns at the step
    #[arg(
        long,
        allow_negative_numbers = true, value_parser = number,
        conflicts_with = "max_return",
        value_name = "SHARE"
    )]
    pub quantile: Option<f64>,
    /// Target return in units of reward
    #[arg(long, allow_negative_numbers = true, value_parser = number, conflicts_with_all = ["max_return", "quantile"], value_name = "RETURN")]
    pub target_return: Option<f64>,
    /// Target return: this quantile (0 to 1) of the forecast of the session's own return, which
    /// `prl forecast` fits
    #[arg(long, allow_negative_numbers = true, value_parser = number, value_name = "SHARE",
          conflicts_with_all = ["mu", "eps", "max_return", "quantile", "target_return"])]
    pub state_quantile: Option<f64>,
    /// Target return: the mean of that forecast, tilted towards high returns by this strength
    #[arg(long, allow_negative_numbers = true, value_parser = number,
          conflicts_with_all = ["mu", "eps", "max_return", "quantile", "target_return", "state_quantile"])]
    pub kappa: Option<f64>,
    /// Apply the target return to the whole session: the reward collected so far is subtracted
    #[arg(long)]
    pub sequence_wise: bool,
    /// Tilt towards bought items: BETA x ln(the item's purchase rate in training / the mean rate)
    /// is added to each score. Needs no training and goes with any target return [default: 0]
    #[arg(long, allow_negative_numbers = true, value_parser = number, value_name = "BETA")]
    pub tilt: Option<f64>,
}

impl Prompt {
    /// The prompt of the flags; what they leave open is the run's default.
    pub fn ask(&self, default: PromptSpec) -> anyhow::Result<PromptSpec> {
        let asked = self.fields().prompt(default);
        Ok(asked.map_err(|error| Usage(format!("invalid prompt: {error}")))?)
    }

    /// The flags as fields of a request.
    pub fn fields(&self) -> RequestFields {
        RequestFields {
            mu: self.mu,
            eps: self.eps,
            target_return: self.target_return,
            quantile: self.quantile,
            max_return: self.max_return.then_some(true),
            sequence_wise: self.sequence_wise.then_some(true),
            tilt: self.tilt,
            state_quantile: self.state_quantile,
            kappa: self.kappa,
            ..RequestFields::default()
        }
    }
}

/// Parser of a number.
fn number(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| "expected a number".into())
}

/// Trackers of trainings.
#[derive(clap::Args)]
pub struct Track {
    /// Also write every number of metrics.jsonl and the settings to a tracker, repeatable:
    /// tensorboard=DIR (event files), mlflow=DIR (file store) or mlflow=http://HOST:PORT (server).
    /// A tracker that is down delays no training step; the end waits up to 15 s for it
    #[arg(id = "track", long = "track", value_name = "TRACKER")]
    pub targets: Vec<Target>,
}

/// A run directory to read.
#[derive(clap::Args)]
pub struct FromRun {
    /// Run directory, as written by `prl train`
    #[arg(long)]
    pub run: PathBuf,
}

/// Parser of an encoder's name.
pub fn encoder() -> impl TypedValueParser<Value = EncoderKind> {
    named(EncoderKind::ALL, EncoderKind::name)
}

/// Parser of a method's name, with a description of each in the long help.
pub fn method() -> impl TypedValueParser<Value = Method> {
    let mut values = Vec::new();
    for method in Method::ALL {
        values.push(PossibleValue::new(method.name()).help(describe(method)));
    }
    PossibleValuesParser::new(values).try_map(|name| find(&Method::ALL, Method::name, &name))
}

fn describe(method: Method) -> &'static str {
    match method {
        Method::Popularity => "Most popular items",
        Method::PopularityRecent => "Most popular items of late",
        Method::LastItems => "The session's own items, latest first",
        Method::LastItemsKnn => "The same, then items of similar sessions",
        Method::SessionKnn => "Items of similar sessions (VMIS-kNN)",
        Method::SessionKnnTuned => {
            "The same, tuned: distances inside a session, own items by the log"
        }
        Method::Blend => "A blend of finished runs (`prl blend`)",
        Method::Normal => "Cross-entropy on the encoder's state",
        Method::Sqn => "Self-supervised Q-learning: cross-entropy and double Q-learning",
        Method::Sac => {
            "Self-supervised actor-critic: SQN with the cross-entropy weighted by Q-values"
        }
        Method::Prl => "Prompt-based reinforcement learning",
        Method::PrlMean => "PRL with mean pooling instead of attention",
        Method::PrlMlp => "PRL with a linear layer per token instead of attention",
        Method::PrlWo => "PRL without weights in the loss",
        Method::PrlCumu => "PRL with the loss weighted by the return",
        Method::PrlControl => {
            "PRL's dropout, layer norm and loss weights without a prompt (control)"
        }
    }
}

/// Parser of one of `all` values by its name.
pub fn named<T: Copy + Send + Sync + 'static>(
    all: &'static [T],
    name: fn(T) -> &'static str,
) -> impl TypedValueParser<Value = T> {
    let names: Vec<&str> = all.iter().map(|&value| name(value)).collect();
    PossibleValuesParser::new(names).try_map(move |given| find(all, name, &given))
}

fn find<T: Copy>(all: &[T], name: fn(T) -> &'static str, given: &str) -> Result<T, String> {
    for &value in all {
        if name(value) == given {
            return Ok(value);
        }
    }
    Err(format!("{given} is not one of the names"))
}
