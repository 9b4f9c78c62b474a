//! Vector code that the CPU kernels share: element types, the matrix product and loops over slices.

pub mod bf16;
pub(crate) mod element;
pub mod gemm;
pub mod int8;
pub mod operand;
pub mod product;
pub(crate) mod slices;
pub(crate) mod tiles;

/// Whether this processor multiplies and adds vectors in one instruction. Without it, each
/// multiply-add of a kernel is a function call with the same result.
pub fn has_fused_multiply_add() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    #[cfg(not(target_arch = "x86_64"))]
    true
}
