//! The examples of one training step.

use candle_core::Tensor;
use prl_baselines::Critic;
use prl_core::Prompts;
use prl_dataset::{NextStates, Sequences, Windows};

use crate::head::HeadBatch;

/// Examples of one training step, `B` of them.
#[derive(Clone, Debug, Default)]
pub struct TrainingBatch {
    /// The states.
    pub windows: Windows,
    /// The prompt of each state.
    pub prompts: Prompts,
    /// The items to predict, `[B]`.
    pub targets: Vec<u32>,
    /// The weight of each example's cross-entropy in the loss, `[B]`: the factor 1 / B of the mean
    /// is included.
    pub loss_weights: Vec<f64>,
    /// Rewards and next states, for SQN and SAC.
    pub transitions: Option<Transitions>,
    /// Whole sessions that the encoder reads in place of the windows, for the same states.
    pub sequences: Option<Sequences>,
}

impl TrainingBatch {
    /// The part that the output layer needs, with the states' hidden vectors `[B, width]`.
    pub(crate) fn head_batch<'a>(&'a self, hidden: &'a Tensor) -> HeadBatch<'a> {
        HeadBatch {
            hidden,
            targets: &self.targets,
            loss_weights: &self.loss_weights,
        }
    }
}

/// Rewards and next states of a batch.
#[derive(Clone, Debug, Default)]
pub struct Transitions {
    /// The reward of each action, `[B]`.
    pub rewards: Vec<f64>,
    /// The next states.
    pub next: NextStates,
    /// Discount of the Q-value of the next state.
    pub gamma: f64,
    /// Weights of the cross-entropy by the Q-value for SAC; `None` for SQN.
    pub critic: Option<Critic>,
}
