//! Origin of a run that starts from the weights of a finished one.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::config::Config;
use crate::error::{Error, Result};
use crate::recipe::LrSchedule;

/// The finished run that a training starts from: the table `parent` of `config.toml`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ParentRun {
    /// Its directory.
    pub run: PathBuf,
    /// Its model's name, which its weights must have when the training starts.
    pub model: String,
    /// Adam's moments at the start.
    pub optimizer: OptimizerStart,
    /// Initial vectors of the items that it does not know.
    pub new_items: NewItems,
    /// Upper bound on the passes over the training examples.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passes: Option<f64>,
}

/// Adam's moments at the start of a training from another run's weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OptimizerStart {
    /// Zero, as in a training from nothing.
    #[default]
    Fresh,
    /// Those of the parent's last training step; zero for new items.
    Carry,
}

impl OptimizerStart {
    /// Every start.
    pub const ALL: [Self; 2] = [Self::Fresh, Self::Carry];

    /// Name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Carry => "carry",
        }
    }
}

/// Initial vectors and biases of the items that the parent does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NewItems {
    /// Random vectors, as in a training from nothing. The default: on the validation of two logs
    /// the best over all clicks or level; co-occurrence found more of the new items.
    #[default]
    Random,
    /// Near the mean of all items that are carried over.
    Mean,
    /// Near the mean of the carried items beside which the item occurs in the training sessions of
    /// the new dataset, by the number of times; near the mean of all for an item without such a
    /// neighbour.
    CoOccurrence,
}

impl NewItems {
    /// Every choice.
    pub const ALL: [Self; 3] = [Self::Random, Self::Mean, Self::CoOccurrence];

    /// Name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Mean => "mean",
            Self::CoOccurrence => "co-occurrence",
        }
    }
}

/// What a run took over from its parent: `parent.json` in a run directory, and `parent` in its
/// manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lineage {
    /// The parent.
    #[serde(flatten)]
    pub parent: ParentRun,
    /// Hash of the dataset that the parent was trained on.
    pub dataset: String,
    /// Whether a dataset of the parent or of one of its parents is synthetic.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub synthetic: bool,
    /// Time of the last event that the parent was trained on, in milliseconds since 1970, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trained_until: Option<i64>,
    /// Runs in the chain, from the one that was trained from nothing to the parent.
    pub generation: u32,
    /// Updates of each network that the carried moments are sums over; zero for fresh ones.
    pub optimizer_steps: [u64; 2],
    /// Items with the parent's weights.
    pub carried: usize,
    /// Items that the parent does not know.
    pub added: usize,
    /// Of those, items whose initial vector is a mean over neighbours.
    pub added_by_neighbours: usize,
    /// Items of the parent that the new dataset does not have.
    pub dropped: usize,
}

/// Settings of the table `model` that change no weight's meaning.
const FREE: [&str; 3] = ["dropout", "item_dropout", "label_smoothing"];

impl Config {
    /// Fails if weights trained under the settings `parent` have another shape or meaning under
    /// these.
    ///
    /// # Errors
    /// [`Error::Config`] that names the setting.
    pub fn check_grows_from(&self, parent: &Config) -> Result<()> {
        for config in [parent, self] {
            if !config.method.is_neural() {
                let method = config.method.name();
                return Err(Error::Config(format!(
                    "parent: {method} has no weights to start from; train it on the new dataset \
                     without --from"
                )));
            }
        }
        let mut settings = vec![(
            "method".to_owned(),
            Value::from(parent.method.name()),
            Value::from(self.method.name()),
        )];
        let [mut before, after] = [table(&parent.model)?, table(&self.model)?];
        for (key, value) in after {
            let old = before.remove(&key).unwrap_or(Value::from("none"));
            if !FREE.contains(&key.as_str()) {
                settings.push((key, old, value));
            }
        }
        // What is left has no value any more.
        for (key, old) in before {
            settings.push((key, old, Value::from("none")));
        }
        for (key, old, new) in settings {
            if old != new {
                return Err(Error::Config(format!(
                    "parent: {key} is {new}, but the run to start from was trained with {old}; \
                     leave --{} out, or train from nothing without --from",
                    key.replace('_', "-")
                )));
            }
        }
        let passes = self.parent.as_ref().and_then(|parent| parent.passes);
        if passes.is_some_and(|passes| passes <= 0.0 || !passes.is_finite()) {
            return Err(Error::Config("parent: passes must be above 0".into()));
        }
        let carries = self.parent.as_ref().map(|parent| parent.optimizer);
        let is_lazy = |config: &Config| config.negative_options().is_some();
        if carries == Some(OptimizerStart::Carry) && is_lazy(self) != is_lazy(parent) {
            return Err(Error::Config(
                "parent: moments of training with negatives and of training over all items differ; \
                 use --optimizer fresh, or leave negatives as they were"
                    .into(),
            ));
        }
        Ok(())
    }

    /// The settings of a training that starts from a run with these, which took so many passes over
    /// its examples: its own, but for the length and the schedule of the learning rate. A run that
    /// was trained from nothing is continued for a fifth of its passes at a constant rate; one that
    /// was continued itself, for as many as it took. SAC starts without its warm-up.
    #[must_use]
    pub fn grown(&self, parent: ParentRun, passes: f64) -> Self {
        let mut config = self.clone();
        config.max_steps = None;
        let passes = match &self.parent {
            None => {
                // Over so few steps a falling rate is too low to learn what is new.
                config.lr_schedule = LrSchedule::Constant;
                // The parent's Q-values are trained.
                config.warm_up = self.warm_up.map(|_| 0);
                passes / 5.0
            }
            // The bound, which the last step may not have reached.
            Some(grown) => grown.passes.unwrap_or(passes),
        };
        config.parent = Some(ParentRun {
            passes: Some(passes),
            ..parent
        });
        config
    }
}

fn table(model: &prl_model::ModelConfig) -> Result<Table> {
    Table::try_from(model).map_err(|e| Error::Config(e.to_string()))
}
