//! Draws of the negatives of [sampled softmax](crate::similarity_head): a set of items for each
//! training step, a function of the seed and the step.
//!
//! With `N` negatives, `I` items, `n_i` training examples with the target `i`, and a batch of `B`,
//! an item is expected `E_i` times among the negatives of a step:
//!
//! ```text
//! uniform      N distinct items                                E_i = N / I
//! popularity   N draws by q_i ~ max(n_i, 1)^a                  E_i = N q_i
//! in-batch     the batch's targets, and N distinct items       E_i = (B - 1) n_i / sum n + N / I
//! ```
//!
//! An item that occurs `m_i` times is one negative whose exponential has the weight `m_i / E_i`, so
//! that the weighted sum over the negatives has the expectation of the sum over all items. Under
//! `in-batch` that holds for the examples of another target than `i`, whose own target is not among
//! the other `B - 1`; without further negatives an item that is never a target is left out of it.
//! Mixed with uniform ones: Yang et al., Mixed Negative Sampling, WWW 2020.

use rand::distr::Distribution;
use rand::seq::index;
use rand_distr::weighted::WeightedAliasIndex;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Distribution of the negatives of sampled softmax.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NegativeSampling {
    /// Every item equally often.
    #[default]
    Uniform,
    /// By a power of the item's number of training examples.
    Popularity,
    /// The targets of the batch, and uniform ones beside them.
    InBatch,
}

/// Number and distribution of the negatives of a training step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NegativeOptions {
    /// Negatives that are drawn; under [`InBatch`](NegativeSampling::InBatch) beside the targets.
    pub count: usize,
    /// Their distribution.
    pub sampling: NegativeSampling,
    /// Power of the number of examples, for [`Popularity`](NegativeSampling::Popularity).
    pub power: f64,
}

/// Draws the negatives of each training step.
#[derive(Debug)]
pub struct NegativeSampler {
    seed: u64,
    count: usize,
    items: usize,
    law: Law,
}

/// The distribution with its tables, which are made once.
#[derive(Debug)]
enum Law {
    Uniform,
    Popularity {
        alias: WeightedAliasIndex<f64>,
        shares: Vec<f64>,
    },
    InBatch {
        shares: Vec<f64>,
    },
}

/// The negatives of a step.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Negatives {
    /// Distinct items, ascending.
    pub(crate) items: Vec<u32>,
    /// `ln(m_i / E_i)`: added to the scores.
    pub(crate) corrections: Vec<f64>,
}

impl NegativeSampler {
    /// A sampler; `counts` has the number of training examples with each item as their target.
    ///
    /// # Errors
    /// [`Error::Config`] without items or negatives.
    pub fn new(options: NegativeOptions, counts: &[u64], seed: u64) -> Result<Self> {
        let NegativeOptions {
            count,
            sampling,
            power,
        } = options;
        if counts.is_empty() || (count == 0 && sampling != NegativeSampling::InBatch) {
            return Err(Error::Config(
                "sampled softmax needs an item and a negative; leave negatives out".into(),
            ));
        }
        let law = match sampling {
            NegativeSampling::Uniform => Law::Uniform,
            NegativeSampling::Popularity => {
                let shares = shares(counts, power);
                let alias = WeightedAliasIndex::new(shares.clone()).map_err(|e| {
                    Error::Config(format!("negative_power {power}: {e}; choose one in 0..=1"))
                })?;
                Law::Popularity { alias, shares }
            }
            NegativeSampling::InBatch => Law::InBatch {
                shares: shares(counts, 1.0),
            },
        };
        // A uniform sample of all items is the full softmax, and there are no more to draw.
        let count = match sampling {
            NegativeSampling::Popularity => count,
            _ => count.min(counts.len()),
        };
        Ok(Self {
            seed,
            count,
            items: counts.len(),
            law,
        })
    }

    /// Number of items that negatives are drawn from.
    pub(crate) fn items(&self) -> usize {
        self.items
    }

    /// Whether the batch's targets are negatives.
    pub(crate) fn is_in_batch(&self) -> bool {
        matches!(self.law, Law::InBatch { .. })
    }

    /// The negatives of step `t`; `targets` are those of the whole batch.
    pub(crate) fn draw(&self, t: u64, targets: &[u32]) -> Negatives {
        let mut rng = prl_seed::stream(self.seed, "negatives", t);
        let mut drawn = Vec::with_capacity(self.count + targets.len());
        match &self.law {
            Law::Popularity { alias, .. } => {
                for _ in 0..self.count {
                    drawn.push(alias.sample(&mut rng) as u32);
                }
            }
            Law::Uniform | Law::InBatch { .. } => {
                for item in index::sample(&mut rng, self.items, self.count) {
                    drawn.push(item as u32);
                }
            }
        }
        if self.is_in_batch() {
            drawn.extend_from_slice(targets);
        }
        drawn.sort_unstable();
        let mut negatives = Negatives {
            items: Vec::with_capacity(drawn.len()),
            corrections: Vec::with_capacity(drawn.len()),
        };
        for equal in drawn.chunk_by(|a, b| a == b) {
            let expected = self.expected(equal[0], targets.len());
            negatives.items.push(equal[0]);
            negatives
                .corrections
                .push((equal.len() as f64 / expected).ln());
        }
        negatives
    }

    /// `E_i` of an item with a batch of `batch` examples.
    fn expected(&self, item: u32, batch: usize) -> f64 {
        let drawn = self.count as f64;
        match &self.law {
            Law::Uniform => drawn / self.items as f64,
            Law::Popularity { shares, .. } => drawn * shares[item as usize],
            Law::InBatch { shares } => {
                // The targets of a batch of one are hits, whatever their weight.
                let others = batch.saturating_sub(1).max(1) as f64;
                others * shares[item as usize] + drawn / self.items as f64
            }
        }
    }
}

/// `max(n_i, 1)^power`, divided by the sum over the items.
fn shares(counts: &[u64], power: f64) -> Vec<f64> {
    let mut shares = Vec::with_capacity(counts.len());
    let mut sum = 0.0;
    for &n in counts {
        let share = (n.max(1) as f64).powf(power);
        sum += share;
        shares.push(share);
    }
    for share in &mut shares {
        *share /= sum;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::{NegativeOptions, NegativeSampler, NegativeSampling};

    const COUNTS: [u64; 8] = [0, 1, 2, 4, 9, 16, 100, 400];
    const STEPS: u64 = 20_000;

    fn sampler(sampling: NegativeSampling, count: usize) -> NegativeSampler {
        let options = NegativeOptions {
            count,
            sampling,
            power: 0.5,
        };
        NegativeSampler::new(options, &COUNTS, 3).unwrap()
    }

    /// Mean of `m_i / E_i` over the steps: one, if the correction is right.
    fn check_weights(sampler: &NegativeSampler, batch: impl Fn(u64) -> Vec<u32>, expected: &[f64]) {
        let mut sums = [0.0; COUNTS.len()];
        for t in 1..=STEPS {
            let negatives = sampler.draw(t, &batch(t));
            for (&item, &correction) in negatives.items.iter().zip(&negatives.corrections) {
                sums[item as usize] += correction.exp();
            }
        }
        for (item, (&sum, &expected)) in sums.iter().zip(expected).enumerate() {
            let mean = sum / STEPS as f64;
            // Of a mean of STEPS weights, each a small count over its expectation.
            let deviation = (STEPS as f64 * sampler.expected(item as u32, batch(1).len()))
                .sqrt()
                .recip();
            assert!(
                (mean - expected).abs() < 4.0 * deviation,
                "item {item}: {mean}"
            );
        }
    }

    #[test]
    fn weights_of_each_item_are_one_on_average() {
        for sampling in [NegativeSampling::Uniform, NegativeSampling::Popularity] {
            check_weights(&sampler(sampling, 3), |_| vec![0; 5], &[1.0; 8]);
        }
    }

    /// Of an example whose target is item 0: the other targets are drawn by their frequency.
    #[test]
    fn weights_of_in_batch_negatives_are_one_for_every_other_item() {
        let options = NegativeOptions {
            count: 6,
            sampling: NegativeSampling::Popularity,
            power: 1.0,
        };
        let by_target = NegativeSampler::new(options, &COUNTS, 9).unwrap();
        let batch = |t| {
            let mut rng = prl_seed::stream(1, "batch", t);
            let mut targets = vec![0];
            for _ in 0..6 {
                let super::Law::Popularity { alias, .. } = &by_target.law else {
                    unreachable!("the sampler was made by popularity")
                };
                targets.push(rand::distr::Distribution::sample(alias, &mut rng) as u32);
            }
            targets
        };
        for count in [0, 2] {
            let sampler = sampler(NegativeSampling::InBatch, count);
            // The own target of the example has a chance of its own.
            let own = 1.0 + 1.0 / sampler.expected(0, 7);
            let expected = [own, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];
            check_weights(&sampler, batch, &expected);
        }
    }

    #[test]
    fn popularity_draws_follow_the_power_of_the_counts() {
        let sampler = sampler(NegativeSampling::Popularity, 100);
        let mut draws = [0.0; COUNTS.len()];
        for t in 1..=1000 {
            let negatives = sampler.draw(t, &[]);
            for (&item, &correction) in negatives.items.iter().zip(&negatives.corrections) {
                draws[item as usize] += correction.exp() * sampler.expected(item, 0);
            }
        }
        // Square roots of the counts, at least one: 1, 1, sqrt 2, 2, 3, 4, 10, 20.
        let total = 41.0 + 2_f64.sqrt();
        for (draws, root) in draws
            .iter()
            .zip([1.0, 1.0, 2_f64.sqrt(), 2.0, 3.0, 4.0, 10.0, 20.0])
        {
            let expected = 100_000.0 * root / total;
            assert!((draws - expected).abs() < 4.0 * expected.sqrt(), "{draws}");
        }
    }

    #[test]
    fn draws_depend_on_seed_and_step_alone_and_uniform_ones_are_distinct() {
        let uniform = sampler(NegativeSampling::Uniform, 5);
        assert_eq!(uniform.draw(7, &[1, 2]), uniform.draw(7, &[3]));
        assert_ne!(uniform.draw(7, &[]), uniform.draw(8, &[]));
        assert_eq!(uniform.draw(7, &[]).items.len(), 5);
        let all = sampler(NegativeSampling::Uniform, 100).draw(1, &[]);
        assert_eq!(all.items, (0..8).collect::<Vec<u32>>());
        assert_eq!(all.corrections, [0.0; 8]);
        let options = NegativeOptions {
            count: 0,
            sampling: NegativeSampling::Uniform,
            power: 0.5,
        };
        assert!(NegativeSampler::new(options, &COUNTS, 3).is_err());
    }
}
