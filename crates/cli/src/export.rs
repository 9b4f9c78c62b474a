//! `prl export`: a run for other programs.

use std::path::PathBuf;

use prl_export::{ExportOptions, Format, export};
use prl_runs::Run;

use crate::flags::named;
use crate::output::outln;

/// Export the network of a run: ONNX, safetensors, or a model repository with a card
///
/// The ONNX graph maps the last items of a session, their number, the kinds of their events and the
/// prompt to the scores of all items; preprocessing.json says how these inputs are made. The
/// directory appears whole or not at all.
#[derive(clap::Args)]
pub struct Args {
    /// Run directory, as written by `prl train` or `prl import`
    run: PathBuf,
    /// Directory to write, which must not exist or be empty
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// onnx: model.onnx; safetensors: model.safetensors; hub: both and a model card
    #[arg(long, default_value = "hub", value_parser = named(&Format::ALL, Format::name))]
    format: Format,
    /// Output of `prl evaluate --json`, whose metrics the model card states
    #[arg(long, value_name = "FILE")]
    evaluation: Option<PathBuf>,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let run = Run::open(&args.run)?;
    let options = ExportOptions {
        format: args.format,
        evaluation: args.evaluation,
    };
    for file in export(&run, &args.to, &options)? {
        outln!("{:>12} {}", file.bytes, args.to.join(&file.name).display())?;
    }
    Ok(())
}
