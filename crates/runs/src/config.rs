//! Settings of a run: `config.toml`.

use std::path::PathBuf;

use prl_core::{AttentionKeys, LossWeight, PromptBlockConfig, TargetReturn};
use prl_dataset::{Dataset, Discount, ReturnRule, ReturnStatsSplit, Rewards};
use prl_encoders::EncoderKind;
use prl_model::{HeadDtype, ModelConfig, NegativeOptions, NegativeSampling, OwnItems};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::lineage::ParentRun;
use crate::method::Method;
use crate::recipe::{HoldOutBy, LossWeighting, LrSchedule, Recipe, Sampling, Selection};

/// The settings of a run; every one has the protocol's value as its default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The prepared dataset.
    pub data: PathBuf,
    /// Training method or baseline.
    pub method: Method,
    /// The defaults that the other settings override; a file without it means the paper's.
    pub recipe: Recipe,
    /// The seed of initial values, draws, dropout and prompts.
    pub seed: u64,
    /// Passes over the training rows; the run ends after `epochs * floor(rows / batch_size)` steps.
    pub epochs: u64,
    /// Upper bound on the training steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_steps: Option<u64>,
    /// Batch size: examples of each training step; of whole sessions, about as many.
    pub batch_size: usize,
    /// Adam's learning rate; without it .01 on RC15 and .005 elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr: Option<f64>,
    /// Choice of the examples of a training step.
    pub sampling: Sampling,
    /// AdamW's decoupled weight decay.
    pub weight_decay: f64,
    /// Steps over which the learning rate rises from zero.
    pub lr_warm_up: u64,
    /// Learning rate after that.
    pub lr_schedule: LrSchedule,
    /// Metric of the validation that selects the weights.
    pub select: Selection,
    /// Weights of the examples in the loss, in place of the method's.
    pub loss_weight: LossWeighting,
    /// Steps between validations; 0 validates after every epoch.
    pub eval_every: u64,
    /// Early stopping: validations without improvement after which training ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<u64>,
    /// Share of the training sessions that are held out and used for validation, whole sessions;
    /// for a dataset without a validation split.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_out: Option<f64>,
    /// Choice of those sessions.
    #[serde(skip_serializing_if = "HoldOutBy::is_default")]
    pub hold_out_by: HoldOutBy,
    /// Trains to the end without a validation and keeps the last weights, as is also done without
    /// `hold_out` if the validation split is empty.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_validation: bool,
    /// Leaves out the examples whose state is empty.
    pub skip_first: bool,
    /// Rounds the factors of the output layer's matrix products to bfloat16 in training; sums,
    /// updates and ranking stay in fp32, as does the Q layer of a CPU. Faster with AMX, or with
    /// AVX-512 BF16 by AMD; slower on other CPUs. Another name of `head_dtype = "bf16"`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub bf16_head: bool,
    /// Type to which training rounds the factors of the output layer's products: `fp32`, `bf16`,
    /// or on a GPU `tf32`.
    #[serde(skip_serializing_if = "HeadDtype::is_default")]
    pub head_dtype: HeadDtype,
    /// Negatives that are drawn for the softmax of a training step, which then samples the items
    /// and updates the rows it touches; 0 for the softmax over all items.
    pub negatives: usize,
    /// Distribution of the negatives; `in-batch`: the batch's targets, and `negatives` uniform ones
    /// beside them.
    pub negative_sampling: NegativeSampling,
    /// Under `popularity`, the power of an item's number of training examples.
    pub negative_power: f64,
    /// Discount of the returns.
    pub lambda: f64,
    /// Convention of that discount.
    pub discount: Discount,
    /// The sessions over which the mean return of each time step is computed.
    pub mean_over: ReturnStatsSplit,
    /// Discount of SQN's and SAC's Q-values.
    pub gamma: f64,
    /// Training steps of SAC before the cross-entropy is multiplied by the Q-value; the default
    /// depends on the encoder and the dataset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warm_up: Option<u64>,
    /// Target return at validation, relative to the mean return.
    pub mu: f64,
    /// Deviation of that factor.
    pub eps: f64,
    /// Reward of each kind of event. A reward that the dataset gives to an event or to its named
    /// kind takes precedence.
    pub rewards: Rewards,
    /// Hyperparameters of the model.
    pub model: ModelConfig,
    /// The finished run whose weights the training starts from; without it, from nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<ParentRun>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: PathBuf::new(),
            method: Method::default(),
            recipe: Recipe::default(),
            seed: 0,
            epochs: 30,
            max_steps: None,
            batch_size: 256,
            lr: None,
            sampling: Sampling::default(),
            weight_decay: 0.0,
            lr_warm_up: 0,
            lr_schedule: LrSchedule::default(),
            select: Selection::default(),
            loss_weight: LossWeighting::default(),
            eval_every: 2000,
            patience: None,
            hold_out: None,
            hold_out_by: HoldOutBy::default(),
            no_validation: false,
            skip_first: false,
            bf16_head: false,
            head_dtype: HeadDtype::Fp32,
            negatives: 0,
            negative_sampling: NegativeSampling::default(),
            negative_power: 0.5,
            lambda: 1.0,
            discount: Discount::default(),
            mean_over: ReturnStatsSplit::default(),
            gamma: 0.5,
            warm_up: None,
            mu: 2.0,
            eps: 0.0,
            rewards: Rewards::default(),
            model: ModelConfig::default(),
            parent: None,
        }
    }
}

impl Config {
    /// Type of the factors of the output layer's products in training.
    pub fn head_dtype(&self) -> HeadDtype {
        if self.bf16_head {
            HeadDtype::Bf16
        } else {
            self.head_dtype
        }
    }

    /// Fails with [`Error::Config`] if a setting is invalid.
    pub fn check(&self) -> Result<()> {
        if self.bf16_head && self.head_dtype == HeadDtype::Tf32 {
            return Err(Error::Config(
                "bf16_head means head_dtype bf16, not tf32: leave one of them out".into(),
            ));
        }
        let rule = |ok: bool, what: &str| {
            if ok {
                Ok(())
            } else {
                Err(Error::Config(what.into()))
            }
        };
        rule(self.batch_size > 0, "batch_size must be at least 1")?;
        rule(
            self.weight_decay >= 0.0 && self.weight_decay.is_finite(),
            "weight_decay must be finite and not negative",
        )?;
        rule(
            self.model
                .temperature
                .is_none_or(|t| t >= 0.0 && t.is_finite()),
            "temperature must be above 0, or 0 for dot products",
        )?;
        rule(
            (0.0..1.0).contains(&self.model.item_dropout),
            "item_dropout must lie in 0..1",
        )?;
        rule(
            (0.0..1.0).contains(&self.model.label_smoothing),
            "label_smoothing must lie in 0..1",
        )?;
        rule(
            !(self.method.is_double() && self.has_similarity_head()),
            "sqn and sac train the paper's output layer: leave out tied, temperature, own_items, \
             item_bias and label_smoothing",
        )?;
        let has_network = self.method.is_neural() && self.has_similarity_head();
        rule(
            self.negative_options().is_none() || has_network,
            "negatives train the output layer of the modern recipe: set tied, temperature or \
             own_items, or leave negatives out",
        )?;
        rule(
            self.negative_options().is_none() || self.model.label_smoothing == 0.0,
            "label_smoothing is over all items: leave it or negatives out",
        )?;
        rule(
            self.negative_sampling != NegativeSampling::InBatch || self.batch_size > 1,
            "in-batch negatives need a batch_size of at least 2",
        )?;
        rule(
            (0.0..=1.0).contains(&self.negative_power),
            "negative_power must lie in 0..=1",
        )?;
        rule(
            self.patience != Some(0),
            "patience must be at least 1; leave it out to train to the end",
        )?;
        rule(
            self.hold_out.is_none_or(|share| share > 0.0 && share < 1.0),
            "hold_out must lie between 0 and 1",
        )?;
        rule(
            !self.no_validation || (self.hold_out.is_none() && !self.has_own_patience()),
            "no_validation excludes hold_out and patience, which need a validation",
        )?;
        rule(
            self.lr.is_none_or(|lr| lr > 0.0 && lr.is_finite()),
            "lr must be above 0",
        )?;
        rule(
            (0.0..=1.0).contains(&self.lambda),
            "lambda must lie in 0..=1",
        )?;
        rule((0.0..=1.0).contains(&self.gamma), "gamma must lie in 0..=1")?;
        rule(
            self.goal().is_valid(),
            "mu and eps must be finite, eps not negative",
        )?;
        let worth = |r: f64| r.is_finite() && r >= 0.0;
        rule(
            worth(self.rewards.click) && worth(self.rewards.purchase),
            "rewards must be finite and not negative",
        )?;
        rule(
            self.rewards.click + self.rewards.purchase > 0.0,
            "one of the rewards must be above 0",
        )?;
        rule(
            (0.0..1.0).contains(&self.model.dropout),
            "dropout must lie in 0..1",
        )?;
        rule(
            self.model.update_bias.is_finite(),
            "update_bias must be finite",
        )?;
        rule(
            self.model.attention == AttentionKeys::Prompt || self.model.encoder.has_outputs(),
            "attention = \"released\" needs an encoder with an output at every position: sasrec",
        )?;
        self.check_sampling()?;
        rule(
            (1..=4096).contains(&self.model.dim),
            "dim must lie in 1..=4096",
        )?;
        rule(
            (1..=4096).contains(&self.model.window),
            "window must lie in 1..=4096",
        )?;
        let (encoder, window) = (self.model.encoder, self.model.window);
        let least = encoder.min_window();
        rule(
            !self.method.is_neural() || window >= least,
            &format!(
                "window must be at least {least} for {}, not {window}",
                encoder.name()
            ),
        )
    }

    /// Fails if whole sessions do not fit the method or the encoder.
    fn check_sampling(&self) -> Result<()> {
        if self.sampling != Sampling::Session || !self.method.is_neural() {
            return Ok(());
        }
        let encoder = self.model.encoder;
        let refused = |what: String| {
            let mend = "use sampling = \"pass\"";
            Err(Error::Config(format!(
                "sampling = \"session\" {what}; {mend}"
            )))
        };
        if !encoder.is_causal() {
            let mut causal = Vec::new();
            for kind in EncoderKind::ALL.iter().filter(|kind| kind.is_causal()) {
                causal.push(kind.name());
            }
            let (causal, encoder) = (causal.join(", "), encoder.name());
            return refused(format!("needs a causal encoder ({causal}), not {encoder}"));
        }
        if self.method.is_double() {
            return refused(format!("trains one network, {} two", self.method.name()));
        }
        if self.model.attention == AttentionKeys::Outputs {
            return refused("has no window for attention = \"released\"".into());
        }
        Ok(())
    }

    /// Whether the output layer is not the paper's.
    pub fn has_similarity_head(&self) -> bool {
        let model = &self.model;
        model.tied
            || model.cosine_temperature().is_some()
            || model.own_items != OwnItems::Keep
            || !model.item_bias
            || model.label_smoothing > 0.0
    }

    /// The negatives of a training step; `None` for the softmax over all items.
    pub fn negative_options(&self) -> Option<NegativeOptions> {
        let is_sampled = self.negatives > 0 || self.negative_sampling == NegativeSampling::InBatch;
        is_sampled.then_some(NegativeOptions {
            count: self.negatives,
            sampling: self.negative_sampling,
            power: self.negative_power,
        })
    }

    /// The defaults of a recipe.
    pub fn of_recipe(recipe: Recipe) -> Self {
        match recipe {
            Recipe::Paper => Self::default(),
            Recipe::Modern => Self {
                recipe,
                epochs: 8,
                batch_size: 512,
                lr: Some(0.01),
                eval_every: 0,
                sampling: Sampling::Pass,
                lr_schedule: LrSchedule::Cosine,
                patience: Some(2),
                select: Selection::Ndcg20,
                loss_weight: LossWeighting::Uniform,
                mu: 1.0,
                model: ModelConfig {
                    encoder: EncoderKind::modern(),
                    tied: true,
                    temperature: Some(0.1),
                    last_item_residual: true,
                    own_items: OwnItems::Auto,
                    item_dropout: 0.2,
                    event_kinds: true,
                    ..ModelConfig::default()
                },
                ..Self::default()
            },
        }
    }

    /// Replaces [`OwnItems::Auto`] by the treatment that fits the dataset.
    pub fn resolve_own_items(&mut self, data: &Dataset) {
        if self.model.own_items == OwnItems::Auto {
            self.model.own_items = match data.repeats_items() {
                true => OwnItems::Learned,
                false => OwnItems::Exclude,
            };
        }
    }

    /// Weights of the examples in the loss: the setting's, or the method's.
    pub fn loss_weight(&self) -> LossWeight {
        match self.loss_weight {
            LossWeighting::Method => self.method.weighting(),
            LossWeighting::Uniform => LossWeight::Uniform,
            LossWeighting::Reward => LossWeight::Reward,
        }
    }

    /// Definition of the return.
    pub fn return_rule(&self) -> ReturnRule {
        ReturnRule {
            rewards: self.rewards,
            lambda: self.lambda,
            discount: self.discount,
        }
    }

    /// Target return of validation.
    pub fn goal(&self) -> TargetReturn {
        TargetReturn::Relative {
            mu: self.mu,
            eps: self.eps,
        }
    }

    /// The prompt block, if the method has one.
    pub fn block(&self) -> Option<PromptBlockConfig> {
        let ModelConfig {
            dropout,
            residual,
            attention: keys,
            reward_code: rewards,
            ..
        } = self.model;
        let block = |mixing| PromptBlockConfig {
            mixing,
            residual,
            keys,
            rewards,
            dropout,
            ..PromptBlockConfig::default()
        };
        self.method.mixing().map(block)
    }

    /// The configuration as TOML.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|e| Error::Config(e.to_string()))
    }
}
