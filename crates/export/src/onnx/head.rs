//! The output layers, and the offsets of a session's own items.

use prl_kernels::ops::score_offsets::EXCLUDED;
use prl_model::{ModelConfig, OwnItems};

use super::encoders::Batch;
use super::graph::{Graph, Value, int, ints, text};
use super::proto::element;
use crate::error::Result;

/// Smallest norm that a vector is divided by.
const MIN_NORM: f32 = 1e-12;

/// The scores `[B, items]` of hidden vectors `[B, d]`, offsets included.
pub(super) fn scores(
    graph: &mut Graph<'_>,
    config: &ModelConfig,
    hidden: &Value,
    batch: &Batch,
) -> Result<Value> {
    let items = graph.shape("head.bias")?[0];
    let mut vectors = if config.tied {
        // The last row is the pad's.
        let table = graph.weight("item_emb.weight")?;
        let (first, end) = (graph.ints(&[0]), graph.ints(&[items as i64]));
        let axis = graph.ints(&[0]);
        graph.op("Slice", &[&table, &first, &end, &axis])
    } else {
        graph.weight("head.weight")?
    };
    let mut hidden = hidden.clone();
    if let Some(tau) = config.cosine_temperature() {
        hidden = normalised(graph, &hidden);
        let unit = normalised(graph, &vectors);
        let tau = graph.float(tau as f32);
        vectors = graph.op("Div", &[&unit, &tau]);
    }
    let bias = graph.weight("head.bias")?;
    let options = vec![int("transB", 1)];
    let scores = graph.op_with("Gemm", &[&hidden, &vectors, &bias], options);
    match config.own_items {
        OwnItems::Keep | OwnItems::Auto => Ok(scores),
        OwnItems::Exclude | OwnItems::Learned => offset(graph, config, batch, &scores),
    }
}

/// `x / |x|` by rows.
fn normalised(graph: &mut Graph<'_>, x: &Value) -> Value {
    let square = graph.op("Mul", &[x, x]);
    let sum = graph.sum(&square, -1, true);
    let norm = graph.op("Sqrt", &[&sum]);
    let least = graph.float(MIN_NORM);
    let norm = graph.op("Max", &[&norm, &least]);
    graph.op("Div", &[x, &norm])
}

/// Adds the offsets of own items, each at the position of its latest event.
fn offset(
    graph: &mut Graph<'_>,
    config: &ModelConfig,
    batch: &Batch,
    scores: &Value,
) -> Result<Value> {
    let (items, count, kinds) = ("items".to_owned(), "count".to_owned(), "kinds".to_owned());
    let window = batch.window;
    // An empty session has one valid position for the encoder, and no item.
    let column = graph.unsqueeze(&count, 1);
    let own = graph.op("Less", &[&batch.positions, &column]); // [B, L]
    let (across, down) = (graph.unsqueeze(&items, 1), graph.unsqueeze(&items, 2));
    let same = graph.op("Equal", &[&down, &across]);
    let other_is_own = graph.unsqueeze(&own, 1);
    let same = graph.op("And", &[&same, &other_is_own]);
    let same = graph.cast(&same, element::FLOAT); // [B, L, L]: event k is on the item of j
    let mut later = Vec::with_capacity(window * window);
    for j in 0..window {
        for k in 0..window {
            later.push(f32::from(u8::from(k > j)));
        }
    }
    let later = graph.floats(&later, &[1, window, window]);
    let again = graph.op("Mul", &[&same, &later]);
    let again = graph.max(&again, 2);
    let half = graph.float(0.5);
    let is_latest = graph.op("Less", &[&again, &half]);
    let is_latest = graph.op("And", &[&is_latest, &own]);
    let value = if graph.has("head.own_bias") {
        biases(graph, config, batch, &same, &kinds)?
    } else {
        graph.float(EXCLUDED as f32)
    };
    let (zero, first) = (graph.float(0.0), graph.int(0));
    let value = graph.op("Where", &[&is_latest, &value, &zero]);
    // The pad is no item of the scores.
    let places = graph.op("Where", &[&own, &items, &first]);
    let options = vec![int("axis", 1), text("reduction", "add")];
    Ok(graph.op_with("ScatterElements", &[scores, &places, &value], options))
}

/// Learned biases `[B, L]` by lag and by the events on the item; `same` is `[B, L, L]`.
fn biases(
    graph: &mut Graph<'_>,
    config: &ModelConfig,
    batch: &Batch,
    same: &Value,
    kinds: &Value,
) -> Result<Value> {
    let by_lag = graph.weight("head.own_bias")?;
    let last = graph.unsqueeze(&batch.last, 1);
    let lag = graph.op("Sub", &[&last, &batch.positions]);
    let zero = graph.int(0);
    let lag = graph.op("Max", &[&lag, &zero]);
    let by_lag = graph.rows(&by_lag, &lag);
    if !config.event_kinds {
        return Ok(by_lag);
    }
    let by_events = graph.weight("head.own_event_bias")?;
    let most = graph.shape("head.own_event_bias")?[0];
    // Entry 0 is of a purchase, entry n - 1 of n events; one event has none.
    let mut repeated = vec![1.0; most];
    repeated[0] = 0.0;
    let repeated = graph.floats(&repeated, &[most]);
    let by_count = graph.op("Mul", &[&by_events, &repeated]);
    let events = graph.sum(same, 2, false);
    let (one, most) = (graph.float(1.0), graph.float(most as f32));
    let events = graph.op("Clip", &[&events, &one, &most]);
    let entry = graph.op("Sub", &[&events, &one]);
    let entry = graph.cast(&entry, element::INT64);
    let by_count = graph.rows(&by_count, &entry);
    let purchase = graph.int(1);
    let is_purchase = graph.op("Equal", &[kinds, &purchase]);
    let is_purchase = graph.cast(&is_purchase, element::FLOAT);
    let is_purchase = graph.unsqueeze(&is_purchase, 1);
    let purchased = graph.op("Mul", &[same, &is_purchase]);
    let options = vec![ints("axes", &[2]), int("keepdims", 0)];
    let purchased = graph.op_with("ReduceMax", &[&purchased], options);
    let (first, second) = (graph.ints(&[0]), graph.ints(&[1]));
    let of_purchase = graph.op("Slice", &[&by_events, &first, &second, &first]);
    let by_purchase = graph.op("Mul", &[&purchased, &of_purchase]);
    let sum = graph.op("Add", &[&by_lag, &by_count]);
    Ok(graph.op("Add", &[&sum, &by_purchase]))
}
