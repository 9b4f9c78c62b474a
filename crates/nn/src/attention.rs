//! Attention of one head inside windows: each query row mixes the value rows of its window (Vaswani et al., 2017).

use candle_core::{Device, Result, Tensor};
use prl_kernels::attention::Pattern;
use prl_kernels::spans::Spans;

use crate::layers::softmax;

/// `softmax(q k^T / sqrt(d)) v`, window by window: `[queries, d]` from queries, keys and values of as many rows as the
/// pattern says, all of width d. `factors`, one for each of the pattern's weights, multiply the weights: their dropout.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, pattern: &Pattern, factors: Option<&[f32]>) -> Result<Tensor> {
    composed(q, k, v, pattern, factors)
}

/// What is added to the score of a key that is not to be seen.
const UNSEEN: f64 = -1e30;

fn composed(q: &Tensor, k: &Tensor, v: &Tensor, pattern: &Pattern, factors: Option<&[f32]>) -> Result<Tensor> {
    let Pattern { queries, keys, causal } = pattern;
    let (windows, width) = (queries.windows(), q.dim(1)?);
    let longest = |spans: &Spans| spans.iter().map(|s| s.len()).max().unwrap_or(0);
    let (most_q, most_k) = (longest(queries), longest(keys));
    let pad = |x: &Tensor, spans: &Spans, most| {
        super::put(x, &spans.places(most), windows * most)?.reshape((windows, most, width))
    };
    let (q, k, v) = (pad(q, queries, most_q)?, pad(k, keys, most_k)?, pad(v, keys, most_k)?);
    let mut mask = vec![UNSEEN; windows * most_q * most_k];
    let mut dropout = vec![1.0; mask.len()];
    let mut next = factors.into_iter().flatten();
    for (b, (queries, keys)) in queries.iter().zip(keys.iter()).enumerate() {
        for i in 0..queries.len() {
            for j in 0..keys.len() {
                let at = (b * most_q + i) * most_k + j;
                mask[at] = if *causal && j > i { UNSEEN } else { 0.0 };
                dropout[at] = next.next().map_or(1.0, |&f| f64::from(f));
            }
        }
    }
    let matrix = |values: Vec<f64>| {
        Tensor::from_vec(values, (windows, most_q, most_k), &Device::Cpu)?.to_dtype(q.dtype())?.to_device(q.device())
    };
    let scores = (q.matmul(&k.transpose(1, 2)?.contiguous()?)? / (width as f64).sqrt())?;
    let weights = (softmax(&(scores + matrix(mask)?)?)? * matrix(dropout)?)?;
    super::take(&weights.matmul(&v)?.reshape(((), width))?, &queries.places(most_q))
}
