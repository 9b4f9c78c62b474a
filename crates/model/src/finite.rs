//! What all numbers of a tensor are, at a glance: whether each is one, which stops a training that diverges before it is saved,
//! and a sum of their bits, by which ranks see that they hold the same.

use candle_core::{DType, Result, Tensor};
use num_traits::Float;
use prl_kernels::Real;
use prl_kernels::storage::with;

#[cfg(feature = "cuda")]
use crate::device::is_on_gpu;
use crate::dtype::by_dtype;

/// Whether no element is NaN or infinite.
pub fn is_finite(tensor: &Tensor) -> Result<bool> {
    #[cfg(feature = "cuda")]
    if is_on_gpu(tensor) {
        return prl_kernels::cuda::are_finite(&[&tensor.contiguous()?]);
    }
    if !tensor.device().is_cpu() {
        // One NaN or infinity makes a sum of zeros NaN.
        return Ok(tensor
            .zeros_like()?
            .mul(tensor)?
            .sum_all()?
            .to_dtype(DType::F64)?
            .to_scalar::<f64>()?
            == 0.0);
    }
    let tensor = tensor.contiguous()?;
    // Without a way out of the loop, it is vectorised.
    by_dtype!(tensor.dtype(), T => with(&tensor, |x: &[T]| {
        Ok(x.iter().fold(true, |ok, x| ok & (x.abs() < T::infinity())))
    }))
}

/// The first of some tensors with an element that is NaN or infinite. A GPU is asked about all of them at once.
pub(crate) fn find_non_finite(tensors: &[&Tensor]) -> Result<Option<usize>> {
    #[cfg(feature = "cuda")]
    if tensors.iter().all(|tensor| is_on_gpu(tensor)) {
        let contiguous = tensors
            .iter()
            .map(|tensor| tensor.contiguous())
            .collect::<Result<Vec<_>>>()?;
        if prl_kernels::cuda::are_finite(&contiguous.iter().collect::<Vec<_>>())? {
            return Ok(None);
        }
    }
    for (i, tensor) in tensors.iter().enumerate() {
        if !is_finite(tensor)? {
            return Ok(Some(i));
        }
    }
    Ok(None)
}

/// The sum of the bit patterns of a CPU tensor's elements, each times its place, so that an exchange shows too.
pub(crate) fn sum_of_bits(tensor: &Tensor) -> Result<u64> {
    let tensor = tensor.contiguous()?;
    by_dtype!(tensor.dtype(), T => with(&tensor, |x: &[T]| {
        let bits = |x: &T| x.double().to_bits();
        Ok((1_u64..).zip(x).fold(0, |sum: u64, (place, x)| sum.wrapping_add(place.wrapping_mul(bits(x)))))
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
                assert!(
                    is_finite(&Tensor::from_slice(&values, 999, &Device::Cpu).unwrap()).unwrap()
                );
                values[at] = bad;
                let tensor = Tensor::from_slice(&values, (27, 37), &Device::Cpu).unwrap();
                assert!(!is_finite(&tensor).unwrap() && !is_finite(&tensor.t().unwrap()).unwrap());
            }
        }
    }
}
