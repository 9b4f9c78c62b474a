//! `prl synth`: synthetic raw logs in the formats of public datasets.

use std::path::PathBuf;

use prl_synth::{Like, Options, synth};

use crate::flags::named;
use crate::output::outln;

/// Generate a synthetic raw log in the format and at the scale of a public one
#[derive(clap::Args)]
pub struct Args {
    /// The public log to imitate
    #[arg(long, value_parser = named(&[Like::Tiny, Like::RetailRocket, Like::Rc15], Like::name))]
    like: Like,
    /// Number of sessions after the protocol's filters; the rest scales with it [default: the
    /// log's]
    #[arg(long)]
    sessions: Option<u64>,
    /// Seed; equal seeds give equal files
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
