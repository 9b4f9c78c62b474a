//! The fused operations that make training and ranking fast on a CPU, and in `gpu` modules, with the feature `cuda`, on a GPU.
//!
//! Nearly all of a step is spent at the two ends of the model: the output layer over tens of thousands of items and the
//! item embedding. [`head`] sweeps the items in tiles whose scores stay in cache, keeps their exponentials as far as a
//! bounded buffer goes, and hands both gradients on; [`rank`] counts and keeps the best as the tiles go by. Everything
//! rests on one product kernel ([`tile`]) and one element type trait ([`Real`]), so that the `f64` gradient checks run the
//! very code that trains in `f32`; what the head multiplies may be pairs in bfloat16 too ([`bf16`]).
//!
//! Sums are split into a fixed number of chunks and joined in order, so results are bit-identical whatever the number of
//! threads; and each score is one chain of accumulations over the width, so it does not depend on its batch.

pub mod adam;
pub mod attention;
mod best;
pub mod bf16;
pub mod blend;
pub mod catalogue;
pub mod factor;
pub mod filters;
mod given;
#[cfg(feature = "cuda")]
pub mod gpu;
pub mod gru;
pub mod head;
pub mod linear;
pub mod mask;
pub mod norm;
mod op;
pub mod pick;
pub mod process;
pub mod rank;
mod real;
pub mod residual;
pub mod rows;
mod slices;
pub mod spans;
pub mod storage;
pub mod tape;
pub mod tile;

pub use real::Real;

/// Whether the fused operations run on a tensor: on a CPU in `f32` and `f64`, and in a build with `cuda` on a GPU in `f32`.
pub fn runs_on(tensor: &candle_core::Tensor) -> bool {
    let device = tensor.device();
    device.is_cpu()
        || cfg!(feature = "cuda") && device.is_cuda() && tensor.dtype() == candle_core::DType::F32
}

/// Items are split into this many chunks, whatever the number of threads.
pub(crate) const CHUNKS: usize = 16;
