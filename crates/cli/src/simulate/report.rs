//! Outcomes of simulated sessions, and their means with intervals.

use prl_dataset::{Discount, Kind, Rewards, returns};
use prl_synth::shop::{Shop, Visit};
use serde::Serialize;

use crate::output::outln;

/// Quantile of the normal distribution for intervals of 95%.
const Z: f64 = 1.959_963_984_540_054;
/// Numbers of an outcome, with their columns.
const COLUMNS: [&str; 6] = ["return", "money", "purchases", "buying", "events", "clicks"];

/// How a session's return is counted.
#[derive(Clone, Copy, Debug)]
pub struct Returns {
    /// Rewards of the kinds of events.
    pub rewards: Rewards,
    /// Discount.
    pub lambda: f64,
    /// Its convention.
    pub discount: Discount,
}

/// Return, money, purchases, whether there are any, events, and clicks on shown items of one
/// session, all after its first list. The arrival before it is the same with all lists.
pub type Outcome = [f64; COLUMNS.len()];

impl Returns {
    /// The outcome of a finished visit.
    pub fn outcome(self, shop: &Shop, visit: &Visit<'_>) -> Outcome {
        let (mut kinds, mut money, mut purchases, mut clicks) = (Vec::new(), 0.0, 0, 0);
        for (step, event) in visit.events().iter().enumerate() {
            kinds.push(if event.purchase {
                Kind::Purchase
            } else {
                Kind::Click
            });
            if step > 0 {
                clicks += u32::from(event.shown_at.is_some());
                purchases += u32::from(event.purchase);
                money += if event.purchase {
                    shop.price(event.item)
                } else {
                    0.0
                };
            }
        }
        let all = returns(&kinds, self.rewards, self.lambda, self.discount);
        [
            all.get(1).copied().unwrap_or(0.0),
            money,
            purchases.into(),
            f64::from(u8::from(purchases > 0)),
            kinds.len() as f64 - 1.0,
            clicks.into(),
        ]
    }
}

/// Outcomes of an arm.
pub struct ArmResult {
    name: String,
    outcomes: Vec<Outcome>,
    seconds: f64,
}

impl ArmResult {
    /// The outcomes of the sessions in order, and how long they took.
    pub fn new(name: String, outcomes: Vec<Outcome>, seconds: f64) -> Self {
        Self {
            name,
            outcomes,
            seconds,
        }
    }
}

/// A mean with its interval of 95%; the interval is absent for a single session.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Mean {
    /// The mean.
    pub mean: f64,
    /// Lower end.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
}

impl Mean {
    /// The mean of values, by the normal approximation.
    pub fn of(values: impl ExactSizeIterator<Item = f64>) -> Self {
        let n = values.len() as f64;
        // Welford's sums: exact for equal values.
        let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
        for value in values {
            count += 1.0;
            let before = value - mean;
            mean += before / count;
            squares += before * (value - mean);
        }
        let half = (n > 1.0).then(|| Z * (squares / (n - 1.0) / n).sqrt());
        Self {
            // JSON has null for it.
            mean: if n > 0.0 { mean } else { f64::NAN },
            low: half.map(|half| mean - half),
            high: half.map(|half| mean + half),
        }
    }
}

/// Means of an outcome's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Means {
    #[serde(rename = "return")]
    returned: Mean,
    money: Mean,
    purchases: Mean,
    buying_sessions: Mean,
    events: Mean,
    list_clicks: Mean,
}

impl Means {
    fn new(column: impl Fn(usize) -> Mean) -> Self {
        Self {
            returned: column(0),
            money: column(1),
            purchases: column(2),
            buying_sessions: column(3),
            events: column(4),
            list_clicks: column(5),
        }
    }

    fn all(&self) -> [Mean; COLUMNS.len()] {
        [
            self.returned,
            self.money,
            self.purchases,
            self.buying_sessions,
            self.events,
            self.list_clicks,
        ]
    }
}

/// An arm of the report.
#[derive(Debug, Serialize)]
struct ArmReport {
    arm: String,
    sessions: usize,
    #[serde(flatten)]
    means: Means,
    sessions_per_second: f64,
}

/// The difference of an arm from the first.
#[derive(Debug, Serialize)]
struct Difference {
    arm: String,
    minus: String,
    #[serde(flatten)]
    means: Means,
}

/// Report of a simulation.
#[derive(Debug, Serialize)]
pub struct Report {
    world: String,
    seed: u64,
    sessions: u64,
    arms: Vec<ArmReport>,
    differences: Vec<Difference>,
}

impl Report {
    /// The report of arms, over the same sessions if `is_paired`.
    pub fn new(
        (world, seed): (&str, u64),
        sessions: u64,
        results: &[ArmResult],
        is_paired: bool,
    ) -> Self {
        let (mut arms, mut differences) = (Vec::new(), Vec::new());
        for result in results {
            let column = |c: usize| Mean::of(result.outcomes.iter().map(move |o| o[c]));
            arms.push(ArmReport {
                arm: result.name.clone(),
                sessions: result.outcomes.len(),
                means: Means::new(column),
                sessions_per_second: result.outcomes.len() as f64 / result.seconds.max(1e-9),
            });
        }
        if let ([first, others @ ..], true) = (results, is_paired) {
            for other in others {
                let column = |c: usize| {
                    let pairs = other.outcomes.iter().zip(&first.outcomes);
                    Mean::of(pairs.map(move |(a, b)| a[c] - b[c]))
                };
                differences.push(Difference {
                    arm: other.name.clone(),
                    minus: first.name.clone(),
                    means: Means::new(column),
                });
            }
        }
        Self {
            world: world.to_owned(),
            seed,
            sessions,
            arms,
            differences,
        }
    }

    /// Prints the report as tables.
    pub fn print(&self) -> std::io::Result<()> {
        let (world, seed, sessions) = (&self.world, self.seed, self.sessions);
        outln!(
            "shop {world}, {sessions} sessions, seed {seed}; mean of a session and half of its"
        )?;
        outln!("95% interval, after the first list; clicks are those on shown items")?;
        let mut width = 0;
        for arm in &self.arms {
            width = width.max(arm.arm.chars().count());
        }
        header("arm", width)?;
        for arm in &self.arms {
            row(&arm.arm, width, &arm.means)?;
        }
        if let Some(first) = self.differences.first() {
            outln!("differences from {}, of the same sessions", first.minus)?;
            header("arm", width)?;
        }
        for difference in &self.differences {
            row(&difference.arm, width, &difference.means)?;
        }
        for arm in &self.arms {
            outln!(
                "{:width$}  {:.0} sessions/s",
                arm.arm,
                arm.sessions_per_second
            )?;
        }
        Ok(())
    }
}

fn header(first: &str, width: usize) -> std::io::Result<()> {
    let mut line = format!("{first:width$}");
    for column in COLUMNS {
        line.push_str(&format!("  {column:>16}"));
    }
    outln!("{line}")
}

fn row(name: &str, width: usize, means: &Means) -> std::io::Result<()> {
    let mut line = format!("{name:width$}");
    for Mean { mean, high, .. } in means.all() {
        let text = match high {
            Some(high) => format!("{mean:.4} ±{:.4}", high - mean),
            None => format!("{mean:.4}"),
        };
        line.push_str(&format!("  {text:>16}"));
    }
    outln!("{line}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_has_the_normal_interval() {
        let Mean { mean, low, high } = Mean::of([1.0, 2.0, 3.0, 6.0].into_iter());
        // Variance 14 / 3, of four values.
        let half = Z * (14.0_f64 / 12.0).sqrt();
        assert_eq!(mean, 3.0);
        assert!((low.unwrap() - (3.0 - half)).abs() < 1e-12);
        assert!((high.unwrap() - (3.0 + half)).abs() < 1e-12);
        assert_eq!(Mean::of([2.5].into_iter()).low, None);
    }

    #[test]
    fn differences_are_of_pairs() {
        let row = |value: f64| [value; COLUMNS.len()];
        let first = ArmResult::new("a".into(), vec![row(1.0), row(5.0)], 1.0);
        let second = ArmResult::new("b".into(), vec![row(2.0), row(6.0)], 1.0);
        let report = Report::new(("base", 1), 2, &[first, second], true);
        let difference = report.differences[0].means.returned;
        assert_eq!(difference.mean, 1.0);
        assert_eq!((difference.low, difference.high), (Some(1.0), Some(1.0)));
    }
}
