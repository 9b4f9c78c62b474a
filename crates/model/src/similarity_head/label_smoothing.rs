//! The label smoothing of a [similarity head](super), by scaled item vectors `v_i` and biases
//! `c_i`:
//!
//! ```text
//! L += epsilon sum_b w_b (h_b . (v_y - m) + c_y - n),   m = mean_i v_i,  n = mean_i c_i,  y = y_b
//! ```

use prl_kernels::Real;

/// The term with the means of the item vectors and biases.
pub(super) struct LabelSmoothing<'a, T> {
    epsilon: T,
    vectors: &'a [T],
    bias: &'a [T],
    mean_vector: Vec<T>,
    mean_bias: T,
}

impl<'a, T: Real> LabelSmoothing<'a, T> {
    /// Computes the means of `vectors` `[items, width]` and `bias` `[items]`.
    pub(super) fn new(epsilon: f64, vectors: &'a [T], bias: &'a [T], width: usize) -> Self {
        // Summed in f64: a catalogue has more items than an f32 sum has digits.
        let mut sum = vec![0.0; width];
        for row in vectors.chunks_exact(width) {
            for (sum, x) in sum.iter_mut().zip(row) {
                *sum += x.double();
            }
        }
        let items = bias.len() as f64;
        let mut mean_vector = Vec::with_capacity(width);
        for sum in sum {
            mean_vector.push(T::of(sum / items));
        }
        let mut bias_sum = 0.0;
        for c in bias {
            bias_sum += c.double();
        }
        Self {
            epsilon: T::of(epsilon),
            vectors,
            bias,
            mean_vector,
            mean_bias: T::of(bias_sum / items),
        }
    }

    /// Adds the gradients to those of the hidden vectors, the item vectors and the biases; returns
    /// the term.
    pub(super) fn add(
        &self,
        hidden: &[T],
        targets: &[u32],
        weights: &[T],
        (hidden_grad, vector_grad, bias_grad): (&mut [T], &mut [T], &mut [T]),
    ) -> f64 {
        let (width, items) = (self.mean_vector.len(), self.bias.len());
        let mut term = 0.0;
        let (mut vector_sum, mut weight_sum) = (vec![T::zero(); width], T::zero());
        let rows = hidden
            .chunks_exact(width)
            .zip(hidden_grad.chunks_exact_mut(width));
        for (((h, h_grad), &target), &w) in rows.zip(targets).zip(weights) {
            let (target, w) = (target as usize, self.epsilon * w);
            let own = &self.vectors[target * width..][..width];
            let own_grad = &mut vector_grad[target * width..][..width];
            let mut score = self.bias[target] - self.mean_bias;
            for d in 0..width {
                let from_mean = own[d] - self.mean_vector[d];
                score += h[d] * from_mean;
                h_grad[d] += w * from_mean;
                own_grad[d] += w * h[d];
                vector_sum[d] += w * h[d];
            }
            bias_grad[target] += w;
            weight_sum += w;
            term += w.double() * score.double();
        }
        let share = T::of(1.0 / items as f64);
        for grad in vector_grad[..items * width].chunks_exact_mut(width) {
            for (grad, &sum) in grad.iter_mut().zip(&vector_sum) {
                *grad -= share * sum;
            }
        }
        for grad in bias_grad {
            *grad -= share * weight_sum;
        }
        term
    }
}
