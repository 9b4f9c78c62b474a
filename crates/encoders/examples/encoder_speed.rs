//! Milliseconds of an encoder's forward pass in training and its backward pass: `cargo run
//! --release -p prl-encoders --example encoder_speed -- [threads]`.
//!
//! Batch 256, windows of 10, width 64; all windows full, then lengths from 1 to 10 in turn.

use std::time::Instant;

use candle_core::{DType, Device, Result, Tensor, Var};
use prl_encoders::{EncoderKind, PaddedBatch};
use prl_nn::{ForwardCtx, Init, SeededVarMap};

const BATCH: usize = 256;
const WINDOW: usize = 10;
const DIM: usize = 64;
const LAPS: usize = 101;

fn main() -> Result<()> {
    let threads = std::env::args()
        .nth(1)
        .and_then(|n| n.parse().ok())
        .unwrap_or(2);
    prl_kernels::runtime::prepare();
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global()
        .map_err(candle_core::Error::wrap)?;
    let full = vec![WINDOW as u32; BATCH];
    let mixed: Vec<u32> = (0..BATCH as u32).map(|b| 1 + b % WINDOW as u32).collect();
    for &kind in EncoderKind::ALL {
        for (name, lengths) in [("full", &full), ("mixed", &mixed)] {
            let [forward, back] = measure(kind, lengths)?;
            println!(
                "{:<9} {name:<5} {threads} threads: forward {:.2} ms (fastest {:.2}), backward {:.2} ms (fastest {:.2})",
                kind.name(),
                forward[LAPS / 2],
                forward[0],
                back[LAPS / 2],
                back[0]
            );
        }
    }
    Ok(())
}

/// Milliseconds forward and back, the fastest first.
fn measure(kind: EncoderKind, lengths: &[u32]) -> Result<[Vec<f64>; 2]> {
    let vb = SeededVarMap::new(1).var_builder(DType::F32, &Device::Cpu);
    let encoder = kind.config().build(DIM, WINDOW, vb.pp("encoder"))?;
    let values = Init::Normal(0.1).values(
        &[BATCH * WINDOW * DIM],
        &mut prl_seed::stream(1, "items", 0),
    )?;
    let x = Tensor::from_vec(values, (BATCH, WINDOW, DIM), &Device::Cpu)?.to_dtype(DType::F32)?;
    let mut laps = [Vec::new(), Vec::new()];
    for step in 0..LAPS {
        let x = Var::from_tensor(&x)?;
        let start = Instant::now();
        let state = encoder.encode(
            &PaddedBatch {
                xs: x.as_tensor(),
                lengths,
            },
            &ForwardCtx::train(1, step as u64),
        )?;
        laps[0].push(start.elapsed().as_secs_f64() * 1e3);
        let start = Instant::now();
        let grads = state.backward()?;
        laps[1].push(start.elapsed().as_secs_f64() * 1e3);
        assert!(grads.get(&x).is_some());
    }
    laps.iter_mut()
        .for_each(|laps| laps.sort_by(f64::total_cmp));
    Ok(laps)
}
