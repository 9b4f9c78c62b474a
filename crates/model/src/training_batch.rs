//! The examples of one training step.

use prl_baselines::Critic;
use prl_core::Prompts;
use prl_dataset::{NextStates, Windows};

/// What a model learns from at a step.
#[derive(Clone, Debug, Default)]
pub struct TrainingBatch {
    /// The states.
    pub windows: Windows,
    /// What is said beside them.
    pub prompts: Prompts,
    /// The items to predict `[B]`.
    pub targets: Vec<u32>,
    /// The weight of each example's cross-entropy in the loss `[B]`, the mean's 1 / B included.
    pub scale: Vec<f64>,
    /// What the actions brought, for SQN and SAC.
    pub transitions: Option<Transitions>,
}

/// The other half of a batch of transitions.
#[derive(Clone, Debug, Default)]
pub struct Transitions {
    /// The reward of each action `[B]`.
    pub rewards: Vec<f64>,
    /// The states after them.
    pub next: NextStates,
    /// Discount of the Q-value of the next state.
    pub gamma: f64,
    /// SAC's critic, which weighs the cross-entropy; SQN has none.
    pub critic: Option<Critic>,
}
