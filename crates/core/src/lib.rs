//! Prompt-based reinforcement learning: a recommender that can be asked for value (Xin et al., SIGIR '22).
//!
//! A session's log is turned into `{return, state, step} -> item`. The [`PromptBlock`] mixes the three into the state that
//! the output layer reads; the loss is a cross-entropy weighted by what the item was worth ([`Weighting`]); and when it
//! recommends, the return is no longer observed but asked for ([`Ask`]). Nothing here knows which encoder made the state.

mod ask;
mod block;
mod rewards;
mod weighting;

pub use ask::{Ask, Goal, Moment, Scale, StepReturns};
pub use block::{BlockConfig, Keys, Mixing, PromptBlock, Prompts, Residual, State};
pub use rewards::RewardCode;
pub use weighting::Weighting;
