//! `prl inspect`: statistics and leak audit of a prepared dataset; origin of a run.

use std::io::Write;
use std::path::{Path, PathBuf};

use prl_dataset::{Audit, Dataset};
use prl_runs::{Lineage, Run};
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

pub fn run(args: Args) -> anyhow::Result<()> {
    if Run::is_in(&args.dir) {
        return inspect_run(&args.dir, args.json);
    }
    let audit = Audit::new(&Dataset::open(&args.dir)?);
    if args.json {
        outln!("{}", serde_json::to_string(&audit)?)?;
    } else {
        write!(std::io::stdout(), "{audit}")?;
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
        None => outln!("started     from nothing")?,
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
