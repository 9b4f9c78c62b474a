//! Session plans: number of clicks and purchases, and the hidden purchase intent.
//!
//! The three uniform numbers of session `s` are a point of a Kronecker sequence,
//! `frac(offset + s / g^k)` for k = 1, 2, 3 with `g^4 = g + 1`. The points fill the cube evenly, so
//! sums over sessions are much closer to their means than with independent draws.

use rand::Rng as _;

use crate::shape::Shape;

/// `g^-1`, `g^-2`, `g^-3`.
const STEPS: [f64; 3] = [
    0.819_172_513_396_164_4,
    0.671_043_606_703_789_2,
    0.549_700_477_901_970_3,
];

/// Share of long sessions, and their mean number of clicks after the third.
const LONG: (f64, f64) = (0.01, 45.0);
/// Probability of a purchase in a session with purchase intent.
const BUYS: f64 = 0.8;
/// Mean number of further purchases in such a session after the first.
const MORE: f64 = 0.5;
/// Probability of one purchase in a session without purchase intent.
const IMPULSE: f64 = 0.02;

/// Plan of one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) clicks: usize,
    pub(crate) purchases: usize,
    /// Hidden purchase intent.
    pub(crate) buying: bool,
}

/// Plans of all sessions.
#[derive(Clone, Debug)]
pub(crate) struct Planner {
    offsets: [u64; 3],
    steps: [u64; 3],
    /// Mean number of clicks after the third in a session that is not long.
    short_mean: f64,
    /// Probability of purchase intent.
    intent: f64,
}

impl Planner {
    pub(crate) fn new(shape: &Shape, seed: u64) -> Self {
        let mut rng = prl_seed::stream(seed, "synth plan", 0);
        let (share, long_mean) = LONG;
        Self {
            offsets: rng.random(),
            steps: STEPS.map(|s| (s * 2f64.powi(64)) as u64),
            short_mean: (shape.clicks - 3.0 - share * long_mean) / (1.0 - share),
            intent: (shape.purchases - IMPULSE) / (BUYS * (1.0 + MORE) - IMPULSE),
        }
    }

    pub(crate) fn plan(&self, session: u64) -> Plan {
        let uniform = |k: usize| {
            let bits = self.offsets[k].wrapping_add(session.wrapping_mul(self.steps[k]));
            (bits >> 11) as f64 / 2f64.powi(53)
        };
        let (long, long_mean) = LONG;
        let past_third = match split(uniform(0), long) {
            (true, u) => geometric(u, long_mean),
            (false, u) => geometric(u, self.short_mean),
        };
        let (buying, _) = split(uniform(1), self.intent);
        let purchases = match split(uniform(2), if buying { BUYS } else { IMPULSE }) {
            (true, u) if buying => 1 + geometric(u, MORE),
            (bought, _) => usize::from(bought),
        };
        Plan {
            clicks: 3 + past_third,
            purchases,
            buying,
        }
    }
}

/// Whether `u < p`, and `u` rescaled to [0, 1) within its side of `p`.
fn split(u: f64, p: f64) -> (bool, f64) {
    if u < p {
        (true, u / p)
    } else {
        (false, (u - p) / (1.0 - p))
    }
}

/// `u`-quantile of the geometric distribution on 0, 1, .. with this mean.
fn geometric(u: f64, mean: f64) -> usize {
    ((1.0 - u).ln() / (mean / (1.0 + mean)).ln()) as usize
}

#[cfg(test)]
mod tests {
    use super::Planner;
    use crate::options::{Like, Options};
    use crate::shape::Shape;

    #[test]
    fn planner_sample_means_match_the_shape() {
        for (like, seed) in [(Like::Tiny, 1), (Like::RetailRocket, 2), (Like::Rc15, 3)] {
            let shape = Shape::new(&Options {
                like,
                sessions: Some(4000),
                seed,
            })
            .unwrap();
            let planner = Planner::new(&shape, seed);
            let plans: Vec<_> = (0..4000).map(|s| planner.plan(s)).collect();
            let mean = |f: &dyn Fn(&super::Plan) -> usize| {
                plans.iter().map(f).sum::<usize>() as f64 / 4000.0
            };
            let (clicks, purchases) = (mean(&|p| p.clicks), mean(&|p| p.purchases));
            assert!(
                (clicks / shape.clicks - 1.0).abs() < 0.01,
                "{like}: {clicks} clicks"
            );
            assert!(
                (purchases / shape.purchases - 1.0).abs() < 0.01,
                "{like}: {purchases} purchases"
            );
            assert!(plans.iter().all(|p| p.clicks >= 3));
            let long = mean(&|p| usize::from(p.clicks > 50));
            assert!(
                (0.001..0.01).contains(&long),
                "{like}: {long} are longer than 50"
            );
        }
    }
}
