//! Validation of a run: by the dataset's validation split, by held-out training sessions, or none.

use prl_dataset::{Dataset, HeldOut, Split, SplitExamples};
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::error::{Error, Result};
use crate::recipe::HoldOutBy;

/// Validation that selects the weights of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Validation {
    /// The best validation on the dataset's validation split.
    #[default]
    Split,
    /// The best validation on training sessions that are held out.
    HeldOut,
    /// Nothing: the weights are the last ones.
    None,
}

impl Validation {
    /// Validation under these settings; `None` if the dataset's validation split holds no example.
    pub fn of(config: &Config, data: &Dataset) -> Self {
        if config.no_validation {
            Self::None
        } else if config.hold_out.is_some() {
            Self::HeldOut
        } else if config.examples(data, Split::Val).is_empty() {
            Self::None
        } else {
            Self::Split
        }
    }

    /// Whether it is the default.
    pub(crate) fn is_split(&self) -> bool {
        *self == Self::Split
    }
}

impl Config {
    /// Examples of a split of the run's dataset. Sessions that are held out are the validation
    /// split, and not in the training split.
    pub fn examples<'a>(&self, data: &'a Dataset, split: Split) -> SplitExamples<'a> {
        let of = |split| SplitExamples::new(data, split, self.skip_first);
        match (split, self.hold_out) {
            (Split::Train, Some(share)) => self.hold_out(of(Split::Train), share).rest,
            (Split::Val, Some(share)) => self.hold_out(of(Split::Train), share).held,
            _ => of(split),
        }
    }

    /// Time of the last training event, in milliseconds since 1970, UTC; `None` without one.
    pub fn trained_until(&self, data: &Dataset) -> Option<i64> {
        let (times, mut last) = (data.times(), None);
        for (_, events) in self.examples(data, Split::Train).targets() {
            last = last.max(times[events].last().copied());
        }
        last
    }

    fn hold_out<'a>(&self, train: SplitExamples<'a>, share: f64) -> HeldOut<'a> {
        match self.hold_out_by {
            HoldOutBy::Seed => train.hold_out(self.seed, share),
            HoldOutBy::Time => train.hold_out_last(share),
        }
    }

    /// Whether a patience is set that is not the recipe's default, which holds where there is a
    /// validation.
    pub(crate) fn has_own_patience(&self) -> bool {
        self.patience.is_some() && self.patience != Self::of_recipe(self.recipe).patience
    }

    /// Fails if a training with these settings cannot use the splits of the dataset.
    ///
    /// # Errors
    /// [`Error::EmptySplit`] without training examples, [`Error::Config`] if the settings need a
    /// validation that the dataset does not have, or hold sessions out of a dataset with a
    /// validation split.
    pub fn check_splits(&self, data: &Dataset) -> Result<()> {
        if self.examples(data, Split::Train).is_empty() {
            return Err(Error::EmptySplit {
                path: data.dir().to_owned(),
                split: Split::Train.name(),
            });
        }
        let dir = data.dir().display();
        let refused = |what: String| Err(Error::Config(what));
        match Validation::of(self, data) {
            Validation::HeldOut => {
                if !SplitExamples::new(data, Split::Val, self.skip_first).is_empty() {
                    return refused(format!(
                        "hold_out is set, but {dir} has a validation split; leave hold_out out"
                    ));
                }
                if self.examples(data, Split::Val).is_empty() {
                    return refused(format!(
                        "hold_out needs two training sessions, {dir} has one; leave it out"
                    ));
                }
                Ok(())
            }
            Validation::None if self.has_own_patience() => refused(format!(
                "patience needs a validation, but the val split of {dir} holds no event; leave it \
                 out, or hold training sessions out with --hold-out"
            )),
            _ => Ok(()),
        }
    }
}
