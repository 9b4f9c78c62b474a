//! A run's network as an ONNX graph: items, count, kinds and prompt to scores of all items.

mod encoders;
mod graph;
mod head;
mod prompt_block;
pub mod proto;

use prl_model::{ModelConfig, ResidualKind};
use prl_runs::Config;
use prost::Message;

use self::encoders::{Batch, encode, sasrec};
use self::graph::{Graph, Value};
use self::prompt_block::{BlockInput, hidden, is_prompted, reads_outputs};
use self::proto::{
    GraphProto, IR_VERSION, ModelProto, OPSET, OperatorSetIdProto, StringStringEntryProto, element,
};
use crate::error::{Error, Result};
use crate::weights::Weights;

/// A file of protocol buffers is shorter than this.
const MAX_BYTES: u64 = 1 << 31;
/// Bytes that are left for the graph beside the weights.
const GRAPH_BYTES: u64 = 1 << 24;

/// Input of a graph, as `preprocessing.json` describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Input {
    pub(crate) name: &'static str,
    pub(crate) element: &'static str,
    pub(crate) shape: &'static str,
    pub(crate) meaning: &'static str,
}

const ITEMS: Input = Input {
    name: "items",
    element: "int64",
    shape: "[batch, window]",
    meaning: "indices of the session's last items, the oldest first, padded on the right with `pad`",
};
const COUNT: Input = Input {
    name: "count",
    element: "int64",
    shape: "[batch]",
    meaning: "number of those items, 0 to `window`",
};
const KINDS: Input = Input {
    name: "kinds",
    element: "int64",
    shape: "[batch, window]",
    meaning: "1 where the event is a purchase, 0 for a click and for padding",
};
const TARGET_RETURN: Input = Input {
    name: "target_return",
    element: "float32",
    shape: "[batch]",
    meaning: "target return of the prompt, in the unit of `prompt.scale`",
};
const STEP: Input = Input {
    name: "step",
    element: "int64",
    shape: "[batch]",
    meaning: "time step: number of all earlier events of the session, also those before the window",
};

/// The inputs of a network.
pub(crate) fn inputs(config: &Config) -> Vec<Input> {
    let mut inputs = vec![ITEMS, COUNT];
    if config.model.event_kinds {
        inputs.push(KINDS);
    }
    if config.block().as_ref().is_some_and(is_prompted) {
        inputs.extend([TARGET_RETURN, STEP]);
    }
    inputs
}

/// The file of a network.
///
/// # Errors
/// [`Error::TooLarge`] if the format cannot hold the weights.
pub(crate) fn model(
    config: &Config,
    weights: &mut Weights,
    about: &[(&str, String)],
) -> Result<Vec<u8>> {
    let bytes = weights.bytes();
    if bytes + GRAPH_BYTES >= MAX_BYTES {
        return Err(Error::TooLarge { bytes });
    }
    let mut metadata_props = Vec::new();
    for (key, value) in about {
        metadata_props.push(StringStringEntryProto {
            key: (*key).into(),
            value: value.clone(),
        });
    }
    let model = ModelProto {
        ir_version: IR_VERSION,
        opset_import: vec![OperatorSetIdProto {
            domain: String::new(),
            version: OPSET,
        }],
        producer_name: "prl".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        graph: Some(network(config, weights)?),
        metadata_props,
    };
    Ok(model.encode_to_vec())
}

/// The graph of a network.
fn network(config: &Config, weights: &mut Weights) -> Result<GraphProto> {
    let model = &config.model;
    let mut graph = Graph::new(weights, "scores of all items as the next item of a session");
    for input in inputs(config) {
        let elem = match input.element {
            "float32" => element::FLOAT,
            _ => element::INT64,
        };
        let axes = match input.shape {
            "[batch]" => vec![None],
            _ => vec![None, Some(model.window)],
        };
        graph.input(input.name, elem, &axes, input.meaning);
    }
    let batch = windows(&mut graph, model)?;
    let hidden = hidden_of(&mut graph, config, &batch)?;
    let scores = head::scores(&mut graph, model, &hidden, &batch)?;
    let items = graph.shape("head.bias")?[0];
    let meaning = "score of each item, comparable within a row; -1e9 and less: left out";
    graph.output(&scores, "scores", &[None, Some(items)], meaning);
    Ok(graph.finish())
}

/// The windows of the inputs.
fn windows(graph: &mut Graph<'_>, model: &ModelConfig) -> Result<Batch> {
    let (items, count) = (Value::from(ITEMS.name), Value::from(COUNT.name));
    let table = graph.weight("item_emb.weight")?;
    let mut xs = graph.rows(&table, &items);
    if model.event_kinds {
        let kinds = Value::from(KINDS.name);
        let vector = graph.weight("event_kinds.purchase")?;
        let purchase = graph.int(1);
        let is_purchase = graph.op("Equal", &[&kinds, &purchase]);
        let is_purchase = graph.cast(&is_purchase, element::FLOAT);
        let is_purchase = graph.unsqueeze(&is_purchase, 2);
        let added = graph.op("Mul", &[&is_purchase, &vector]);
        xs = graph.op("Add", &[&xs, &added]);
    }
    let mut positions = Vec::with_capacity(model.window);
    for position in 0..model.window {
        positions.push(position as i64);
    }
    let positions = graph.ints(&positions);
    let one = graph.int(1);
    let lengths = graph.op("Max", &[&count, &one]);
    let last = graph.op("Sub", &[&lengths, &one]);
    let column = graph.unsqueeze(&lengths, 1);
    let valid = graph.op("Less", &[&positions, &column]);
    Ok(Batch {
        window: model.window,
        dim: model.dim,
        xs,
        positions,
        lengths,
        last,
        valid,
    })
}

/// The hidden vectors `[B, width]` that the output layer reads.
fn hidden_of(graph: &mut Graph<'_>, config: &Config, batch: &Batch) -> Result<Value> {
    let model = &config.model;
    let block = config.block();
    if let Some(block) = block.filter(reads_outputs) {
        // The block reads the encoder's own outputs, without a residual connection.
        let outputs = sasrec(graph, batch)?;
        let state = batch.last(graph, &outputs);
        let input = BlockInput {
            config: block,
            width: model.dim,
            batch,
            state: &state,
            outputs: Some(&outputs),
        };
        return hidden(graph, &input);
    }
    let mut state = encode(graph, model.encoder, batch)?;
    match model.network_options().residual {
        ResidualKind::None => {}
        ResidualKind::Projected => {
            let projected = graph.linear(&state, "state.proj")?;
            let last = batch.last(graph, &batch.xs);
            state = graph.op("Add", &[&projected, &last]);
        }
        ResidualKind::Scaled => {
            let scale = graph.weight("state.scale")?;
            let scaled = graph.op("Mul", &[&state, &scale]);
            let last = batch.last(graph, &batch.xs);
            state = graph.op("Add", &[&scaled, &last]);
        }
    }
    let Some(block) = block else {
        return Ok(state);
    };
    let input = BlockInput {
        config: block,
        width: graph.shape("prompt.last_norm.weight")?[0],
        batch,
        state: &state,
        outputs: None,
    };
    let hidden = hidden(graph, &input)?;
    if !model.network_options().is_prompt_residual {
        return Ok(hidden);
    }
    let scale = graph.weight("prompt_residual.scale")?;
    let scaled = graph.op("Mul", &[&hidden, &scale]);
    Ok(graph.op("Add", &[&scaled, &state]))
}
