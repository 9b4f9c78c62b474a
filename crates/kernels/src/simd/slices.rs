//! Vectorised loops over slices, and parallel execution of blocks.
//!
//! Loops without a reduction are plain: the compiler vectorises them.

use pulp::Simd;
use rayon::prelude::*;

use crate::Real;

/// Multiply-adds below which waking another thread costs more than the work.
const SMALL: usize = 1 << 20;

/// Maps the blocks in order; in parallel if `work`, the approximate number of multiply-adds, is
/// large enough.
pub(crate) fn each<A: Send, R: Send>(
    work: usize,
    blocks: impl IntoIterator<Item = A>,
    f: impl Fn(A) -> R + Send + Sync,
) -> Vec<R> {
    if work < SMALL {
        return blocks.into_iter().map(f).collect();
    }
    let blocks: Vec<A> = blocks.into_iter().collect();
    blocks.into_par_iter().map(f).collect()
}

/// The sum of equally long vectors. They are added in order, so the bits do not depend on which
/// thread made which.
pub(crate) fn sum_all<T: Real>(n: usize, parts: impl IntoIterator<Item = Vec<T>>) -> Vec<T> {
    let mut parts = parts.into_iter();
    let mut sum = parts.next().unwrap_or_else(|| vec![T::zero(); n]);
    for part in parts {
        add(&mut sum, &part);
    }
    sum
}

/// Transposes `[rows, columns]` to `[columns, rows]`.
pub(crate) fn transpose<T: Real>(a: &[T], columns: usize) -> Vec<T> {
    let rows = a.len() / columns;
    let mut out = Vec::with_capacity(a.len());
    for j in 0..columns {
        out.extend((0..rows).map(|i| a[i * columns + j]));
    }
    out
}

/// Splits a slice into consecutive pieces of the given lengths.
pub(crate) fn cut<T>(
    mut data: &mut [T],
    lengths: impl IntoIterator<Item = usize>,
) -> Vec<&mut [T]> {
    let mut pieces = Vec::new();
    for n in lengths {
        let (piece, rest) = std::mem::take(&mut data).split_at_mut(n);
        pieces.push(piece);
        data = rest;
    }
    pieces
}

/// `y += a`
#[inline(always)]
pub(crate) fn add<T: Real>(y: &mut [T], a: &[T]) {
    y.iter_mut().zip(a).for_each(|(y, &a)| *y += a);
}

/// `y += w a`
#[inline(always)]
pub(crate) fn add_scaled<T: Real>(y: &mut [T], w: T, a: &[T]) {
    y.iter_mut().zip(a).for_each(|(y, &a)| *y += w * a);
}

/// Replaces what is not positive by zero.
#[inline(always)]
pub(crate) fn relu<T: Real>(y: &mut [T]) {
    for y in y {
        *y = if *y > T::zero() { *y } else { T::zero() };
    }
}

/// Backward pass of [`relu`]: the gradient where its output `y` is positive, else zero.
#[inline(always)]
pub(crate) fn relu_grad<T: Real>(grad: &[T], y: &[T]) -> Vec<T> {
    grad.iter()
        .zip(y)
        .map(|(&g, &y)| if y > T::zero() { g } else { T::zero() })
        .collect()
}

/// Maps every element in place. Mark `f` as `#[inline(always)]`: otherwise the closure is compiled
/// outside of the function with the target features, and every vector operation becomes a call.
#[inline(always)]
pub(crate) fn map<T: Real, S: Simd>(
    simd: S,
    x: &mut [T],
    f: impl Fn(S, T::Vector<S>) -> T::Vector<S>,
) {
    let mut chunks = x.chunks_exact_mut(T::lanes::<S>());
    for x in &mut chunks {
        store::<T, S>(x, f(simd, load::<T, S>(x)));
    }
    let rest = chunks.into_remainder();
    if !rest.is_empty() {
        let y = f(simd, T::load_part(simd, rest));
        T::store_part(simd, rest, y);
    }
}

/// The sum of the products of two equally long slices.
#[inline(always)]
pub(crate) fn dot<T: Real, S: Simd>(simd: S, a: &[T], b: &[T]) -> T {
    let lanes = T::lanes::<S>();
    let mut sum = T::splat(simd, T::zero());
    let (mut a, mut b) = (a.chunks_exact(lanes), b.chunks_exact(lanes));
    for (a, b) in (&mut a).zip(&mut b) {
        sum = T::vmul_add(simd, load::<T, S>(a), load::<T, S>(b), sum);
    }
    if !a.remainder().is_empty() {
        sum = T::vmul_add(
            simd,
            T::load_part(simd, a.remainder()),
            T::load_part(simd, b.remainder()),
            sum,
        );
    }
    T::vsum(simd, sum)
}

/// The sum of the elements.
#[inline(always)]
pub(crate) fn sum<T: Real, S: Simd>(simd: S, a: &[T]) -> T {
    let mut total = T::splat(simd, T::zero());
    let mut chunks = a.chunks_exact(T::lanes::<S>());
    for a in &mut chunks {
        total = T::vadd(simd, total, load::<T, S>(a));
    }
    if !chunks.remainder().is_empty() {
        total = T::vadd(simd, total, T::load_part(simd, chunks.remainder()));
    }
    T::vsum(simd, total)
}

/// Turns scores into their softmax.
#[inline(always)]
pub(crate) fn softmax<T: Real, S: Simd>(simd: S, scores: &mut [T]) {
    let mut top = T::neg_infinity();
    for &score in scores.iter() {
        top = num_traits::Float::max(top, score);
    }
    let top = T::splat(simd, top);
    map(
        simd,
        scores,
        #[inline(always)]
        |simd, x| T::vexp(simd, T::vsub(simd, x, top)),
    );
    let total = sum(simd, scores).recip();
    for x in scores {
        *x *= total;
    }
}

/// The sum of the elements of `a`, and that of the products with those of `b`.
#[inline(always)]
pub(crate) fn sum_and_dot<T: Real, S: Simd>(simd: S, a: &[T], b: &[T]) -> (T, T) {
    let lanes = T::lanes::<S>();
    let (mut total, mut products) = (T::splat(simd, T::zero()), T::splat(simd, T::zero()));
    let (mut a, mut b) = (a.chunks_exact(lanes), b.chunks_exact(lanes));
    for (a, b) in (&mut a).zip(&mut b) {
        let a = load::<T, S>(a);
        total = T::vadd(simd, total, a);
        products = T::vmul_add(simd, a, load::<T, S>(b), products);
    }
    if !a.remainder().is_empty() {
        let a = T::load_part(simd, a.remainder());
        total = T::vadd(simd, total, a);
        products = T::vmul_add(simd, a, T::load_part(simd, b.remainder()), products);
    }
    (T::vsum(simd, total), T::vsum(simd, products))
}

/// The vector at the front of a slice.
#[inline(always)]
pub(crate) fn load<T: Real, S: Simd>(from: &[T]) -> T::Vector<S> {
    bytemuck::pod_read_unaligned(bytemuck::cast_slice(&from[..T::lanes::<S>()]))
}

/// Writes a vector to the front of a slice.
#[inline(always)]
pub(crate) fn store<T: Real, S: Simd>(to: &mut [T], v: T::Vector<S>) {
    bytemuck::cast_slice_mut(&mut to[..T::lanes::<S>()]).copy_from_slice(bytemuck::bytes_of(&v));
}

/// Writes a vector to the front of a slice with a non-temporal store where available, for data that
/// is read much later. Call [`settle`] before another thread reads it.
#[inline(always)]
pub(crate) fn stream<T: Real, S: Simd>(to: &mut [T], v: T::Vector<S>) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_mm256_stream_ps, _mm512_stream_ps};
        let place = to[..T::lanes::<S>()].as_mut_ptr().cast::<f32>();
        if place.addr().is_multiple_of(size_of_val(&v)) {
            match size_of_val(&v) {
                64 => {
                    let register = bytemuck::pod_read_unaligned(bytemuck::bytes_of(&v));
                    // SAFETY: the slice has room for a vector and begins at a multiple of its size;
                    // a register of 64 bytes is one of AVX-512, which `S` then vouches for.
                    return unsafe { _mm512_stream_ps(place, register) };
                }
                32 => {
                    let register = bytemuck::pod_read_unaligned(bytemuck::bytes_of(&v));
                    // SAFETY: as above; a register of 32 bytes is one of AVX.
                    return unsafe { _mm256_stream_ps(place, register) };
                }
                _ => {}
            }
        }
    }
    store::<T, S>(to, v);
}

/// Fetches part `part` of `parts` equal parts of a slice into the second-level cache, for data that
/// is read soon; into the first, to be written, if `WRITES`.
#[inline(always)]
pub(crate) fn prefetch<T, const WRITES: bool>(data: &[T], part: usize, parts: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_ET0, _MM_HINT_T1, _mm_prefetch};
        let bytes = size_of_val(data);
        let lines = bytes.div_ceil(64).div_ceil(parts);
        let start = data.as_ptr().cast::<i8>();
        for at in (part * lines * 64..bytes).step_by(64).take(lines) {
            let line = start.wrapping_add(at);
            // SAFETY: a prefetch reads nothing that the program sees, and faults nowhere.
            unsafe {
                if WRITES {
                    _mm_prefetch::<_MM_HINT_ET0>(line);
                } else {
                    _mm_prefetch::<_MM_HINT_T1>(line);
                }
            }
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (data, part, parts);
}

/// Orders previous non-temporal stores before later stores.
pub(crate) fn settle() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 processor has SSE.
    unsafe {
        std::arch::x86_64::_mm_sfence()
    };
}
