//! Single-head scaled dot-product attention within windows (Vaswani et al., 2017), on packed
//! sequences.
//!
//! Windows are short, so the scores are recomputed in the backward pass instead of being saved.

#[cfg(feature = "cuda")]
mod cuda;

use candle_core::{Result, Tensor, bail};
use pulp::{Arch, Simd, WithSimd};

use crate::Real;
use crate::autograd::op::{FusedOp, Op};
use crate::ops::dropout::DropoutMask;
use crate::packed::SeqOffsets;
use crate::simd::slices::{add_scaled, cut, dot, each, softmax};

/// Windows per block; a block runs on one thread.
const BLOCK: usize = 16;

/// Packed layout of an attention: each query attends to the keys of its own window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttentionLayout {
    /// Query rows of each window.
    pub q_offsets: SeqOffsets,
    /// Key rows of each window; as many windows.
    pub k_offsets: SeqOffsets,
    /// Whether a query attends only to keys up to its own position.
    pub causal: bool,
}

impl AttentionLayout {
    /// Number of attention scores: queries x keys, summed over the windows.
    pub fn num_scores(&self) -> usize {
        self.sizes().map(|[q, k]| q * k).sum()
    }

    /// Queries and keys of each window.
    fn sizes(&self) -> impl Iterator<Item = [usize; 2]> {
        self.q_offsets
            .iter()
            .zip(self.k_offsets.iter())
            .map(|(q, k)| [q.len(), k.len()])
    }

    /// Queries, keys and weights of each block of windows.
    fn blocks(&self) -> Vec<[usize; 3]> {
        let sizes: Vec<_> = self.sizes().collect();
        let mut blocks = Vec::new();
        for block in sizes.chunks(BLOCK) {
            let [mut queries, mut keys, mut weights] = [0; 3];
            for [q, k] in block {
                queries += q;
                keys += k;
                weights += q * k;
            }
            blocks.push([queries, keys, weights]);
        }
        blocks
    }
}

/// `softmax(q k^T / sqrt(d)) v`, window by window: `[queries, d]`, from packed `q`, `k` and `v` of
/// width d. A dropout mask applies to the weights in the order windows, queries, keys. A window
/// with queries must have keys. Runs where [`runs_on`](crate::runs_on) is true.
pub fn attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    layout: &AttentionLayout,
    mask: Option<&DropoutMask>,
) -> Result<Tensor> {
    let (rows, width) = q.dims2()?;
    let keys = [layout.k_offsets.rows(), width];
    if rows != layout.q_offsets.rows() || k.dims() != keys || v.dims() != keys {
        bail!(
            "attention: q {:?}, k {:?} and v {:?} do not match the layout",
            q.shape(),
            k.shape(),
            v.shape()
        );
    }
    if layout.q_offsets.windows() != layout.k_offsets.windows()
        || layout.sizes().any(|[q, k]| q > 0 && k == 0)
    {
        bail!(
            "attention: every window with queries needs keys, and q and k the same number of windows"
        );
    }
    if mask.is_some_and(|mask| mask.elements() != layout.num_scores()) {
        bail!(
            "attention: the dropout mask must have {} elements, one per score",
            layout.num_scores()
        );
    }
    let op = Attention {
        layout: layout.clone(),
        mask: mask.cloned(),
        width,
    };
    Op::new(op, (rows, width)).of([q, k, v])
}

struct Attention {
    layout: AttentionLayout,
    mask: Option<DropoutMask>,
    width: usize,
}

impl Attention {
    /// Blocks of windows with their parts of the arguments.
    fn blocks<'a, T: Real>(
        &'a self,
        [q, k, v]: [&'a [T]; 3],
        factors: &'a Factors,
    ) -> Vec<Block<'a, T>> {
        let (mut queries, mut keys, mut weights) = (0, 0, 0);
        let mut blocks = Vec::new();
        for (i, [nq, nk, nw]) in self.layout.blocks().into_iter().enumerate() {
            blocks.push(Block {
                attention: self,
                first: i * BLOCK,
                q: &q[queries * self.width..][..nq * self.width],
                k: &k[keys * self.width..][..nk * self.width],
                v: &v[keys * self.width..][..nk * self.width],
                factors: factors.as_deref().map(|f| &f[weights..][..nw]),
            });
            queries += nq;
            keys += nk;
            weights += nw;
        }
        blocks
    }

    /// Approximate number of multiply-adds of the forward pass.
    fn work(&self) -> usize {
        2 * self.layout.num_scores() * self.width
    }

    /// Splits query rows or key rows at the block boundaries.
    fn cut<'a, T>(&self, data: &'a mut [T], which: usize) -> Vec<&'a mut [T]> {
        cut(
            data,
            self.layout
                .blocks()
                .into_iter()
                .map(|sizes| sizes[which] * self.width),
        )
    }
}

/// Dropout factors of the weights.
type Factors = Option<Vec<f32>>;

impl FusedOp<3> for Attention {
    const NAME: &'static str = "attention";
    type Saved<T: Real> = Factors;

    fn forward<T: Real>(&self, args: [&[T]; 3]) -> (Vec<T>, Factors) {
        let factors = self.mask.as_ref().map(DropoutMask::factors);
        let mut y = vec![T::zero(); args[0].len()];
        let arch = Arch::new();
        let blocks = self
            .blocks(args, &factors)
            .into_iter()
            .zip(self.cut(&mut y, 0));
        each(self.work(), blocks, |(block, y)| {
            arch.dispatch(Forward { block, y })
        });
        (y, factors)
    }

    fn backward<T: Real>(
        &self,
        args: [&[T]; 3],
        factors: &Factors,
        _: &[T],
        grad: &[T],
    ) -> [Vec<T>; 3] {
        let mut grads = args.map(|a| vec![T::zero(); a.len()]);
        let [dq, dk, dv] = &mut grads;
        let mut grad = grad.to_vec();
        let by_query = self.cut(dq, 0).into_iter().zip(self.cut(&mut grad, 0));
        let by_key = self.cut(dk, 1).into_iter().zip(self.cut(dv, 1));
        let mut blocks = Vec::new();
        for ((block, (dq, grad)), (dk, dv)) in self
            .blocks(args, factors)
            .into_iter()
            .zip(by_query)
            .zip(by_key)
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
        each(3 * self.work(), blocks, |block| arch.dispatch(block));
        grads
    }
}

/// Consecutive windows.
struct Block<'a, T> {
    attention: &'a Attention,
    /// The first window.
    first: usize,
    q: &'a [T],
    k: &'a [T],
    v: &'a [T],
    factors: Option<&'a [f32]>,
}

/// A query: its row in the block, its visible key rows, and the index of its first weight.
struct Query {
    row: usize,
    keys: std::ops::Range<usize>,
    weight: usize,
}

impl<T: Real> Block<'_, T> {
    fn queries(&self) -> Vec<Query> {
        let layout = &self.attention.layout;
        let (mut key, mut weight) = (0, 0);
        let mut all = Vec::new();
        for [queries, keys] in layout.sizes().skip(self.first).take(BLOCK) {
            for i in 0..queries {
                let visible = if layout.causal { keys.min(i + 1) } else { keys };
                all.push(Query {
                    row: all.len(),
                    keys: key..key + visible,
                    weight,
                });
                weight += keys;
            }
            key += keys;
        }
        all
    }

    fn row<'a>(&self, of: &'a [T], row: usize) -> &'a [T] {
        &of[row * self.attention.width..][..self.attention.width]
    }

    fn factor(&self, query: &Query, j: usize) -> T {
        match self.factors {
            Some(factors) => T::of(f64::from(factors[query.weight + j])),
            None => T::one(),
        }
    }

    /// Writes the softmax of a query's scores to `weights`.
    #[inline(always)]
    fn softmax<S: Simd>(&self, simd: S, query: &Query, weights: &mut Vec<T>) {
        let scale = T::of(self.attention.width as f64).sqrt().recip();
        let q = self.row(self.q, query.row);
        weights.clear();
        for key in query.keys.clone() {
            weights.push(dot(simd, q, self.row(self.k, key)) * scale);
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
            block.softmax(simd, &query, &mut weights);
            let y = &mut y[query.row * block.attention.width..][..block.attention.width];
            for (j, key) in query.keys.clone().enumerate() {
                add_scaled(
                    y,
                    weights[j] * block.factor(&query, j),
                    block.row(block.v, key),
                );
            }
        }
    }
}

/// The backward pass: `dq`, `dk` and `dv` begin at zero.
struct Backward<'a, T> {
    block: Block<'a, T>,
    dq: &'a mut [T],
    dk: &'a mut [T],
    dv: &'a mut [T],
    grad: &'a [T],
}

impl<T: Real> WithSimd for Backward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self {
            block,
            dq,
            dk,
            dv,
            grad,
        } = self;
        let width = block.attention.width;
        let scale = T::of(width as f64).sqrt().recip();
        let (mut weights, mut dweights) = (Vec::new(), Vec::new());
        for query in block.queries() {
            block.softmax(simd, &query, &mut weights);
            let grad = block.row(grad, query.row);
            dweights.clear();
            for (j, key) in query.keys.clone().enumerate() {
                let factor = block.factor(&query, j);
                add_scaled(&mut dv[key * width..][..width], weights[j] * factor, grad);
                dweights.push(dot(simd, grad, block.row(block.v, key)) * factor);
            }
            let along = dot(simd, &weights, &dweights);
            let dq = &mut dq[query.row * width..][..width];
            for (j, key) in query.keys.clone().enumerate() {
                let dscore = weights[j] * (dweights[j] - along) * scale;
                add_scaled(dq, dscore, block.row(block.k, key));
                add_scaled(
                    &mut dk[key * width..][..width],
                    dscore,
                    block.row(block.q, query.row),
                );
            }
        }
    }
}
