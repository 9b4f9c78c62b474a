//! Whether every number of a tensor is one: what stops a training that diverges before it is saved.

use candle_core::{DType, Result, Tensor};
use num_traits::Float;
use prl_kernels::storage::with;

use crate::dtype::by_dtype;

/// Whether no element is NaN or infinite.
pub(crate) fn is_finite(tensor: &Tensor) -> Result<bool> {
    if !tensor.device().is_cpu() {
        // One NaN or infinity makes a sum of zeros NaN.
        return Ok(tensor.zeros_like()?.mul(tensor)?.sum_all()?.to_dtype(DType::F64)?.to_scalar::<f64>()? == 0.0);
    }
    let tensor = tensor.contiguous()?;
    // Without a way out of the loop, it is vectorised.
    by_dtype!(tensor.dtype(), T => with(&tensor, |x: &[T]| {
        Ok(x.iter().fold(true, |ok, x| ok & (x.abs() < T::infinity())))
    }))
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::is_finite;

    #[test]
    fn one_number_that_is_none_is_found_wherever_it_is() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in [0, 1, 500, 998] {
                let mut values = vec![f32::MAX; 999];
                assert!(is_finite(&Tensor::from_slice(&values, 999, &Device::Cpu).unwrap()).unwrap());
                values[at] = bad;
                let tensor = Tensor::from_slice(&values, (27, 37), &Device::Cpu).unwrap();
                assert!(!is_finite(&tensor).unwrap() && !is_finite(&tensor.t().unwrap()).unwrap());
            }
        }
    }
}
