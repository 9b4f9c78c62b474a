//! On a GPU: a thread an element.

use candle_core::{Result, Tensor, bail};

use super::Step;
use crate::gpu::{ADAM, Arg, Gpu, each, with};

/// One dense step over a parameter with its moments, all contiguous `f32` tensors of one GPU; they change in place.
///
/// # Errors
/// If they differ in size.
pub fn update(step: Step<f32>, slots: [&Tensor; 3], grad: &Tensor) -> Result<()> {
    let n = grad.elem_count();
    if slots.iter().any(|tensor| tensor.elem_count() != n) {
        bail!("adam: a gradient of {n} elements for {:?}", slots.map(Tensor::elem_count));
    }
    let (gpu, grad) = (Gpu::of(grad)?, grad.contiguous()?);
    let [param, first, second] = slots;
    with([param, first, second, &grad], |numbers| {
        let rest = [step.beta1, step.beta2, step.rate, step.root, step.eps].map(Arg::Number);
        let args = [numbers.map(Arg::from).as_slice(), &[Arg::Long(n as u64)], &rest].concat();
        gpu.launch(ADAM, "adam", each(n), &args)
    })
}
