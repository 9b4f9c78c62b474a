//! How long a run trains and how often it is validated, at each scale.

use clap::ValueEnum;

use crate::matrix::System;

/// Rows drawn at each step, the protocol's.
pub const BATCH: u64 = 256;
/// Passes over the training rows, the protocol's.
pub const EPOCHS: u64 = 30;
/// Steps between validations, the protocol's.
const EVAL_EVERY: u64 = 2000;
/// Steps of a run on the full logs, up to which the protocol counts.
const FULL_STEPS: u64 = 108_000;
/// Validations that a learning curve and a choice of the best checkpoint need at least.
const FEWEST_VALIDATIONS: u64 = 3;
/// Steps of a run at quick scale, the same for every method.
const QUICK_STEPS: u64 = 240;
/// Steps between its validations.
const QUICK_EVAL_EVERY: u64 = 80;
/// The encoder that quick scale runs with every method, the methods it runs on every encoder, and the only rows (those that
/// are both) it runs with more than one seed: enough to show a band.
const QUICK: (&str, [&str; 2]) = ("gru", ["normal", "prl"]);

/// How much of it all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scale {
    /// Small stand-ins, few steps: minutes, to see that everything works and learns
    Quick,
    /// The paper's sizes and the protocol's 30 epochs: days on a CPU
    Paper,
}

impl Scale {
    /// `quick` or `paper`.
    pub fn name(self) -> &'static str {
        match self {
            Scale::Quick => "quick",
            Scale::Paper => "paper",
        }
    }

    /// The schedule on a dataset of so many training rows, cut as asked for.
    pub fn schedule(self, rows: u64, cut: Cut) -> Schedule {
        let per_epoch = (rows / BATCH).max(1);
        let all = EPOCHS * per_epoch;
        let own = match self {
            Scale::Quick => Schedule {
                steps: all.min(QUICK_STEPS),
                eval_every: QUICK_EVAL_EVERY,
                per_epoch,
            },
            Scale::Paper if all / EVAL_EVERY < FEWEST_VALIDATIONS => Schedule {
                steps: all,
                eval_every: per_epoch,
                per_epoch,
            },
            Scale::Paper => Schedule {
                steps: all,
                eval_every: EVAL_EVERY,
                per_epoch,
            },
        };
        let steps = cut.steps.unwrap_or(own.steps).min(all);
        let eval_every = match cut.validations {
            Some(validations) => steps / validations.max(1),
            None => steps * own.eval_every / own.steps,
        };
        Schedule {
            steps,
            eval_every: eval_every.max(1),
            per_epoch,
        }
    }

    /// Whether it runs a system unless told which.
    pub fn runs(self, system: &System) -> bool {
        let (encoder, methods) = QUICK;
        let is_quick =
            system.encoder.is_none_or(|other| other == encoder) || methods.contains(&system.method);
        self == Scale::Paper || is_quick
    }

    /// How many seeds a row is run with, where `repeats` are asked for.
    pub fn seeds(self, system: &System, repeats: u64) -> u64 {
        let (encoder, methods) = QUICK;
        let is_repeated = system.encoder == Some(encoder) && methods.contains(&system.method);
        if system.is_baseline() || self == Scale::Quick && !is_repeated {
            1
        } else {
            repeats
        }
    }

    /// Whether Figures 4 and 5 show it.
    pub fn asks(self, system: &System) -> bool {
        system.is_asked() && (self == Scale::Paper || system.encoder == Some(QUICK.0))
    }

    /// What it cuts, in words.
    pub fn cuts(self) -> Option<&'static str> {
        (self == Scale::Quick).then_some(
            "Quick scale shows that everything runs and learns, not who is best: small made-up logs where there is no \
             real one; few steps; every method on GRU but only normal and PRL on the other encoders; several seeds for GRU \
             normal and PRL, one for the rest; Figures 4 and 5 from GRU-PRL alone, at fewer settings.",
        )
    }
}

/// What a call cuts of a scale's schedule.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cut {
    /// Steps in place of the scale's, with as many validations.
    pub steps: Option<u64>,
    /// Validations in place of the scale's.
    pub validations: Option<u64>,
}

/// How long a run trains and how often it is validated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Steps in all.
    pub steps: u64,
    /// Steps between validations.
    pub eval_every: u64,
    /// Steps that make one pass over the training rows.
    pub per_epoch: u64,
}

impl Schedule {
    /// Whether it is shorter than the protocol's.
    pub fn is_cut(&self) -> bool {
        self.steps < EPOCHS * self.per_epoch
    }

    /// What the protocol counts in steps of its own length, in proportion where this is shorter.
    pub fn shortened(&self, steps: u64) -> u64 {
        if self.steps < FULL_STEPS {
            steps * self.steps / FULL_STEPS
        } else {
            steps
        }
    }

    /// In words, with every departure from the protocol.
    pub fn describe(&self) -> String {
        let Self {
            steps,
            eval_every,
            per_epoch,
        } = *self;
        let mut text = format!(
            "{steps} steps ({:.1} epochs), validated every {eval_every}",
            steps as f64 / per_epoch as f64
        );
        if self.is_cut() {
            text.push_str(&format!("; the protocol has {EPOCHS} epochs"));
        }
        if eval_every != EVAL_EVERY {
            text.push_str(&format!(
                "; the protocol validates every {EVAL_EVERY} steps"
            ));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::systems;

    #[test]
    fn a_small_dataset_is_still_validated_three_times() {
        // 200 steps an epoch give 6,000 steps: three validations. One epoch's step fewer gives two.
        assert_eq!(
            Scale::Paper.schedule(200 * 256, Cut::default()),
            Schedule {
                steps: 6000,
                eval_every: 2000,
                per_epoch: 200
            }
        );
        let small = Scale::Paper.schedule(200 * 256 - 1, Cut::default());
        assert_eq!(
            small,
            Schedule {
                steps: 30 * 199,
                eval_every: 199,
                per_epoch: 199
            }
        );
        assert_eq!(
            small.describe(),
            "5970 steps (30.0 epochs), validated every 199; the protocol validates every 2000 steps"
        );
        assert_eq!(Scale::Quick.schedule(100, Cut::default()).steps, 30);
    }

    #[test]
    fn other_steps_keep_the_number_of_validations() {
        let to = |steps| Cut {
            steps: Some(steps),
            validations: None,
        };
        let half = Scale::Paper.schedule(200 * 256, to(3000));
        assert_eq!(
            half,
            Schedule {
                steps: 3000,
                eval_every: 1000,
                per_epoch: 200
            }
        );
        assert!(half.is_cut());
        assert_eq!(Scale::Paper.schedule(200 * 256, to(2)).eval_every, 1);
        assert_eq!(
            Scale::Quick.schedule(1 << 20, to(QUICK_STEPS)),
            Scale::Quick.schedule(1 << 20, Cut::default())
        );
        assert_eq!(
            Scale::Paper.schedule(200 * 256, to(1 << 40)),
            Scale::Paper.schedule(200 * 256, Cut::default()),
            "30 epochs end it"
        );
        let few = Scale::Paper.schedule(
            200 * 256,
            Cut {
                validations: Some(4),
                ..to(2000)
            },
        );
        assert_eq!((few.steps, few.eval_every), (2000, 500));
        assert_eq!(
            Scale::Paper
                .schedule(
                    200 * 256,
                    Cut {
                        validations: Some(1 << 40),
                        ..to(2)
                    }
                )
                .eval_every,
            1
        );
    }

    #[test]
    fn seeds_of_each_scale() {
        let seeds = |scale: Scale| {
            let run = systems("rc15")
                .into_iter()
                .filter(|system| scale.runs(system));
            run.map(|system| scale.seeds(&system, 3)).sum::<u64>()
        };
        assert_eq!(seeds(Scale::Paper), 3 + 3 * 25);
        // GRU: 2 rows with 3 seeds and 7 with one; the other encoders: 2 rows each, and SASRec-PRL as released.
        assert_eq!(seeds(Scale::Quick), 3 + 3 * 2 + 7 + 3 * 2 + 1);
        let asked = |scale: Scale| {
            systems("rc15")
                .iter()
                .filter(|system| scale.asks(system))
                .count()
        };
        assert_eq!((asked(Scale::Paper), asked(Scale::Quick)), (4, 1));
    }
}
