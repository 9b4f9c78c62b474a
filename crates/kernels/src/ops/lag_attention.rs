//! Causal attention with a bias by lag, at every row of packed sequences. CPU only.
//!
//! ```text
//! a_ij = softmax_j( q_i . k_j / sqrt(d) + c[i - j] )     i - W < j <= i, j in the sequence of i
//! y_i  = sum_j a_ij v_j
//! ```
//!
//! W is the number of biases: a row attends to the last W rows up to itself. The weights are
//! recomputed in the backward pass instead of being saved, as in [`attention`](super::attention).

use candle_core::{Result, Tensor, bail};
use pulp::{Arch, Simd, WithSimd};

use crate::Real;
use crate::autograd::op::{FusedOp, Op};
use crate::packed::SeqOffsets;
use crate::simd::slices::{add_scaled, cut, dot, each, softmax, sum_all};

/// Sequences per block; a block runs on one thread. Fixed, so that the bias's gradient is summed
/// alike for any number of threads.
const BLOCK: usize = 16;

/// y `[rows, d]` of packed `q`, `k` and `v`, `[rows, d]` each, and the biases c `[W]`.
pub fn lag_attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    bias: &Tensor,
    offsets: &SeqOffsets,
) -> Result<Tensor> {
    let (rows, width) = q.dims2()?;
    let is_fit = |x: &Tensor| x.dims() == [rows, width];
    if rows != offsets.rows() || !is_fit(k) || !is_fit(v) || bias.dims1()? == 0 {
        bail!(
            "lag_attention: q {:?}, k {:?}, v {:?} and bias {:?} do not match {} rows",
            q.shape(),
            k.shape(),
            v.shape(),
            bias.shape(),
            offsets.rows()
        );
    }
    let op = LagAttention {
        offsets: offsets.clone(),
        window: bias.dims1()?,
        width,
    };
    // A fused operation has at most three arguments.
    let kv = Tensor::cat(&[k, v], 0)?;
    Op::new(op, (rows, width)).of([q, &kv, bias])
}

struct LagAttention {
    offsets: SeqOffsets,
    window: usize,
    width: usize,
}

#[cfg(feature = "cuda")]
crate::autograd::cuda::cpu_only!(LagAttention, 3, "lag_attention");

impl LagAttention {
    /// Blocks of sequences with their rows of the arguments.
    fn blocks<'a, T: Real>(&'a self, [q, kv, bias]: [&'a [T]; 3]) -> Vec<Block<'a, T>> {
        let (k, v) = kv.split_at(q.len());
        let mut blocks = Vec::new();
        for starts in self.offsets.blocks(BLOCK) {
            let rows = starts[0] * self.width..starts[starts.len() - 1] * self.width;
            blocks.push(Block {
                starts,
                q: &q[rows.clone()],
                k: &k[rows.clone()],
                v: &v[rows],
                bias,
                width: self.width,
            });
        }
        blocks
    }

    /// Splits rows at the block boundaries.
    fn cut<'a, T>(&self, rows: &'a mut [T]) -> Vec<&'a mut [T]> {
        let blocks = self.offsets.blocks(BLOCK);
        cut(
            rows,
            blocks.map(|starts| (starts[starts.len() - 1] - starts[0]) * self.width),
        )
    }

    /// Approximate number of multiply-adds of the forward pass.
    fn work(&self) -> usize {
        let mut scores = 0;
        for rows in self.offsets.iter() {
            scores += rows.len() * rows.len().min(self.window);
        }
        2 * scores * self.width
    }
}

impl FusedOp<3> for LagAttention {
    const NAME: &'static str = "lag_attention";
    type Saved<T: Real> = ();

    fn forward<T: Real>(&self, args: [&[T]; 3]) -> (Vec<T>, ()) {
        let mut y = vec![T::zero(); args[0].len()];
        let arch = Arch::new();
        let blocks = self.blocks(args).into_iter().zip(self.cut(&mut y));
        each(self.work(), blocks, |(block, y)| {
            arch.dispatch(Forward { block, y })
        });
        (y, ())
    }

    fn backward<T: Real>(&self, args: [&[T]; 3], _: &(), _: &[T], grad: &[T]) -> [Vec<T>; 3] {
        let [mut dq, mut dkv] = [args[0].len(), args[1].len()].map(|n| vec![T::zero(); n]);
        let mut grad = grad.to_vec();
        let (dk, dv) = dkv.split_at_mut(args[0].len());
        let by_query = self.cut(&mut dq).into_iter().zip(self.cut(&mut grad));
        let by_key = self.cut(dk).into_iter().zip(self.cut(dv));
        let mut blocks = Vec::new();
        for ((block, (dq, grad)), (dk, dv)) in
            self.blocks(args).into_iter().zip(by_query).zip(by_key)
        {
            blocks.push(Backward {
                block,
                dq,
                dk,
                dv,
                grad,
            });
        }
        let arch = Arch::new();
        let biases = each(3 * self.work(), blocks, |block| arch.dispatch(block));
        let dbias = sum_all(self.window, biases);
        [dq, dkv, dbias]
    }
}

/// Consecutive sequences.
struct Block<'a, T> {
    /// First row of each sequence among all rows, and the end of the last.
    starts: &'a [usize],
    q: &'a [T],
    k: &'a [T],
    v: &'a [T],
    bias: &'a [T],
    width: usize,
}

/// A row of a block and the first row that it attends to.
#[derive(Clone, Copy)]
struct Query {
    row: usize,
    first: usize,
}

impl<'a, T: Real> Block<'a, T> {
    fn queries(&self) -> Vec<Query> {
        let mut queries = Vec::new();
        for sequence in self.starts.windows(2) {
            for row in sequence[0]..sequence[1] {
                let first = sequence[0].max((row + 1).saturating_sub(self.bias.len()));
                queries.push(Query {
                    row: row - self.starts[0],
                    first: first - self.starts[0],
                });
            }
        }
        queries
    }

    fn row(&self, of: &'a [T], row: usize) -> &'a [T] {
        &of[row * self.width..][..self.width]
    }

    /// Writes a_ij of a query i to `weights`.
    #[inline(always)]
    fn softmax<S: Simd>(&self, simd: S, query: Query, weights: &mut Vec<T>) {
        let scale = T::of(self.width as f64).sqrt().recip();
        let q = self.row(self.q, query.row);
        weights.clear();
        for key in query.first..=query.row {
            let lag = query.row - key;
            weights.push(dot(simd, q, self.row(self.k, key)) * scale + self.bias[lag]);
        }
        softmax(simd, weights);
    }
}

struct Forward<'a, T> {
    block: Block<'a, T>,
    y: &'a mut [T],
}

impl<T: Real> WithSimd for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { block, y } = self;
        let mut weights = Vec::new();
        for query in block.queries() {
            block.softmax(simd, query, &mut weights);
            let y = &mut y[query.row * block.width..][..block.width];
            for (&weight, key) in weights.iter().zip(query.first..) {
                add_scaled(y, weight, block.row(block.v, key));
            }
        }
    }
}

/// The backward pass: `dq`, `dk` and `dv` begin at zero. Returns the gradient of the biases.
struct Backward<'a, T> {
    block: Block<'a, T>,
    dq: &'a mut [T],
    dk: &'a mut [T],
    dv: &'a mut [T],
    grad: &'a [T],
}

impl<T: Real> WithSimd for Backward<'_, T> {
    type Output = Vec<T>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Vec<T> {
        let Self {
            block,
            dq,
            dk,
            dv,
            grad,
        } = self;
        let width = block.width;
        let scale = T::of(width as f64).sqrt().recip();
        let mut dbias = vec![T::zero(); block.bias.len()];
        let (mut weights, mut dweights) = (Vec::new(), Vec::new());
        for query in block.queries() {
            block.softmax(simd, query, &mut weights);
            let grad = &grad[query.row * width..][..width];
            dweights.clear();
            for (&weight, key) in weights.iter().zip(query.first..) {
                add_scaled(&mut dv[key * width..][..width], weight, grad);
                dweights.push(dot(simd, grad, block.row(block.v, key)));
            }
            let along = dot(simd, &weights, &dweights);
            let q = block.row(block.q, query.row);
            let dq = &mut dq[query.row * width..][..width];
            for (j, key) in (query.first..=query.row).enumerate() {
                let dscore = weights[j] * (dweights[j] - along);
                dbias[query.row - key] += dscore;
                add_scaled(dq, dscore * scale, block.row(block.k, key));
                add_scaled(&mut dk[key * width..][..width], dscore * scale, q);
            }
        }
        dbias
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{D, DType, Device, Tensor, Var};
    use prl_testkit::{assert_close, flat, values};

    use super::lag_attention;
    use crate::packed::SeqOffsets;

    /// The formula on one sequence, in candle's operations.
    fn plain(q: &Tensor, k: &Tensor, v: &Tensor, bias: &Tensor) -> Tensor {
        let (n, d) = q.dims2().unwrap();
        let window = bias.dim(0).unwrap();
        let (mut lags, mut mask) = (Vec::new(), Vec::new());
        for i in 0..n {
            for j in 0..n {
                let is_visible = j <= i && i - j < window;
                lags.push(if is_visible { (i - j) as u32 } else { 0 });
                mask.push(if is_visible { 0.0 } else { -1e300 });
            }
        }
        let lags = Tensor::from_vec(lags, n * n, &Device::Cpu).unwrap();
        let mask = Tensor::from_vec(mask, (n, n), &Device::Cpu).unwrap();
        let bias = bias
            .index_select(&lags, 0)
            .unwrap()
            .reshape((n, n))
            .unwrap();
        let keys = k.t().unwrap().contiguous().unwrap();
        let scores = (q.matmul(&keys).unwrap() / (d as f64).sqrt()).unwrap();
        let scores = ((scores + bias).unwrap() + mask).unwrap();
        let weights = softmax(&scores);
        weights.matmul(v).unwrap()
    }

    fn softmax(scores: &Tensor) -> Tensor {
        let top = scores.max_keepdim(D::Minus1).unwrap().detach();
        let exp = scores.broadcast_sub(&top).unwrap().exp().unwrap();
        let total = exp.sum_keepdim(D::Minus1).unwrap();
        exp.broadcast_div(&total).unwrap()
    }

    #[test]
    fn lag_attention_matches_the_formula_with_its_gradients() {
        for (window, d) in [(3, 5), (40, 19)] {
            // More than a block, and sequences longer than the window.
            let offsets = SeqOffsets::new((0..37).map(|i| 1 + i % 9));
            let shape = [offsets.rows(), d];
            let var = |name: &str, shape: &[usize]| Var::from_tensor(&values(shape, name)).unwrap();
            let [q, k, v] = ["q", "k", "v"].map(|name| var(name, &shape));
            let bias = var("bias", &[window]);
            let weights = values(&shape, "weights");
            let run = |y: Tensor| {
                let loss = (&y * &weights).unwrap().sum_all().unwrap();
                let grads = loss.backward().unwrap();
                let mut all = flat(&y);
                for var in [&q, &k, &v, &bias] {
                    all.extend(flat(grads.get(var).unwrap()));
                }
                all
            };
            let fused = run(lag_attention(&q, &k, &v, &bias, &offsets).unwrap());
            let mut parts = Vec::new();
            for rows in offsets.iter() {
                let part = |x: &Var| x.narrow(0, rows.start, rows.len()).unwrap();
                parts.push(plain(&part(&q), &part(&k), &part(&v), &bias));
            }
            assert_close(&fused, &run(Tensor::cat(&parts, 0).unwrap()), 1e-11);
        }
    }

    #[test]
    fn shapes_that_do_not_match_are_an_error() {
        let zeros = |shape: (usize, usize)| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
        let (x, bias) = (zeros((3, 2)), zeros((1, 4)).squeeze(0).unwrap());
        let error = lag_attention(&x, &x, &zeros((2, 2)), &bias, &SeqOffsets::new([3]));
        let message = error.unwrap_err().to_string();
        assert!(message.contains("do not match 3 rows"), "{message}");
    }
}
