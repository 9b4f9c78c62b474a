//! Early stopping of trials whose validations are worse than those of others.

use crate::trial::{CurvePoint, Status, Trial, best_until};

/// Trials beside the one in question that a median is taken over, at least.
const MIN_OTHERS: usize = 4;
/// Epochs that the median rule lets every trial have.
const GRACE: f64 = 2.0;
/// Reduction factor of Hyperband: a third of the trials continues at each rung.
const ETA: f64 = 3.0;

/// Rule that stops trials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pruner {
    /// Stops a trial whose best value so far lies below the median of the best values that the
    /// other trials had at the same epoch (Golovin et al., 2017). It applies from the second epoch
    /// and four other trials on.
    #[default]
    Median,
    /// Hyperband (Li et al., 2018) with asynchronous successive halving (Li et al., 2020): at the
    /// rungs of 1, 3, 9, .. epochs a trial continues if its best value so far is among the best
    /// third at that rung of its bracket. Brackets skip 0, 1, 2, .. rungs; trial `i` is in bracket
    /// `i` modulo their number.
    Hyperband,
    /// Stops nothing.
    None,
}

impl Pruner {
    /// Every rule.
    pub const ALL: [Pruner; 3] = [Pruner::Median, Pruner::Hyperband, Pruner::None];

    /// Name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Pruner::Median => "median",
            Pruner::Hyperband => "hyperband",
            Pruner::None => "none",
        }
    }

    /// Whether a trial ends at the last validation of `curve`. `trials` are all trials, this one
    /// among them; `max_epochs` is the length of the longest possible trial.
    pub fn stops(
        self,
        number: u64,
        curve: &[CurvePoint],
        trials: &[Trial],
        max_epochs: u64,
    ) -> bool {
        let Some(last) = curve.last() else {
            return false;
        };
        let Some(own) = best_until(curve, last.epoch) else {
            return false;
        };
        match self {
            Pruner::None => false,
            Pruner::Median => {
                let others = values_at(last.epoch, trials, number, 1);
                last.epoch >= GRACE && others.len() >= MIN_OTHERS && own.value < median(others)
            }
            Pruner::Hyperband => {
                let brackets = brackets(max_epochs);
                let before = match curve {
                    [.., before, _] => before.epoch,
                    _ => 0.0,
                };
                let Some(rung) = rung(before, last.epoch, number % brackets) else {
                    return false;
                };
                let rivals = values_at(rung, trials, number, brackets);
                let better = rivals.iter().filter(|&&rival| rival > own.value).count();
                let continued = ((rivals.len() + 1) as f64 / ETA).floor().max(1.0);
                better as f64 >= continued
            }
        }
    }
}

/// Best values at an epoch of the other trials whose number is congruent to `number` modulo
/// `brackets`, as far as they reached the epoch or ended by themselves before.
fn values_at(epoch: f64, trials: &[Trial], number: u64, brackets: u64) -> Vec<f64> {
    let mut values = Vec::new();
    for trial in trials {
        if trial.number == number || trial.number % brackets != number % brackets {
            continue;
        }
        let (mut until, mut has_value) = (epoch, trial.status == Status::Finished);
        for point in &trial.curve {
            // A trial that validates less often counts with the first validation after the epoch.
            if point.epoch >= epoch {
                (until, has_value) = (point.epoch, true);
                break;
            }
        }
        if let (true, Some(best)) = (has_value, best_until(&trial.curve, until)) {
            values.push(best.value);
        }
    }
    values
}

/// Median; the mean of the middle two of an even number.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) {
        (values[middle - 1] + values[middle]) / 2.0
    } else {
        values[middle]
    }
}

/// Number of brackets: one for each rung within the longest trial.
fn brackets(max_epochs: u64) -> u64 {
    let mut count = 1;
    let mut rung = ETA;
    while rung <= max_epochs as f64 {
        count += 1;
        rung *= ETA;
    }
    count
}

/// The last rung of a bracket in the epochs `(before, now]`.
fn rung(before: f64, now: f64, bracket: u64) -> Option<f64> {
    let mut rung = ETA.powi(bracket as i32);
    let mut passed = None;
    while rung <= now {
        if rung > before {
            passed = Some(rung);
        }
        rung *= ETA;
    }
    passed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::Assignment;

    fn curve(values: &[f64]) -> Vec<CurvePoint> {
        let mut curve = Vec::new();
        for (i, &value) in values.iter().enumerate() {
            curve.push(CurvePoint {
                epoch: (i + 1) as f64,
                value,
            });
        }
        curve
    }

    fn trial(number: u64, status: Status, values: &[f64]) -> Trial {
        Trial {
            status,
            curve: curve(values),
            ..Trial::new(number, Assignment::new())
        }
    }

    /// Best values at epoch 2: .3, .4, .2 (a trial that ended at epoch 1), .5; median .35.
    fn others() -> Vec<Trial> {
        vec![
            trial(0, Status::Finished, &[0.1, 0.3, 0.9]),
            trial(1, Status::Stopped, &[0.4, 0.2]),
            trial(2, Status::Finished, &[0.2]),
            trial(3, Status::Incomplete, &[0.5, 0.5]),
            trial(4, Status::Incomplete, &[0.0]),
        ]
    }

    #[test]
    fn median_rule_compares_best_values_so_far_at_the_same_epoch() {
        let stops = |values: &[f64]| Pruner::Median.stops(9, &curve(values), &others(), 12);
        assert!(stops(&[0.1, 0.34]));
        assert!(!stops(&[0.1, 0.35]), "equal to the median");
        assert!(!stops(&[0.36, 0.1]), "the best so far counts");
        assert!(!stops(&[0.0]), "in the first epoch");
        assert!(!Pruner::None.stops(9, &curve(&[0.0, 0.0]), &others(), 12));
        // At epoch 3 only trials 0 and 2 have a value: too few.
        assert!(!stops(&[0.0, 0.0, 0.0]) && !Pruner::Median.stops(9, &[], &others(), 12));
    }

    #[test]
    fn median_rule_waits_for_four_other_trials() {
        let mut few = others();
        few.remove(0);
        assert!(!Pruner::Median.stops(9, &curve(&[0.0, 0.0]), &few, 12));
        // The trial itself is not among the others.
        few.push(trial(9, Status::Incomplete, &[0.0, 0.0]));
        assert!(!Pruner::Median.stops(9, &curve(&[0.0, 0.0]), &few, 12));
    }

    #[test]
    fn hyperband_continues_the_best_third_of_a_bracket_at_its_rungs() {
        // 12 epochs: three brackets, with the rungs 1, 3, 9; 3, 9; and 9.
        assert_eq!(brackets(12), 3);
        let mut trials = Vec::new();
        for i in 0..5 {
            trials.push(trial(3 * i, Status::Incomplete, &[0.1 * i as f64, 0.9]));
        }
        trials.push(trial(1, Status::Incomplete, &[0.9, 0.9]));
        let stops =
            |number, values: &[f64]| Pruner::Hyperband.stops(number, &curve(values), &trials, 12);
        // Six trials at rung 1 of bracket 0: two continue.
        assert!(!stops(15, &[0.35]) && stops(15, &[0.25]));
        assert!(!stops(15, &[0.0, 0.0]), "epoch 2 is no rung");
        assert!(!stops(16, &[0.0]), "bracket 1 has no rung at epoch 1");
        assert!(
            !stops(18, &[0.9, 0.0, 0.0]),
            "the first at rung 3 continues"
        );
        assert!(!Pruner::Hyperband.stops(0, &curve(&[0.1]), &[], 12));
    }

    #[test]
    fn rungs_are_powers_of_three_from_the_bracket_on() {
        assert_eq!([1, 2, 3, 8, 9, 27].map(brackets), [1, 1, 2, 2, 3, 4]);
        assert_eq!(rung(0.0, 1.0, 0), Some(1.0));
        assert_eq!(rung(1.0, 2.0, 0), None);
        assert_eq!(rung(2.5, 9.5, 0), Some(9.0));
        assert_eq!(rung(2.0, 3.0, 2), None);
    }
}
