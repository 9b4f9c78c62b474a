//! Everything that shapes a run: `config.toml`.

use std::path::PathBuf;

use prl_core::{BlockConfig, Mixing, Residual, Scale, Weighting};
use prl_encoders::EncoderKind;
use prl_sessions::{Discount, ReturnRule, Rewards, TableOver};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// What is trained on top of the encoder, or instead of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Cross-entropy on the encoder's state.
    Normal,
    /// Prompt-based reinforcement learning.
    #[default]
    Prl,
    /// PRL with the attention replaced by a mean.
    PrlMean,
    /// PRL with the attention replaced by a linear layer per token.
    PrlMlp,
    /// PRL without weights in the loss.
    PrlWo,
    /// PRL weighted by the return.
    PrlCumu,
    /// The popular items.
    Popularity,
    /// The session's own items, latest first.
    LastItems,
}

impl Method {
    /// Every method, in the order of the tables.
    pub const ALL: [Method; 8] = [
        Method::Popularity,
        Method::LastItems,
        Method::Normal,
        Method::Prl,
        Method::PrlMean,
        Method::PrlMlp,
        Method::PrlWo,
        Method::PrlCumu,
    ];

    /// The name used on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Method::Normal => "normal",
            Method::Prl => "prl",
            Method::PrlMean => "prl-mean",
            Method::PrlMlp => "prl-mlp",
            Method::PrlWo => "prl-wo",
            Method::PrlCumu => "prl-cumu",
            Method::Popularity => "popularity",
            Method::LastItems => "last-items",
        }
    }

    /// Whether an encoder is trained at all.
    pub fn is_neural(self) -> bool {
        !matches!(self, Method::Popularity | Method::LastItems)
    }

    /// How the prompt is mixed in, if there is one.
    pub fn mixing(self) -> Option<Mixing> {
        match self {
            Method::Prl | Method::PrlWo | Method::PrlCumu => Some(Mixing::Attention),
            Method::PrlMean => Some(Mixing::Mean),
            Method::PrlMlp => Some(Mixing::Mlp),
            Method::Normal | Method::Popularity | Method::LastItems => None,
        }
    }

    /// How the loss is weighted.
    pub fn weighting(self) -> Weighting {
        match self {
            Method::Prl | Method::PrlMean | Method::PrlMlp => Weighting::Reward,
            Method::PrlCumu => Weighting::Return,
            Method::Normal | Method::PrlWo | Method::Popularity | Method::LastItems => Weighting::Uniform,
        }
    }
}

/// The settings of a run; every one has the protocol's value as its default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The prepared dataset.
    pub data: PathBuf,
    /// What is trained on top of the encoder.
    pub method: Method,
    /// The seed of initial values, draws, dropout and prompts.
    pub seed: u64,
    /// Passes over the training rows; the run ends after `epochs * floor(rows / batch_size)` steps.
    pub epochs: u64,
    /// Ends the run earlier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_steps: Option<u64>,
    /// Rows drawn at each step.
    pub batch_size: usize,
    /// Adam's learning rate; by default .01 on RC15 and .005 elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr: Option<f64>,
    /// Steps between validations.
    pub eval_every: u64,
    /// Validations without a better one after which the run ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<u64>,
    /// Leaves out the examples whose state is empty.
    pub skip_first: bool,
    /// Discount of the returns.
    pub lambda: f64,
    /// Convention of that discount.
    pub discount: Discount,
    /// The sessions the mean return of each step is taken over.
    pub mean_over: TableOver,
    /// Factor on the mean return asked for at validation.
    pub mu: f64,
    /// Deviation of that factor.
    pub eps: f64,
    /// What an event is worth.
    pub rewards: Rewards,
    /// The shape of the model.
    pub model: Model,
}

/// The shape of a model: what a saved one must be rebuilt with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Model {
    /// The encoder.
    pub encoder: EncoderKind,
    /// Width of an embedded item.
    pub dim: usize,
    /// Items of a session that the encoder sees.
    pub window: usize,
    /// Dropout of the prompt block.
    pub dropout: f64,
    /// The unit in which returns are fed.
    pub prompt_scale: Scale,
    /// What the attention's residual carries.
    pub residual: Residual,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: PathBuf::new(),
            method: Method::default(),
            seed: 0,
            epochs: 30,
            max_steps: None,
            batch_size: 256,
            lr: None,
            eval_every: 2000,
            patience: None,
            skip_first: false,
            lambda: 1.0,
            discount: Discount::default(),
            mean_over: TableOver::default(),
            mu: 2.0,
            eps: 0.0,
            rewards: Rewards::default(),
            model: Model::default(),
        }
    }
}

impl Default for Model {
    fn default() -> Self {
        Self {
            encoder: EncoderKind::ALL[0],
            dim: 64,
            window: 10,
            dropout: 0.3,
            prompt_scale: Scale::default(),
            residual: Residual::default(),
        }
    }
}

impl Config {
    /// Refuses settings that mean nothing.
    pub fn check(&self) -> Result<()> {
        let rule = |ok: bool, what: &str| if ok { Ok(()) } else { Err(Error::Config(what.into())) };
        rule(self.batch_size > 0, "batch_size must be at least 1")?;
        rule(self.eval_every > 0, "eval_every must be at least 1")?;
        rule(self.patience != Some(0), "patience must be at least 1; leave it out to train to the end")?;
        rule(self.lr.is_none_or(|lr| lr > 0.0 && lr.is_finite()), "lr must be above 0")?;
        rule((0.0..=1.0).contains(&self.lambda), "lambda must lie in 0..=1")?;
        rule(
            self.mu.is_finite() && self.eps.is_finite() && self.eps >= 0.0,
            "mu and eps must be finite, eps not negative",
        )?;
        let worth = |r: f64| r.is_finite() && r >= 0.0;
        rule(worth(self.rewards.click) && worth(self.rewards.purchase), "rewards must be finite and not negative")?;
        rule(self.rewards.click + self.rewards.purchase > 0.0, "one of the rewards must be above 0")?;
        rule((0.0..1.0).contains(&self.model.dropout), "dropout must lie in 0..1")?;
        rule((1..=4096).contains(&self.model.dim), "dim must lie in 1..=4096")?;
        rule((1..=4096).contains(&self.model.window), "window must lie in 1..=4096")
    }

    /// How returns are counted.
    pub fn return_rule(&self) -> ReturnRule {
        ReturnRule { rewards: self.rewards, lambda: self.lambda, discount: self.discount }
    }

    /// The prompt block, if the method has one.
    pub fn block(&self) -> Option<BlockConfig> {
        let Model { dropout, residual, .. } = self.model;
        self.method.mixing().map(|mixing| BlockConfig { mixing, residual, dropout, ..BlockConfig::default() })
    }

    /// The configuration as TOML.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|e| Error::Config(e.to_string()))
    }
}
