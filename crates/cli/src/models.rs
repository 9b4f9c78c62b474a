//! `prl models`: a registry of runs, and which of them is served.

use std::path::PathBuf;

use prl_runs::{Promotion, Registry};

use crate::output::outln;

/// List the runs of a registry, and choose the one that is served
///
/// A registry is a directory that runs are trained into (`prl train --out REGISTRY/NAME`). A server
/// of it (`prl serve --registry REGISTRY`) follows the promoted run without dropping a request.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// List the runs; the promoted one is marked
    List {
        #[command(flatten)]
        registry: In,
        /// Print one JSON object a run
        #[arg(long)]
        json: bool,
    },
    /// Serve a run from now on, after loading it once as a check
    Promote {
        #[command(flatten)]
        registry: In,
        /// Name of the run's directory in the registry
        run: String,
    },
    /// Serve the run again that was promoted before the present one
    Rollback {
        #[command(flatten)]
        registry: In,
    },
}

#[derive(clap::Args)]
struct In {
    /// Directory of the registry
    #[arg(long, value_name = "DIR")]
    registry: PathBuf,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    match args.command {
        Command::List { registry, json } => list(&Registry::open(&registry.registry)?, json),
        Command::Promote { registry, run } => {
            say(&Registry::open(&registry.registry)?.promote(&run)?)?;
            Ok(())
        }
        Command::Rollback { registry } => {
            say(&Registry::open(&registry.registry)?.rollback()?)?;
            Ok(())
        }
    }
}

fn say(promotion: &Promotion) -> std::io::Result<()> {
    let Promotion { run, model, .. } = promotion;
    outln!("serving {run} (model {model})")
}

fn list(registry: &Registry, json: bool) -> anyhow::Result<()> {
    for run in registry.runs()? {
        let manifest = run.manifest.as_ref();
        if json {
            let line = serde_json::json!({
                "run": run.name,
                "current": run.is_current,
                "model": manifest.ok().map(|manifest| &manifest.model),
                "dataset": manifest.ok().map(|manifest| &manifest.dataset),
                "steps": manifest.ok().map(|manifest| manifest.best_step),
                "problem": manifest.err(),
            });
            outln!("{line}")?;
            continue;
        }
        let mark = if run.is_current { '*' } else { ' ' };
        match manifest {
            Ok(manifest) => {
                let (model, step) = (&manifest.model, manifest.best_step);
                let method = manifest.method.name();
                outln!("{mark} {:<24} {model}  {method}, step {step}", run.name)?;
            }
            Err(problem) => {
                outln!("{mark} {:<24} {problem}", run.name)?;
            }
        }
    }
    Ok(())
}
