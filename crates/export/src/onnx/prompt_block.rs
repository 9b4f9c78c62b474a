//! The prompt block: return, state and time step to the hidden vector (Eq. 9-13).

use prl_core::{AttentionKeys, PromptBlockConfig, ResidualInput, RewardCode, TokenMixer};

use super::encoders::Batch;
use super::graph::{Graph, Value, int};
use super::proto::element;
use crate::error::Result;

/// Width of a bin of a discretised return.
const BIN_WIDTH: f32 = 0.25;

/// Input of the block.
pub(super) struct BlockInput<'a> {
    pub(super) config: PromptBlockConfig,
    pub(super) width: usize,
    pub(super) batch: &'a Batch,
    /// The state `[B, d]`.
    pub(super) state: &'a Value,
    /// The encoder's outputs `[B, L, d]`, where the keys are of them.
    pub(super) outputs: Option<&'a Value>,
}

/// Whether the block reads a return and a step.
pub(super) fn is_prompted(config: &PromptBlockConfig) -> bool {
    config.mixing != TokenMixer::NoPrompt && !reads_outputs(config)
}

/// Whether the keys of its attention are the encoder's outputs.
pub(super) fn reads_outputs(config: &PromptBlockConfig) -> bool {
    config.mixing == TokenMixer::Attention && config.keys == AttentionKeys::Outputs
}

/// The hidden vectors `[B, d]`.
pub(super) fn hidden(graph: &mut Graph<'_>, block: &BlockInput<'_>) -> Result<Value> {
    let config = &block.config;
    let mixed = match (config.mixing, block.outputs) {
        (TokenMixer::NoPrompt, _) => block.state.clone(),
        (TokenMixer::Attention, Some(outputs)) => {
            let hidden = block.batch.hidden_keys(graph);
            attend(graph, block, outputs, Some(&hidden))?
        }
        (TokenMixer::Attention, None) => {
            let [reward, state, step] = tokens(graph, block)?;
            let mut rows = Vec::new();
            for token in [&reward, &state, &step] {
                rows.push(graph.unsqueeze(token, 1));
            }
            let rows: Vec<&Value> = rows.iter().collect();
            let stack = graph.op_with("Concat", &rows, vec![int("axis", 1)]); // Eq. 10
            attend(graph, block, &stack, None)?
        }
        (TokenMixer::Mean, _) => {
            let tokens = tokens(graph, block)?;
            mean(graph, &tokens)
        }
        (TokenMixer::Mlp, _) => {
            let [reward, state, step] = tokens(graph, block)?;
            let mapped = [
                graph.linear(&reward, "prompt.mlp.reward")?,
                graph.linear(&state, "prompt.mlp.state")?,
                graph.linear(&step, "prompt.mlp.step")?,
            ];
            mean(graph, &mapped)
        }
    };
    graph.layer_norm(&mixed, "prompt.last_norm") // Eq. 13
}

/// The tokens of return, state and step, `[B, d]` each (Eq. 9).
fn tokens(graph: &mut Graph<'_>, block: &BlockInput<'_>) -> Result<[Value; 3]> {
    let (value, step) = (Value::from("target_return"), Value::from("step"));
    let reward = match block.config.rewards {
        RewardCode::Linear => {
            let vector = graph.weight("prompt.reward_emb.weight")?;
            let value = graph.unsqueeze(&value, 1);
            graph.op("Mul", &[&value, &vector])
        }
        RewardCode::Binned => {
            let table = graph.weight("prompt.reward_bin_emb.weight")?;
            let last = graph.shape("prompt.reward_bin_emb.weight")?[0] - 1;
            let width = graph.float(BIN_WIDTH);
            let bin = graph.op("Div", &[&value, &width]);
            let bin = graph.op("Floor", &[&bin]);
            let (least, most) = (graph.float(0.0), graph.float(last as f32));
            let bin = graph.op("Clip", &[&bin, &least, &most]);
            let bin = graph.cast(&bin, element::INT64);
            graph.rows(&table, &bin)
        }
    };
    let table = graph.weight("prompt.step_emb.weight")?;
    let last = graph.shape("prompt.step_emb.weight")?[0] - 1;
    let last = graph.int(last as i64);
    let row = graph.op("Min", &[&step, &last]);
    let step = graph.rows(&table, &row);
    Ok([reward, block.state.clone(), step])
}

fn mean(graph: &mut Graph<'_>, [a, b, c]: &[Value; 3]) -> Value {
    let sum = graph.op("Add", &[a, b]);
    let sum = graph.op("Add", &[&sum, c]);
    let three = graph.float(3.0);
    graph.op("Div", &[&sum, &three])
}

/// Eq. 11 and 12 for the state's token: `[B, d]`.
fn attend(
    graph: &mut Graph<'_>,
    block: &BlockInput<'_>,
    keys: &Value,
    hidden: Option<&Value>,
) -> Result<Value> {
    let normed = graph.layer_norm(block.state, "prompt.attn_norm")?;
    let q = graph.linear(&normed, "prompt.attn.q_proj")?;
    let q = graph.unsqueeze(&q, 1);
    let k = graph.linear(keys, "prompt.attn.k_proj")?;
    let v = graph.linear(keys, "prompt.attn.v_proj")?;
    let weights = graph.attention(&q, &k, block.width, hidden);
    let mixed = graph.op("MatMul", &[&weights, &v]);
    let mixed = graph.squeeze(&mixed, 1);
    let residual = match block.config.residual {
        ResidualInput::Normalized => &normed,
        ResidualInput::Raw => block.state,
    };
    Ok(graph.op("Add", &[&mixed, residual]))
}
