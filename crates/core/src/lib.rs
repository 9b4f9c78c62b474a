//! Prompt-based reinforcement learning: a recommender that can be asked for value (Xin et al., SIGIR '22).
//!
//! A session's log is turned into `{return, state, step} -> item`. The [`PromptBlock`] mixes the three into the state that
//! the output layer reads; the loss is a cross-entropy weighted by what the item was worth ([`LossWeight`]); and when it
//! recommends, the return is no longer observed but asked for ([`PromptSpec`]). Nothing here knows which encoder made the state.

mod loss_weight;
mod prompt;
mod prompt_block;
mod reward_embedding;

pub use loss_weight::LossWeight;
pub use prompt::{PromptPosition, PromptSpec, ReturnScale, StepReturns, TargetReturn};
pub use prompt_block::{
    AttentionKeys, EncodedState, PromptBlock, PromptBlockConfig, Prompts, ResidualInput, TokenMixer,
};
pub use reward_embedding::RewardCode;
