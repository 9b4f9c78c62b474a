//! `prl synth`: raw logs in the real formats, made up.

use std::path::PathBuf;

use prl_synth::{Like, Options, synth};

use crate::flags::named;
use crate::output::outln;

/// Make up a raw log in the format and at the scale of a public one
#[derive(clap::Args)]
pub struct Args {
    /// Which log to stand in for
    #[arg(long, value_parser = named(&[Like::Tiny, Like::RetailRocket, Like::Rc15], Like::name))]
    like: Like,
    /// Sessions that the protocol's filters keep; everything else scales along [default: the log's own]
    #[arg(long)]
    sessions: Option<u64>,
    /// Equal seeds give equal files
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Directory for the raw files
    #[arg(long)]
    out: PathBuf,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let summary = synth(
        &Options {
            like: args.like,
            sessions: args.sessions,
            seed: args.seed,
        },
        &args.out,
    )?;
    for file in &summary.files {
        outln!(
            "{}  {} rows",
            args.out.join(&file.name).display(),
            file.rows
        )?;
    }
    Ok(())
}
