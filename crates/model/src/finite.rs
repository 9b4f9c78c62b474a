//! Checks over all elements of a tensor: whether they are finite, and a checksum of their bits.

use candle_core::{DType, Result, Tensor};
use num_traits::Float;
use prl_kernels::Real;
use prl_kernels::storage::with;

use crate::dtype::by_dtype;
use prl_nn::Backend;

/// Whether no element is NaN or infinite.
pub fn is_finite(tensor: &Tensor) -> Result<bool> {
    let backend = Backend::new(tensor.device(), tensor.dtype());
    #[cfg(feature = "cuda")]
    if backend == Backend::Cuda {
        return prl_kernels::cuda::are_finite(&[&tensor.contiguous()?]);
    }
    if backend != Backend::CpuFused {
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
    // A fold without an early exit: the compiler vectorises it.
    by_dtype!(tensor.dtype(), T => with(&tensor, |x: &[T]| {
        Ok(x.iter().fold(true, |ok, x| ok & (x.abs() < T::infinity())))
    }))
}

/// Index of the first tensor with an element that is NaN or infinite. On a GPU, one kernel checks
/// all of them.
pub(crate) fn find_non_finite(tensors: &[&Tensor]) -> Result<Option<usize>> {
    #[cfg(feature = "cuda")]
    if tensors
        .iter()
        .all(|t| Backend::new(t.device(), t.dtype()) == Backend::Cuda)
    {
        let mut contiguous = Vec::with_capacity(tensors.len());
        for tensor in tensors {
            contiguous.push(tensor.contiguous()?);
        }
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

/// Sum of the bit patterns of a CPU tensor's elements, each times its position, so that swapped
/// elements change it.
pub(crate) fn sum_of_bits(tensor: &Tensor) -> Result<u64> {
    let tensor = tensor.contiguous()?;
    by_dtype!(tensor.dtype(), T => with(&tensor, |x: &[T]| {
        let mut sum = 0_u64;
        for (place, x) in (1_u64..).zip(x) {
            sum = sum.wrapping_add(place.wrapping_mul(x.double().to_bits()));
        }
        Ok(sum)
    }))
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::is_finite;

    #[test]
    fn is_finite_finds_a_single_bad_element_anywhere() {
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
