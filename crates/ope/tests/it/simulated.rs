//! Estimates on logs whose true values are known.

use prl_ope::{Context, Error, Evaluator, Options, Policy, Rules, Session, Sessions};
use rand::Rng;

/// Shares of the arms.
const SHARES: [f64; 3] = [0.5, 0.3, 0.2];
const LOGS: u64 = 200;
const SESSIONS: usize = 6_000;
const RULES: &str = "[[rule]]\narm = 'c'\npurchases = [1, 9]\n[[rule]]\narm = 'b'\n\
                     step = [0, 1]\n[[rule]]\narm = 'a'\n";

/// Probability of a purchase and of each of four clicks of a session under an arm.
fn chances(context: &Context, arm: usize) -> [f64; 2] {
    let step = f64::from(context.step);
    let bought = f64::from(context.purchases);
    let purchase = match arm {
        0 => 0.04 + 0.01 * step + 0.3 * bought,
        1 => 0.08 + 0.02 * bought,
        _ => 0.03 + 0.5 * bought,
    };
    [purchase, 0.2 + 0.05 * step + 0.1 * arm as f64]
}

/// Mean return of the context under the arm.
fn mean(context: &Context, arm: usize) -> f64 {
    let [purchase, click] = chances(context, arm);
    purchase + 0.2 * 4.0 * click
}

/// Sessions from the process, recorded with the probabilities `recorded`.
fn log(seed: u64, n: usize, recorded: [f64; 3]) -> Sessions {
    let mut rng = prl_seed::stream(seed, "ope-test", 0);
    let mut sessions = Vec::with_capacity(n);
    for i in 0..n {
        let context = Context {
            step: rng.random_range(0..4),
            clicks: 0,
            purchases: u32::from(rng.random_bool(0.2)),
        };
        let u: f64 = rng.random();
        let arm = usize::from(u > SHARES[0]) + usize::from(u > SHARES[0] + SHARES[1]);
        let [purchase, click] = chances(&context, arm);
        let mut reward = f64::from(u8::from(rng.random_bool(purchase)));
        for _ in 0..4 {
            reward += 0.2 * f64::from(u8::from(rng.random_bool(click)));
        }
        sessions.push(Session {
            arm,
            p: recorded[arm],
            reward,
            context,
            key: i as u64,
        });
    }
    let arms = ["a", "b", "c"].map(str::to_owned).to_vec();
    Sessions { arms, sessions }
}

/// True value of choosing the arm by the context.
fn truth(arm: impl Fn(&Context) -> usize) -> f64 {
    let mut value = 0.0;
    for step in 0..4 {
        for (purchases, share) in [(0, 0.8), (1, 0.2)] {
            let context = Context {
                step,
                clicks: 0,
                purchases,
            };
            value += share / 4.0 * mean(&context, arm(&context));
        }
    }
    value
}

fn ruled(context: &Context) -> usize {
    match (context.purchases, context.step) {
        (1, _) => 2,
        (_, 0 | 1) => 1,
        _ => 0,
    }
}

#[test]
fn intervals_cover_the_truth_and_doubly_robust_ones_are_narrower() {
    let small = log(0, SESSIONS, SHARES);
    let rules = Rules::from_toml("rules.toml", RULES, &small).unwrap();
    let policies = [
        (Policy::Arm(0), truth(|_| 0)),
        (Policy::Arm(1), truth(|_| 1)),
        (Policy::Arm(2), truth(|_| 2)),
        (Policy::Rules(rules), truth(ruled)),
    ];
    let mut covered = [[0_u64; 3]; 4];
    let mut widths = [[0.0; 3]; 4];
    let mut differences_covered = [0_u64; 4];
    let mut refused = 0;
    for seed in 0..LOGS {
        let log = log(seed, SESSIONS, SHARES);
        let evaluator = Evaluator::new(&log, Options::default());
        for (i, (policy, truth)) in policies.iter().enumerate() {
            // 3 standard errors are exceeded by .3 % of the mean weights.
            let Ok(value) = evaluator.value(policy) else {
                refused += 1;
                continue;
            };
            for (j, estimate) in [value.ips, value.snips, value.dr].iter().enumerate() {
                let is_covered = (estimate.low..=estimate.high).contains(truth);
                covered[i][j] += u64::from(is_covered);
                widths[i][j] += estimate.high - estimate.low;
            }
            if i > 0 {
                let found = evaluator.difference(policy, &policies[0].0);
                let Ok(found) = found.map(|found| found.difference) else {
                    continue;
                };
                let true_difference = truth - policies[0].1;
                let is_covered = (found.low..=found.high).contains(&true_difference);
                differences_covered[i] += u64::from(is_covered);
            }
        }
    }
    assert!(refused <= 8, "{refused} of 800 true logs were refused");
    let is_nominal = |count: u64| (0.92..=0.98).contains(&(count as f64 / LOGS as f64));
    for (i, [_, snips, dr]) in covered.into_iter().enumerate() {
        assert!(is_nominal(snips) && is_nominal(dr), "{i}: {covered:?}");
        assert!(
            i == 0 || is_nominal(differences_covered[i]),
            "{differences_covered:?}"
        );
        let [ips_width, snips_width, dr_width] = widths[i];
        assert!(
            dr_width <= ips_width && dr_width <= snips_width,
            "{widths:?}"
        );
    }
}

#[test]
fn wrong_probabilities_are_found_by_the_mean_weight() {
    let log = log(1, SESSIONS, [1.0 / 3.0; 3]);
    let evaluator = Evaluator::new(&log, Options::default());
    for (arm, expected) in [(0, 1.5), (1, 0.9), (2, 0.6)] {
        let Err(Error::Weights { mean, se, .. }) = evaluator.value(&Policy::Arm(arm)) else {
            panic!("arm {arm} was estimated");
        };
        assert!((mean - expected).abs() < 4.0 * se, "{mean} {se}");
    }
    let base = &Policy::Logged;
    assert!(evaluator.difference(&Policy::Arm(0), base).is_err());
}

#[test]
fn small_logs_are_refused_and_the_logged_mix_needs_no_weights() {
    let log = log(2, 2_000, SHARES);
    let evaluator = Evaluator::new(&log, Options::default());
    let of_arm = |arm: usize| log.sessions.iter().filter(|s| s.arm == arm).count();
    let Err(Error::FewSessions { ess, .. }) = evaluator.value(&Policy::Arm(2)) else {
        panic!("estimated from {} sessions", of_arm(2));
    };
    assert!((ess - of_arm(2) as f64).abs() < 1e-6);
    let logged = evaluator.value(&Policy::Logged).unwrap();
    let rewards: f64 = log.sessions.iter().map(|session| session.reward).sum();
    assert_eq!(logged.ips.value, rewards / 2_000.0);
    assert!((logged.dr.value - logged.ips.value).abs() < 1e-12);
    assert_eq!(
        (logged.ess, logged.mean_weight, logged.mean_weight_se),
        (2_000.0, 1.0, 0.0)
    );
    // An arm that nobody was assigned to has no estimate whatever the limit.
    let mut none = log.clone();
    none.arms.push("d".into());
    let options = Options { min_ess: 0.0 };
    let refused = Evaluator::new(&none, options).value(&Policy::Arm(3));
    assert!(matches!(refused, Err(Error::FewSessions { .. })));
}

#[test]
fn estimators_of_a_small_log_are_the_sums_by_hand() {
    let mut sessions = Vec::new();
    for (i, (arm, p, reward)) in [(0, 0.5, 1.0), (0, 0.4, 3.0), (1, 0.5, 2.0), (1, 0.6, 0.0)]
        .into_iter()
        .enumerate()
    {
        sessions.push(Session {
            arm,
            p,
            reward,
            context: Context::default(),
            key: i as u64,
        });
    }
    let arms = vec!["a".into(), "b".into()];
    let log = Sessions { arms, sessions };
    let evaluator = Evaluator::new(&log, Options { min_ess: 0.0 });
    let value = evaluator.value(&Policy::Arm(0)).unwrap();
    // Weights 2, 2.5, 0, 0.
    assert_eq!(value.ips.value, (2.0 + 7.5) / 4.0);
    assert_eq!(value.snips.value, 9.5 / 4.5);
    assert!((value.ess - 4.5 * 4.5 / 10.25).abs() < 1e-12);
    // q(s, a) of arm a is the mean of its other session, so 3 and 1; of both for sessions 3 and 4.
    let dr = [3.0 + 2.0 * (1.0 - 3.0), 1.0 + 2.5 * (3.0 - 1.0), 2.0, 2.0];
    assert!((value.dr.value - dr.iter().sum::<f64>() / 4.0).abs() < 1e-12);
    let squares = [2.375_f64; 4].iter().zip([2.0, 7.5, 0.0, 0.0]);
    let variance: f64 = squares
        .map(|(mean, x)| (x - mean) * (x - mean))
        .sum::<f64>()
        / 3.0;
    assert!((value.ips.se - (variance / 4.0).sqrt()).abs() < 1e-12);
}
