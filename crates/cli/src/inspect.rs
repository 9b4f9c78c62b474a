//! `prl inspect`: statistics and leak audit of a prepared dataset.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use prl_dataset::{Audit, Dataset, PROPERTIES_FILE};
use prl_items::{ColumnSummary, ItemTable};
use serde::Serialize;

use crate::output::outln;

/// Show statistics of a prepared dataset and audit its splits for leaks
#[derive(clap::Args)]
pub struct Args {
    /// Directory of the prepared dataset, as written by `prl prepare`
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
