//! Fused, differentiable operations for candle that train and rank sequential recommenders, on a
//! CPU and (feature `cuda`) on an NVIDIA GPU.
//!
//! Nearly all of a training step is spent in the output layer over tens of thousands of items and
//! in the item embedding. [`softmax_head`](ops::softmax_head) computes the scores of the items tile
//! by tile, so that a tile stays in cache, stores their exponentials in a bounded buffer, and
//! returns both gradients; [`rank`](ops::rank) counts ranks and keeps the top-k in the same kind of
//! sweep. All CPU kernels share one matrix product ([`gemm`](simd::gemm)) and one element type
//! trait ([`Real`]), so that the `f64` gradient checks run the code that trains in `f32`; the head
//! can also multiply operands in bfloat16 ([`bf16`](simd::bf16)).
//!
//! Results are bit-identical for any number of threads: sums are split into a fixed number of
//! chunks that are added in order. A score is one chain of fused multiply-adds over the hidden
//! size, so it does not depend on the batch.
//!
//! ```
//! use candle_core::{Device, Tensor, Var};
//! use prl_kernels::autograd::record;
//! use prl_kernels::ops::attention::{AttentionLayout, attention};
//! use prl_kernels::packed::SeqOffsets;
//!
//! # fn main() -> candle_core::Result<()> {
//! // Two windows of lengths 2 and 1, packed without padding: three rows of width 2.
//! let offsets = SeqOffsets::new([2, 1]);
//! let x = Var::new(&[[1f32, 0.0], [0.0, 1.0], [2.0, 2.0]], &Device::Cpu)?;
//! let layout = AttentionLayout {
//!     q_offsets: offsets.clone(),
//!     k_offsets: offsets,
//!     causal: true,
//! };
//! let (y, tape) = record(|| attention(&x, &x, &x, &layout, None))?;
//! // The first row of a window attends to itself alone.
//! assert_eq!(y.get(2)?.to_vec1::<f32>()?, [2.0, 2.0]);
//! let mut grads = tape.backward(&y, y.ones_like()?)?;
//! assert_eq!(grads.remove(&x).map(|grad| grad.dims().to_vec()), Some(vec![3, 2]));
//! # Ok(())
//! # }
//! ```

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

/// Compiles the example of the README.
#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct Readme;
