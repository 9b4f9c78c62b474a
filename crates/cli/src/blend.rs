//! `prl blend`: a run that mixes the probabilities of finished runs.

use std::path::PathBuf;

use prl_runs::{BlendBuilder, BlendManifest, Selection};

use crate::flags::{Compute, named};
use crate::output::outln;

/// Blend finished runs of one dataset into one run
///
/// The score of an item is its probability: the sum over the runs of weight times the run's own
/// probability, which is the softmax of a neural run's scores over all items, of a kNN the score /
/// sum of scores, of a popularity its share of the events, and of last items a half of what remains
/// for each from the latest back. The empty state of a first event has weights of its own.
///
/// The weights are chosen on the validation split, or on the sessions that all runs hold out:
/// every run alone, a grid over the simplex, then smaller and smaller moves. The blend is a run
/// directory that holds copies of its members; evaluate, recommend and serve take it like any run.
#[derive(clap::Args)]
pub struct Args {
    /// Finished run directories of one dataset
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Directory for the blend
    #[arg(long)]
    out: PathBuf,
    /// Metric on the validation cases that chooses the weights
    #[arg(long, default_value = "ndcg@20", value_parser = named(&Selection::ALL, Selection::name))]
    select: Selection,
    /// Weights of the runs, in their order and in any unit, in place of chosen ones
    #[arg(long, value_name = "W,..", value_delimiter = ',')]
    weights: Vec<f64>,
    /// Weights for the empty state of first events [default: those of --weights]
    #[arg(long, value_name = "W,..", value_delimiter = ',', requires = "weights")]
    first_weights: Vec<f64>,
    /// Directory of the prepared dataset that the runs were trained on, if it was moved
    #[arg(long)]
    data: Option<PathBuf>,
    /// Print the blend's manifest as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    compute: Compute,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let device = args.compute.open()?;
    let mut blend = BlendBuilder::new(&args.runs)
        .select(args.select)
        .data(args.data.as_deref())
        .device(&device);
    if !args.weights.is_empty() {
        let first = (!args.first_weights.is_empty()).then_some(args.first_weights);
        blend = blend.weights(args.weights, first);
    }
    let manifest = blend.build(&args.out)?;
    if args.json {
        outln!("{}", serde_json::to_string(&manifest)?)?;
        return Ok(());
    }
    if let Some(blend) = &manifest.blend {
        print(blend)?;
    }
    outln!(
        "{}: model {}, {:.0} s",
        args.out.display(),
        manifest.model,
        manifest.seconds
    )?;
    Ok(())
}

/// Prints a line for each member and one for the blend.
fn print(blend: &BlendManifest) -> std::io::Result<()> {
    let score = format!("val {}", blend.select.name());
    outln!("{:>7} {:>7} {score:>20}  run", "weight", "first")?;
    for member in &blend.members {
        let of = member
            .score
            .map_or("-".into(), |score| format!("{score:.4}"));
        let (weight, first) = (member.weight, member.first_weight);
        outln!(
            "{weight:>7.4} {first:>7.4} {of:>20}  {}",
            member.run.display()
        )?;
    }
    let of = blend
        .score
        .map_or("-".into(), |score| format!("{score:.4}"));
    let how = match blend.chosen {
        true => "chosen",
        false => "given",
    };
    outln!(
        "{:>7} {:>7} {of:>20}  blend, weights {how}, {} cases",
        "",
        "",
        blend.cases
    )
}
