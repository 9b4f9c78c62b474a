//! Where a model lives.

use candle_core::Device;

use crate::error::{Error, Result};

/// The device of a name: `cpu`, `cuda`, `cuda:N`, or `auto`, which takes a GPU when the build and the machine have one.
pub fn device(name: &str) -> Result<Device> {
    match name {
        "cpu" => Ok(Device::Cpu),
        "auto" => Ok(cuda(0).unwrap_or_else(|error| {
            if cfg!(feature = "cuda") {
                tracing::warn!("the CPU is used: {error}");
            }
            Device::Cpu
        })),
        "cuda" => cuda(0),
        _ => match name.strip_prefix("cuda:").map(str::parse) {
            Some(Ok(ordinal)) => cuda(ordinal),
            _ => Err(Error::Config(format!(
                "{name:?} is no device; name auto, cpu, cuda or cuda:N"
            ))),
        },
    }
}

#[cfg(feature = "cuda")]
fn cuda(ordinal: usize) -> Result<Device> {
    Ok(prl_kernels::cuda::device(ordinal)?)
}

#[cfg(not(feature = "cuda"))]
fn cuda(_: usize) -> Result<Device> {
    Err(Error::Config(
        "this build has no CUDA; build it with --features cuda, or use --device cpu".into(),
    ))
}

/// `cpu` or `cuda`.
pub fn describe(device: &Device) -> &'static str {
    if device.is_cuda() { "cuda" } else { "cpu" }
}

/// Whether the GPU's own kernels run on a tensor.
#[cfg(feature = "cuda")]
pub(crate) fn is_on_gpu(tensor: &Tensor) -> bool {
    tensor.device().is_cuda() && prl_kernels::runs_on(tensor)
}
