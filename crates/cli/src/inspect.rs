//! `prl inspect`: statistics and leak audit of a prepared dataset.

use std::io::Write;
use std::path::PathBuf;

use prl_dataset::{Audit, Dataset};

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

pub fn run(args: Args) -> anyhow::Result<()> {
    let audit = Audit::new(&Dataset::open(&args.dir)?);
    if args.json {
        outln!("{}", serde_json::to_string(&audit)?)?;
    } else {
        write!(std::io::stdout(), "{audit}")?;
    }
    Ok(())
}
