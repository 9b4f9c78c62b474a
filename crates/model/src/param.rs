//! A parameter with its Adam moments, and its update.

use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use candle_core::{DType, Device, Result, Tensor, Var, bail};
use prl_kernels::Real;
use prl_kernels::ops::adam::{
    Adam, AdamFactors, AdamSlices, RowGradients, update, update_rows, update_touched,
};
use prl_kernels::runtime::use_huge_pages;
use prl_kernels::storage::{MutableStorage, with, with_mut};

use crate::dtype::by_dtype;
use crate::finite_check::FiniteCheck;
use prl_nn::{Backend, PackedParam};

/// One Adam update: constants, time step and the finite check of the training step.
#[derive(Clone, Copy)]
pub(crate) struct AdamStep<'a> {
    pub(crate) adam: Adam,
    /// Number of this update of the parameter, from 1.
    pub(crate) t: u64,
    /// On a GPU, the update is skipped if a checked value is not finite.
    #[cfg_attr(not(feature = "cuda"), allow(dead_code))]
    pub(crate) check: &'a FiniteCheck,
}

impl AdamStep<'_> {
    /// Factors of the update, bias corrections included.
    pub(crate) fn step<T: Real>(&self) -> AdamFactors<T> {
        self.adam.factors(self.t)
    }
}

/// A parameter with Adam's first and second moments, all in the parameter's packed layout.
pub struct AdamParam {
    /// The named tensors in the parameter.
    pub packing: PackedParam,
    /// The parameter: the variable of `packing`.
    pub param: Var,
    /// Adam's first moment.
    pub first: Var,
    /// Adam's second moment.
    pub second: Var,
    /// Of lazy Adam, the step of each row's last touch.
    last_touches: Option<Mutex<Vec<u32>>>,
    /// Done once the tables of a dense update have huge pages.
    huge_pages: Once,
}

impl AdamParam {
    /// A parameter whose moments are zero.
    pub(crate) fn new(packing: PackedParam) -> Result<Self> {
        let param = packing.var().clone();
        let first = Var::zeros(param.shape(), param.dtype(), param.device())?;
        let second = Var::zeros(param.shape(), param.dtype(), param.device())?;
        Ok(Self {
            first,
            second,
            packing,
            param,
            last_touches: None,
            huge_pages: Once::new(),
        })
    }

    /// Updates touched rows only, from now on.
    pub(crate) fn make_lazy(&mut self) {
        let rows = self.param.dims().first().copied().unwrap_or(0);
        self.last_touches = Some(Mutex::new(vec![0; rows]));
    }

    /// Whether lazy Adam updates the parameter.
    pub fn is_lazy(&self) -> bool {
        self.last_touches.is_some()
    }

    /// The step of the last touch of each row, 0 for none; `None` without lazy Adam.
    pub fn last_touches(&self) -> Option<MutexGuard<'_, Vec<u32>>> {
        let touches = self.last_touches.as_ref()?;
        Some(touches.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The parameter's name: that of its only tensor, or of the packed one.
    pub fn name(&self) -> &str {
        let mut names = self.packing.names();
        match (names.next(), names.next()) {
            (Some(name), None) => name,
            _ => self.packing.format1_name(),
        }
    }

    /// A matrix parameter from row-major values.
    pub(crate) fn from_values(
        name: &str,
        values: Vec<f64>,
        shape: (usize, usize),
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let values = Tensor::from_vec(values, shape, &Device::Cpu)?
            .to_dtype(dtype)?
            .to_device(device)?;
        Self::new(PackedParam::plain(name, Var::from_tensor(&values)?))
    }

    /// The implementation of its operations.
    pub(crate) fn backend(&self) -> Backend {
        Backend::new(self.param.device(), self.param.dtype())
    }

    /// Applies one update under a dense gradient.
    pub(crate) fn step(&self, adam: AdamStep<'_>, grad: &Tensor) -> Result<()> {
        match self.backend() {
            Backend::CpuFused => {
                let grad = grad.contiguous()?;
                by_dtype!(self.param.dtype(), T => with(&grad, |g: &[T]| {
                    self.with_slices(|slices| update(adam.step(), slices, g))
                }))
            }
            #[cfg(feature = "cuda")]
            Backend::Cuda => Self::step_all(adam, &[(self, grad.clone())]),
            _ => self.step_reference(adam, grad),
        }
    }

    /// Multiplies the parameter by a factor.
    pub(crate) fn scale(&self, factor: f64) -> Result<()> {
        self.param.set(&(self.param.as_tensor() * factor)?)
    }

    /// Applies one update to several parameters, each under its dense gradient; one launch on a
    /// GPU.
    pub(crate) fn step_all(adam: AdamStep<'_>, params: &[(&Self, Tensor)]) -> Result<()> {
        #[cfg(feature = "cuda")]
        if params.iter().all(|(p, _)| p.backend() == Backend::Cuda) {
            let mut grads = Vec::with_capacity(params.len());
            for (_, grad) in params {
                grads.push(grad.contiguous()?);
            }
            let mut all = Vec::with_capacity(params.len());
            for ((p, _), grad) in params.iter().zip(&grads) {
                all.push([&*p.param, &*p.first, &*p.second, grad]);
            }
            return prl_kernels::ops::adam::cuda::update(
                adam.step(),
                &all,
                adam.check.on_gpu.as_ref(),
            );
        }
        for (param, grad) in params {
            param.step(adam, grad)?;
        }
        Ok(())
    }

    /// Applies one update under a gradient that is zero except for some rows (ascending, distinct).
    /// The moments of all rows decay. CPU only.
    pub(crate) fn step_rows<T: MutableStorage>(
        &self,
        step: AdamFactors<T>,
        rows: &[u32],
        grads: &[T],
    ) -> Result<()> {
        let width = self.param.dim(1)?;
        self.with_slices(|slices| update_rows(step, slices, width, rows, grads))
    }

    /// Applies one update of lazy Adam to some rows (ascending, distinct). CPU only.
    pub(crate) fn step_touched<T: MutableStorage>(
        &self,
        step: AdamStep<'_>,
        ids: &[u32],
        grads: &[T],
    ) -> Result<()> {
        let Some(mut last) = self.last_touches() else {
            bail!("{} is updated by dense Adam", self.name())
        };
        let width = self.param.elem_count() / last.len().max(1);
        let rows = RowGradients { ids, grads, width };
        self.with_slices(|slices| {
            update_touched(&step.adam, step.t, (slices, last.as_mut_slice()), rows);
        })
    }

    /// Calls `f` with parameter and moments as slices. CPU only.
    pub(crate) fn with_slices<T: MutableStorage, R>(
        &self,
        f: impl FnOnce(AdamSlices<'_, T>) -> R,
    ) -> Result<R> {
        with_mut(&self.param, |param: &mut [T]| {
            with_mut(&self.first, |first: &mut [T]| {
                with_mut(&self.second, |second: &mut [T]| {
                    // Lazy Adam leaves most pages of its moments untouched.
                    if !self.is_lazy() {
                        self.huge_pages.call_once(|| {
                            use_huge_pages(param);
                            use_huge_pages(first);
                            use_huge_pages(second);
                        });
                    }
                    Ok(f(AdamSlices {
                        param,
                        first,
                        second,
                    }))
                })
            })
        })
    }

    /// The update in candle's operations (Kingma and Ba, 2015, Algorithm 1).
    fn step_reference(&self, step: AdamStep<'_>, grad: &Tensor) -> Result<()> {
        let Adam {
            lr,
            beta1,
            beta2,
            eps,
            ..
        } = step.adam;
        let t = i32::try_from(step.t).unwrap_or(i32::MAX);
        let m = ((self.first.as_tensor() * beta1)? + (grad * (1.0 - beta1))?)?;
        let v = ((self.second.as_tensor() * beta2)? + (grad.sqr()? * (1.0 - beta2))?)?;
        let v_hat = (&v / (1.0 - beta2.powi(t)))?;
        let rate = lr / (1.0 - beta1.powi(t));
        let delta = ((&m / (v_hat.sqrt()? + eps)?)? * rate)?;
        self.param.set(&(self.param.as_tensor() - delta)?)?;
        self.first.set(&m)?;
        self.second.set(&v)
    }
}

#[cfg(test)]
mod tests {
    use super::{AdamParam, AdamStep, FiniteCheck};
    use candle_core::{DType, Device, Tensor};
    use prl_kernels::ops::adam::Adam;

    #[test]
    fn adam_step_fused_matches_reference() {
        let values: Vec<f64> = (0..12).map(|i| (0.7 * f64::from(i)).sin()).collect();
        let param = || {
            AdamParam::from_values("x", values.clone(), (3, 4), DType::F64, &Device::Cpu).unwrap()
        };
        let (fused, reference) = (param(), param());
        for t in 1..5 {
            let grad: Vec<f64> = values.iter().map(|x| x * t as f64).collect();
            let grad = Tensor::from_vec(grad, (3, 4), &Device::Cpu).unwrap();
            let step = AdamStep {
                adam: Adam::new(0.01),
                t,
                check: &FiniteCheck::none(),
            };
            fused.step(step, &grad).unwrap();
            reference.step_reference(step, &grad).unwrap();
        }
        let flat = |p: &AdamParam| p.param.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        for (a, b) in flat(&fused).iter().zip(flat(&reference)) {
            assert!((a - b).abs() < 1e-14);
        }
    }
}
