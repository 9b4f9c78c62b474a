//! Back-propagation through candle's graph from an externally computed gradient.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
#[cfg(feature = "cuda")]
use candle_core::backend::BackendDevice;
use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

/// Back-propagates `grad`, the gradient of `x`, through candle's graph.
///
/// # Errors
/// If the gradient's shape differs from that of `x`.
pub(crate) fn backward(x: &Tensor, grad: &Tensor) -> Result<GradStore> {
    if x.shape() != grad.shape() {
        bail!(
            "gradient shape {:?} does not match tensor shape {:?}",
            grad.shape(),
            x.shape()
        );
    }
    x.apply_op1(GradientSeed(grad.detach()))?.backward()
}

/// Dummy scalar whose input gradient is a fixed tensor: starts back-propagation from an externally
/// computed gradient.
struct GradientSeed(Tensor);

impl CustomOp1 for GradientSeed {
    fn name(&self) -> &'static str {
        "given gradient"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(vec![0.0]), ().into()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, x: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        Ok((
            x.device.zeros_impl(&().into(), candle_core::DType::F32)?,
            ().into(),
        ))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(self.0.clone()))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor, Var};

    use super::backward;

    #[test]
    fn backward_from_gradient_matches_weighted_sum() {
        let x = Var::new(&[[0.5_f64, -1.0], [2.0, 3.0]], &Device::Cpu).unwrap();
        let grad = Tensor::new(&[[1.0_f64, 0.0], [-2.0, 0.25]], &Device::Cpu).unwrap();
        let y = x.sqr().unwrap();
        let by = |grads: candle_core::backprop::GradStore| {
            grads.get(&x).unwrap().to_vec2::<f64>().unwrap()
        };
        let summed = (&y * &grad).unwrap().sum_all().unwrap().backward().unwrap();
        assert_eq!(by(backward(&y, &grad).unwrap()), by(summed));
        assert!(backward(&y, &grad.t().unwrap().narrow(0, 0, 1).unwrap()).is_err());
    }
}
