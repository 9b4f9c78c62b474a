//! An encoder of one's own, outside of every list, trained under plain cross-entropy and under PRL with no crate touched.
//!
//! `cargo run --release -p prl-train --example own_encoder -- --data DIR`, DIR being what `prl prepare` wrote.

use std::path::PathBuf;

use candle_core::{DType, Device, Result, Tensor};
use clap::Parser;
use prl_core::{Prompts, TargetReturn};
use prl_dataset::{Dataset, ReturnTable, Split, SplitExamples};
use prl_encoders::{PaddedBatch, SessionEncoder};
use prl_eval::{Case, Scores};
use prl_kernels::ops::adam::Adam;
use prl_model::{MainNetwork, Model, ModelSpec};
use prl_nn::{ForwardCtx, Linear, Scope};
use prl_runs::{Config, Method};
use prl_train::Batches;

/// The last items, each weighted half as much as the one after it, and a linear layer.
struct Fading(Linear);

impl Fading {
    fn new(dim: usize, scope: Scope<'_>) -> Result<Self> {
        Ok(Self(Linear::new(dim, dim, scope)?))
    }
}

impl SessionEncoder for Fading {
    fn width(&self) -> usize {
        64
    }

    fn encode(&self, windows: &PaddedBatch<'_>, _: &ForwardCtx) -> Result<Tensor> {
        let (batch, length, _) = windows.x.dims3()?;
        let weight = |n: u32, t: usize| {
            if t < n as usize {
                0.5_f32.powi(n as i32 - 1 - t as i32)
            } else {
                0.0
            }
        };
        let weights = windows
            .lengths
            .iter()
            .flat_map(|&n| (0..length).map(move |t| weight(n, t)));
        let weights =
            Tensor::from_iter(weights, windows.x.device())?.reshape((batch, 1, length))?;
        self.0.forward(&weights.matmul(windows.x)?.squeeze(1)?)
    }
}

#[derive(Parser)]
struct Args {
    #[arg(long)]
    data: PathBuf,
    #[arg(long, default_value_t = 500)]
    steps: u64,
}

fn main() -> anyhow::Result<()> {
    prl_kernels::runtime::prepare();
    let args = Args::parse();
    let data = Dataset::open(&args.data)?;
    for method in [Method::Normal, Method::Prl] {
        let config = Config {
            method,
            ..Config::default()
        };
        let train = [SplitExamples::new(&data, Split::Train, false)];
        let returns = ReturnTable::new(&train, config.rewards, config.lambda, config.discount);
        let plan = ModelSpec {
            dim: 64,
            items: data.items().len(),
            block: config.block(),
            is_double: method.is_double(),
            seed: 0,
            dtype: DType::F32,
        };
        let encoder = |params: &mut prl_nn::Params| {
            Ok(Box::new(Fading::new(64, params.scope("encoder"))?) as Box<dyn SessionEncoder>)
        };
        let model = Model::with_encoder(encoder, &plan, &Device::Cpu)?;
        let batches = Batches::new(&data, &config, &returns);
        for t in 1..=args.steps {
            model.step(
                Adam::new(0.005),
                MainNetwork::single(t),
                &batches.at(t),
                &mut Default::default(),
            )?;
        }
        let scores = test(&model, &data, &config, &returns)?;
        println!(
            "{:<6} click HR@20 {:.4}",
            method.name(),
            scores.click.hr20.unwrap_or(f64::NAN)
        );
    }
    Ok(())
}

/// Every event of the test split, asked for twice the mean return.
fn test(
    model: &Model,
    data: &Dataset,
    config: &Config,
    returns: &ReturnTable,
) -> anyhow::Result<Scores> {
    let rows = SplitExamples::new(data, Split::Test, false);
    let TargetReturn::Relative { mu, .. } = config.goal() else {
        unreachable!("the settings ask for a multiple of the mean")
    };
    let mut cases = Vec::new();
    for start in (0..rows.len()).step_by(256) {
        let batch = rows.batch(
            start..(start + 256).min(rows.len()),
            config.model.window,
            None,
        );
        let steps = batch.windows.time_steps.clone();
        let fed = steps.iter().map(|&t| {
            config
                .model
                .prompt_scale
                .prompt(mu * returns.mean_at(t), returns.mean_at(t))
        });
        let prompts = Prompts {
            returns: fed.collect(),
            steps,
        };
        let ranks = model
            .rank(&batch.windows, &prompts, Some(&batch.targets), 0)?
            .ranks;
        cases.extend(
            batch
                .kinds
                .iter()
                .zip(ranks)
                .map(|(&kind, rank)| Case { kind, rank }),
        );
    }
    Ok(Scores::new(&cases, config.rewards)?)
}
