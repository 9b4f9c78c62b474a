//! The fused operations that make training and ranking fast on a CPU, and in `cuda` modules, with the feature `cuda`, on a GPU.
//!
//! Nearly all of a step is spent at the two ends of the model: the output layer over tens of thousands of items and the
//! item embedding. [`softmax_head`](ops::softmax_head) sweeps the items in tiles whose scores stay in cache, keeps their exponentials as far as a
//! bounded buffer goes, and hands both gradients on; [`rank`](ops::rank) counts and keeps the best as the tiles go by. Everything
//! rests on one product kernel ([`gemm`](simd::gemm)) and one element type trait ([`Real`]), so that the `f64` gradient checks run the
//! very code that trains in `f32`; what the head multiplies may be pairs in bfloat16 too ([`bf16`](simd::bf16)).
//!
//! Sums are split into a fixed number of chunks and joined in order, so results are bit-identical whatever the number of
//! threads; and each score is one chain of accumulations over the width, so it does not depend on its batch.

pub mod autograd;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod ops;
pub mod packed;
pub mod runtime;
pub mod simd;
pub mod storage;

use candle_core::{DType, Device, Tensor};

pub use simd::element::Real;

/// Whether the fused operations run on a tensor: on a CPU in `f32` and `f64`, and in a build with
/// `cuda` on a GPU in `f32`.
pub fn runs_on(tensor: &Tensor) -> bool {
    supports(tensor.device(), tensor.dtype())
}

/// Whether the fused operations run on tensors of a type on a device.
pub fn supports(device: &Device, dtype: DType) -> bool {
    match dtype {
        DType::F32 => device.is_cpu() || cfg!(feature = "cuda") && device.is_cuda(),
        DType::F64 => device.is_cpu(),
        _ => false,
    }
}

/// Number of chunks that the items are split into, whatever the number of threads.
pub(crate) const CHUNKS: usize = 16;
