//! Purchase rates of the items, by which a list is tilted towards bought items.
//!
//! ```text
//! p_i = (b_i + s p) / (n_i + s)      b_i purchases among n_i events of item i, p over all events
//! v_i = ln(p_i / p)                  value of item i: a tilt beta adds beta v_i to its score
//! ```
//!
//! The strength s of the prior is the one under which the counts are most likely (beta-binomial,
//! empirical Bayes): the fewer differences between items the log shows, the more they are shrunk.

/// Smallest and largest candidate strength, in events.
const STRENGTHS: [f64; 2] = [0.1, 1e6];
/// Number of candidate strengths: neighbours differ by a factor of about 1.2.
const CANDIDATES: usize = 90;

/// Purchase rates of the items of a log, smoothed.
#[derive(Clone, Debug, PartialEq)]
pub struct PurchaseRates {
    /// Share of purchases among all events, p.
    pub overall: f64,
    /// Strength of the prior in events, s.
    pub strength: f64,
    /// Smoothed rate of each item, p_i.
    pub rates: Vec<f64>,
}

impl PurchaseRates {
    /// The rates of items with these counts; `None` if all events or no events are purchases, so
    /// that no rate differs from another.
    pub fn new(events: &[u32], purchases: &[u32]) -> Option<Self> {
        let sum = |counts: &[u32]| counts.iter().map(|&n| u64::from(n)).sum::<u64>();
        let (all, bought) = (sum(events), sum(purchases));
        if bought == 0 || bought >= all {
            return None;
        }
        let overall = bought as f64 / all as f64;
        let counts = counts_by_frequency(events, purchases);
        let [least, largest] = STRENGTHS.map(f64::ln);
        let mut best = (f64::NEG_INFINITY, 0.0);
        for candidate in 0..CANDIDATES {
            let share = candidate as f64 / (CANDIDATES - 1) as f64;
            let strength = (least + share * (largest - least)).exp();
            let likelihood = log_likelihood(&counts, overall, strength);
            if likelihood > best.0 {
                best = (likelihood, strength);
            }
        }
        let strength = best.1;
        let mut rates = Vec::with_capacity(events.len());
        for (&n, &b) in events.iter().zip(purchases) {
            rates.push((f64::from(b) + strength * overall) / (f64::from(n) + strength));
        }
        Some(Self {
            overall,
            strength,
            rates,
        })
    }

    /// The value of each item, ln(p_i / p).
    pub fn values(&self) -> Vec<f32> {
        let mut values = Vec::with_capacity(self.rates.len());
        for rate in &self.rates {
            values.push((rate / self.overall).ln() as f32);
        }
        values
    }
}

/// Distinct pairs of events and purchases, with the number of items that have them.
fn counts_by_frequency(events: &[u32], purchases: &[u32]) -> Vec<([u32; 2], u32)> {
    let mut pairs: Vec<[u32; 2]> = Vec::with_capacity(events.len());
    for (&n, &b) in events.iter().zip(purchases) {
        pairs.push([n, b]);
    }
    pairs.sort_unstable();
    let mut counts: Vec<([u32; 2], u32)> = Vec::new();
    for pair in pairs {
        match counts.last_mut() {
            Some((last, items)) if *last == pair => *items += 1,
            _ => counts.push((pair, 1)),
        }
    }
    counts
}

/// Log-likelihood of the counts, without the binomial coefficients, if the items' rates are drawn
/// from Beta(s p, s (1 - p)).
fn log_likelihood(counts: &[([u32; 2], u32)], overall: f64, strength: f64) -> f64 {
    let (a, b) = (strength * overall, strength * (1.0 - overall));
    let prior = ln_beta(a, b);
    let mut sum = 0.0;
    for &([n, bought], items) in counts {
        let others = f64::from(n - bought);
        sum += f64::from(items) * (ln_beta(a + f64::from(bought), b + others) - prior);
    }
    sum
}

/// ln B(a, b).
fn ln_beta(a: f64, b: f64) -> f64 {
    libm::lgamma(a) + libm::lgamma(b) - libm::lgamma(a + b)
}

#[cfg(test)]
mod tests {
    use super::PurchaseRates;
    use rand::Rng;

    /// Rates of 2,000 items, 100 events each: item i is bought at `rate(i)`.
    fn drawn(rate: impl Fn(usize) -> f64) -> PurchaseRates {
        let mut rng = prl_seed::stream(3, "purchases", 0);
        let mut purchases = Vec::new();
        for item in 0..2000 {
            let mut bought = 0;
            for _ in 0..100 {
                bought += u32::from(rng.random_bool(rate(item)));
            }
            purchases.push(bought);
        }
        PurchaseRates::new(&[100; 2000], &purchases).unwrap()
    }

    /// Rates of .05 and .15 in halves have the mean .1 and the variance .0025: a beta distribution
    /// with these has the strength .1 x .9 / .0025 - 1 = 35.
    #[test]
    fn strength_is_that_of_the_items_spread() {
        let rates = drawn(|item| if item % 2 == 0 { 0.05 } else { 0.15 });
        assert!((rates.overall - 0.1).abs() < 0.002);
        assert!((25.0..50.0).contains(&rates.strength), "{}", rates.strength);
        let mean = |parity: usize| {
            let of_half = rates.rates.iter().skip(parity).step_by(2);
            of_half.sum::<f64>() / 1000.0
        };
        // (5 + 3.5) / 135 and (15 + 3.5) / 135.
        assert!((mean(0) - 0.063).abs() < 0.006 && (mean(1) - 0.137).abs() < 0.006);
    }

    #[test]
    fn equal_items_are_shrunk_to_one_rate() {
        let rates = drawn(|_| 0.1);
        let largest = rates.values().iter().fold(0.0_f32, |a, v| a.max(v.abs()));
        assert!(rates.strength > 1000.0 && largest < 0.2, "{largest}");
    }

    #[test]
    fn item_without_events_has_the_overall_rate() {
        let rates = PurchaseRates::new(&[10, 0, 30], &[5, 0, 1]).unwrap();
        assert_eq!((rates.overall, rates.values()[1]), (0.15, 0.0));
        assert!(rates.values()[0] > 0.0 && rates.values()[2] < 0.0);
    }

    #[test]
    fn log_without_purchases_has_no_rates() {
        assert_eq!(PurchaseRates::new(&[3, 4], &[0, 0]), None);
        assert_eq!(PurchaseRates::new(&[3, 4], &[3, 4]), None);
    }
}
