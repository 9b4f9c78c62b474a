//! Devices by name.

use candle_core::Device;

use crate::error::{Error, Result};

/// The device of a name: `cpu`, `cuda`, `cuda:N`, or `auto`, a GPU if the build and the machine
/// have one and the CPU otherwise.
///
/// # Errors
/// [`Error::Config`] for another name or a build without CUDA, [`Error::Tensor`] if the GPU fails.
pub fn device(name: &str) -> Result<Device> {
    match name {
        "cpu" => Ok(Device::Cpu),
        "auto" => Ok(cuda(0).unwrap_or_else(|error| {
            if cfg!(feature = "cuda") {
                tracing::warn!("no GPU, using the CPU: {error}");
            }
            Device::Cpu
        })),
        "cuda" => cuda(0),
        _ => match name.strip_prefix("cuda:").map(str::parse) {
            Some(Ok(ordinal)) => cuda(ordinal),
            _ => Err(Error::Config(format!(
                "unknown device {name:?}; use auto, cpu, cuda or cuda:N"
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
        "this build has no CUDA support; build with --features cuda, or use --device cpu".into(),
    ))
}

/// `cpu` or `cuda`.
pub fn describe(device: &Device) -> &'static str {
    if device.is_cuda() { "cuda" } else { "cpu" }
}
