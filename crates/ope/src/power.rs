//! Sessions that an experiment needs.

use serde::Serialize;

use crate::estimate::{Estimate, Z};

/// 80 % quantile of the normal distribution.
const Z_POWER: f64 = 0.841_621_233_572_914;

/// Sessions an arm for one relative difference.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Power {
    /// The difference over the mean.
    pub relative: f64,
    /// Sessions an arm; absent if the mean is 0, of which no difference is a share.
    pub sessions: Option<u64>,
}

/// Sessions an arm for a relative difference between two arms of equal size to be seen with 80 %
/// power by a two-sided test at 5 %: 2 (z.975 + z.8)² (s.d. / (relative mean))², from the mean and
/// the standard deviation of `values`.
pub fn power(values: &[f64], relative: f64) -> Power {
    let n = values.len() as f64;
    let mean = Estimate::of_mean(values);
    sessions(mean.value, mean.se * n.sqrt(), relative)
}

fn sessions(mean: f64, sd: f64, relative: f64) -> Power {
    let z = Z + Z_POWER;
    let needed = 2.0 * (z * sd / (relative * mean)).powi(2);
    Power {
        relative,
        sessions: needed.is_finite().then_some(needed.ceil() as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn power_of_the_mean_and_of_a_share_is_the_closed_form() {
        // Mean .81 and s.d. .94: 2 (1.95996 + .84162)² (.94 / .0405)² = 8,456.4.
        assert_eq!(sessions(0.81, 0.94, 0.05).sessions, Some(8_457));
        // 4.4 % of 250 sessions: s.d. sqrt(.044 .956 250 / 249) = .205511.
        let buys: Vec<_> = (0..250).map(|i| f64::from(u8::from(i < 11))).collect();
        assert_eq!(power(&buys, 0.05).sessions, Some(136_976));
        assert_eq!(power(&[0.0; 10], 0.05).sessions, None);
    }
}
