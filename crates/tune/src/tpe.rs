//! Proposals by the tree-structured Parzen estimator (Bergstra et al., NIPS 2011).
//!
//! The trials so far are split into the best tenth and the others. For each setting alone, `l(x)`
//! is the density of its values in the best and `g(x)` in the others. Of 24 values drawn from `l`,
//! the one with the largest `l(x) / g(x)` is proposed: the expected improvement grows with this
//! ratio. Settings are independent of each other, but a setting under a condition is proposed, and
//! learned from, only where the condition holds.
//!
//! The crate `tpe` has the same estimator for one parameter, without steps and conditions. It is
//! not used: its version of `rand` excludes this program's seeded streams.

use prl_seed::{Rng, stream};
use rand::Rng as _;

use crate::domain::{Axis, Domain};
use crate::parzen::Density;
use crate::space::{Assignment, Space, Variable};

/// Trials with a value before proposals are by the estimator; random until then.
pub const START_UP: usize = 10;
/// Values drawn for each setting.
const CANDIDATES: usize = 24;
/// Share and greatest number of trials that count as the best.
const GOOD_SHARE: f64 = 0.1;
const MAX_GOOD: usize = 25;

/// Result of an earlier trial, from which a proposal learns.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// Its settings.
    pub settings: &'a Assignment,
    /// Its value, to be maximised; `None` counts as worse than any, for a trial that failed or has
    /// no value yet.
    pub value: Option<f64>,
}

impl Sample<'_> {
    /// Its value; minus infinity if there is none.
    fn order(&self) -> f64 {
        self.value.unwrap_or(f64::NEG_INFINITY)
    }
}

/// Proposes the settings of trial `number`, a function of the arguments alone. `attempt` counts
/// the earlier proposals for the trial that were rejected.
pub fn propose(
    space: &Space,
    samples: &[Sample<'_>],
    seed: u64,
    (number, attempt): (u64, u32),
) -> Assignment {
    let mut rng = stream(seed, &format!("tune.{attempt}"), number);
    let observed = samples.iter().filter(|sample| sample.value.is_some());
    if observed.count() < START_UP {
        return complete(space, Assignment::new(), &mut rng);
    }
    let (good, others) = split(samples);
    let mut settings = Assignment::new();
    for variable in space.variables() {
        if !space.is_active(variable, &settings) {
            continue;
        }
        let axis = variable.domain.axis();
        let l = Density::new(axis, &coordinates(variable, &good));
        let g = Density::new(axis, &coordinates(variable, &others));
        let mut best = (f64::NEG_INFINITY, 0.0);
        for _ in 0..CANDIDATES {
            let x = l.sample(&mut rng);
            let ratio = l.log_density(x) - g.log_density(x);
            if ratio > best.0 {
                best = (ratio, x);
            }
        }
        settings.insert(variable.name.clone(), variable.domain.value_at(best.1));
    }
    settings
}

/// Random settings of trial `number`; those in `pinned` have its values.
pub fn random(
    space: &Space,
    pinned: Assignment,
    seed: u64,
    (number, attempt): (u64, u32),
) -> Assignment {
    let mut rng = stream(seed, &format!("tune.random.{attempt}"), number);
    complete(space, pinned, &mut rng)
}

/// Draws the variables that have no value yet, uniformly on their axes, and removes those whose
/// condition does not hold.
fn complete(space: &Space, mut settings: Assignment, rng: &mut Rng) -> Assignment {
    for variable in space.variables() {
        if !space.is_active(variable, &settings) {
            settings.remove(&variable.name);
        } else if !settings.contains_key(&variable.name) {
            let value = uniform(&variable.domain, rng);
            settings.insert(variable.name.clone(), value);
        }
    }
    settings
}

fn uniform(domain: &Domain, rng: &mut Rng) -> toml::Value {
    let x = match domain.axis() {
        Axis::Categories(count) => rng.random_range(0..count) as f64,
        Axis::Interval(a, b) => rng.random_range(a..b),
    };
    domain.value_at(x)
}

/// The best samples, and the others.
fn split<'a>(samples: &[Sample<'a>]) -> (Vec<Sample<'a>>, Vec<Sample<'a>>) {
    let mut sorted = samples.to_vec();
    sorted.sort_by(|a, b| b.order().total_cmp(&a.order()));
    let count = (GOOD_SHARE * samples.len() as f64).ceil() as usize;
    let others = sorted.split_off(count.min(MAX_GOOD));
    (sorted, others)
}

/// Coordinates of a variable in the samples that have it.
fn coordinates(variable: &Variable, samples: &[Sample<'_>]) -> Vec<f64> {
    let mut coordinates = Vec::new();
    for sample in samples {
        let value = sample.settings.get(&variable.name);
        coordinates.extend(value.and_then(|value| variable.domain.coordinate(value)));
    }
    coordinates
}

#[cfg(test)]
mod tests {
    use super::*;
    use toml::Value;

    fn float(settings: &Assignment, name: &str) -> f64 {
        settings[name].as_float().unwrap()
    }

    /// Best value of a search of `trials` trials; at random if `start_up` is not left.
    fn search(
        space: &Space,
        objective: &dyn Fn(&Assignment) -> f64,
        (seed, trials): (u64, u64),
        is_random: bool,
    ) -> f64 {
        let mut seen: Vec<(Assignment, f64)> = Vec::new();
        for number in 0..trials {
            let settings = if is_random {
                random(space, Assignment::new(), seed, (number, 0))
            } else {
                let mut samples = Vec::new();
                for (settings, value) in &seen {
                    samples.push(Sample {
                        settings,
                        value: Some(*value),
                    });
                }
                propose(space, &samples, seed, (number, 0))
            };
            let value = objective(&settings);
            seen.push((settings, value));
        }
        seen.iter()
            .map(|(_, value)| *value)
            .fold(f64::MIN, f64::max)
    }

    /// Seeds, of 40, at which the estimator finds a better value than random search.
    fn wins(text: &str, objective: &dyn Fn(&Assignment) -> f64) -> usize {
        let space = Space::parse("test", text).unwrap();
        let mut wins = 0;
        for seed in 0..40 {
            let tpe = search(&space, objective, (seed, 60), false);
            let random = search(&space, objective, (seed, 60), true);
            wins += usize::from(tpe > random);
        }
        wins
    }

    /// Under equal searches, 31 or more of 40 wins have the probability .0003.
    const SAFE: usize = 31;

    #[test]
    fn tpe_beats_random_search_on_a_quadratic_function() {
        let text = "x = { min = -5.0, max = 5.0 }\ny = { min = -5.0, max = 5.0 }\n\
                    z = { min = 0.0001, max = 1.0, log = true }\n";
        let objective = |s: &Assignment| {
            let z = (float(s, "z") / 0.01).ln();
            -((float(s, "x") - 2.0).powi(2) + (float(s, "y") + 1.0).powi(2) + z * z)
        };
        let wins = wins(text, &objective);
        assert!(wins >= SAFE, "{wins} of 40");
    }

    #[test]
    fn tpe_beats_random_search_with_categories_and_conditions() {
        let text = "kind = [\"a\", \"b\", \"c\", \"d\"]\nx = { min = 0.0, max = 1.0 }\n\
                    k = { min = 1, max = 30 }\n\
                    y = { min = 0.0, max = 1.0, when = { kind = [\"c\"] } }\n";
        let objective = |s: &Assignment| {
            let base = match s["kind"].as_str() {
                Some("c") => 1.0 - (float(s, "y") - 0.3).abs(),
                Some("a") => 0.5,
                _ => 0.0,
            };
            let k = s["k"].as_integer().unwrap() as f64;
            base - (float(s, "x") - 0.8).abs() - (k - 7.0).abs() / 30.0
        };
        let wins = wins(text, &objective);
        assert!(wins >= SAFE, "{wins} of 40");
    }

    #[test]
    fn proposal_depends_on_its_arguments_alone() {
        let text = "x = { min = 0.0, max = 1.0 }\nkind = [1, 2]\n";
        let space = Space::parse("test", text).unwrap();
        let mut seen = Vec::new();
        for number in 0..20 {
            let settings = random(&space, Assignment::new(), 1, (number, 0));
            let value = (number != 3).then(|| -float(&settings, "x"));
            seen.push((settings, value));
        }
        let samples: Vec<Sample<'_>> = seen
            .iter()
            .map(|(settings, value)| Sample {
                settings,
                value: *value,
            })
            .collect();
        let first = propose(&space, &samples, 1, (20, 0));
        assert_eq!(first, propose(&space, &samples, 1, (20, 0)));
        assert_ne!(first, propose(&space, &samples, 2, (20, 0)));
        assert_ne!(first, propose(&space, &samples, 1, (20, 1)));
    }

    #[test]
    fn pinned_setting_keeps_its_value_and_an_inactive_one_is_absent() {
        let text = "a = [1, 2]\nb = { choices = [1, 2], when = { a = 2 } }\n";
        let space = Space::parse("test", text).unwrap();
        for number in 0..20 {
            let pinned = Assignment::from([
                ("a".to_owned(), Value::Integer(1)),
                ("b".to_owned(), Value::Integer(2)),
            ]);
            let settings = random(&space, pinned, 0, (number, 0));
            assert_eq!(
                settings,
                Assignment::from([("a".into(), Value::Integer(1))])
            );
        }
    }

    #[test]
    fn failed_trials_are_never_among_the_best() {
        let settings = Assignment::new();
        let samples = [None, Some(1.0), Some(2.0), None].map(|value| Sample {
            settings: &settings,
            value,
        });
        let (good, others) = split(&samples);
        assert_eq!(good.len(), 1);
        assert_eq!(good[0].value, Some(2.0));
        assert_eq!(others.len(), 3);
    }
}
