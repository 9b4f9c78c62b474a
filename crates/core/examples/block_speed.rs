//! Milliseconds of the prompt block's forward pass in training and its backward pass: `cargo run
//! --release -p prl-core --example block_speed -- [threads]`. Batch 256, width 64.

use std::time::Instant;

use candle_core::{DType, Device, Result, Var};
use prl_core::{EncodedState, PromptBlock, PromptBlockConfig, Prompts, TokenMixer};
use prl_nn::{ForwardCtx, SeededVarMap};

const BATCH: usize = 256;
const WIDTH: usize = 64;
const LAPS: usize = 101;

fn main() -> Result<()> {
    prl_kernels::runtime::prepare();
    let threads = std::env::args()
        .nth(1)
        .and_then(|n| n.parse().ok())
        .unwrap_or(2);
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global()
        .map_err(candle_core::Error::wrap)?;
    for mixing in [
        TokenMixer::Attention,
        TokenMixer::Mean,
        TokenMixer::Mlp,
        TokenMixer::NoPrompt,
    ] {
        let vb = SeededVarMap::new(1).var_builder(DType::F32, &Device::Cpu);
        let config = PromptBlockConfig {
            mixing,
            ..PromptBlockConfig::default()
        };
        let block = PromptBlock::new(config, WIDTH, vb.pp("prompt"))?;
        let values = (0..BATCH * WIDTH).map(|i| (0.7 * i as f32).sin()).collect();
        let state = Var::from_vec(values, (BATCH, WIDTH), &Device::Cpu)?;
        let prompts = Prompts {
            returns: vec![1.5; BATCH],
            steps: (0..BATCH as u32).map(|b| b % 50).collect(),
            tilt: 0.0,
        };
        let mut laps = [Vec::new(), Vec::new()];
        for step in 0..LAPS {
            let start = Instant::now();
            let state = EncodedState::Last(&state);
            let y = block.hidden(&state, &prompts, &ForwardCtx::train(1, step as u64))?;
            laps[0].push(start.elapsed().as_secs_f64() * 1e3);
            let start = Instant::now();
            y.backward()?;
            laps[1].push(start.elapsed().as_secs_f64() * 1e3);
        }
        let [forward, back] = laps.map(|mut laps| {
            laps.sort_by(f64::total_cmp);
            [laps[LAPS / 2], laps[0]]
        });
        println!(
            "{mixing:?} {threads} threads: forward {:.2} ms (fastest {:.2}), backward {:.2} ms (fastest {:.2})",
            forward[0], forward[1], back[0], back[1]
        );
    }
    Ok(())
}
