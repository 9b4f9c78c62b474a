//! The step of the two output layers on a GPU: action values, targets and losses stay there.

use candle_core::Tensor;
use prl_kernels::cuda::FiniteCheck;
use prl_kernels::ops::q_learning::{TdBatch, TdStep};
use prl_kernels::ops::softmax_head::cuda::LossScales;

use super::{DoubleNetworks, NextHidden, q_head};
use crate::head::HeadOutput;
use crate::head::cuda::{layer, step_scaled};
use crate::param::AdamStep;
use crate::training_batch::{TrainingBatch, Transitions};

impl DoubleNetworks<'_> {
    /// See [`step`](Self::step).
    pub(super) fn step_on_gpu(
        &self,
        (adam, check): (AdamStep<'_>, &FiniteCheck),
        step: u64,
        (hidden, batch): (&Tensor, &TrainingBatch),
        transitions: &Transitions,
        next: &NextHidden,
    ) -> crate::Result<HeadOutput> {
        let (q_head, other) = (q_head(self.main)?, q_head(self.other)?);
        let hidden = hidden.contiguous()?;
        let next_hidden = [next.main.contiguous()?, next.other.contiguous()?];
        let td_batch = TdBatch {
            actions: &batch.targets,
            rewards: &transitions.rewards,
            done: &transitions.next.done,
            loss_weights: &batch.loss_weights,
            gamma: transitions.gamma,
            has_critic: transitions
                .critic
                .is_some_and(|critic| step > critic.warm_up),
        };
        let layers = [layer(q_head), layer(other)];
        let td = TdStep::new(layers, &hidden, next_hidden.each_ref(), &td_batch, check)?;
        let head = self.main.plain_head()?;
        let scales = LossScales::Td(&td);
        let mut output = step_scaled(head, adam, &hidden, &batch.targets, scales)?;
        // Before the Q layer is updated.
        output.hidden_grad = td.add_hidden_grad(layer(q_head), &output.hidden_grad)?;
        let items = q_head.bias.param.elem_count();
        let [weight_grad, bias_grad] = td.layer_grads(items, &hidden)?;
        q_head.weight.step(adam, &weight_grad)?;
        q_head.bias.step(adam, &bias_grad)?;
        Ok(output)
    }
}
