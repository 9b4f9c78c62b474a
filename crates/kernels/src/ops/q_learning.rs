//! Temporal-difference step of double Q-learning on a GPU, without a copy to the host.

use candle_core::{Result, Tensor, bail};

use crate::cuda::{
    Arg, DeviceBuffer, DeviceF32, FiniteCheck, Gpu, Q_LEARNING, blocks, each, view, with,
};
use crate::ops::embedding::cuda::add_by_row_on_gpu;
use crate::ops::rank::cuda::best;
use crate::ops::softmax_head::cuda::CudaOutputLayer;

/// Examples of one step, `B` of them.
#[derive(Clone, Copy)]
pub struct TdBatch<'a> {
    /// The actions `[B]`, below the number of items.
    pub actions: &'a [u32],
    /// Their rewards `[B]`.
    pub rewards: &'a [f64],
    /// Whether the session ends with the action `[B]`.
    pub done: &'a [bool],
    /// The weight of each example in the loss `[B]`.
    pub loss_weights: &'a [f64],
    /// Discount of the next state's value.
    pub gamma: f64,
    /// Whether the action value scales the cross-entropy (SAC after its warm-up).
    pub has_critic: bool,
}

/// Gradients of a step's temporal-difference losses, and the scales of its cross-entropies.
pub struct TdStep {
    /// By the scores of the actions, `[B]`.
    grads: DeviceF32,
    /// Scale of each cross-entropy `[B]`.
    pub(crate) scales: DeviceF32,
    actions: DeviceBuffer<u32>,
    actions_on_host: Vec<u32>,
}

impl TdStep {
    /// Computes the losses of the Q layer `main`, the target being the value of the other network's
    /// layer `other` at the best next item of `main`, and records them in the finite check.
    /// `hidden` are the main network's hidden vectors of the states, `next` both networks' of the
    /// next states, each `[B, width]`.
    ///
    /// # Errors
    /// If sizes do not match, or the GPU fails.
    pub fn new(
        [main, other]: [CudaOutputLayer<'_>; 2],
        hidden: &Tensor,
        next: [&Tensor; 2],
        batch: &TdBatch<'_>,
        check: &FiniteCheck,
    ) -> Result<Self> {
        let ((n, width), items) = (hidden.dims2()?, main.bias.elem_count());
        let lengths = [
            batch.actions.len(),
            batch.rewards.len(),
            batch.done.len(),
            batch.loss_weights.len(),
        ];
        if lengths != [n; 4] || batch.actions.iter().any(|&item| item as usize >= items) {
            bail!(
                "q_learning: {n} hidden vectors need as many actions, rewards, ends and weights, \
                 not {lengths:?}; actions must be below {items}"
            );
        }
        if [main.weight, other.weight].map(Tensor::dims) != [[items, width].as_slice(); 2]
            || next.map(Tensor::dims) != [hidden.dims(); 2]
            || other.bias.elem_count() != items
        {
            bail!("q_learning: layers and hidden vectors of both networks must have equal sizes");
        }
        let gpu = Gpu::of(hidden)?;
        let found = best(main, &gpu, next[0])?;
        let mut given = vec![batch.gamma, f64::from(u8::from(batch.has_critic))];
        for (&reward, &weight) in batch.rewards.iter().zip(batch.loss_weights) {
            given.extend([reward, weight]);
        }
        let done: Vec<u32> = batch.done.iter().map(|&done| done.into()).collect();
        let (given, done) = (gpu.copy_in(&given)?, gpu.copy_in(&done)?);
        let step = Self {
            grads: gpu.alloc(n)?,
            scales: gpu.alloc(n)?,
            actions: gpu.copy_in(batch.actions)?,
            actions_on_host: batch.actions.to_vec(),
        };
        let (losses, bad) = check.td_losses(n)?;
        let layers = [main.weight, main.bias, other.weight, other.bias];
        with([hidden, next[1]], |[hidden, next]| {
            with(layers, |layers| {
                let mut args = vec![
                    (&given).into(),
                    (&step.actions).into(),
                    (&done).into(),
                    (&found).into(),
                    hidden.into(),
                    next.into(),
                ];
                args.extend(layers.map(Arg::from));
                args.extend([&step.grads, &step.scales].map(Arg::from));
                args.extend([Arg::from(losses), bad.into(), check.word().into()]);
                args.push((width as u32).into());
                gpu.launch(Q_LEARNING, "td_losses", blocks(n, 32, 0), &args)
            })
        })?;
        Ok(step)
    }

    /// `grad`, the gradient of the hidden vectors `[B, width]`, plus that by the scores of the
    /// actions.
    ///
    /// # Errors
    /// If sizes do not match, or the GPU fails.
    pub fn add_hidden_grad(&self, layer: CudaOutputLayer<'_>, grad: &Tensor) -> Result<Tensor> {
        let (gpu, (batch, width)) = (Gpu::of(grad)?, grad.dims2()?);
        if batch != self.actions_on_host.len() || layer.weight.dim(1)? != width {
            bail!("q_learning: a gradient {:?} of another batch", grad.shape());
        }
        let out = gpu.alloc(batch * width)?;
        with([grad, layer.weight], |[grad, weight]| {
            let args = [
                (&out).into(),
                grad.into(),
                (&self.grads).into(),
                (&self.actions).into(),
                weight.into(),
                (grad.len as u32).into(),
                (width as u32).into(),
            ];
            gpu.launch(Q_LEARNING, "add_chosen", each(grad.len), &args)
        })?;
        out.tensor((batch, width))
    }

    /// The gradients of the layer's weight `[items, width]` and bias `[items]`.
    ///
    /// # Errors
    /// If the GPU fails.
    pub fn layer_grads(&self, items: usize, hidden: &Tensor) -> Result<[Tensor; 2]> {
        let (actions, ids) = (view(&self.actions), self.actions_on_host.as_slice());
        let by = Some(view(&self.grads).cast());
        let weight = add_by_row_on_gpu(items, (actions, ids), by, hidden)?;
        let column = self.grads.clone().tensor((ids.len(), 1))?;
        let bias = add_by_row_on_gpu(items, (actions, ids), None, &column)?;
        Ok([weight, bias.reshape(items)?])
    }
}
