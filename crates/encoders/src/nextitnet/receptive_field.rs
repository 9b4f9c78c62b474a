//! Positions that the last output of a stack of causal convolutions depends on.
//!
//! Going back from the last convolution, the positions needed lie a multiple of some stride before
//! the last one, as far back as the receptive field reaches. A convolution of dilation k needs
//! positions 0, k and 2 k before each of its outputs, so the stride of its input is the greatest
//! common divisor of the stride of its output and k, and its reach grows by 2 k.

use prl_kernels::ops::nextitnet_block::CausalConv;

use super::TAPS;

/// The convolutions of the blocks, each restricted to the outputs that later blocks need.
///
/// Positions are those of the convolution's own input, which has been thinned by the earlier ones.
pub(super) fn schedule(dilations: &[usize]) -> Vec<[CausalConv; 2]> {
    let mut blocks: Vec<[CausalConv; 2]> = Vec::new();
    for &dilation in dilations {
        blocks.push([dilation, 2 * dilation].map(CausalConv::dense));
    }
    // Stride and reach of the positions needed; at first the last position alone.
    let (mut stride, mut reach) = (0, 0);
    for convolution in blocks.as_flattened_mut().iter_mut().rev() {
        let dilation = convolution.dilation;
        let stride_in = gcd(stride, dilation);
        let (every, most) = match stride {
            0 => (1, 1),
            _ => (stride / stride_in, reach / stride + 1),
        };
        *convolution = CausalConv {
            dilation: dilation / stride_in,
            stride: every,
            max_rows: most,
        };
        (stride, reach) = (stride_in, reach + (TAPS - 1) * dilation);
    }
    blocks
}

/// Greatest common divisor; that of zero and b is b.
fn gcd(mut a: usize, mut b: usize) -> usize {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{TAPS, schedule};

    /// Walks back from the last position of windows as long as the paper's and longer. With the
    /// paper's dilations exactly the positions needed are computed; other dilations may leave gaps
    /// that an even stride fills.
    #[test]
    fn schedule_computes_the_positions_that_the_last_depends_on() {
        let paper = &[1, 2, 1, 2, 1, 2][..];
        for dilations in [paper, &[1, 4], &[3], &[2, 2, 6]] {
            for last in [9_usize, 19, 49, 99] {
                let blocks = schedule(dilations);
                let mut needed = BTreeSet::from([last]);
                for (&first, block) in dilations.iter().zip(&blocks).rev() {
                    for (dilation, convolution) in [first, 2 * first].iter().zip(block).rev() {
                        // Distance of neighbouring positions in the convolution's input.
                        let spacing = dilation / convolution.dilation;
                        let computed: BTreeSet<usize> = (0..=last)
                            .rev()
                            .step_by(spacing * convolution.stride)
                            .take(convolution.max_rows)
                            .collect();
                        assert!(needed.is_subset(&computed), "a window of {}", last + 1);
                        assert!(needed == computed || dilations != paper);
                        let mut inputs = BTreeSet::new();
                        for position in &needed {
                            for tap in 0..TAPS {
                                inputs.extend(position.checked_sub(tap * dilation));
                            }
                        }
                        needed = inputs;
                    }
                }
            }
        }
    }
}
