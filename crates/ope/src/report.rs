//! Report of an experiment, as a table for terminals or as JSON.

use std::fmt;

use prl_arms::{Reward, SessionLog};
use serde::Serialize;

use crate::bandit::{FLOOR, NextShare, next_shares};
use crate::error::Result;
use crate::estimate::{Difference, Estimate, Evaluator, Options, PolicyValue};
use crate::policy::Policy;
use crate::power::{Power, power};
use crate::sessions::Sessions;

/// Relative differences of the table of power.
const DIFFERENCES: [f64; 5] = [0.01, 0.02, 0.05, 0.1, 0.2];
/// Level of a difference that is called significant.
const LEVEL: f64 = 0.05;

/// Summary of an experiment: values of its arms, their differences, and power.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Name of the experiment.
    pub experiment: String,
    /// Sessions with an answer of the experiment.
    pub sessions: usize,
    /// Answers of the log.
    pub answers: u64,
    /// Answers whose requests set a prompt of their own.
    pub answers_without_arm: u64,
    /// Events of the log.
    pub events: u64,
    /// Events of sessions without an answer of the experiment.
    pub other_events: u64,
    /// Sessions that more than one arm answered; each counts for its first.
    pub sessions_of_several_arms: u64,
    /// Purchases without a value, which count 0 where the reward is the value.
    pub purchases_without_value: u64,
    /// Files with a torn last line, which was not read.
    pub torn_files: usize,
    /// Terms of a session's return.
    pub reward: String,
    /// Mean return of a session.
    pub mean_return: f64,
    /// Standard deviation of the return.
    pub sd_return: f64,
    /// Share of sessions with a purchase after the first answer.
    pub buyers: f64,
    /// Value of each policy, or why it has none.
    pub policies: Vec<PolicyRow>,
    /// Difference of each policy from the baseline, where both have a value.
    pub differences: Vec<DifferenceRow>,
    /// Shares of the arms in the next experiment; empty unless two arms have a value.
    pub next_shares: Vec<NextShare>,
    /// Sessions an arm that a difference needs.
    pub power: Vec<PowerRow>,
}

/// Value of a policy.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum PolicyRow {
    /// Its estimates.
    Value(PolicyValue),
    /// The reason that there are none.
    Refused {
        /// Name of the policy.
        policy: String,
        /// The reason.
        refused: String,
    },
}

/// Difference with its verdict.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DifferenceRow {
    /// The difference.
    #[serde(flatten)]
    pub difference: Difference,
    /// Two-sided p-value, adjusted by Holm's method for the other differences of the report.
    pub p: f64,
    /// Whether that is below 5 %.
    pub is_significant: bool,
}

/// Sessions an arm for one relative difference.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PowerRow {
    /// The difference over the mean.
    pub relative: f64,
    /// Sessions an arm, if it is one of the mean return.
    pub of_return: Option<u64>,
    /// Sessions an arm, if it is one of the share of sessions with a purchase.
    pub of_buyers: Option<u64>,
}

impl Report {
    /// Evaluates policies on a log, whose sessions have the returns of `reward`.
    ///
    /// # Errors
    /// [`Error::FewSessions`](crate::Error::FewSessions) or
    /// [`Error::Weights`](crate::Error::Weights) if no policy but the logged one can be evaluated:
    /// that of the first.
    pub fn new(
        log: &SessionLog,
        reward: Reward,
        (policies, baseline): (&[Policy], &Policy),
        options: Options,
    ) -> Result<Self> {
        let sessions = Sessions::from_log(log, reward);
        let evaluator = Evaluator::new(&sessions, options);
        let (mut rows, mut differences, mut first_error) = (Vec::new(), Vec::new(), None);
        let mut arms = Vec::new();
        for policy in policies {
            match evaluator.value(policy) {
                Ok(value) => {
                    if let Policy::Arm(arm) = policy {
                        arms.push((sessions.arms[*arm].clone(), value.dr));
                    }
                    rows.push(PolicyRow::Value(value));
                }
                Err(error) => {
                    rows.push(PolicyRow::Refused {
                        policy: policy.name(&sessions),
                        refused: error.to_string(),
                    });
                    first_error.get_or_insert(error);
                    continue;
                }
            }
            if policy != baseline {
                differences.extend(evaluator.difference(policy, baseline).ok());
            }
        }
        // The mix itself always has a value, beside which refused arms would look like a result.
        let mut chosen = rows.iter().zip(policies);
        let has_value = chosen.any(|(row, policy)| *policy != Policy::Logged && !row.is_refused());
        if let (false, Some(error)) = (has_value, first_error) {
            return Err(error);
        }
        let returns: Vec<f64> = sessions
            .sessions
            .iter()
            .map(|session| session.reward)
            .collect();
        let mut bought = Vec::with_capacity(log.records.len());
        for record in &log.records {
            bought.push(f64::from(u8::from(record.purchases > 0)));
        }
        let n = returns.len();
        let mean = Estimate::of_mean(&returns);
        let mut powers = Vec::with_capacity(DIFFERENCES.len());
        for relative in DIFFERENCES {
            let (of_return, of_buyers) = (power(&returns, relative), power(&bought, relative));
            powers.push(PowerRow::new(of_return, of_buyers));
        }
        Ok(Self {
            experiment: log.experiment.clone(),
            sessions: n,
            answers: log.answers,
            answers_without_arm: log.answers_without_arm,
            events: log.events,
            other_events: log.other_events,
            sessions_of_several_arms: log.sessions_of_several_arms,
            purchases_without_value: log.purchases_without_value,
            torn_files: log.torn.len(),
            reward: describe(reward),
            mean_return: mean.value,
            sd_return: mean.se * (n as f64).sqrt(),
            buyers: Estimate::of_mean(&bought).value,
            policies: rows,
            differences: with_p_values(differences),
            next_shares: next_shares(&arms),
            power: powers,
        })
    }

    /// The first error of a policy that was refused, if any.
    pub fn refused(&self) -> Option<&str> {
        self.policies.iter().find_map(|row| match row {
            PolicyRow::Refused { refused, .. } => Some(refused.as_str()),
            PolicyRow::Value(_) => None,
        })
    }
}

impl PolicyRow {
    fn is_refused(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }
}

impl PowerRow {
    fn new(of_return: Power, of_buyers: Power) -> Self {
        Self {
            relative: of_return.relative,
            of_return: of_return.sessions,
            of_buyers: of_buyers.sessions,
        }
    }
}

/// Adds p-values by the normal distribution, adjusted by Holm's method.
fn with_p_values(differences: Vec<Difference>) -> Vec<DifferenceRow> {
    let mut rows = Vec::with_capacity(differences.len());
    for difference in differences {
        let Estimate { value, se, .. } = difference.difference;
        let p = if value == 0.0 {
            1.0
        } else {
            libm::erfc(value.abs() / se / 2_f64.sqrt())
        };
        rows.push(DifferenceRow {
            difference,
            p,
            is_significant: false,
        });
    }
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by(|&a, &b| rows[a].p.total_cmp(&rows[b].p));
    let mut largest = 0.0_f64;
    for (rank, &i) in order.iter().enumerate() {
        largest = largest
            .max(rows[i].p * (order.len() - rank) as f64)
            .min(1.0);
        rows[i].p = largest;
        rows[i].is_significant = largest < LEVEL;
    }
    rows
}

fn describe(reward: Reward) -> String {
    match reward {
        Reward::Kinds { click, purchase } => format!("click {click}, purchase {purchase}"),
        Reward::Value => "the events' values".into(),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "experiment {}: {} sessions, {} answers, {} events",
            self.experiment, self.sessions, self.answers, self.events
        )?;
        for (n, what) in [
            (
                self.answers_without_arm,
                "answers without an arm, as their requests set a prompt",
            ),
            (
                self.other_events,
                "events of sessions without an answer of the experiment",
            ),
            (
                self.sessions_of_several_arms,
                "sessions of several arms, counted for their first",
            ),
            (
                self.torn_files as u64,
                "files with a torn last line, which was not read",
            ),
        ] {
            if n > 0 {
                writeln!(f, "  {n} {what}")?;
            }
        }
        writeln!(
            f,
            "return of a session ({}): mean {:.4}, s.d. {:.4}; {:.2}% of sessions buy",
            self.reward,
            self.mean_return,
            self.sd_return,
            100.0 * self.buyers
        )?;
        let mut names = 6;
        for row in &self.policies {
            names = names.max(row.name().len());
        }
        writeln!(
            f,
            "\n{:names$}  sessions      ESS  mean weight  IPS                          \
                     SNIPS                        DR",
            "policy"
        )?;
        for row in &self.policies {
            match row {
                PolicyRow::Value(value) => writeln!(
                    f,
                    "{:names$}  {:8} {:8.0}  {:.3} ±{:.3}  {:27}  {:27}  {}",
                    value.policy,
                    value.sessions,
                    value.ess,
                    value.mean_weight,
                    value.mean_weight_se,
                    value.ips.to_string(),
                    value.snips.to_string(),
                    value.dr
                )?,
                PolicyRow::Refused { policy, refused } => {
                    let why = refused.strip_prefix(policy).unwrap_or(refused);
                    writeln!(f, "{policy:names$}  refused{why}")?;
                }
            }
        }
        if let Some(first) = self.differences.first() {
            writeln!(f, "\ndifference from {} (DR)", first.difference.baseline)?;
        }
        for row in &self.differences {
            let Difference {
                policy,
                difference,
                relative,
                ..
            } = &row.difference;
            let relative =
                relative.map_or(String::new(), |share| format!("{:+.1}%", 100.0 * share));
            let verdict = match (row.is_significant, difference.value > 0.0) {
                (false, _) => "not significant",
                (true, true) => "higher",
                (true, false) => "lower",
            };
            writeln!(
                f,
                "{policy:names$}  {:+.4} ({:+.4} to {:+.4})  {relative:>8}  p {:.4}  {verdict}",
                difference.value, difference.low, difference.high, row.p
            )?;
        }
        if !self.next_shares.is_empty() {
            writeln!(
                f,
                "\nshares of the next experiment (Thompson sampling, at least {:.0}%)",
                100.0 * FLOOR
            )?;
            for NextShare { arm, best, share } in &self.next_shares {
                let best = 100.0 * best;
                writeln!(
                    f,
                    "{arm:names$}  share = {share:.3}   the best with {best:.1}%"
                )?;
            }
        }
        writeln!(
            f,
            "\nsessions an arm for a difference to be seen (80% power, two-sided 5%)"
        )?;
        writeln!(
            f,
            "{:>10}  {:>14}  {:>14}",
            "difference", "of the return", "of buyers"
        )?;
        for row in &self.power {
            let shown = |n: Option<u64>| n.map_or("-".into(), |n| n.to_string());
            writeln!(
                f,
                "{:>9.0}%  {:>14}  {:>14}",
                100.0 * row.relative,
                shown(row.of_return),
                shown(row.of_buyers)
            )?;
        }
        write!(
            f,
            "\n95% intervals over sessions; p adjusted for the number of differences (Holm)"
        )
    }
}

impl PolicyRow {
    fn name(&self) -> &str {
        match self {
            Self::Value(value) => &value.policy,
            Self::Refused { policy, .. } => policy,
        }
    }
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.4} ({:.4} to {:.4})", self.value, self.low, self.high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p_values_are_those_of_the_normal_adjusted_by_holm() {
        let mut differences = Vec::new();
        for value in [1.0, -2.5, 3.0, 0.0] {
            differences.push(Difference {
                policy: String::new(),
                baseline: String::new(),
                difference: Estimate {
                    value,
                    se: 1.0,
                    low: 0.0,
                    high: 0.0,
                },
                relative: None,
            });
        }
        let rows = with_p_values(differences);
        // 2 (1 - Phi(|z|)) of 3, 2.5, 1 and 0 times 4, 3, 2 and 1.
        let expected = [0.634_620_8, 0.037_258_0, 0.010_799_2, 1.0];
        for (row, expected) in rows.iter().zip(expected) {
            assert!((row.p - expected).abs() < 1e-6, "{} {expected}", row.p);
        }
        let significant: Vec<_> = rows.iter().map(|row| row.is_significant).collect();
        assert_eq!(significant, [false, true, true, false]);
    }
}
