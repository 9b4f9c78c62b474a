//! The prompt block and its ablations against PyTorch, and its dropout.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor, Var};
use prl_core::{
    AttentionKeys, EncodedState, PromptBlock, PromptBlockConfig, Prompts, ResidualInput, TokenMixer,
};
use prl_nn::{ForwardCtx, SeededVarMap};
use prl_testkit::{assert_close, flat};

/// x[i] = sin(0.7 i + 2), as in the script: the gradient of the hidden vectors.
fn output_gradient(shape: &[usize]) -> Tensor {
    let n = shape.iter().product::<usize>();
    let values = (0..n).map(|i| (0.7 * i as f64 + 2.0).sin()).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn integers(tensor: &Tensor) -> Vec<u32> {
    flat(tensor).iter().map(|&x| x as u32).collect()
}

/// A block with the golden parameters.
fn load(
    config: PromptBlockConfig,
    golden: &HashMap<String, Tensor>,
) -> (SeededVarMap, PromptBlock) {
    let vars = SeededVarMap::new(0);
    let vb = vars.var_builder(DType::F64, &Device::Cpu);
    let config = PromptBlockConfig { steps: 4, ..config };
    let block = PromptBlock::new(config, 4, vb).unwrap();
    for param in vars.params() {
        let named: Vec<Tensor> = param
            .names()
            .map(|name| golden[&format!("param.{name}")].clone())
            .collect();
        param.var().set(&param.pack(&named).unwrap()).unwrap();
    }
    (vars, block)
}

/// Compares a variant's hidden vectors and all its gradients.
fn check(variant: &str, config: PromptBlockConfig) {
    let golden = prl_testkit::golden(env!("CARGO_MANIFEST_DIR"), "prompt_block");
    let (vars, block) = load(config, &golden);
    let source = if block.needs_outputs() {
        "outputs"
    } else {
        "state"
    };
    let input = Var::from_tensor(&golden[&format!("param.{source}")]).unwrap();
    let lengths = integers(&golden["lengths"]);
    let encoded = match block.needs_outputs() {
        true => EncodedState::Outputs {
            outputs: &input,
            lengths: &lengths,
        },
        false => EncodedState::Last(&input),
    };
    let prompts = Prompts {
        returns: golden["returns"].to_vec1().unwrap(),
        steps: integers(&golden["steps"]),
        tilt: 0.0,
    };
    let y = block
        .hidden(&encoded, &prompts, &ForwardCtx::infer())
        .unwrap();
    assert_close(
        &flat(&y),
        &flat(&golden[&format!("{variant}.hidden")]),
        1e-10,
    );
    let loss = (&y * output_gradient(y.dims())).unwrap().sum_all().unwrap();
    let grads = loss.backward().unwrap();
    let theirs = |name: &str| flat(&golden[&format!("{variant}.grad.{name}")]);
    assert_close(&flat(grads.get(&input).unwrap()), &theirs(source), 1e-9);
    for param in vars.params() {
        for (name, grad) in param.unpack(grads.get(param.var()).unwrap()).unwrap() {
            assert_close(&flat(&grad), &theirs(&name), 1e-9);
        }
    }
}

#[test]
fn attention_agrees_with_pytorch() {
    check("normalized", PromptBlockConfig::default());
}

#[test]
fn attention_with_the_residual_of_the_paper_agrees_with_pytorch() {
    let config = PromptBlockConfig {
        residual: ResidualInput::Raw,
        ..PromptBlockConfig::default()
    };
    check("raw", config);
}

#[test]
fn mean_of_the_tokens_agrees_with_pytorch() {
    let config = PromptBlockConfig {
        mixing: TokenMixer::Mean,
        ..PromptBlockConfig::default()
    };
    check("mean", config);
}

#[test]
fn mlp_of_the_tokens_agrees_with_pytorch() {
    let config = PromptBlockConfig {
        mixing: TokenMixer::Mlp,
        ..PromptBlockConfig::default()
    };
    check("mlp", config);
}

/// The released code's form for SASRec: keys and values are the encoder's outputs.
#[test]
fn attention_to_the_encoder_outputs_agrees_with_pytorch() {
    let config = PromptBlockConfig {
        keys: AttentionKeys::Outputs,
        ..PromptBlockConfig::default()
    };
    check("outputs", config);
}

#[test]
fn dropout_reaches_the_hidden_vectors_in_training_only() {
    let vb = SeededVarMap::new(0).var_builder(DType::F32, &Device::Cpu);
    let block = PromptBlock::new(PromptBlockConfig::default(), 8, vb.pp("prompt")).unwrap();
    let values = (0..40).map(|i| (0.7 * i as f32 + 0.3).sin()).collect();
    let state = Tensor::from_vec(values, (5, 8), &Device::Cpu).unwrap();
    let prompts = Prompts {
        returns: vec![1.0; 5],
        steps: vec![99; 5],
        tilt: 0.0,
    };
    let run = |ctx: &ForwardCtx| {
        let hidden = block
            .hidden(&EncodedState::Last(&state), &prompts, ctx)
            .unwrap();
        hidden.to_vec2::<f32>().unwrap()
    };
    assert_eq!(run(&ForwardCtx::infer()), run(&ForwardCtx::infer()));
    assert_ne!(run(&ForwardCtx::train(1, 1)), run(&ForwardCtx::infer()));
    assert_eq!(run(&ForwardCtx::train(1, 1)), run(&ForwardCtx::train(1, 1)));
    assert_ne!(run(&ForwardCtx::train(1, 1)), run(&ForwardCtx::train(1, 2)));
}
