//! Rows of a table: a system with all its seeds, those that are not done left out.

use std::sync::Arc;

use prl_dataset::Split;

use crate::experiment::Run;
use crate::matrix::System;
use crate::outcome::{Failure, Finished, Outcome};
use crate::paper;

/// A row of a table.
pub struct Row<'a> {
    /// What was trained.
    pub system: System,
    /// The runs that are done, with their seeds.
    pub done: Vec<(u64, &'a Arc<Finished>)>,
    /// Those that failed, with why.
    pub failed: Vec<(u64, &'a Failure)>,
    /// The seeds that are still to come.
    pub pending: Vec<u64>,
}

impl<'a> Row<'a> {
    /// The row of a system, from runs that are all its own.
    pub fn of(system: System, runs: impl Iterator<Item = (&'a Run, &'a Outcome)>) -> Self {
        let mut row = Self {
            system,
            done: Vec::new(),
            failed: Vec::new(),
            pending: Vec::new(),
        };
        for (run, outcome) in runs {
            match outcome {
                Outcome::Pending => row.pending.push(run.spec.seed),
                Outcome::Failed(failure) => row.failed.push((run.spec.seed, failure)),
                Outcome::Done(finished) => row.done.push((run.spec.seed, finished)),
            }
        }
        row
    }

    /// The seeds of the runs that are done: `seed 0`, `seeds 0, 1, 2`.
    pub fn seeds(&self) -> String {
        let seeds: Vec<String> = self.done.iter().map(|(seed, _)| seed.to_string()).collect();
        format!(
            "seed{} {}",
            if seeds.len() == 1 { "" } else { "s" },
            seeds.join(", ")
        )
    }

    /// A number over the seeds; `None` if a run lacks it, or none is done.
    pub fn over_seeds(&self, value: impl Fn(&Finished) -> Option<f64>) -> Option<OverSeeds> {
        let values: Vec<f64> = self
            .done
            .iter()
            .map(|(_, run)| value(run))
            .collect::<Option<_>>()?;
        OverSeeds::of(&values)
    }

    /// The first run that is done.
    pub fn first(&self) -> Option<(u64, &'a Finished)> {
        self.done.first().map(|&(seed, run)| (seed, run.as_ref()))
    }
}

/// A number over the seeds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OverSeeds {
    /// The mean.
    pub mean: f64,
    /// The least.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl OverSeeds {
    /// `None` of none.
    pub fn of(values: &[f64]) -> Option<Self> {
        let n = values.len();
        (n > 0).then(|| Self {
            mean: values.iter().sum::<f64>() / n as f64,
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
            max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        })
    }
}

/// What is ours less what is the paper's, and whether that is within the tolerance. Both are taken as they are printed, to
/// four decimals.
pub fn difference(ours: f64, paper: f64) -> (f64, bool) {
    let to_print = |x: f64| (x * 1e4).round();
    let difference = to_print(ours) - to_print(paper);
    (
        difference / 1e4,
        difference.abs() <= to_print(paper::TOLERANCE),
    )
}

/// `Test split`, for a heading.
pub fn split_title(split: Split) -> &'static str {
    match split {
        Split::Test => "Test split",
        Split::Val => "Validation split",
        Split::Train => "Training split",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_band_holds_the_mean() {
        assert_eq!(
            OverSeeds::of(&[0.25, 0.75, 0.5]),
            Some(OverSeeds {
                mean: 0.5,
                min: 0.25,
                max: 0.75
            })
        );
        assert_eq!(OverSeeds::of(&[]), None);
    }

    #[test]
    fn the_verdict_is_on_what_is_printed() {
        assert_eq!(difference(0.4714, 0.4514), (0.02, true));
        assert_eq!(
            difference(0.47144, 0.4514),
            (0.02, true),
            "prints as 0.4714"
        );
        assert_eq!(difference(0.4715, 0.4514), (0.0201, false));
        assert_eq!(difference(0.4304, 0.4514), (-0.021, false));
    }
}
