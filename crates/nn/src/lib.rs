//! candle-nn for seeded, differentiable training.
//!
//! Layers are made from a [`candle_nn::VarBuilder`], so their parameters have candle's names and
//! layouts and can be loaded from a safetensors file. In training the builder is that of a
//! [`SeededVarMap`]: every initial value is a function of the seed and the parameter's name.
//! Modules of candle-nn can be built from it as well.
//!
//! candle's own layers are not enough for training on a CPU: dropout and initial values come from
//! an unseeded generator, and layer norm, `softmax_last_dim` and `conv1d` silently have no gradient
//! or a wrong one (`tests/it/candle_nn.rs` shows each). The layers here have the right gradients in
//! two implementations: `forward` in candle's elementary operations, and [`fused`] on the kernels
//! of `prl-kernels`. A model chooses between them once, by its [`Backend`].
//!
//! ```
//! use candle_core::{DType, Device, Module, Tensor};
//! use prl_nn::{Linear, SeededVarMap};
//!
//! # fn main() -> candle_core::Result<()> {
//! let vars = SeededVarMap::new(42);
//! let vb = vars.var_builder(DType::F32, &Device::Cpu);
//! let ours = Linear::new(3, 2, vb.pp("ours"))?;
//! let theirs = candle_nn::linear(2, 1, vb.pp("theirs"))?;
//!
//! let x = Tensor::ones((4, 3), DType::F32, &Device::Cpu)?;
//! let y = theirs.forward(&ours.forward(&x)?)?;
//! let grads = y.sum_all()?.backward()?;
//! for param in vars.params() {
//!     assert!(grads.get(param.var()).is_some(), "{}", param.format1_name());
//! }
//! # Ok(())
//! # }
//! ```

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExample;

mod attention;
mod backend;
mod format1;
mod forward_ctx;
pub mod fused;
mod init;
mod layers;
mod packed_param;
mod var_store;

pub use attention::{attention_weights, causal};
pub use backend::Backend;
pub use format1::format1_name;
pub use forward_ctx::ForwardCtx;
pub use init::Init;
pub use layers::{LayerNorm, Linear, relu, sigmoid, softmax};
pub use packed_param::{PackedLayout, PackedParam, PackedPart, PackedWeights, get};
pub use var_store::SeededVarMap;
