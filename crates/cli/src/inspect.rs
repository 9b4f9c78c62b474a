//! `prl inspect`: what a prepared dataset holds.

use std::io::Write;
use std::path::PathBuf;

use prl_dataset::{Audit, Dataset};

use crate::output::outln;

/// Show what a prepared dataset holds: Table 1, session lengths, popularity, and a leak audit of its splits
#[derive(clap::Args)]
pub struct Args {
    /// The directory that `prl prepare` wrote
    dir: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let audit = Audit::new(&Dataset::open(&args.dir)?);
    if args.json {
        outln!("{}", serde_json::to_string(&audit)?)?;
    } else {
        write!(std::io::stdout(), "{audit}")?;
    }
    Ok(())
}
