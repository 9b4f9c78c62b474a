//! The fused operations of the encoders: gradients against finite differences, and bits that no
//! number of threads changes. Their values are held against PyTorch with the encoders, and against
//! candle's operations there and in `nn`.

use crate::common::{assert_differences, fill, flat, gradients};
use candle_core::{DType, Result, Tensor};
use prl_kernels::ops::attention::{AttentionLayout, attention};
use prl_kernels::ops::caser_conv::caser_conv;
use prl_kernels::ops::dropout::{DropoutMask, dropout};
use prl_kernels::ops::embedding_sum::{RowWeights, WeightedRow, WeightedTable, embedding_sum};
use prl_kernels::ops::gru::gru;
use prl_kernels::ops::index_select::{add, index_select, scatter_rows};
use prl_kernels::ops::layer_norm::layer_norm;
use prl_kernels::ops::linear::linear;
use prl_kernels::ops::nextitnet_block::{CausalConv, nextitnet_block};
use prl_kernels::packed::SeqOffsets;

fn spans(windows: usize, most: usize) -> SeqOffsets {
    SeqOffsets::new((0..windows).map(|b| 1 + 7 * b % most))
}

/// A block whose convolutions make every so many-th row, and so many at most.
fn thinned(
    x: &Tensor,
    kernel: &Tensor,
    spans: &SeqOffsets,
    dilation: usize,
    made: [(usize, usize); 2],
) -> Result<Tensor> {
    let [one, two] = made.map(|(every, most)| CausalConv {
        dilation,
        stride: every,
        max_rows: most,
    });
    Ok(nextitnet_block(
        x,
        kernel,
        spans,
        [
            one,
            CausalConv {
                dilation: 2 * dilation,
                ..two
            },
        ],
        1e-8,
    )?
    .0)
}

/// All rows.
const ALL: (usize, usize) = (1, usize::MAX);

fn block(x: &Tensor, kernel: &Tensor, spans: &SeqOffsets, dilation: usize) -> Result<Tensor> {
    thinned(x, kernel, spans, dilation, [ALL, ALL])
}

#[test]
fn nextitnet_block_gradients_match_finite_differences() {
    let cases = [
        [ALL, ALL],
        [(2, 9), ALL],
        [ALL, (3, 9)],
        [(2, 9), (1, 1)],
        [(1, 4), (2, 2)],
    ];
    for (dilation, made) in cases
        .map(|made| (1, made))
        .into_iter()
        .chain([(2, [ALL, ALL])])
    {
        // Past one block, a width that is no whole vector, windows shorter and longer than the taps
        // reach.
        let (spans, d) = (spans(19, 10), 5);
        let args = [
            fill(&[spans.rows(), d], 0.1, 1.0),
            fill(&[2 * (3 * d + 3), d], 0.2, 0.7),
        ];
        assert_differences(&|a| thinned(a[0], a[1], &spans, dilation, made), &args, 3);
    }
}

#[test]
fn nextitnet_block_with_strides_matches_all_rows() {
    let (spans, d) = (spans(20, 10), 19);
    let (x, kernel) = (
        fill(&[spans.rows(), d], 0.1, 1.0),
        fill(&[2 * (3 * d + 3), d], 0.2, 0.7),
    );
    let all = block(&x, &kernel, &spans, 1).unwrap();
    // Where the first convolution makes every other row, the second's taps lie half as many rows
    // apart.
    let convolutions = [(2, 5), (1, 1)].map(|(every, most)| CausalConv {
        dilation: 1,
        stride: every,
        max_rows: most,
    });
    let (last, windows) = nextitnet_block(&x, &kernel, &spans, convolutions, 1e-8).unwrap();
    assert_eq!(windows, SeqOffsets::new(vec![1; 20]));
    let picked = all
        .index_select(&Tensor::new(spans.last(), x.device()).unwrap(), 0)
        .unwrap();
    assert_eq!(flat(&last), flat(&picked));
}

#[test]
fn caser_conv_gradients_match_finite_differences() {
    let (batch, length, d) = (19, 6, 5);
    let lengths: Vec<u32> = (0..batch as u32).map(|b| 1 + b % 6).collect();
    let args = [
        fill(&[batch, length, d], 0.1, 1.0),
        fill(&[9 * d + 3, 4], 0.2, 0.7),
        fill(&[length + 1], 0.3, 0.7),
    ];
    assert_differences(
        &|a| caser_conv(a[0], a[1], a[2], &lengths, &[2, 3, 4]),
        &args,
        3,
    );
}

#[test]
fn fused_ops_windows_are_independent() {
    let (d, all) = (19, spans(20, 10));
    let (x, kernel) = (
        fill(&[all.rows(), d], 0.1, 1.0),
        fill(&[2 * (3 * d + 3), d], 0.2, 0.7),
    );
    let together = block(&x, &kernel, &all, 1).unwrap();
    for span in all.iter() {
        let part = |t: &Tensor| t.narrow(0, span.start, span.len()).unwrap();
        let alone = block(&part(&x), &kernel, &SeqOffsets::new([span.len()]), 1).unwrap();
        assert_eq!(flat(&alone), flat(&part(&together)));
    }
}

/// Every operation, in single precision and large enough to run in parallel: its result and
/// gradients.
fn everything() -> Vec<Vec<f64>> {
    let (windows, d, length) = (256, 64, 10);
    let keys = spans(windows, length);
    let pattern = AttentionLayout {
        q_offsets: keys.clone(),
        k_offsets: keys.clone(),
        causal: true,
    };
    let x = fill(&[keys.rows(), d], 0.1, 1.0);
    let square = fill(&[d, d], 0.2, 0.2);
    let row = fill(&[d], 0.3, 1.0);
    let places = keys.padded_indices(length);
    let lengths: Vec<u32> = keys.iter().map(|span| span.len() as u32).collect();
    let shares: Vec<Option<WeightedRow>> = keys
        .positions()
        .map(|of| {
            Some(WeightedRow {
                row: of as u32,
                weight: 0.5,
            })
        })
        .collect();
    let blended = |a: &[&Tensor]| {
        let these = WeightedTable {
            table: a[1],
            rows: RowWeights::Gathered(shares.clone()),
        };
        embedding_sum(
            vec![
                WeightedTable {
                    table: a[0],
                    rows: RowWeights::Identity,
                },
                these,
            ],
            None,
        )
    };
    let mask = DropoutMask::new(prl_seed::stream(1, "mask", 0), x.elem_count(), 0.4);
    let padded = scatter_rows(&x, &places, windows * length).unwrap();
    let image = padded.reshape((windows, length, d)).unwrap();
    type Case<'a> = (Vec<Tensor>, Box<dyn Fn(&[&Tensor]) -> Result<Tensor> + 'a>);
    let cases: Vec<Case<'_>> = vec![
        (
            vec![x.clone(), square, row.clone()],
            Box::new(|a| linear(a[0], a[1], a[2], true)),
        ),
        (
            vec![x.clone(), row.clone(), row],
            Box::new(|a| layer_norm(a[0], a[1], a[2], 1e-8)),
        ),
        (
            vec![x.clone(), x.clone(), x.clone()],
            Box::new(|a| attention(a[0], a[1], a[2], &pattern, None)),
        ),
        (
            vec![x.clone(), fill(&[2 * (3 * d + 3), d], 0.4, 0.2)],
            Box::new(|a| block(a[0], a[1], &keys, 2)),
        ),
        (
            vec![
                image.clone(),
                fill(&[9 * d + 3, 16], 0.5, 0.2),
                fill(&[length + 1], 0.6, 0.2),
            ],
            Box::new(|a| caser_conv(a[0], a[1], a[2], &lengths, &[2, 3, 4])),
        ),
        (
            vec![image, fill(&[2 * d + 1, 3 * d], 0.7, 0.2)],
            Box::new(|a| gru(a[0], a[1], &lengths)),
        ),
        (vec![padded], Box::new(|a| index_select(a[0], &places))),
        (
            vec![x.clone()],
            Box::new(|a| scatter_rows(a[0], &places, windows * length)),
        ),
        (
            vec![x.clone(), fill(&[length, d], 0.8, 1.0)],
            Box::new(blended),
        ),
        (vec![x.clone(), x.clone()], Box::new(|a| add(a[0], a[1]))),
        (vec![x], Box::new(|a| dropout(a[0], mask.clone()))),
    ];
    let run = |(args, f): Case<'_>| {
        let args: Vec<Tensor> = args
            .iter()
            .map(|a| a.to_dtype(DType::F32).unwrap())
            .collect();
        let result = flat(&f(&args.iter().collect::<Vec<_>>()).unwrap());
        [vec![result], gradients(&*f, &args)].concat()
    };
    cases.into_iter().flat_map(run).collect()
}

#[test]
fn fused_ops_any_thread_count_same_bits() {
    let with = |threads| {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap()
            .install(everything)
    };
    let one = with(1);
    assert!(one.iter().flatten().all(|x| x.is_finite()) && one.iter().flatten().any(|&x| x != 0.0));
    for threads in [2, 3, 5] {
        assert!(one == with(threads), "{threads} threads");
    }
}
