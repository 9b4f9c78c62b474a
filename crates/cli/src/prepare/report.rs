//! Text report of `prl prepare`.

use prl_dataset::{Counts, Manifest, Plausibility};

use crate::output::outln;

/// Prints the counts, the figures of the log and the dropped rows.
pub fn print(manifest: &Manifest) -> std::io::Result<()> {
    let counts = &manifest.input.counts;
    outln!(
        "{:<28}{:>12}{:>12}{:>12}{:>12}",
        "",
        "sessions",
        "items",
        "clicks",
        "purchases"
    )?;
    print_counts("before the length filter", &counts.before_length_filter)?;
    print_counts("after", &counts.after_length_filter)?;
    for split in ["train", "val", "test"] {
        print_counts(split, &manifest.splits[split])?;
    }
    if let Some(figures) = &manifest.plausibility {
        print_figures(figures)?;
    }
    if let Some(properties) = &manifest.properties {
        let origin = &properties.origin;
        let (items, others) = (origin.items, origin.others);
        outln!(
            "{:<28}{items:>12} of the items, {others} others",
            "properties of"
        )?;
        let mut columns = Vec::new();
        for (name, of_type) in &origin.columns {
            columns.push(format!("{name} ({of_type})"));
        }
        outln!("{:<28}{}", "columns", columns.join(", "))?;
        if origin.replaced > 0 {
            outln!("replaced by a later row     {:>12} rows", origin.replaced)?;
        }
    }
    for (reason, n) in &counts.dropped {
        outln!("dropped {:<20}{n:>12} rows", reason.replace('_', " "))?;
    }
    for kind in &manifest.kinds {
        let reward = match kind.reward {
            Some(reward) => format!("reward {reward}"),
            None => String::from("reward of the run"),
        };
        outln!("kind {:<23}{:>12}, {reward}", kind.name, kind.role.name())?;
    }
    Ok(())
}

fn print_counts(name: &str, counts: &Counts) -> std::io::Result<()> {
    outln!(
        "{name:<28}{:>12}{:>12}{:>12}{:>12}",
        counts.sessions,
        counts.items,
        counts.clicks,
        counts.purchases
    )
}

fn print_figures(figures: &Plausibility) -> std::io::Result<()> {
    if let (Some(first), Some(last)) = (&figures.first_time, &figures.last_time) {
        outln!("times {first} to {last}")?;
    }
    let repeats = figures.repeats;
    for (name, events) in [
        ("time of the event before", figures.tied_in_session),
        ("time of another event", figures.tied_in_log),
        ("repeated item", repeats.any),
        ("repeated at lag 1", repeats.lag_1),
        ("repeated at lag 2", repeats.lag_2),
        ("repeated at lag 3", repeats.lag_3),
        ("repeated at lag 4 or more", repeats.lag_4_or_more),
    ] {
        let share = 100.0 * events as f64 / figures.events.max(1) as f64;
        outln!(
            "{name:<28}{events:>12} of {} events ({share:.1} %)",
            figures.events
        )?;
    }
    Ok(())
}
