//! Row of a table: the runs of one system, over all seeds.

use std::sync::Arc;

use crate::experiment::{Experiment, PlannedRun};
use crate::matrix::System;
use crate::outcome::{Failure, Outcome, RunResults};
use crate::paper;

/// Runs of one system on one dataset.
pub struct TableRow<'a> {
    /// System.
    pub system: System,
    /// Results of the finished runs, with their seeds.
    pub done: Vec<(u64, &'a Arc<RunResults>)>,
    /// Failures, with their seeds.
    pub failed: Vec<(u64, &'a Failure)>,
    /// Seeds of the runs that are not made yet.
    pub pending: Vec<u64>,
}

impl<'a> TableRow<'a> {
    /// Row of a system; `None` if the experiment has no run of it on the dataset with this index.
    pub fn collect(
        experiment: &'a Experiment,
        dataset: usize,
        system: System,
        outcomes: &'a [Outcome],
    ) -> Option<Self> {
        let mut row = Self {
            system,
            done: Vec::new(),
            failed: Vec::new(),
            pending: Vec::new(),
        };
        let mut is_planned = false;
        for (run, outcome) in experiment.runs.iter().zip(outcomes) {
            if run.dataset == dataset && run.spec.system == system {
                row.add(run, outcome);
                is_planned = true;
            }
        }
        is_planned.then_some(row)
    }

    fn add(&mut self, run: &PlannedRun, outcome: &'a Outcome) {
        let seed = run.spec.seed;
        match outcome {
            Outcome::Pending => self.pending.push(seed),
            Outcome::Failed(failure) => self.failed.push((seed, failure)),
            Outcome::Done(results) => self.done.push((seed, results)),
        }
    }

    /// Seeds of the finished runs: `seed 0`, `seeds 0, 1, 2`.
    pub fn seeds(&self) -> String {
        let plural = if self.done.len() == 1 { "" } else { "s" };
        format!("seed{plural} {}", self.seed_list(", "))
    }

    /// Seeds of the finished runs, with a separator.
    pub fn seed_list(&self, separator: &str) -> String {
        let seeds: Vec<String> = self.done.iter().map(|(seed, _)| seed.to_string()).collect();
        seeds.join(separator)
    }

    /// Summary of a value over the seeds; `None` if no run is finished or one lacks the value.
    pub fn over_seeds(&self, value: impl Fn(&RunResults) -> Option<f64>) -> Option<SeedSummary> {
        let mut values = Vec::new();
        for (_, results) in &self.done {
            values.push(value(results)?);
        }
        SeedSummary::of(&values)
    }

    /// First finished run, with its seed.
    pub fn first(&self) -> Option<(u64, &'a RunResults)> {
        let &(seed, results) = self.done.first()?;
        Some((seed, results))
    }
}

/// Summary of a value over the seeds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SeedSummary {
    /// Mean.
    pub mean: f64,
    /// Minimum.
    pub min: f64,
    /// Maximum.
    pub max: f64,
}

impl SeedSummary {
    /// Summary of some values; `None` if there are none.
    pub fn of(values: &[f64]) -> Option<Self> {
        let n = values.len();
        (n > 0).then(|| Self {
            mean: values.iter().sum::<f64>() / n as f64,
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
            max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        })
    }
}

/// Our value minus the paper's, and whether it is within the tolerance. Both are rounded to the
/// four decimals that are printed.
pub fn difference(ours: f64, paper: f64) -> (f64, bool) {
    let difference = in_print_units(ours) - in_print_units(paper);
    let is_within = difference.abs() <= in_print_units(paper::TOLERANCE);
    (difference / 1e4, is_within)
}

fn in_print_units(x: f64) -> f64 {
    (x * 1e4).round()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seed_summary_has_mean_and_range() {
        assert_eq!(
            SeedSummary::of(&[0.25, 0.75, 0.5]),
            Some(SeedSummary {
                mean: 0.5,
                min: 0.25,
                max: 0.75
            })
        );
        assert_eq!(SeedSummary::of(&[]), None);
    }

    #[test]
    fn difference_compares_printed_values() {
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
