//! Element types of the kernels and their SIMD vectors.

use bytemuck::Pod;
use num_traits::Float;
use pulp::Simd;

/// `f32` (training) or `f64` (gradient checks).
pub trait Real:
    Float + Pod + Send + Sync + std::fmt::Debug + std::iter::Sum + candle_core::WithDType
{
    /// A register on the instruction set `S`.
    type Vector<S: Simd>: Pod + Send + Sync;

    /// Elements in a register.
    fn lanes<S: Simd>() -> usize {
        size_of::<Self::Vector<S>>() / size_of::<Self>()
    }

    /// Rounds a double to this type.
    fn of(x: f64) -> Self;
    /// This value as a double.
    fn double(self) -> f64;
    /// `x` in every lane.
    fn splat<S: Simd>(simd: S, x: Self) -> Self::Vector<S>;
    /// `a + b`.
    fn vadd<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// `a - b`.
    fn vsub<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// `a * b`.
    fn vmul<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// `a / b`.
    fn vdiv<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// `a * b + c`, rounded once.
    fn vmul_add<S: Simd>(
        simd: S,
        a: Self::Vector<S>,
        b: Self::Vector<S>,
        c: Self::Vector<S>,
    ) -> Self::Vector<S>;
    /// The larger of each lane.
    fn vmax<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// The square root.
    fn vsqrt<S: Simd>(simd: S, a: Self::Vector<S>) -> Self::Vector<S>;
    /// `e^a`, finite for every finite `a`: arguments are clamped to the type's range.
    fn vexp<S: Simd>(simd: S, a: Self::Vector<S>) -> Self::Vector<S>;
    /// The sum of the lanes.
    fn vsum<S: Simd>(simd: S, a: Self::Vector<S>) -> Self;
    /// `yes` where `a >= b`, `no` elsewhere and where either is NaN.
    fn select_ge<S: Simd>(
        simd: S,
        a: Self::Vector<S>,
        b: Self::Vector<S>,
        yes: Self::Vector<S>,
        no: Self::Vector<S>,
    ) -> Self::Vector<S>;
    /// Whether any lane has `a > b`.
    fn any_gt<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> bool;
    /// The first elements of a vector, from a slice shorter than one; zero beyond.
    fn load_part<S: Simd>(simd: S, from: &[Self]) -> Self::Vector<S>;
    /// The first elements of a vector, into a slice shorter than one.
    fn store_part<S: Simd>(simd: S, to: &mut [Self], v: Self::Vector<S>);
}

/// Operand type of a product, of the size of its accumulator.
pub trait Element: Pod + Send + Sync {
    /// Accumulator type.
    type Sum: Real;

    /// The products of `a` and `b`, added to `sum`.
    fn accumulate<S: Simd>(
        simd: S,
        a: <Self::Sum as Real>::Vector<S>,
        b: <Self::Sum as Real>::Vector<S>,
        sum: <Self::Sum as Real>::Vector<S>,
    ) -> <Self::Sum as Real>::Vector<S>;
}

impl<T: Real> Element for T {
    type Sum = T;

    #[inline(always)]
    fn accumulate<S: Simd>(
        simd: S,
        a: T::Vector<S>,
        b: T::Vector<S>,
        sum: T::Vector<S>,
    ) -> T::Vector<S> {
        T::vmul_add(simd, a, b, sum)
    }
}

macro_rules! real {
    ($t:ident, $v:ident, $splat:ident, $add:ident, $sub:ident, $mul:ident, $div:ident, $fma:ident, $max:ident, $sqrt:ident,
     $sum:ident, $ge:ident, $gt:ident, $select:ident, $mask:ident, $lanes:ident, $load:ident, $store:ident, $exp:path) => {
        impl Real for $t {
            type Vector<S: Simd> = S::$v;

            #[inline(always)]
            fn of(x: f64) -> Self {
                x as $t
            }
            #[inline(always)]
            fn double(self) -> f64 {
                self.into()
            }
            #[inline(always)]
            fn splat<S: Simd>(simd: S, x: Self) -> S::$v {
                simd.$splat(x)
            }
            #[inline(always)]
            fn vadd<S: Simd>(simd: S, a: S::$v, b: S::$v) -> S::$v {
                simd.$add(a, b)
            }
            #[inline(always)]
            fn vsub<S: Simd>(simd: S, a: S::$v, b: S::$v) -> S::$v {
                simd.$sub(a, b)
            }
            #[inline(always)]
            fn vmul<S: Simd>(simd: S, a: S::$v, b: S::$v) -> S::$v {
                simd.$mul(a, b)
            }
            #[inline(always)]
            fn vdiv<S: Simd>(simd: S, a: S::$v, b: S::$v) -> S::$v {
                simd.$div(a, b)
            }
            #[inline(always)]
            fn vmul_add<S: Simd>(simd: S, a: S::$v, b: S::$v, c: S::$v) -> S::$v {
                simd.$fma(a, b, c)
            }
            #[inline(always)]
            fn vmax<S: Simd>(simd: S, a: S::$v, b: S::$v) -> S::$v {
                simd.$max(a, b)
            }
            #[inline(always)]
            fn vsqrt<S: Simd>(simd: S, a: S::$v) -> S::$v {
                simd.$sqrt(a)
            }
            #[inline(always)]
            fn vexp<S: Simd>(simd: S, a: S::$v) -> S::$v {
                $exp(simd, a)
            }
            #[inline(always)]
            fn vsum<S: Simd>(simd: S, a: S::$v) -> Self {
                simd.$sum(a)
            }
            #[inline(always)]
            fn select_ge<S: Simd>(simd: S, a: S::$v, b: S::$v, yes: S::$v, no: S::$v) -> S::$v {
                simd.$select(simd.$ge(a, b), yes, no)
            }
            #[inline(always)]
            fn any_gt<S: Simd>(simd: S, a: S::$v, b: S::$v) -> bool {
                simd.$mask(simd.$gt(a, b)) < S::$lanes
            }
            #[inline(always)]
            fn load_part<S: Simd>(simd: S, from: &[Self]) -> S::$v {
                simd.$load(from)
            }
            #[inline(always)]
            fn store_part<S: Simd>(simd: S, to: &mut [Self], v: S::$v) {
                simd.$store(to, v)
            }
        }
    };
}

real!(
    f32,
    f32s,
    splat_f32s,
    add_f32s,
    sub_f32s,
    mul_f32s,
    div_f32s,
    mul_add_e_f32s,
    max_f32s,
    sqrt_f32s,
    reduce_sum_f32s,
    greater_than_or_equal_f32s,
    greater_than_f32s,
    select_f32s,
    first_true_m32s,
    F32_LANES,
    partial_load_f32s,
    partial_store_f32s,
    exp_f32
);
real!(
    f64,
    f64s,
    splat_f64s,
    add_f64s,
    sub_f64s,
    mul_f64s,
    div_f64s,
    mul_add_e_f64s,
    max_f64s,
    sqrt_f64s,
    reduce_sum_f64s,
    greater_than_or_equal_f64s,
    greater_than_f64s,
    select_f64s,
    first_true_m64s,
    F64_LANES,
    partial_load_f64s,
    partial_store_f64s,
    exp_f64
);

/// Cephes' `expf`: x = n ln 2 + r, a polynomial for e^r, and n added to its exponent. Relative
/// error under 2e-7.
#[inline(always)]
fn exp_f32<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let c = |v: f32| simd.splat_f32s(v);
    let x = simd.min_f32s(simd.max_f32s(x, c(-87.3)), c(88.3));
    // Adding 1.5 * 2^23 rounds to the nearest integer and leaves it in the low bits.
    let magic = c(12_582_912.0);
    let shifted = simd.mul_add_e_f32s(x, c(std::f32::consts::LOG2_E), magic);
    let n = simd.sub_f32s(shifted, magic);
    let r = simd.mul_add_e_f32s(n, c(-0.693_359_4), x);
    let r = simd.mul_add_e_f32s(n, c(2.121_944_4e-4), r);
    let mut p = c(1.987_569_1e-4);
    for k in [
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_5e-1,
        0.5,
    ] {
        p = simd.mul_add_e_f32s(p, r, c(k));
    }
    p = simd.mul_add_e_f32s(simd.mul_f32s(p, r), r, simd.add_f32s(r, c(1.0)));
    let n = simd.wrapping_dyn_shl_u32s(simd.transmute_u32s_f32s(shifted), simd.splat_u32s(23));
    simd.transmute_f32s_u32s(simd.add_u32s(simd.transmute_u32s_f32s(p), n))
}

/// Lane by lane, since `f64` is used in tests only.
#[inline(always)]
fn exp_f64<S: Simd>(_: S, mut x: S::f64s) -> S::f64s {
    for lane in bytemuck::cast_slice_mut::<S::f64s, f64>(std::slice::from_mut(&mut x)) {
        *lane = lane.clamp(-700.0, 700.0).exp();
    }
    x
}

#[cfg(test)]
mod tests {
    use super::Real;
    use pulp::{Arch, Simd, WithSimd};

    struct Exp<'a>(&'a mut [f32]);
    impl WithSimd for Exp<'_> {
        type Output = ();
        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let (body, _) = S::as_mut_simd_f32s(self.0);
            for v in body {
                *v = <f32 as Real>::vexp(simd, *v);
            }
        }
    }

    #[test]
    fn vexp_is_accurate_in_range_and_finite_beyond() {
        let x: Vec<f32> = (0..16_384)
            .map(|i| -87.0 + 175.0 * i as f32 / 16_384.0)
            .collect();
        let mut y = x.clone();
        Arch::new().dispatch(Exp(&mut y));
        for (x, y) in x.iter().zip(&y) {
            let exact = f64::from(*x).exp();
            assert!(
                ((f64::from(*y) - exact) / exact).abs() < 2e-7,
                "exp({x}) = {y}, not {exact}"
            );
        }
        let mut far = [-1e30_f32, 1e30, f32::NEG_INFINITY, f32::INFINITY].repeat(16);
        Arch::new().dispatch(Exp(&mut far));
        assert!(far.iter().all(|y| y.is_finite() && *y >= 0.0));
    }
}
