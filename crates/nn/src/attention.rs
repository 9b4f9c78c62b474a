//! Attention of one head inside windows: fused, or candle's operations where no kernel runs.

use candle_core::{Device, Result, Tensor};
use prl_kernels::ops::attention;
pub use prl_kernels::ops::attention::AttentionLayout;
use prl_kernels::ops::dropout::DropoutMask;
pub use prl_kernels::packed::SeqOffsets;
use prl_kernels::runs_on;

use crate::layers::softmax;
use crate::rows::composed::{put, take};

/// `softmax(q k^T / sqrt(d)) v`, window by window: `[queries, d]` from queries, keys and values of as many rows as the
/// pattern says, all of width d. A mask of as many elements as the pattern has weights
/// drops some of them.
pub fn attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    pattern: &AttentionLayout,
    mask: Option<&DropoutMask>,
) -> Result<Tensor> {
    if runs_on(q) {
        attention::attention(q, k, v, pattern, mask)
    } else {
        composed(q, k, v, pattern, mask)
    }
}

/// What is added to the score of a key that is not to be seen.
const UNSEEN: f64 = -1e30;

fn composed(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    pattern: &AttentionLayout,
    mask: Option<&DropoutMask>,
) -> Result<Tensor> {
    let AttentionLayout {
        q_offsets: queries,
        k_offsets: keys,
        causal,
    } = pattern;
    let (windows, width) = (queries.windows(), q.dim(1)?);
    let longest = |spans: &SeqOffsets| spans.iter().map(|s| s.len()).max().unwrap_or(0);
    let (most_q, most_k) = (longest(queries), longest(keys));
    let pad = |x: &Tensor, spans: &SeqOffsets, most| {
        put(x, &spans.padded_indices(most), windows * most)?.reshape((windows, most, width))
    };
    let (q, k, v) = (
        pad(q, queries, most_q)?,
        pad(k, keys, most_k)?,
        pad(v, keys, most_k)?,
    );
    let mut unseen = vec![UNSEEN; windows * most_q * most_k];
    let mut dropout = vec![1.0; unseen.len()];
    let mut next = mask.map(DropoutMask::factors).into_iter().flatten();
    for (b, (queries, keys)) in queries.iter().zip(keys.iter()).enumerate() {
        for i in 0..queries.len() {
            for j in 0..keys.len() {
                let at = (b * most_q + i) * most_k + j;
                unseen[at] = if *causal && j > i { UNSEEN } else { 0.0 };
                dropout[at] = next.next().map_or(1.0, f64::from);
            }
        }
    }
    let matrix = |values: Vec<f64>| {
        Tensor::from_vec(values, (windows, most_q, most_k), &Device::Cpu)?
            .to_dtype(q.dtype())?
            .to_device(q.device())
    };
    let scores = (q.matmul(&k.transpose(1, 2)?.contiguous()?)? / (width as f64).sqrt())?;
    let weights = (softmax(&(scores + matrix(unseen)?)?)? * matrix(dropout)?)?;
    take(
        &weights.matmul(&v)?.reshape(((), width))?,
        &queries.padded_indices(most_q),
    )
}

#[cfg(test)]
mod tests {
    use super::{AttentionLayout, DropoutMask, SeqOffsets, attention, composed};
    use crate::check::{differences, one, values};
    use proptest::prelude::*;

    /// More windows than a block of the fused operation has.
    fn pattern() -> AttentionLayout {
        let keys = SeqOffsets::new((0..20).map(|b| 1 + b % 5));
        AttentionLayout {
            q_offsets: keys.clone(),
            k_offsets: keys,
            causal: true,
        }
    }

    fn mask(pattern: &AttentionLayout) -> DropoutMask {
        DropoutMask::new(prl_seed::stream(1, "mask", 0), pattern.num_scores(), 0.4)
    }

    proptest! {
        #[test]
        fn the_fused_and_the_composed_attention_are_one(
            sizes in prop::collection::vec((1..4usize, 1..11usize), 1..40), width in 1..40usize, causal: bool
        ) {
            let queries = SeqOffsets::new(sizes.iter().map(|&(q, _)| q));
            let pattern = AttentionLayout { q_offsets: queries, k_offsets: SeqOffsets::new(sizes.iter().map(|&(_, k)| k)), causal };
            let [queries, keys] = [&pattern.q_offsets, &pattern.k_offsets].map(|spans| [spans.rows(), width]);
            let args = [&values(&queries, "q"), &values(&keys, "k"), &values(&keys, "v")];
            let mask = mask(&pattern);
            for mask in [None, Some(&mask)] {
                one(
                    &args,
                    |a| attention(a[0], a[1], a[2], &pattern, mask),
                    |a| composed(a[0], a[1], a[2], &pattern, mask),
                );
            }
        }
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let pattern = pattern();
        let x = ["q", "k", "v"].map(|name| values(&[pattern.k_offsets.rows(), 3], name));
        let mask = mask(&pattern);
        differences(&[&x[0], &x[1], &x[2]], |a| {
            attention(a[0], a[1], a[2], &pattern, Some(&mask))
        });
    }

    #[test]
    fn rows_that_do_not_fit_are_an_error() {
        let pattern = pattern();
        let (x, short) = (
            values(&[pattern.k_offsets.rows(), 3], "x"),
            values(&[4, 3], "x"),
        );
        assert!(attention(&x, &x, &short, &pattern, None).is_err());
        assert!(
            attention(
                &x,
                &x,
                &x,
                &pattern,
                Some(&DropoutMask::new(prl_seed::stream(1, "mask", 0), 1, 0.4))
            )
            .is_err()
        );
        let bare = AttentionLayout {
            k_offsets: SeqOffsets::new(pattern.k_offsets.iter().map(|_| 0)),
            ..pattern
        };
        let none = values(&[0, 3], "x");
        assert!(attention(&x, &none, &none, &bare, None).is_err());
    }
}
