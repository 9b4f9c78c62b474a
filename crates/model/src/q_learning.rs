//! SQN and SAC: double Q-learning beside the cross-entropy (Xin et al., "Self-Supervised
//! Reinforcement Learning for Recommender Systems", SIGIR '20). SAC is self-supervised
//! actor-critic, not soft actor-critic.
//!
//! Two full networks each have a layer of scores and a layer of action values `Q(s, a)`. At each
//! training step one of them, drawn at random, is the main network and is updated:
//!
//! ```text
//! a* = argmax_a Q_main(s', a)
//! y  = r + gamma (1 - done) Q_other(s', a*)          target of Q_main(s, a), held constant
//! TD = (y - Q_main(s, a))^2 / 2
//! SQN: L = mean(CE + TD)
//! SAC: L = mean(Q_main(s, a) CE + TD)                Q held constant; CE + TD during the warm-up
//! ```

#[cfg(feature = "cuda")]
mod cuda;

use candle_core::{Result, Tensor};
use prl_baselines::{DoubleQ, TdLoss};
use prl_core::Prompts;
use prl_nn::ForwardCtx;

use crate::head::{Head, HeadBatch, HeadOutput};
use crate::network::Network;
use crate::param::AdamStep;
use crate::process_group::SingleProcess;
use crate::training_batch::{TrainingBatch, Transitions};

/// Where a value that is not finite was found.
pub(crate) const AMONG_Q_VALUES: &str = "among the Q-values";

/// The two networks in their roles at one step.
pub(crate) struct DoubleNetworks<'a> {
    pub(crate) main: &'a Network,
    pub(crate) other: &'a Network,
}

/// Hidden vectors `[B, width]` of the next states, of both networks.
pub(crate) struct NextHidden {
    main: Tensor,
    other: Tensor,
}

/// Action values of a batch.
struct QValues {
    /// `Q_main(s, a)`, `[B]`.
    q: Vec<f64>,
    /// Its target `y`, `[B]`.
    target: Vec<f64>,
}

impl DoubleNetworks<'_> {
    /// Encodes the next states, without a prompt.
    pub(crate) fn encode_next(
        &self,
        transitions: &Transitions,
        pass: &ForwardCtx,
    ) -> crate::Result<NextHidden> {
        let next = &transitions.next;
        let no_prompt = Prompts {
            returns: vec![0.0; next.done.len()],
            steps: next.windows.time_steps.clone(),
            tilt: 0.0,
        };
        Ok(NextHidden {
            main: self.main.hidden(&next.windows, &no_prompt, pass)?,
            other: self.other.hidden(&next.windows, &no_prompt, pass)?,
        })
    }

    /// `Q_main(s, a)` of the batch's actions, and its targets `y`.
    fn q_values(
        &self,
        hidden: &Tensor,
        actions: &[u32],
        transitions: &Transitions,
        next_hidden: &NextHidden,
    ) -> crate::Result<QValues> {
        let (main, other) = (q_head(self.main)?, q_head(self.other)?);
        let next = &transitions.next;
        let best = main.best(&next_hidden.main)??;
        let next_q = other.scores(&next_hidden.other, &best, &other.bias.param)?;
        let gamma = transitions.gamma;
        let target = DoubleQ { gamma }.targets(&transitions.rewards, &next_q, &next.done)?;
        let q = main.scores(hidden, actions, &main.bias.param)?;
        Ok(QValues { q, target })
    }

    /// Takes the Adam steps of the main network's two output layers, `step` being the training
    /// step.
    ///
    /// If a loss is not finite, it is returned and the layers after it are not updated. On a GPU,
    /// nothing is updated then, and the losses are in the finite check.
    pub(crate) fn step(
        &self,
        adam: AdamStep<'_>,
        step: u64,
        (hidden, batch): (&Tensor, &TrainingBatch),
        transitions: &Transitions,
        next: &NextHidden,
    ) -> crate::Result<HeadOutput> {
        #[cfg(feature = "cuda")]
        if let Some(check) = &adam.check.on_gpu {
            return self.step_on_gpu((adam, check), step, (hidden, batch), transitions, next);
        }
        let values = self
            .q_values(hidden, &batch.targets, transitions, next)
            .map_err(|e| e.at_step(step, AMONG_Q_VALUES))?;
        self.step_by_values(adam, step, (hidden, batch), transitions, &values)
    }

    fn step_by_values(
        &self,
        adam: AdamStep<'_>,
        step: u64,
        (hidden, batch): (&Tensor, &TrainingBatch),
        transitions: &Transitions,
        values: &QValues,
    ) -> crate::Result<HeadOutput> {
        let TdLoss { losses, gradients } = TdLoss::new(&values.q, &values.target)?;
        let td_loss: f64 = weighted(&losses, &batch.loss_weights).iter().sum();
        if !td_loss.is_finite() {
            return Ok(HeadOutput {
                ce_loss: None,
                td_loss,
                hidden_grad: hidden.clone(),
                item_grad: None,
                item_rows: None,
            });
        }
        let loss_weights = match transitions.critic {
            Some(critic) => weighted(&critic.weights(step - 1, &values.q), &batch.loss_weights),
            None => batch.loss_weights.clone(),
        };
        let head_batch = HeadBatch {
            hidden,
            targets: &batch.targets,
            loss_weights: &loss_weights,
        };
        let mut output = self
            .main
            .plain_head()?
            .step(adam, &head_batch, &SingleProcess)?;
        output.td_loss = td_loss;
        if !output.loss().is_finite() {
            return Ok(output);
        }
        let q_grad = weighted(&gradients, &batch.loss_weights);
        let q_head = q_head(self.main)?;
        let td_grad = q_head.chosen_score_step(adam, hidden, &batch.targets, &q_grad)?;
        output.hidden_grad = (output.hidden_grad + td_grad)?;
        Ok(output)
    }
}

/// Each value times its example's weight in the loss.
fn weighted(values: &[f64], loss_weights: &[f64]) -> Vec<f64> {
    let pairs = loss_weights.iter().zip(values);
    pairs.map(|(w, x)| w * x).collect()
}

fn q_head(network: &Network) -> Result<&Head> {
    let missing = || candle_core::Error::Msg("this network has no Q layer".into());
    network.critic.as_ref().ok_or_else(missing)
}
