//! Operands of products: single elements, or bfloat16 pairs packed in a word.

use pulp::{Scalar, Simd};

use crate::Real;
use crate::simd::element::Element;
use crate::simd::product::Product;
use crate::simd::slices::{load, store};
use crate::simd::tiles::Bf16Level;

/// A register of operands.
type Vector<F, S> = <<F as Element>::Sum as Real>::Vector<S>;

/// An element, or a packed pair that is multiplied component by component with a pair of the other
/// operand.
///
/// A matrix becomes one of factors by joining what lies half of it apart
/// ([`pack_rows`](Self::pack_rows), [`pack_columns`](Self::pack_columns)).
pub trait GemmOperand: Element {
    /// Elements in an operand: 1 or 2.
    const PACK: usize;

    /// Instructions of the softmax head for these operands.
    fn level() -> Bf16Level {
        Bf16Level::Vector
    }

    /// Runs a product with the best available instructions.
    fn run<S: Simd>(simd: S, product: Product<'_, Self>);
    /// Packs two registers of elements; uses `first` alone if `PACK` is 1.
    fn pack<S: Simd>(simd: S, first: Vector<Self, S>, second: Vector<Self, S>) -> Vector<Self, S>;
    /// Unpacks to two registers of elements.
    fn unpack<S: Simd>(simd: S, factors: Vector<Self, S>) -> [Vector<Self, S>; 2];
    /// From two rows of pairs, the pairs of their first and of their second components.
    fn interleave<S: Simd>(simd: S, a: Vector<Self, S>, b: Vector<Self, S>)
    -> [Vector<Self, S>; 2];

    /// An element rounded as products use it.
    #[inline(always)]
    fn rounded(x: Self::Sum) -> Self::Sum {
        let lane = <Self::Sum as Real>::splat(Scalar, x);
        let [first, _] = Self::unpack(Scalar, Self::pack(Scalar, lane, lane));
        bytemuck::pod_read_unaligned(bytemuck::bytes_of(&first))
    }

    /// A matrix `[rows, width]` packed to `[rows, width / PACK]` (rounded up): the first half of
    /// each row with its second half.
    #[inline(always)]
    fn pack_rows<'a, S: Simd>(
        simd: S,
        matrix: &'a [Self::Sum],
        width: usize,
        scratch: &'a mut Vec<Self>,
    ) -> &'a [Self] {
        if Self::PACK == 1 {
            return bytemuck::cast_slice(matrix);
        }
        let half = width.div_ceil(2);
        scratch.resize(matrix.len() / width * half, Self::zeroed());
        for (row, out) in matrix
            .chunks_exact(width)
            .zip(scratch.chunks_exact_mut(half))
        {
            join_all(simd, &row[..half], &row[half..], out);
        }
        scratch
    }

    /// A matrix `[height, width]` packed to `[height / PACK, width]` (rounded up): the first half
    /// of the rows with the second half.
    #[inline(always)]
    fn pack_columns<'a, S: Simd>(
        simd: S,
        matrix: &'a [Self::Sum],
        width: usize,
        scratch: &'a mut Vec<Self>,
    ) -> &'a [Self] {
        if Self::PACK == 1 {
            return bytemuck::cast_slice(matrix);
        }
        let half = (matrix.len() / width).div_ceil(2) * width;
        scratch.resize(half, Self::zeroed());
        join_all(simd, &matrix[..half], &matrix[half..], scratch);
        scratch
    }

    /// Operands `[height, width]` that [`pack_rows`](Self::pack_rows) packed, in the layout in
    /// which [`pack_columns`](Self::pack_columns) would pack the same matrix.
    ///
    /// # Panics
    /// If a row is not a whole number of registers.
    #[inline(always)]
    fn repack<'a, S: Simd>(
        simd: S,
        factors: &'a [Self],
        width: usize,
        scratch: &'a mut Vec<Self>,
    ) -> &'a [Self] {
        if Self::PACK == 1 {
            return factors;
        }
        let half = (factors.len() / width).div_ceil(2);
        scratch.resize(half * 2 * width, Self::zeroed());
        let (first, second) = factors.split_at(half * width);
        let zeros = if first.len() > second.len() {
            vec![Self::zeroed(); width]
        } else {
            Vec::new()
        };
        let second = second.chunks_exact(width).chain([&zeros[..]]);
        for ((a, b), out) in first
            .chunks_exact(width)
            .zip(second)
            .zip(scratch.chunks_exact_mut(2 * width))
        {
            let (firsts, seconds) = out.split_at_mut(width);
            for at in (0..width).step_by(Self::Sum::lanes::<S>()) {
                let a = load::<Self::Sum, S>(bytemuck::cast_slice(&a[at..]));
                let b = load::<Self::Sum, S>(bytemuck::cast_slice(&b[at..]));
                let [x, y] = Self::interleave(simd, a, b);
                store::<Self::Sum, S>(bytemuck::cast_slice_mut(&mut firsts[at..]), x);
                store::<Self::Sum, S>(bytemuck::cast_slice_mut(&mut seconds[at..]), y);
            }
        }
        scratch
    }
}

/// Packs element by element; zero past the end of `second`.
#[inline(always)]
fn join_all<F: GemmOperand, S: Simd>(simd: S, first: &[F::Sum], second: &[F::Sum], out: &mut [F]) {
    let lanes = F::Sum::lanes::<S>();
    let whole = second.len() / lanes * lanes;
    for at in (0..whole).step_by(lanes) {
        let pairs = F::pack(
            simd,
            load::<F::Sum, S>(&first[at..]),
            load::<F::Sum, S>(&second[at..]),
        );
        store::<F::Sum, S>(bytemuck::cast_slice_mut(&mut out[at..]), pairs);
    }
    let rest = second[whole..]
        .iter()
        .copied()
        .chain(std::iter::repeat(num_traits::zero()));
    for ((&first, second), out) in first[whole..].iter().zip(rest).zip(&mut out[whole..]) {
        *out = one(first, second);
    }
}

/// Packs one operand.
fn one<F: GemmOperand>(first: F::Sum, second: F::Sum) -> F {
    let lane = |x: F::Sum| <F::Sum as Real>::splat(Scalar, x);
    let joined = F::pack(Scalar, lane(first), lane(second));
    bytemuck::pod_read_unaligned(bytemuck::bytes_of(&joined))
}

impl<T: Real> GemmOperand for T {
    const PACK: usize = 1;

    #[inline(always)]
    fn run<S: Simd>(simd: S, product: Product<'_, T>) {
        simd.vectorize(product);
    }

    #[inline(always)]
    fn pack<S: Simd>(_: S, first: T::Vector<S>, _: T::Vector<S>) -> T::Vector<S> {
        first
    }

    #[inline(always)]
    fn unpack<S: Simd>(simd: S, factors: T::Vector<S>) -> [T::Vector<S>; 2] {
        [factors, T::splat(simd, T::zero())]
    }

    #[inline(always)]
    fn interleave<S: Simd>(_: S, a: T::Vector<S>, b: T::Vector<S>) -> [T::Vector<S>; 2] {
        [a, b]
    }
}
