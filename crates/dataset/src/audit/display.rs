//! The audit as a page of plain text.

use std::fmt::{self, Display, Formatter};

use super::{Audit, Bin, Lengths};
use crate::event::Split;
use crate::manifest::Counts;

/// The width of the first column.
const LABEL: usize = 28;

impl Display for Audit {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let synthetic = if self.synthetic { ", synthetic" } else { "" };
        writeln!(f, "dataset {} ({}{synthetic})\n", self.dataset, self.source)?;
        self.counts(f)?;
        self.lengths.write(f)?;
        self.popularity(f)?;
        self.leaks(f)
    }
}

impl Audit {
    fn counts(&self, f: &mut Formatter<'_>) -> fmt::Result {
        heading(f, "counts", &["sessions", "items", "clicks", "purchases"])?;
        let mut row = |label: &str, c: &Counts| {
            row(
                f,
                label,
                &[c.sessions, c.items, c.clicks, c.purchases].map(|n| n.to_string()),
            )
        };
        row("before length filter", &self.counts.before_length_filter)?;
        row("after length filter", &self.counts.after_length_filter)?;
        for split in Split::ALL {
            row(
                split.name(),
                self.splits.get(split.name()).unwrap_or(&Counts::default()),
            )?;
        }
        if !self.counts.dropped.is_empty() {
            heading(f, "\ndropped rows", &["rows"])?;
        }
        self.counts
            .dropped
            .iter()
            .try_for_each(|(reason, n)| self::row(f, reason, &[n.to_string()]))
    }

    fn popularity(&self, f: &mut Formatter<'_>) -> fmt::Result {
        heading(f, "\npopularity", &["events"])?;
        for top in &self.popularity.top {
            row(
                f,
                &format!("top {:.0}% of items", 100.0 * top.items),
                &[percent(top.events)],
            )?;
        }
        row(
            f,
            "Gini coefficient",
            &[format!("{:.3}", self.popularity.gini)],
        )?;
        row(f, "repeats in a session", &[percent(self.repeat_share)])
    }

    fn leaks(&self, f: &mut Formatter<'_>) -> fmt::Result {
        heading(f, "\nleak audit", &["sessions", "share"])?;
        for o in &self.leaks.overlaps {
            let label = format!("{} before {}'s end", o.later.name(), o.earlier.name());
            row(f, &label, &[o.sessions.to_string(), percent(o.share)])?;
        }
        for t in &self.leaks.duplicates {
            row(
                f,
                &format!("{} with a twin in train", t.split.name()),
                &[t.sessions.to_string(), percent(t.share)],
            )?;
        }
        row(
            f,
            "tied timestamps",
            &[String::new(), percent(self.leaks.tied_share)],
        )
    }
}

impl Lengths {
    fn write(&self, f: &mut Formatter<'_>) -> fmt::Result {
        heading(
            f,
            "\nsession length",
            &["min", "median", "mean", "p90", "p99", "max"],
        )?;
        let n = |n: u64| n.to_string();
        let mean = format!("{:.2}", self.mean);
        row(
            f,
            "events",
            &[
                n(self.min),
                n(self.median),
                mean,
                n(self.p90),
                n(self.p99),
                n(self.max),
            ],
        )?;
        let all: u64 = self.histogram.iter().map(|b| b.sessions).sum();
        heading(f, "", &["sessions", "share"])?;
        for bin in &self.histogram {
            let cells = [
                n(bin.sessions),
                percent(super::share(bin.sessions as usize, all as usize)),
            ];
            row(f, &label(bin), &cells)?;
        }
        Ok(())
    }
}

fn label(bin: &Bin) -> String {
    match bin.to {
        Some(to) if to == bin.from => bin.from.to_string(),
        Some(to) => format!("{}-{to}", bin.from),
        None => format!("{} or more", bin.from),
    }
}

fn heading(f: &mut Formatter<'_>, label: &str, cells: &[&str]) -> fmt::Result {
    // A line break before the heading is no part of its width.
    if let Some(rest) = label.strip_prefix('\n') {
        writeln!(f)?;
        return heading(f, rest, cells);
    }
    write!(f, "{label:LABEL$}")?;
    cells.iter().try_for_each(|cell| write!(f, "{cell:>12}"))?;
    writeln!(f)
}

fn row(f: &mut Formatter<'_>, label: &str, cells: &[String]) -> fmt::Result {
    write!(f, "  {label:w$}", w = LABEL - 2)?;
    cells.iter().try_for_each(|cell| write!(f, "{cell:>12}"))?;
    writeln!(f)
}

fn percent(share: f64) -> String {
    format!("{:.2}%", 100.0 * share)
}
