//! The fused prompt block against the reference.

use candle_core::{DType, Device, Tensor, Var};
use prl_nn::{ForwardCtx, SeededVarMap};
use prl_testkit::{assert_close, flat, values};

use super::{
    AttentionKeys, EncodedState, PromptBlock, PromptBlockConfig, Prompts, ResidualInput, TokenMixer,
};
use crate::RewardCode;

const BATCH: usize = 9;
const WIDTH: usize = 7;
const LENGTHS: [u32; BATCH] = [4, 1, 3, 2, 4, 4, 1, 2, 3];

/// Every combination of options that makes another block.
fn configs() -> Vec<PromptBlockConfig> {
    let default = PromptBlockConfig {
        steps: 4,
        ..PromptBlockConfig::default()
    };
    let mixed = [TokenMixer::Mean, TokenMixer::Mlp, TokenMixer::NoPrompt];
    let mut configs = mixed
        .map(|mixing| PromptBlockConfig { mixing, ..default })
        .to_vec();
    for residual in [ResidualInput::Normalized, ResidualInput::Raw] {
        for keys in [AttentionKeys::Prompt, AttentionKeys::Outputs] {
            for rewards in [RewardCode::Linear, RewardCode::Binned] {
                configs.push(PromptBlockConfig {
                    residual,
                    keys,
                    rewards,
                    ..default
                });
            }
        }
    }
    configs
}

fn prompts() -> Prompts {
    Prompts {
        returns: (0..BATCH).map(|b| 0.4 * b as f64).collect(),
        steps: (0..BATCH as u32).collect(),
        tilt: 0.0,
    }
}

#[test]
fn prompt_block_reference_matches_fused() {
    for config in configs() {
        for (dtype, tolerance) in [(DType::F64, 1e-10), (DType::F32, 1e-4)] {
            // Of the encoder's outputs, the reference drops out padded weights too.
            let is_padded = config.needs_outputs();
            let ctx = || match is_padded {
                true => ForwardCtx::infer(),
                false => ForwardCtx::train(3, 1),
            };
            let vars = SeededVarMap::new(5);
            let vb = vars.var_builder(dtype, &Device::Cpu).pp("prompt");
            let block = PromptBlock::new(config, WIDTH, vb).unwrap();
            let shape: &[usize] = if is_padded {
                &[BATCH, 4, WIDTH]
            } else {
                &[BATCH, WIDTH]
            };
            let state = values(shape, "state").to_dtype(dtype).unwrap();
            let state = Var::from_tensor(&state).unwrap();
            let encoded = match is_padded {
                true => EncodedState::Outputs {
                    outputs: &state,
                    lengths: &LENGTHS,
                },
                false => EncodedState::Last(&state),
            };
            let gradients = |y: Tensor| {
                let weights = values(y.dims(), "weights").to_dtype(dtype).unwrap();
                let grads = (&y * weights)
                    .unwrap()
                    .sum_all()
                    .unwrap()
                    .backward()
                    .unwrap();
                let mut all = vec![flat(&y), flat(grads.get(&state).unwrap())];
                for param in vars.params() {
                    all.push(flat(grads.get(param.var()).unwrap()));
                }
                all.concat()
            };
            let fused = gradients(block.hidden(&encoded, &prompts(), &ctx()).unwrap());
            let plain = gradients(block.forward(&encoded, &prompts(), &ctx()).unwrap());
            assert_close(&fused, &plain, tolerance);
        }
    }
}

#[test]
fn missing_outputs_and_prompts_of_another_number_are_errors() {
    let vb = SeededVarMap::new(5).var_builder(DType::F32, &Device::Cpu);
    let state = Tensor::ones((BATCH, WIDTH), DType::F32, &Device::Cpu).unwrap();
    let state = EncodedState::Last(&state);
    let config = PromptBlockConfig::default();
    let block = PromptBlock::new(config, WIDTH, vb.pp("a")).unwrap();
    let none = Prompts::default();
    assert!(block.hidden(&state, &none, &ForwardCtx::infer()).is_err());
    let config = PromptBlockConfig {
        keys: AttentionKeys::Outputs,
        ..config
    };
    let block = PromptBlock::new(config, WIDTH, vb.pp("b")).unwrap();
    assert!(
        block
            .hidden(&state, &prompts(), &ForwardCtx::infer())
            .is_err()
    );
}
