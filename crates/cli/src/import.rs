//! `prl import`: a run of weights that another program trained.

use std::path::PathBuf;

use prl_export::{ImportOptions, Settings, import};

use crate::output::outln;

/// Make a run of a safetensors file that another program trained, such as a PyTorch script
///
/// The file must hold the tensors of the network under candle's names (`prl export --format
/// safetensors` shows them) or under those of --names. The run is evaluated, served and exported
/// like any other.
#[derive(clap::Args)]
pub struct Args {
    /// The safetensors file
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    /// Run directory whose settings the network has
    #[arg(long, value_name = "RUN", required_unless_present = "config")]
    like: Option<PathBuf>,
    /// Settings of the network: the config.toml of a run, or the config.json of an export
    #[arg(long, value_name = "FILE", conflicts_with = "like")]
    config: Option<PathBuf>,
    /// Directory of the prepared dataset [default: that of the settings]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Names in TOML: "name of the network" = "name in the file"
    #[arg(long, value_name = "MAP")]
    names: Option<PathBuf>,
    /// Directory for the run
    #[arg(long)]
    out: PathBuf,
    /// Print the run's manifest as one JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let settings = match (args.like, args.config) {
        (Some(run), _) => Settings::Like(run),
        (None, file) => Settings::File(file.unwrap_or_default()),
    };
    let options = ImportOptions {
        weights: args.weights,
        settings,
        data: args.data,
        names: args.names,
    };
    let manifest = import(&options, &args.out)?;
    if args.json {
        outln!("{}", serde_json::to_string(&manifest)?)?;
        return Ok(());
    }
    outln!("{}: model {}", args.out.display(), manifest.model)?;
    Ok(())
}
