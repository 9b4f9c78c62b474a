//! `prl export`: a run for other programs.

use std::path::PathBuf;

use prl_export::{ExportOptions, Format, Metrics, export};
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
    /// Evaluate the run on the test split for the model card, which otherwise has the metrics of
    /// the validation
    #[arg(long)]
    evaluate: bool,
    /// Directory of the prepared dataset that the run was trained on, if it was moved
    #[arg(long, value_name = "DIR", requires = "evaluate")]
    data: Option<PathBuf>,
    /// Output of `prl evaluate --json` for this run, whose metrics the model card states
    #[arg(long, value_name = "FILE", conflicts_with = "evaluate")]
    evaluation: Option<PathBuf>,
    /// Print the files as one JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let run = Run::open(&args.run)?;
    let metrics = match (args.evaluation, args.evaluate) {
        (Some(file), _) => Metrics::File(file),
        (None, true) => Metrics::Evaluate(args.data),
        (None, false) => Metrics::Recorded,
    };
    let options = ExportOptions {
        format: args.format,
        metrics,
    };
    let files = export(&run, &args.to, &options)?;
    if args.json {
        let to = args.to.display().to_string();
        outln!("{}", serde_json::json!({ "to": to, "files": files }))?;
        return Ok(());
    }
    for file in files {
        outln!("{:>12} {}", file.bytes, args.to.join(&file.name).display())?;
    }
    Ok(())
}
