//! Pairs of values rounded to bfloat16, the upper half of an `f32`: 8 significant bits, full range.
//!
//! The matrix engine of Intel processors (AMX) multiplies tiles of pairs ([`Bf16Level`]). AVX-512
//! BF16 multiplies two pairs and adds both products to an `f32` in the time of one multiply-add on
//! AMD processors, of two on Intel's (subnormals count as zero). Other processors unpack the pairs
//! and are slower than with plain `f32`.

use bytemuck::{Pod, Zeroable};
use pulp::Simd;

use crate::Real;
use crate::simd::element::Element;
use crate::simd::operand::GemmOperand;
use crate::simd::product::Product;
pub use crate::simd::tiles::{Amx, Bf16Level, measured_peak};

/// Two bfloat16 values, the first in the lower half.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct Bf16Pair(u32);

impl GemmOperand for Bf16Pair {
    const PACK: usize = 2;

    fn level() -> Bf16Level {
        Bf16Level::native()
    }

    #[inline(always)]
    fn run<S: Simd>(simd: S, product: Product<'_, Self>) {
        #[cfg(target_arch = "x86_64")]
        if size_of::<S::f32s>() == 64
            && let Some(simd) = native::there()
        {
            // SAFETY: the processor has the instruction.
            return unsafe { native::run(simd, product.cast()) };
        }
        simd.vectorize(product);
    }

    #[inline(always)]
    fn pack<S: Simd>(simd: S, first: S::f32s, second: S::f32s) -> S::f32s {
        let (first, second) = (rounded(simd, first), rounded(simd, second));
        simd.transmute_f32s_u32s(simd.or_u32s(upper_down(simd, first), upper(simd, second)))
    }

    #[inline(always)]
    fn unpack<S: Simd>(simd: S, factors: S::f32s) -> [S::f32s; 2] {
        let bits = simd.transmute_u32s_f32s(factors);
        [
            simd.transmute_f32s_u32s(lower_up(simd, bits)),
            simd.transmute_f32s_u32s(upper(simd, bits)),
        ]
    }

    #[inline(always)]
    fn interleave<S: Simd>(simd: S, a: S::f32s, b: S::f32s) -> [S::f32s; 2] {
        let (a, b) = (simd.transmute_u32s_f32s(a), simd.transmute_u32s_f32s(b));
        let lower = simd.and_u32s(a, simd.splat_u32s(0xffff));
        let firsts = simd.or_u32s(lower, lower_up(simd, b));
        let seconds = simd.or_u32s(upper_down(simd, a), upper(simd, b));
        [
            simd.transmute_f32s_u32s(firsts),
            simd.transmute_f32s_u32s(seconds),
        ]
    }
}

impl Element for Bf16Pair {
    type Sum = f32;

    #[inline(always)]
    fn accumulate<S: Simd>(simd: S, a: S::f32s, b: S::f32s, sum: S::f32s) -> S::f32s {
        let ([a0, a1], [b0, b1]) = (Self::unpack(simd, a), Self::unpack(simd, b));
        f32::vmul_add(simd, a1, b1, f32::vmul_add(simd, a0, b0, sum))
    }
}

/// Whether this processor has AVX-512 BF16.
pub fn is_native() -> bool {
    #[cfg(target_arch = "x86_64")]
    return native::there().is_some();
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Whether the softmax head is faster with these operands than with `f32` here: with AMX, and with
/// AVX-512 BF16 on AMD processors. On Intel's the instruction has half the rate of a multiply-add,
/// so that rounding, packing and regrouping are not paid for.
pub fn is_faster() -> bool {
    Bf16Level::native() == Bf16Level::Amx || is_native() && !is_intel()
}

/// Whether Intel made this processor.
fn is_intel() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        // The name of the vendor lies in EBX, EDX, ECX.
        let leaf = std::arch::x86_64::__cpuid(0);
        let name = [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes);
        name.concat() == b"GenuineIntel"
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Products of pairs with AVX-512 BF16.
#[cfg(target_arch = "x86_64")]
mod native {
    use std::arch::x86_64::_mm512_dpbf16_ps;

    use bytemuck::{Pod, Zeroable};
    use pulp::x86::V4;
    use pulp::{Simd, WithSimd};

    use super::Bf16Pair;
    use crate::simd::element::Element;
    use crate::simd::product::Product;

    #[derive(Clone, Copy, Pod, Zeroable)]
    #[repr(transparent)]
    pub(super) struct NativePair(Bf16Pair);

    impl Element for NativePair {
        type Sum = f32;

        #[inline(always)]
        fn accumulate<S: Simd>(_: S, a: S::f32s, b: S::f32s, sum: S::f32s) -> S::f32s {
            // SAFETY: only `run` makes products of these: `S` is V4, whose registers have 512 bits
            // as all types here, and the instruction is there.
            unsafe {
                let (a, b) = (std::mem::transmute_copy(&a), std::mem::transmute_copy(&b));
                std::mem::transmute_copy(&_mm512_dpbf16_ps(std::mem::transmute_copy(&sum), a, b))
            }
        }
    }

    /// AVX-512, if the processor has AVX-512 BF16 too.
    pub(super) fn there() -> Option<V4> {
        V4::try_new().filter(|_| std::arch::is_x86_feature_detected!("avx512bf16"))
    }

    /// Runs the product.
    ///
    /// # Safety
    /// The processor must have AVX-512 BF16.
    #[target_feature(enable = "avx512f,avx512cd,avx512dq,avx512bw,avx512vl,avx512bf16")]
    pub(super) unsafe fn run(simd: V4, product: Product<'_, NativePair>) {
        product.with_simd(simd);
    }
}

/// Rounds the upper halves to nearest, ties to even. NaNs produced by arithmetic stay NaN (others
/// could become zero).
#[inline(always)]
fn rounded<S: Simd>(simd: S, x: S::f32s) -> S::u32s {
    let bits = simd.transmute_u32s_f32s(x);
    let is_odd = simd.and_u32s(upper_down(simd, bits), simd.splat_u32s(1));
    simd.add_u32s(bits, simd.add_u32s(is_odd, simd.splat_u32s(0x7fff)))
}

/// The upper halves in the place of the lower ones.
#[inline(always)]
fn upper_down<S: Simd>(simd: S, bits: S::u32s) -> S::u32s {
    simd.wrapping_dyn_shr_u32s(bits, simd.splat_u32s(16))
}

/// The lower halves in the place of the upper ones.
#[inline(always)]
fn lower_up<S: Simd>(simd: S, bits: S::u32s) -> S::u32s {
    simd.wrapping_dyn_shl_u32s(bits, simd.splat_u32s(16))
}

/// The upper halves where they are.
#[inline(always)]
fn upper<S: Simd>(simd: S, bits: S::u32s) -> S::u32s {
    simd.and_u32s(bits, simd.splat_u32s(0xffff_0000))
}

#[cfg(test)]
mod tests {
    use super::Bf16Pair;
    use crate::simd::gemm::{Strided, multiply_add};
    use crate::simd::operand::GemmOperand;
    use half::bf16;
    use pulp::{Arch, Scalar, Simd, WithSimd};

    fn wave(n: usize, phase: f32) -> Vec<f32> {
        (0..n)
            .map(|i| (0.7 * i as f32 + phase).sin() * 10f32.powi(i as i32 % 9 - 4))
            .collect()
    }

    /// `[rows, width]` by `[width, columns]`.
    struct Product<'a>(&'a [f32], &'a [f32], usize);
    impl WithSimd for Product<'_> {
        type Output = Vec<f32>;
        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> Vec<f32> {
            let Self(a, b, width) = self;
            let (rows, columns, half) = (a.len() / width, b.len() / width, width.div_ceil(2));
            let (mut by_row, mut by_column, mut c) =
                (Vec::new(), Vec::new(), vec![0.0; rows * columns]);
            let a = Strided {
                data: Bf16Pair::pack_rows(simd, a, width, &mut by_row),
                row: half,
                column: 1,
            };
            let b = Bf16Pair::pack_columns(simd, b, columns, &mut by_column);
            multiply_add(simd, [rows, columns, half], a, b, columns, &mut c, columns);
            c
        }
    }

    #[test]
    fn bf16_products_match_rounded_operands_on_every_instruction_set() {
        for (rows, width, columns) in [(1, 1, 1), (7, 5, 33), (13, 64, 64), (6, 31, 70)] {
            let (a, b) = (wave(rows * width, 0.1), wave(width * columns, 0.2));
            let rounded =
                |x: &[f32]| -> Vec<f64> { x.iter().map(|&x| bf16::from_f32(x).to_f64()).collect() };
            let (x, y) = (rounded(&a), rounded(&b));
            let fast = Arch::new().dispatch(Product(&a, &b, width));
            let plain = Product(&a, &b, width).with_simd(Scalar);
            // With the registers of AVX2 there is no such instruction.
            #[cfg(target_arch = "x86_64")]
            let split =
                pulp::x86::V3::try_new().map(|simd| Simd::vectorize(simd, Product(&a, &b, width)));
            #[cfg(not(target_arch = "x86_64"))]
            let split = None;
            let split = split.unwrap_or_else(|| plain.clone());
            for (at, ((fast, plain), split)) in fast.into_iter().zip(plain).zip(split).enumerate() {
                let terms =
                    (0..width).map(|k| x[at / columns * width + k] * y[k * columns + at % columns]);
                let (sum, size) = terms.fold((0.0, 0.0), |(sum, size): (f64, f64), x| {
                    (sum + x, size + x.abs())
                });
                for found in [fast, plain, split] {
                    assert!(
                        (f64::from(found) - sum).abs() <= 1e-6 * size,
                        "element {at}: {found} is not {sum}"
                    );
                }
            }
        }
    }

    /// Joined by rows, then regrouped.
    struct Regrouped<'a>(&'a [f32], usize);
    impl WithSimd for Regrouped<'_> {
        type Output = Vec<Bf16Pair>;
        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> Vec<Bf16Pair> {
            let (mut joined, mut regrouped) = (Vec::new(), Vec::new());
            let joined = Bf16Pair::pack_rows(simd, self.0, self.1, &mut joined);
            Bf16Pair::repack(simd, joined, self.1 / 2, &mut regrouped).to_vec()
        }
    }

    #[test]
    fn repack_of_rows_equals_pack_columns() {
        for (rows, width) in [(1, 32), (96, 64), (33, 64)] {
            let matrix = wave(rows * width, 0.3);
            let [mut joined, mut regrouped, mut columns] = [const { Vec::new() }; 3];
            let joined = Bf16Pair::pack_rows(Scalar, &matrix, width, &mut joined);
            let columns = Bf16Pair::pack_columns(Scalar, &matrix, width, &mut columns);
            assert_eq!(
                Bf16Pair::repack(Scalar, joined, width / 2, &mut regrouped),
                columns
            );
            assert_eq!(Arch::new().dispatch(Regrouped(&matrix, width)), columns);
        }
    }
}
