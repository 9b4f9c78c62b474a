//! The attention kernel on ragged windows against the reference on padded ones.

use candle_core::{Device, Result, Tensor};
use prl_kernels::ops::attention::{AttentionLayout, attention};
use prl_kernels::ops::dropout::DropoutMask;
use prl_kernels::packed::SeqOffsets;
use prl_nn::attention_weights;
use prl_testkit::{assert_gradients, assert_same, values};
use proptest::prelude::*;

/// More windows than a block of the kernel has.
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

/// Rows `[rows, d]` of all windows as `[B, longest, d]`, zero past a window's end.
fn padded(x: &Tensor, spans: &SeqOffsets, longest: usize) -> Result<Tensor> {
    let n = spans.windows() * longest;
    let rows = Tensor::new(spans.padded_indices(longest), x.device())?;
    let zeros = Tensor::zeros((n, x.dim(1)?), x.dtype(), x.device())?;
    zeros
        .index_add(&rows, x, 0)?
        .reshape((spans.windows(), longest, ()))
}

fn longest(spans: &SeqOffsets) -> usize {
    spans.iter().map(|span| span.len()).max().unwrap_or(0)
}

fn reference(
    a: &[&Tensor],
    pattern: &AttentionLayout,
    mask: Option<&DropoutMask>,
) -> Result<Tensor> {
    let AttentionLayout {
        q_offsets: queries,
        k_offsets: keys,
        causal,
    } = pattern;
    let (windows, q_len, k_len) = (queries.windows(), longest(queries), longest(keys));
    let mut visible = vec![0_u8; windows * q_len * k_len];
    let mut factors = vec![1.0; visible.len()];
    let mut drawn = mask
        .map(DropoutMask::factors)
        .unwrap_or_default()
        .into_iter();
    for (b, (queries, keys)) in queries.iter().zip(keys.iter()).enumerate() {
        for i in 0..queries.len() {
            for j in 0..keys.len() {
                let at = (b * q_len + i) * k_len + j;
                visible[at] = u8::from(!causal || j <= i);
                factors[at] = drawn.next().map_or(1.0, f64::from);
            }
        }
    }
    let shape = (windows, q_len, k_len);
    let visible = Tensor::from_vec(visible, shape, &Device::Cpu)?;
    let factors = Tensor::from_vec(factors, shape, &Device::Cpu)?;
    let (q, k) = (padded(a[0], queries, q_len)?, padded(a[1], keys, k_len)?);
    let weights = (attention_weights(&q, &k, Some(&visible))? * factors)?;
    let y = weights.matmul(&padded(a[2], keys, k_len)?)?;
    let rows = Tensor::new(queries.padded_indices(q_len), &Device::Cpu)?;
    y.reshape((windows * q_len, ()))?.index_select(&rows, 0)
}

proptest! {
    #[test]
    fn fused_attention_matches_the_reference(
        sizes in prop::collection::vec((1..4usize, 1..11usize), 1..40),
        width in 1..40usize,
        causal: bool,
    ) {
        let queries = SeqOffsets::new(sizes.iter().map(|&(q, _)| q));
        let keys = SeqOffsets::new(sizes.iter().map(|&(_, k)| k));
        let pattern = AttentionLayout { q_offsets: queries, k_offsets: keys, causal };
        let [queries, keys] = [&pattern.q_offsets, &pattern.k_offsets].map(|s| [s.rows(), width]);
        let args = [&values(&queries, "q"), &values(&keys, "k"), &values(&keys, "v")];
        let mask = mask(&pattern);
        for mask in [None, Some(&mask)] {
            assert_same(
                &args,
                |a| attention(a[0], a[1], a[2], &pattern, mask),
                |a| reference(a, &pattern, mask),
            );
        }
    }
}

#[test]
fn attention_gradients_agree_with_finite_differences() {
    let pattern = pattern();
    let x = ["q", "k", "v"].map(|name| values(&[pattern.k_offsets.rows(), 3], name));
    let mask = mask(&pattern);
    assert_gradients(&[&x[0], &x[1], &x[2]], |a| {
        attention(a[0], a[1], a[2], &pattern, Some(&mask))
    });
}

#[test]
fn attention_of_rows_that_do_not_fit_is_an_error() {
    let pattern = pattern();
    let (x, short) = (
        values(&[pattern.k_offsets.rows(), 3], "x"),
        values(&[4, 3], "x"),
    );
    assert!(attention(&x, &x, &short, &pattern, None).is_err());
    let short = DropoutMask::new(prl_seed::stream(1, "mask", 0), 1, 0.4);
    assert!(attention(&x, &x, &x, &pattern, Some(&short)).is_err());
    let without_keys = AttentionLayout {
        k_offsets: SeqOffsets::new(pattern.k_offsets.iter().map(|_| 0)),
        ..pattern
    };
    let none = values(&[0, 3], "x");
    assert!(attention(&x, &none, &none, &without_keys, None).is_err());
}
