//! `prl inspect`: statistics and leak audit of a prepared dataset; origin of a run.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use prl_dataset::{Audit, Dataset, PROPERTIES_FILE};
use prl_items::{ColumnSummary, ItemTable};
use prl_runs::{Lineage, Run};
use serde::Serialize;
use serde_json::json;

use crate::output::outln;

/// Show statistics of a prepared dataset and audit its splits for leaks, or show a run and the run
/// that it started from
#[derive(clap::Args)]
pub struct Args {
    /// Directory of the prepared dataset, as written by `prl prepare`, or of a run
    dir: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What is found about a dataset.
#[derive(Serialize)]
struct Inspection {
    #[serde(flatten)]
    audit: Audit,
    /// Columns of the items' properties, if there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    properties: Option<Vec<ColumnSummary>>,
}

fn properties(data: &Dataset) -> anyhow::Result<Option<Vec<ColumnSummary>>> {
    let Some(bytes) = data.properties()? else {
        return Ok(None);
    };
    let table = ItemTable::from_bytes(&bytes);
    let table = table.with_context(|| data.dir().join(PROPERTIES_FILE).display().to_string())?;
    Ok(Some(table.summaries()))
}

fn print_properties(columns: &[ColumnSummary]) -> std::io::Result<()> {
    outln!(
        "\n{:<28}{:>12}{:>12}  values",
        "properties of items",
        "items",
        "share"
    )?;
    for column in columns {
        let values = match (column.distinct, column.range) {
            (Some(distinct), _) => format!("{distinct} distinct"),
            (None, Some([least, most])) => format!("{least} to {most}"),
            (None, None) => String::new(),
        };
        let share = format!("{:.1}%", 100.0 * column.coverage);
        let name = format!("{} ({})", column.name, column.column_type.name());
        outln!("{name:<28}{:>12}{share:>12}  {values}", column.items)?;
    }
    Ok(())
}

pub fn run(args: Args) -> anyhow::Result<()> {
    if Run::is_in(&args.dir) {
        return inspect_run(&args.dir, args.json);
    }
    let data = Dataset::open(&args.dir)?;
    let inspection = Inspection {
        audit: Audit::new(&data),
        properties: properties(&data)?,
    };
    if args.json {
        outln!("{}", serde_json::to_string(&inspection)?)?;
        return Ok(());
    }
    write!(std::io::stdout(), "{}", inspection.audit)?;
    if let Some(columns) = &inspection.properties {
        print_properties(columns)?;
    }
    Ok(())
}

/// Prints a run's manifest, or what is known of an unfinished one.
fn inspect_run(dir: &Path, is_json: bool) -> anyhow::Result<()> {
    let run = Run::open(dir)?;
    let (manifest, lineage) = (run.manifest()?, run.lineage()?);
    if is_json {
        let value = match manifest {
            Some(manifest) => serde_json::to_value(manifest)?,
            None => json!({ "dataset": run.dataset(), "parent": lineage, "finished": false }),
        };
        outln!("{value}")?;
        return Ok(());
    }
    let config = run.config();
    let method = config.method.name();
    match &manifest {
        Some(m) => outln!("model       {} ({method}, seed {})", m.model, m.seed)?,
        None => outln!("model       not finished ({method}, seed {})", config.seed)?,
    }
    if config.method.is_neural() {
        outln!("encoder     {}", config.model.encoder.name())?;
    }
    outln!(
        "dataset     {} ({} items)",
        run.dataset(),
        run.items().len()
    )?;
    if let Some(m) = &manifest {
        outln!(
            "steps       {}, weights of step {}, {:.0} s",
            m.steps,
            m.best_step,
            m.seconds
        )?;
    }
    match lineage {
        Some(lineage) => print_lineage(&lineage)?,
        None => match manifest.and_then(|manifest| manifest.imported) {
            Some(from) => outln!("imported    from {} (SHA-256 {})", from.file, from.sha256)?,
            None => outln!("started     from nothing")?,
        },
    }
    Ok(())
}

fn print_lineage(lineage: &Lineage) -> anyhow::Result<()> {
    let Lineage {
        parent,
        dataset,
        generation,
        carried,
        added,
        added_by_neighbours,
        dropped,
        ..
    } = lineage;
    outln!(
        "started     from model {} in {} (dataset {dataset}), generation {generation}",
        parent.model,
        parent.run.display()
    )?;
    outln!(
        "items       {carried} carried over, {added} new ({added_by_neighbours} by their neighbours), \
         {dropped} dropped"
    )?;
    outln!(
        "optimizer   {}, new items by {}",
        parent.optimizer.name(),
        parent.new_items.name()
    )?;
    Ok(())
}
