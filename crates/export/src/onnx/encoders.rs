//! The five encoders: `[B, L, d]` of embedded items to states `[B, width]`.
//!
//! Each function has the formula of the encoder's reference in `prl-encoders`.

use prl_encoders::EncoderKind;

use super::graph::{Graph, Value, int, ints};
use super::proto::element;
use crate::error::{Error, Result};

/// Added to the scores of hidden keys.
const HIDDEN: f32 = -1e30;
/// Slope of the constant part of `core`'s bias by lag.
const LAG_SLOPE: f64 = -0.3;
/// That bias past a session's end.
const MASKED: f32 = -1e9;
/// Dilations of NextItNet's blocks, repeated.
const DILATIONS: [i64; 2] = [1, 2];
/// Taps of its convolutions.
const TAPS: i64 = 3;

/// A batch of windows in the graph.
pub(super) struct Batch {
    /// Window length L.
    pub(super) window: usize,
    /// Width d of an embedded item.
    pub(super) dim: usize,
    /// Embedded items with the kinds of their events, `[B, L, d]`.
    pub(super) xs: Value,
    /// Positions 0 to L - 1, `[L]`.
    pub(super) positions: Value,
    /// Valid positions of each window, `[B]`, each in 1..=L.
    pub(super) lengths: Value,
    /// The last of them, `[B]`.
    pub(super) last: Value,
    /// Whether a position is valid, `[B, L]`.
    pub(super) valid: Value,
}

impl Batch {
    /// `valid` where it is 0, `HIDDEN` past a session's end: `[B, 1, L]`.
    pub(super) fn hidden_keys(&self, graph: &mut Graph<'_>) -> Value {
        let (zero, hidden) = (graph.float(0.0), graph.float(HIDDEN));
        let bias = graph.op("Where", &[&self.valid, &zero, &hidden]);
        graph.unsqueeze(&bias, 1)
    }

    /// `ys` `[B, L, width]` at the last valid position of each window.
    pub(super) fn last(&self, graph: &mut Graph<'_>, ys: &Value) -> Value {
        graph.row_of_each(ys, &self.last)
    }
}

/// The states `[B, width]`.
pub(super) fn encode(graph: &mut Graph<'_>, kind: EncoderKind, batch: &Batch) -> Result<Value> {
    match kind.name() {
        "gru" => gru(graph, batch),
        "caser" => caser(graph, batch),
        "nextitnet" => nextitnet(graph, batch),
        "sasrec" => {
            let outputs = sasrec(graph, batch)?;
            Ok(batch.last(graph, &outputs))
        }
        "core" => core(graph, batch),
        name => Err(Error::NoGraph { name }),
    }
}

/// The operator gates the old state by its z where Eq. 8 gates the new one, so that its z is
/// `1 - z`: the rows of the update gate change their sign. The reset gate is applied before the
/// recurrent product in both.
fn gru(graph: &mut Graph<'_>, batch: &Batch) -> Result<Value> {
    let (w, u) = (
        graph.weight("encoder.weight_ih")?,
        graph.weight("encoder.weight_hh")?,
    );
    let bias = graph.weight("encoder.bias")?;
    let hidden = graph.shape("encoder.weight_hh")?[1];
    let mut signs = vec![-1.0; hidden];
    signs.resize(3 * hidden, 1.0);
    let by_row = graph.floats(&signs, &[3 * hidden, 1]);
    let by_element = graph.floats(&signs, &[3 * hidden]);
    let (w, u) = (
        graph.op("Mul", &[&w, &by_row]),
        graph.op("Mul", &[&u, &by_row]),
    );
    let bias = graph.op("Mul", &[&bias, &by_element]);
    // The operator has a second bias, of the recurrent product.
    let zeros = graph.floats(&vec![0.0; 3 * hidden], &[3 * hidden]);
    let bias = graph.op_with("Concat", &[&bias, &zeros], vec![int("axis", 0)]);
    let (w, u) = (graph.unsqueeze(&w, 0), graph.unsqueeze(&u, 0));
    let bias = graph.unsqueeze(&bias, 0);
    let xs = graph.transpose(&batch.xs, &[1, 0, 2]);
    let lengths = graph.cast(&batch.lengths, element::INT32);
    let state = graph.gru(&[&xs, &w, &u, &bias, &lengths], hidden);
    Ok(graph.squeeze(&state, 0))
}

fn caser(graph: &mut Graph<'_>, batch: &Batch) -> Result<Value> {
    let (valid, zero) = (graph.unsqueeze(&batch.valid, 2), graph.float(0.0));
    let xs = graph.op("Where", &[&valid, &batch.xs, &zero]);
    let image = graph.unsqueeze(&xs, 1); // E: [B, 1, L, d]
    let mut parts = Vec::new();
    let mut bank = 0;
    while graph.has(&format!("encoder.conv_h.{bank}.weight")) {
        let ys = conv_2d(graph, &image, &format!("encoder.conv_h.{bank}"))?;
        let ys = graph.squeeze(&ys, 3);
        let ys = graph.op("Relu", &[&ys]); // Eq. 3: [B, filters, L - h + 1]
        parts.push(graph.max(&ys, 2)); // Eq. 5
        bank += 1;
    }
    let vertical = conv_2d(graph, &image, "encoder.conv_v")?;
    let vertical = graph.op_with("Flatten", &[&vertical], vec![int("axis", 1)]);
    parts.push(graph.op("Relu", &[&vertical])); // Eq. 7: [B, d]
    let parts: Vec<&Value> = parts.iter().collect();
    Ok(graph.op_with("Concat", &parts, vec![int("axis", 1)])) // Eq. 9
}

fn conv_2d(graph: &mut Graph<'_>, x: &Value, layer: &str) -> Result<Value> {
    let weight = graph.weight(&format!("{layer}.weight"))?;
    let bias = graph.weight(&format!("{layer}.bias"))?;
    Ok(graph.op("Conv", &[x, &weight, &bias]))
}

fn nextitnet(graph: &mut Graph<'_>, batch: &Batch) -> Result<Value> {
    let mut xs = batch.xs.clone();
    let mut block = 0;
    while graph.has(&format!("encoder.blocks.{block}.conv1.weight")) {
        let mut ys = xs.clone();
        for half in 1..=2 {
            let layer = |of: &str| format!("encoder.blocks.{block}.{of}{half}");
            let dilation = half * DILATIONS[block % DILATIONS.len()];
            let weight = graph.weight(&format!("{}.weight", layer("conv")))?;
            let bias = graph.weight(&format!("{}.bias", layer("conv")))?;
            let columns = graph.transpose(&ys, &[0, 2, 1]);
            let options = vec![
                ints("dilations", &[dilation]),
                ints("kernel_shape", &[TAPS]),
                // Positions before the session count as zero; none after it is read.
                ints("pads", &[(TAPS - 1) * dilation, 0]),
            ];
            ys = graph.op_with("Conv", &[&columns, &weight, &bias], options);
            ys = graph.transpose(&ys, &[0, 2, 1]);
            ys = graph.layer_norm(&ys, &layer("norm"))?;
            ys = graph.op("Relu", &[&ys]);
        }
        xs = graph.op("Add", &[&xs, &ys]);
        block += 1;
    }
    Ok(batch.last(graph, &xs))
}

/// The outputs at every position, `[B, L, d]`.
pub(super) fn sasrec(graph: &mut Graph<'_>, batch: &Batch) -> Result<Value> {
    let positions = graph.weight("encoder.position_emb.weight")?;
    let x = graph.op("Add", &[&batch.xs, &positions]); // Eq. 1
    let h = graph.layer_norm(&x, "encoder.attn_norm")?;
    let q = graph.linear(&h, "encoder.attn.q_proj")?;
    let k = graph.linear(&x, "encoder.attn.k_proj")?;
    let v = graph.linear(&x, "encoder.attn.v_proj")?;
    let mut later = Vec::with_capacity(batch.window * batch.window);
    for i in 0..batch.window {
        for j in 0..batch.window {
            later.push(if j > i { HIDDEN } else { 0.0 });
        }
    }
    let later = graph.floats(&later, &[1, batch.window, batch.window]);
    let weights = graph.attention(&q, &k, batch.dim, Some(&later)); // Eq. 2
    let mixed = graph.op("MatMul", &[&weights, &v]);
    let s = graph.op("Add", &[&mixed, &h]); // Eq. 3, 4
    let g = graph.layer_norm(&s, "encoder.ffn_norm")?;
    let f = graph.linear(&g, "encoder.ffn.fc1")?;
    let f = graph.op("Relu", &[&f]);
    let f = graph.linear(&f, "encoder.ffn.fc2")?;
    let f = graph.op("Add", &[&f, &g]); // Eq. 5
    graph.layer_norm(&f, "encoder.last_norm")
}

fn core(graph: &mut Graph<'_>, batch: &Batch) -> Result<Value> {
    let x_n = batch.last(graph, &batch.xs);
    let q = graph.linear(&x_n, "encoder.q_proj")?;
    let q = graph.unsqueeze(&q, 1);
    let k = graph.linear(&batch.xs, "encoder.k_proj")?;
    // c[n - j], with its constant part, and MASKED past the end: [B, 1, L].
    let last = graph.unsqueeze(&batch.last, 1);
    let lag = graph.op("Sub", &[&last, &batch.positions]);
    let zero = graph.int(0);
    let lag = graph.op("Max", &[&lag, &zero]);
    let mut slope = Vec::with_capacity(batch.window);
    for lag in 0..batch.window {
        slope.push((LAG_SLOPE * lag as f64) as f32);
    }
    let slope = graph.floats(&slope, &[batch.window]);
    let slope = graph.rows(&slope, &lag);
    let masked = graph.float(MASKED);
    let fixed = graph.op("Where", &[&batch.valid, &slope, &masked]);
    let learned = graph.weight("encoder.lag_bias")?;
    let learned = graph.rows(&learned, &lag);
    let c = graph.op("Add", &[&learned, &fixed]);
    let c = graph.unsqueeze(&c, 1);
    let weights = graph.attention(&q, &k, batch.dim, Some(&c));
    let state = graph.op("MatMul", &[&weights, &batch.xs]);
    Ok(graph.squeeze(&state, 1))
}
