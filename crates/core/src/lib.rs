//! Prompt-based reinforcement learning for session recommendation (Xin et al., SIGIR '22).
//!
//! A session's log becomes examples `{return, state, time step} -> item`. The [`PromptBlock`] mixes
//! the three into the hidden vector that the output layer reads; the loss is a cross-entropy
//! weighted by the reward of the item ([`LossWeight`]). At inference a target return takes the
//! place of the observed one ([`PromptSpec`]). The block is independent of the encoder of the
//! state.
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use prl_core::{EncodedState, PromptBlock, PromptBlockConfig, Prompts};
//! use prl_nn::{ForwardCtx, SeededVarMap};
//!
//! # fn main() -> candle_core::Result<()> {
//! let vb = SeededVarMap::new(42).var_builder(DType::F32, &Device::Cpu);
//! let block = PromptBlock::new(PromptBlockConfig::default(), 8, vb.pp("prompt"))?;
//!
//! let states = Tensor::ones((2, 8), DType::F32, &Device::Cpu)?;
//! let prompts = Prompts {
//!     returns: vec![2.0, 1.5], // twice the mean return, and one and a half times
//!     steps: vec![0, 3],
//!     tilt: 0.0,
//! };
//! let hidden = block.hidden(&EncodedState::Last(&states), &prompts, &ForwardCtx::infer())?;
//! assert_eq!(hidden.dims(), [2, 8]);
//! # Ok(())
//! # }
//! ```

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExample;

mod loss_weight;
mod prompt;
mod prompt_block;
mod purchase_rates;
mod return_distribution;
mod reward_embedding;

pub use loss_weight::LossWeight;
pub use prompt::{MAX_KAPPA, PromptPosition, PromptSpec, ReturnScale, StepReturns, TargetReturn};
pub use prompt_block::{
    AttentionKeys, EncodedState, PromptBlock, PromptBlockConfig, Prompts, ResidualInput, TokenMixer,
};
pub use purchase_rates::PurchaseRates;
pub use return_distribution::{
    Calibration, CalibrationReport, LEVELS, MAX_BINS, PIT_BINS, ReturnBins,
};
pub use reward_embedding::RewardCode;
