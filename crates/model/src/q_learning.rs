//! SQN and SAC: double Q-learning over two full networks (Xin et al., SIGIR '20).
//!
//! At each step one network, picked at random, is the main one and learns. Its Q layer chooses the best action of the next
//! state, the other's says what that action is worth; the temporal difference goes back through the main network together
//! with the cross-entropy.

use candle_core::{Result, Tensor};
use prl_baselines::{DoubleQ, TdLoss};
use prl_core::Prompts;
use prl_nn::ForwardCtx;

use crate::head::{Head, HeadOutput};
use crate::network::Network;
use crate::param::AdamStep;
use crate::process_group::SingleProcess;
use crate::timing::{Clock, StepTimes};
use crate::training_batch::{TrainingBatch, Transitions};

/// The two networks in the roles of one step.
pub(crate) struct Pair<'a> {
    pub(crate) main: &'a Network,
    pub(crate) other: &'a Network,
}

/// What the critics say of a batch.
pub(crate) struct QValues {
    /// Q_main(s, a) `[B]`.
    values: Vec<f64>,
    /// What it should be `[B]`.
    targets: Vec<f64>,
}

impl Pair<'_> {
    /// Q(s, a), and r + gamma Q_other(s')[argmax Q_main(s')].
    pub(crate) fn evaluate(
        &self,
        hidden: &Tensor,
        examples: &TrainingBatch,
        transitions: &Transitions,
        pass: &ForwardCtx,
        clock: &mut Clock,
        times: &mut StepTimes,
    ) -> crate::Result<QValues> {
        let next = &transitions.next;
        let nothing = Prompts {
            returns: vec![0.0; next.done.len()],
            steps: next.windows.time_steps.clone(),
        };
        let [main, other] =
            [self.main, self.other].map(|network| network.hidden(&next.windows, &nothing, pass));
        let (main, other) = (main?, other?);
        clock.lap(&mut times.encoder)?;
        let best = critic(self.main)?.best(&main)??;
        let worth = critic(self.other)?.scores(&other, &best)?;
        let values = critic(self.main)?.scores(hidden, &examples.targets)?;
        let targets = DoubleQ {
            gamma: transitions.gamma,
        }
        .targets(&transitions.rewards, &worth, &next.done)?;
        Ok(QValues { values, targets })
    }

    /// Takes both layers' steps, `step` being that of the training.
    pub(crate) fn step(
        &self,
        by: AdamStep<'_>,
        step: u64,
        hidden: &Tensor,
        examples: &TrainingBatch,
        transitions: &Transitions,
        critique: &QValues,
    ) -> crate::Result<HeadOutput> {
        let QValues { values, targets } = critique;
        let scaled = |by: &[f64]| -> Vec<f64> {
            examples.scale.iter().zip(by).map(|(s, x)| s * x).collect()
        };
        let scale = match transitions.critic {
            Some(critic) => scaled(&critic.weights(step - 1, values)),
            None => examples.scale.clone(),
        };
        let TdLoss { losses, gradients } = TdLoss::new(values, targets)?;
        let td: f64 = scaled(&losses).iter().sum();
        if !td.is_finite() {
            return Ok(HeadOutput {
                cross_entropy: None,
                beside: td,
                gradient: hidden.clone(),
            });
        }
        let taken = self
            .main
            .head
            .step(by, hidden, &examples.targets, &scale, &SingleProcess)?;
        if taken.loss.is_some_and(|loss| !loss.is_finite()) {
            return Ok(HeadOutput {
                cross_entropy: taken.loss,
                beside: td,
                gradient: hidden.clone(),
            });
        }
        let gradients = scaled(&gradients);
        let by_value = critic(self.main)?.step_chosen(by, hidden, &examples.targets, &gradients)?;
        Ok(HeadOutput {
            cross_entropy: taken.loss,
            beside: td,
            gradient: (taken.hidden + by_value)?,
        })
    }
}

fn critic(network: &Network) -> Result<&Head> {
    let missing = || candle_core::Error::Msg("this network has no Q layer".into());
    network.critic.as_ref().ok_or_else(missing)
}
