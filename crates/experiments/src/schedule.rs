//! Training length and validation interval of the runs, at each scale.

use clap::ValueEnum;

use crate::matrix::System;

/// Examples of a training step, from the paper's protocol.
pub const BATCH: u64 = 256;
/// Passes over the training examples, from the protocol.
pub const EPOCHS: u64 = 30;
/// Training steps between validations, from the protocol.
const EVAL_EVERY: u64 = 2000;
/// Training steps of a run on the full logs: the reference for [`Schedule::scaled`].
const FULL_STEPS: u64 = 108_000;
/// Minimum number of validations for a learning curve and a choice of the best checkpoint.
const MIN_VALIDATIONS: u64 = 3;
/// Training steps of a run at quick scale, the same for every method.
const QUICK_STEPS: u64 = 240;
/// Training steps between validations at quick scale.
const QUICK_EVAL_EVERY: u64 = 80;
/// Encoder that quick scale combines with every method.
const QUICK_ENCODER: &str = "gru";
/// Methods that quick scale combines with every encoder. On [`QUICK_ENCODER`] these are the only
/// rows with more than one seed: enough to show a band.
const QUICK_METHODS: [&str; 2] = ["normal", "prl"];

/// Size of an experiment.
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

    /// Schedule on a dataset with `examples` training examples.
    pub fn schedule(self, examples: u64, overrides: ScheduleOverride) -> Schedule {
        let per_epoch = (examples / BATCH).max(1);
        let all = EPOCHS * per_epoch;
        let (default_steps, default_interval) = match self {
            Scale::Quick => (all.min(QUICK_STEPS), QUICK_EVAL_EVERY),
            Scale::Paper if all / EVAL_EVERY < MIN_VALIDATIONS => (all, per_epoch),
            Scale::Paper => (all, EVAL_EVERY),
        };
        let steps = overrides.steps.unwrap_or(default_steps).min(all);
        let eval_every = match overrides.validations {
            Some(validations) => steps / validations.max(1),
            // As many validations as without the override.
            None => steps * default_interval / default_steps,
        };
        Schedule {
            steps,
            eval_every: eval_every.max(1),
            per_epoch,
        }
    }

    /// Whether it runs a system by default.
    pub fn includes(self, system: &System) -> bool {
        match self {
            Scale::Paper => true,
            Scale::Quick => {
                !system.has_encoder()
                    || system.encoder == Some(QUICK_ENCODER)
                    || QUICK_METHODS.contains(&system.method)
            }
        }
    }

    /// Number of seeds of a system, if `repeats` were requested.
    pub fn seeds(self, system: &System, repeats: u64) -> u64 {
        if !system.has_encoder() {
            return 1;
        }
        let is_repeated_in_quick =
            system.encoder == Some(QUICK_ENCODER) && QUICK_METHODS.contains(&system.method);
        if self == Scale::Paper || is_repeated_in_quick {
            repeats
        } else {
            1
        }
    }

    /// Whether a system is evaluated under the prompts of Figures 4 and 5.
    pub fn sweeps_prompts(self, system: &System) -> bool {
        let is_swept = self == Scale::Paper || system.encoder == Some(QUICK_ENCODER);
        is_swept && system.is_paper_prl()
    }

    /// Description of what it leaves out, in a sentence.
    pub fn deviations(self) -> Option<&'static str> {
        match self {
            Scale::Paper => None,
            Scale::Quick => Some(
                "Quick scale shows that everything runs and learns, not who is best: small made-up \
                 logs where there is no real one; few steps; every method on GRU but only normal \
                 and PRL on the other encoders; several seeds for GRU normal and PRL, one for the \
                 rest; Figures 4 and 5 from GRU-PRL alone, at fewer settings.",
            ),
        }
    }
}

/// Flags that replace parts of a scale's schedule.
#[derive(Clone, Copy, Debug, Default)]
pub struct ScheduleOverride {
    /// Training steps; the number of validations stays.
    pub steps: Option<u64>,
    /// Number of validations.
    pub validations: Option<u64>,
}

/// Training length of a run, in training steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Total.
    pub steps: u64,
    /// Interval between validations.
    pub eval_every: u64,
    /// One pass over the training examples.
    pub per_epoch: u64,
}

impl Schedule {
    /// Whether it is shorter than the protocol's.
    pub fn is_shortened(&self) -> bool {
        self.steps < EPOCHS * self.per_epoch
    }

    /// A number of steps of the protocol, reduced in proportion if this schedule is shorter than a
    /// run on the full logs.
    pub fn scaled(&self, steps: u64) -> u64 {
        if self.steps < FULL_STEPS {
            steps * self.steps / FULL_STEPS
        } else {
            steps
        }
    }

    /// Description with every departure from the protocol.
    pub fn describe(&self) -> String {
        let epochs = self.steps as f64 / self.per_epoch as f64;
        let mut text = format!(
            "{} steps ({epochs:.1} epochs), validated every {}",
            self.steps, self.eval_every
        );
        if self.is_shortened() {
            text += &format!("; the protocol has {EPOCHS} epochs");
        }
        if self.eval_every != EVAL_EVERY {
            text += &format!("; the protocol validates every {EVAL_EVERY} steps");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::systems;

    #[test]
    fn small_dataset_is_validated_at_least_three_times() {
        // 200 steps an epoch give 6,000 steps: three validations. One epoch's step fewer gives two.
        assert_eq!(
            Scale::Paper.schedule(200 * 256, ScheduleOverride::default()),
            Schedule {
                steps: 6000,
                eval_every: 2000,
                per_epoch: 200
            }
        );
        let small = Scale::Paper.schedule(200 * 256 - 1, ScheduleOverride::default());
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
        assert_eq!(
            Scale::Quick
                .schedule(100, ScheduleOverride::default())
                .steps,
            30
        );
    }

    #[test]
    fn steps_override_keeps_number_of_validations() {
        let to = |steps| ScheduleOverride {
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
        assert!(half.is_shortened());
        assert_eq!(Scale::Paper.schedule(200 * 256, to(2)).eval_every, 1);
        assert_eq!(
            Scale::Quick.schedule(1 << 20, to(QUICK_STEPS)),
            Scale::Quick.schedule(1 << 20, ScheduleOverride::default())
        );
        assert_eq!(
            Scale::Paper.schedule(200 * 256, to(1 << 40)),
            Scale::Paper.schedule(200 * 256, ScheduleOverride::default()),
            "at most 30 epochs"
        );
        let few = Scale::Paper.schedule(
            200 * 256,
            ScheduleOverride {
                validations: Some(4),
                ..to(2000)
            },
        );
        assert_eq!((few.steps, few.eval_every), (2000, 500));
        assert_eq!(
            Scale::Paper
                .schedule(
                    200 * 256,
                    ScheduleOverride {
                        validations: Some(1 << 40),
                        ..to(2)
                    }
                )
                .eval_every,
            1
        );
    }

    #[test]
    fn quick_scale_repeats_only_gru_normal_and_prl() {
        let seeds = |scale: Scale| {
            let run = systems("rc15")
                .into_iter()
                .filter(|system| scale.includes(system));
            run.map(|system| scale.seeds(&system, 3)).sum::<u64>()
        };
        assert_eq!(seeds(Scale::Paper), 3 + 3 * 25);
        // GRU: 2 rows with 3 seeds and 7 with one; the other encoders: 2 rows each, and SASRec-PRL
        // as released.
        assert_eq!(seeds(Scale::Quick), 3 + 3 * 2 + 7 + 3 * 2 + 1);
        let swept = |scale: Scale| {
            systems("rc15")
                .iter()
                .filter(|system| scale.sweeps_prompts(system))
                .count()
        };
        assert_eq!((swept(Scale::Paper), swept(Scale::Quick)), (4, 1));
    }
}
