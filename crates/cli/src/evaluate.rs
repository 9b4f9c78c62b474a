//! `prl evaluate`: a run's best weights on a split.

use std::path::PathBuf;

use prl_sessions::Split;
use prl_train::{Run, evaluate};

use crate::flags::{Compute, FromRun, Prompt, named};

/// Evaluate a run: every event of a split is a case, and every item is ranked
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    from: FromRun,
    /// The split
    #[arg(long, default_value = "test", value_parser = named(&Split::ALL, Split::name))]
    split: Split,
    /// Where the prepared dataset lies now [default: where the run was trained from]
    #[arg(long)]
    data: Option<PathBuf>,
    /// Cases ranked at a time; results do not depend on it
    #[arg(long, default_value_t = 256)]
    batch_size: usize,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    prompt: Prompt,
    #[command(flatten)]
    compute: Compute,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let run = Run::open(&args.from.run)?;
    let ask = args.prompt.ask(run.ask())?;
    let model = run.load(&args.compute.open()?)?;
    let data = run.data(args.data.as_deref())?;
    let report = evaluate(&run, &model, &data, args.split, ask, args.batch_size)?;
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("{report}");
    }
    Ok(())
}
