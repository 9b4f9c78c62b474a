//! Distributions of returns over bins: quantiles, intervals and the measures of their calibration.
//!
//! The bins cover the returns of training: a bin for each distinct value while there are few, else
//! bins of about equal counts. A bin stands for the mean of the training returns in it, so that no
//! quantile lies outside of what training saw.

use crate::prompt::TargetReturn;

/// Largest number of bins.
pub const MAX_BINS: usize = 32;

/// Bins of returns, ascending.
#[derive(Clone, Debug, PartialEq)]
pub struct ReturnBins {
    /// Largest return of each bin but the last, which takes all above.
    ends: Vec<f64>,
    /// Mean training return of each bin.
    values: Vec<f64>,
}

impl ReturnBins {
    /// Bins of these returns; `None` without a return.
    pub fn new(returns: &[f64]) -> Option<Self> {
        let mut sorted = returns.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let largest = *sorted.last()?;
        let mut distinct = sorted.clone();
        distinct.dedup();
        let mut ends = if distinct.len() <= MAX_BINS {
            distinct
        } else {
            let mut ends = Vec::with_capacity(MAX_BINS);
            for bin in 1..=MAX_BINS {
                ends.push(sorted[bin * sorted.len() / MAX_BINS - 1]);
            }
            ends.dedup();
            ends
        };
        if ends.last() == Some(&largest) {
            ends.pop();
        }
        let mut bins = Self {
            values: vec![0.0; ends.len() + 1],
            ends,
        };
        let mut counts = vec![0.0; bins.values.len()];
        // Sums of distances from the bin's end, so that the mean of equal returns is that return.
        let end_of = |ends: &[f64], bin: usize| ends.get(bin).copied().unwrap_or(largest);
        for &value in &sorted {
            let bin = bins.of(value);
            bins.values[bin] += value - end_of(&bins.ends, bin);
            counts[bin] += 1.0;
        }
        for (bin, (value, count)) in bins.values.iter_mut().zip(counts).enumerate() {
            *value = end_of(&bins.ends, bin) + *value / f64::max(count, 1.0);
        }
        Some(bins)
    }

    /// Bins from their saved parts; `None` unless they are ascending and fit each other.
    pub fn from_parts(ends: Vec<f64>, values: Vec<f64>) -> Option<Self> {
        let is_ascending = |list: &[f64]| list.windows(2).all(|pair| pair[0] < pair[1]);
        let fits = values.len() == ends.len() + 1 && values.iter().all(|v| v.is_finite());
        (fits && is_ascending(&ends) && is_ascending(&values)).then_some(Self { ends, values })
    }

    /// Number of bins.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is no bin: never.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Largest return of each bin but the last.
    pub fn ends(&self) -> &[f64] {
        &self.ends
    }

    /// Mean training return of each bin.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The bin of a return.
    pub fn of(&self, value: f64) -> usize {
        self.ends.partition_point(|&end| end < value)
    }

    /// Mean of a distribution over the bins.
    pub fn mean(&self, probabilities: &[f64]) -> f64 {
        let mut mean = 0.0;
        for (p, value) in probabilities.iter().zip(&self.values) {
            mean += p * value;
        }
        mean
    }

    /// Quantile `q` of a distribution: the value of the first bin at which the cumulative
    /// probability is at least `q`.
    pub fn quantile(&self, probabilities: &[f64], q: f64) -> f64 {
        self.values[self.quantile_bin(probabilities, q)]
    }

    /// The bin of quantile `q`.
    fn quantile_bin(&self, probabilities: &[f64], q: f64) -> usize {
        let mut cumulative = 0.0;
        for (bin, p) in probabilities.iter().enumerate() {
            cumulative += p;
            // The sum of rounded probabilities may end below 1.
            if cumulative >= q - 1e-9 {
                return bin;
            }
        }
        self.values.len() - 1
    }
}

impl ReturnBins {
    /// The return that a target of the state asks for under a distribution; `None` for a target
    /// that no forecast decides.
    pub fn target(&self, target: TargetReturn, probabilities: &[f64]) -> Option<f64> {
        match target {
            TargetReturn::StateQuantile(q) => Some(self.quantile(probabilities, q)),
            TargetReturn::Adaptive { kappa } => {
                let last = (self.len() - 1).max(1) as f64;
                // The largest exponent is 0, so that none overflows.
                let shift = kappa.max(0.0);
                let (mut sum, mut weights) = (0.0, 0.0);
                for (bin, (p, value)) in probabilities.iter().zip(&self.values).enumerate() {
                    let weight = p * (kappa * bin as f64 / last - shift).exp();
                    sum += weight * value;
                    weights += weight;
                }
                Some(if weights > 0.0 {
                    sum / weights
                } else {
                    self.mean(probabilities)
                })
            }
            _ => None,
        }
    }
}

/// Calibration of forecasts on observed returns, running.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Calibration {
    cases: u64,
    inside: [u64; 2],
    log_loss: f64,
    squared_error: f64,
    sums: [f64; 5],
    pit: [u64; PIT_BINS],
}

/// Bins of the histogram of the probability integral transform.
pub const PIT_BINS: usize = 10;

/// Levels of the intervals whose coverage is measured.
pub const LEVELS: [f64; 2] = [0.5, 0.9];

/// Calibration of forecasts, in numbers.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct CalibrationReport {
    /// Number of forecasts.
    pub cases: u64,
    /// Share of returns inside the central 50 % interval. Intervals end at bins, so that they cover
    /// at least their level if the forecast is calibrated.
    pub coverage_50: f64,
    /// Share of returns inside the central 90 % interval.
    pub coverage_90: f64,
    /// Mean logarithm of the inverse probability of the observed bin, in nats.
    pub log_loss: f64,
    /// Root mean squared error of the mean.
    pub rmse: f64,
    /// Correlation of the mean with the observed return.
    pub correlation: f64,
    /// Shares of the randomised probability integral transform in ten bins of equal width: each .1
    /// if the forecast is calibrated.
    pub pit: Vec<f64>,
}

impl Calibration {
    /// Adds a forecast and the return that came; `u`, uniform in 0 to 1, spreads the transform over
    /// the probability of the observed bin.
    pub fn add(&mut self, bins: &ReturnBins, probabilities: &[f64], observed: f64, u: f64) {
        let bin = bins.of(observed);
        let mut below = 0.0;
        for p in &probabilities[..bin] {
            below += p;
        }
        self.cases += 1;
        for (inside, level) in self.inside.iter_mut().zip(LEVELS) {
            let low = bins.quantile_bin(probabilities, (1.0 - level) / 2.0);
            let high = bins.quantile_bin(probabilities, (1.0 + level) / 2.0);
            *inside += u64::from((low..=high).contains(&bin));
        }
        self.log_loss -= probabilities[bin].max(1e-12).ln();
        let mean = bins.mean(probabilities);
        self.squared_error += (mean - observed).powi(2);
        let terms = [
            mean,
            observed,
            mean * mean,
            observed * observed,
            mean * observed,
        ];
        for (sum, term) in self.sums.iter_mut().zip(terms) {
            *sum += term;
        }
        let transform = below + u * probabilities[bin];
        let place = (transform * PIT_BINS as f64) as usize;
        self.pit[place.min(PIT_BINS - 1)] += 1;
    }

    /// The numbers; `None` without a forecast.
    pub fn report(&self) -> Option<CalibrationReport> {
        if self.cases == 0 {
            return None;
        }
        let n = self.cases as f64;
        let [x, y, xx, yy, xy] = self.sums.map(|sum| sum / n);
        let spread = ((xx - x * x) * (yy - y * y)).max(0.0).sqrt();
        let mut pit = Vec::with_capacity(PIT_BINS);
        for count in self.pit {
            pit.push(count as f64 / n);
        }
        Some(CalibrationReport {
            cases: self.cases,
            coverage_50: self.inside[0] as f64 / n,
            coverage_90: self.inside[1] as f64 / n,
            log_loss: self.log_loss / n,
            rmse: (self.squared_error / n).sqrt(),
            correlation: if spread > 0.0 {
                (xy - x * y) / spread
            } else {
                0.0
            },
            pit,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    #[test]
    fn few_distinct_returns_have_a_bin_each() {
        let bins = ReturnBins::new(&[0.2, 1.0, 0.2, 1.2]).unwrap();
        assert_eq!(bins.values(), [0.2, 1.0, 1.2]);
        assert_eq!(
            [0.0, 0.2, 0.5, 1.0, 1.1, 9.0].map(|r| bins.of(r)),
            [0, 0, 1, 1, 2, 2]
        );
        // The sum of a hundred times 0.2 is above 20.
        let equal = ReturnBins::new(&[[0.2; 100].as_slice(), &[1.0]].concat()).unwrap();
        assert_eq!(equal.values(), [0.2, 1.0]);
        assert_eq!(ReturnBins::new(&[]), None);
        assert_eq!(ReturnBins::new(&[0.3; 5]).unwrap().values(), [0.3]);
    }

    #[test]
    fn many_returns_have_bins_of_equal_counts() {
        let returns: Vec<f64> = (0..3200).map(f64::from).collect();
        let bins = ReturnBins::new(&returns).unwrap();
        assert_eq!(bins.len(), MAX_BINS);
        assert_eq!(bins.values()[0], 49.5);
        assert_eq!(bins.of(99.0), 0);
        assert_eq!(bins.of(100.0), 1);
        let parts = ReturnBins::from_parts(bins.ends().to_vec(), bins.values().to_vec());
        assert_eq!(parts, Some(bins));
        assert_eq!(ReturnBins::from_parts(vec![1.0], vec![2.0]), None);
    }

    #[test]
    fn mean_and_quantiles_are_those_of_the_bins() {
        let bins = ReturnBins::new(&[0.0, 1.0, 4.0]).unwrap();
        let p = [0.5, 0.25, 0.25];
        assert_eq!(bins.mean(&p), 1.25);
        assert_eq!(
            [0.0, 0.5, 0.6, 0.75, 0.9, 1.0].map(|q| bins.quantile(&p, q)),
            [0.0, 0.0, 1.0, 1.0, 4.0, 4.0]
        );
    }

    #[test]
    fn adaptive_target_rises_with_kappa_and_stays_inside_the_bins() {
        let bins = ReturnBins::new(&[0.0, 1.0, 4.0]).unwrap();
        let p = [0.5, 0.25, 0.25];
        let at = |kappa| bins.target(TargetReturn::Adaptive { kappa }, &p).unwrap();
        assert_eq!(at(0.0), bins.mean(&p));
        // Weights .5, .25 e, .25 e^2 before they are divided by their sum.
        let e = 1.0_f64.exp();
        let expected = (0.25 * e + e * e) / (0.5 + 0.25 * e + 0.25 * e * e);
        assert!((at(2.0) - expected).abs() < 1e-12);
        assert!(at(-100.0) < 0.1 && at(100.0) > 3.9 && at(100.0) <= 4.0);
        let quantile = bins.target(TargetReturn::StateQuantile(0.6), &p);
        assert_eq!(quantile, Some(1.0));
        assert_eq!(bins.target(TargetReturn::Max, &p), None);
    }

    /// Returns drawn from the forecast itself are covered at the levels, with a flat transform.
    #[test]
    fn calibrated_forecast_has_its_coverage_and_a_flat_transform() {
        let returns: Vec<f64> = (0..32).map(f64::from).collect();
        let bins = ReturnBins::new(&returns).unwrap();
        let mut rng = prl_seed::stream(7, "calibration", 0);
        let (mut right, mut wrong) = (Calibration::default(), Calibration::default());
        for _ in 0..20_000 {
            let shift = rng.random_range(0..10);
            let mut p = vec![0.0; 32];
            for at in 0..20 {
                p[shift + at] = 0.05;
            }
            let observed = (shift + rng.random_range(0..20)) as f64;
            right.add(&bins, &p, observed, rng.random());
            let mut narrow = vec![0.0; 32];
            narrow[shift + 8..shift + 12].fill(0.25);
            wrong.add(&bins, &narrow, observed, rng.random());
        }
        let (right, wrong) = (right.report().unwrap(), wrong.report().unwrap());
        // The central half holds 10 or 11 of 20 equally likely bins.
        assert!((right.coverage_50 - 0.55).abs() < 0.02, "{right:?}");
        assert!((right.coverage_90 - 0.95).abs() < 0.02, "{right:?}");
        assert!((right.log_loss - 20.0_f64.ln()).abs() < 1e-6);
        assert!(
            right.pit.iter().all(|share| (share - 0.1).abs() < 0.01),
            "{right:?}"
        );
        assert!(
            wrong.coverage_90 < 0.3 && wrong.log_loss > 10.0,
            "{wrong:?}"
        );
        assert!((right.correlation - 0.44).abs() < 0.03, "{right:?}");
    }
}
