//! CUDA Adam: one launch over several parameters.

use candle_core::{Result, Tensor, bail};

use super::AdamFactors;
use crate::cuda::{DeviceF32, FiniteCheck, Gpu, MultiTensorLaunch, address_of};

/// One dense step over parameters, each with its first and second moments and its gradient, all
/// contiguous `f32` tensors of one GPU; all but the gradients are updated in place. With a finite
/// check, nothing changes if it has failed.
///
/// # Errors
/// If a parameter's four differ in size, or the GPU fails.
pub fn update(
    step: AdamFactors<f32>,
    slots: &[[&Tensor; 4]],
    check: Option<&FiniteCheck>,
) -> Result<()> {
    let Some([first, ..]) = slots.first() else {
        return Ok(());
    };
    let gpu = Gpu::of(first)?;
    let lengths: Vec<usize> = slots.iter().map(|slot| slot[0].elem_count()).collect();
    if let Some(slot) = slots
        .iter()
        .find(|slot| slot.iter().any(|t| t.elem_count() != slot[0].elem_count()))
    {
        bail!(
            "adam: parameter, moments and gradient must have equal sizes, got {:?}",
            slot.map(Tensor::elem_count)
        );
    }
    let mut addresses = Vec::with_capacity(slots.len());
    for [param, first, second, grad] in slots {
        addresses.push([
            address_of(param)?,
            address_of(first)?,
            address_of(second)?,
            address_of(grad)?,
        ]);
    }
    let factors = factors(&gpu, step)?;
    let args = [(&factors).into(), check.map(FiniteCheck::word).into()];
    MultiTensorLaunch::new(addresses.into_iter(), &lengths).launch(&gpu, "adam", &args)
}

/// Factors of a step on the GPU, in the order of `AdamFactors` in `adam.cuh`.
pub(crate) fn factors(gpu: &Gpu, step: AdamFactors<f32>) -> Result<DeviceF32> {
    gpu.copy_in(&[step.beta1, step.beta2, step.rate, step.root, step.eps])
}
