//! A user-defined encoder built from a candle-nn layer and trained with plain cross-entropy and
//! with PRL, without changes to the crates.
//!
//! `cargo run --release -p prl-train --example own_encoder -- --data DIR`, where DIR is the output
//! of `prl prepare`.

use std::path::PathBuf;

use candle_core::{DType, Device, Module, Result, Tensor};
use candle_nn::{Linear, VarBuilder};
use clap::Parser;
use prl_core::Prompts;
use prl_dataset::{Dataset, ReturnTable, Split, SplitExamples};
use prl_encoders::{ForwardCtx, PaddedBatch, SessionEncoder};
use prl_model::{Adam, MainNetwork, Model, ModelSpec};
use prl_runs::{Config, Method};
use prl_train::Batches;

/// Exponentially weighted mean of the items, the last one with weight 1/2, then a linear layer.
struct Decay {
    out: Linear,
}

impl Decay {
    fn new(dim: usize, vb: VarBuilder) -> Result<Self> {
        let out = candle_nn::linear(dim, dim, vb.pp("out"))?;
        Ok(Self { out })
    }
}

impl SessionEncoder for Decay {
    fn width(&self) -> usize {
        self.out.weight().dims()[0]
    }

    fn encode(&self, batch: &PaddedBatch<'_>, _: &ForwardCtx) -> Result<Tensor> {
        let (n, window, _) = batch.xs.dims3()?;
        let mut weights = vec![0_f32; n * window];
        for (b, &length) in batch.lengths.iter().enumerate() {
            for t in 0..length {
                weights[b * window + t as usize] = 0.5_f32.powi((length - t) as i32);
            }
        }
        let weights = Tensor::from_vec(weights, (n, 1, window), batch.xs.device())?;
        self.out.forward(&weights.matmul(batch.xs)?.squeeze(1)?)
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
    let args = Args::parse();
    let data = Dataset::open(&args.data)?;
    for method in [Method::Normal, Method::Prl] {
        let config = Config {
            method,
            ..Config::default()
        };
        let train = [SplitExamples::new(&data, Split::Train, false)];
        let returns = ReturnTable::new(&train, config.rewards, config.lambda, config.discount);
        let spec = ModelSpec {
            dim: config.model.dim,
            items: data.items().len(),
            block: config.block(),
            is_double: method.is_double(),
            seed: config.seed,
            dtype: DType::F32,
            options: prl_model::NetworkOptions::default(),
        };
        let encoder = |vb: VarBuilder| -> Result<Box<dyn SessionEncoder>> {
            Ok(Box::new(Decay::new(spec.dim, vb)?))
        };
        let model = Model::with_encoder(encoder, &spec, &Device::Cpu)?;
        let batches = Batches::new(&data, &config, &returns);
        for step in 1..=args.steps {
            let (adam, turn) = (Adam::new(0.005), MainNetwork::single(step));
            model.step(adam, turn, &batches.at(step), &mut Default::default())?;
        }
        let hr = hit_rate(&model, &data, config.model.window)?;
        println!("{:<6} HR@20 {hr:.4}", method.name());
    }
    Ok(())
}

/// HR@20 on the test events, with a target return of twice the mean return.
fn hit_rate(model: &Model, data: &Dataset, window: usize) -> anyhow::Result<f64> {
    let examples = SplitExamples::new(data, Split::Test, false);
    let mut hits = 0;
    for start in (0..examples.len()).step_by(256) {
        let end = (start + 256).min(examples.len());
        let batch = examples.batch(start..end, window, None);
        let prompts = Prompts {
            returns: vec![2.0; end - start],
            steps: batch.windows.time_steps.clone(),
            tilt: 0.0,
        };
        let ranking = model.rank(&batch.windows, &prompts, Some(&batch.targets), 0)?;
        hits += ranking.ranks.iter().filter(|&&rank| rank <= 20).count();
    }
    Ok(hits as f64 / examples.len() as f64)
}
