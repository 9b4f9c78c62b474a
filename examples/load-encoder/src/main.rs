//! Loads the encoder of a trained run from its weights file by candle's `VarBuilder`, and compares
//! its states with the run's own.
//!
//! `cargo run --release --manifest-path examples/load-encoder/Cargo.toml -- RUN`, RUN being the
//! output of `prl train`.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use prl_dataset::Windows;
use prl_encoders::{ForwardCtx, PaddedBatch};
use prl_runs::{Recommender, Run};

/// Items of the session, by their index in the catalogue.
const SESSION: [u32; 3] = [3, 1, 4];

fn main() -> Result<()> {
    let dir = std::env::args().nth(1).context("usage: load-encoder RUN")?;
    let run = Run::open(&PathBuf::from(&dir))?;
    let config = &run.config().model;

    let weights = run.best().dir().join("weights.safetensors");
    // SAFETY: the file is only read here, and a checkpoint's files are replaced, never changed.
    let vb = unsafe { VarBuilder::from_mmaped_safetensors(&[weights], DType::F32, &Device::Cpu)? };
    let encoder = config
        .encoder_config()
        .build(config.dim, config.window, vb.pp("encoder"))?;

    // The last row of the item embedding is the padding's.
    let item_emb = vb.get_unchecked("item_emb.weight")?;
    let padding = item_emb.dim(0)? as u32 - 1;
    let mut items = SESSION.to_vec();
    items.resize(config.window, padding);
    let xs = item_emb
        .index_select(&Tensor::new(items, &Device::Cpu)?, 0)?
        .unsqueeze(0)?;
    let batch = PaddedBatch {
        xs: &xs,
        lengths: &[SESSION.len() as u32],
    };
    let loaded = encoder
        .encode(&batch, &ForwardCtx::infer())?
        .to_vec2::<f32>()?;

    let Recommender::Neural(model) = run.load(&Device::Cpu)? else {
        bail!("{dir} is the run of a baseline; expected that of an encoder")
    };
    let mut windows = Windows::new(config.window);
    windows.push(&SESSION, padding);
    let own = model.states(&windows)?.to_vec2::<f32>()?;
    ensure!(loaded == own, "the states differ");
    println!(
        "{} states of {}, equal bit for bit",
        own[0].len(),
        config.encoder.name()
    );
    Ok(())
}
