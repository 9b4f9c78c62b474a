//! Text output of the audit.

use std::fmt::{self, Display, Formatter};

use super::{Audit, Bin, Lengths};
use crate::event::Split;
use crate::manifest::Counts;

/// Width of the first column.
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
        counts_row(f, "before length filter", self.counts.before_length_filter)?;
        counts_row(f, "after length filter", self.counts.after_length_filter)?;
        for split in Split::ALL {
            let counts = self.splits.get(split.name()).copied();
            counts_row(f, split.name(), counts.unwrap_or_default())?;
        }
        if !self.counts.dropped.is_empty() {
            heading(f, "\ndropped rows", &["rows"])?;
        }
        for (reason, n) in &self.counts.dropped {
            row(f, reason, &[n.to_string()])?;
        }
        Ok(())
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
        let events = [
            self.min.to_string(),
            self.median.to_string(),
            format!("{:.2}", self.mean),
            self.p90.to_string(),
            self.p99.to_string(),
            self.max.to_string(),
        ];
        row(f, "events", &events)?;
        let all: u64 = self.histogram.iter().map(|b| b.sessions).sum();
        heading(f, "", &["sessions", "share"])?;
        for bin in &self.histogram {
            let cells = [
                bin.sessions.to_string(),
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

fn counts_row(f: &mut Formatter<'_>, label: &str, c: Counts) -> fmt::Result {
    let cells = [c.sessions, c.items, c.clicks, c.purchases].map(|n| n.to_string());
    row(f, label, &cells)
}

fn heading(f: &mut Formatter<'_>, label: &str, cells: &[&str]) -> fmt::Result {
    // A leading line break must not count towards the column width.
    if let Some(rest) = label.strip_prefix('\n') {
        writeln!(f)?;
        return heading(f, rest, cells);
    }
    write!(f, "{label:LABEL$}")?;
    for cell in cells {
        write!(f, "{cell:>12}")?;
    }
    writeln!(f)
}

fn row(f: &mut Formatter<'_>, label: &str, cells: &[String]) -> fmt::Result {
    write!(f, "  {label:w$}", w = LABEL - 2)?;
    for cell in cells {
        write!(f, "{cell:>12}")?;
    }
    writeln!(f)
}

fn percent(share: f64) -> String {
    format!("{:.2}%", 100.0 * share)
}
