//! Report as a table for terminals, with the columns of the paper's tables.

use std::fmt;

use crate::conventions::CaseSplit;
use crate::interval::Interval;
use crate::metric::{Metric, PerMetric};
use crate::report::Report;

/// Column width: `NDCG@20` and two spaces.
const COLUMN: usize = 9;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scores, setting) = (&self.scores, &self.setting);
        let events = scores.events;
        write!(
            f,
            "{}, {} clicks, {} purchases",
            split_name(setting.split),
            events.click,
            events.purchase
        )?;
        write!(
            f,
            "; ties count against the target; dataset {}",
            setting.dataset
        )?;
        if let (Some(mu), Some(eps)) = (setting.mu, setting.eps) {
            write!(f, "; prompt mu {mu}, eps {eps}")?;
        }
        write!(f, "\n{}", setting.conventions)?;
        if let Some(other_log) = &setting.other_log {
            write!(f, "\n{other_log}")?;
        }
        write!(f, "\n\n{:10}", "")?;
        for metric in Metric::ALL {
            write!(f, "{metric:>COLUMN$}")?;
        }
        writeln!(f)?;
        rows(f, "purchase", &scores.purchase, &self.intervals.purchase)?;
        rows(f, "click", &scores.click, &self.intervals.click)?;
        rows(f, "all", &scores.all, &self.intervals.all)?;
        write!(f, "\nreward@1 {:.1}", scores.reward_at_1)?;
        if let (Some(coverage), Some(popularity)) =
            (self.coverage_at_20, self.mean_popularity_at_20)
        {
            write!(
                f,
                "   coverage@20 {coverage:.4}   mean popularity@20 {popularity:.1}"
            )?;
        }
        if let Some(speed) = self.events_per_second {
            write!(f, "   {speed:.0} events/s")?;
        }
        writeln!(f)?;
        match &self.at_k {
            Some(cutoffs) => write!(f, "\n{cutoffs}"),
            None => Ok(()),
        }
    }
}

fn split_name(split: CaseSplit) -> String {
    match split {
        CaseSplit::All => "all splits".to_owned(),
        split => format!("{} split", split.name()),
    }
}

/// Writes the metrics of a kind, and the bounds of their 95% intervals below.
fn rows(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    values: &PerMetric<Option<f64>>,
    intervals: &PerMetric<Option<Interval>>,
) -> fmt::Result {
    let lower = PerMetric::from_fn(|metric| intervals.get(metric).map(|interval| interval.lo));
    let upper = PerMetric::from_fn(|metric| intervals.get(metric).map(|interval| interval.hi));
    row(f, name, values)?;
    row(f, "  95% from", &lower)?;
    row(f, "        to", &upper)
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, values: &PerMetric<Option<f64>>) -> fmt::Result {
    write!(f, "{name:10}")?;
    for metric in Metric::ALL {
        match values.get(metric) {
            Some(value) => write!(f, "{value:COLUMN$.4}")?,
            None => write!(f, "{:>COLUMN$}", "-")?,
        }
    }
    writeln!(f)
}
