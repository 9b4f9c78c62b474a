//! A parameter with its Adam moments.

use candle_core::{DType, Device, Result, Tensor, Var, bail};
use prl_kernels::Real;
use prl_kernels::ops::adam::{Adam, AdamFactors, AdamSlices, update, update_rows};
use prl_kernels::storage::{MutableStorage, with, with_mut};

#[cfg(feature = "cuda")]
use crate::device::is_on_gpu;
use crate::finite_check::FiniteCheck;

/// How parameters move: by whose rule, at which step of theirs, and who watches.
#[derive(Clone, Copy)]
pub(crate) struct AdamStep<'a> {
    pub(crate) adam: Adam,
    /// From 1.
    pub(crate) t: u64,
    pub(crate) watch: &'a FiniteCheck,
}

impl AdamStep<'_> {
    /// Adam's factors at this step.
    pub(crate) fn step<T: Real>(&self) -> AdamFactors<T> {
        self.adam.factors(self.t)
    }
}

/// A parameter, its first and its second moment, all of one shape.
pub struct AdamParam {
    /// Its value.
    pub param: Var,
    /// Adam's first moment.
    pub first: Var,
    /// Adam's second moment.
    pub second: Var,
}

impl AdamParam {
    /// With moments of zero.
    pub(crate) fn new(param: Var) -> Result<Self> {
        let zeros = || Var::zeros(param.shape(), param.dtype(), param.device());
        Ok(Self {
            first: zeros()?,
            second: zeros()?,
            param,
        })
    }

    /// The same parameter, from values.
    pub(crate) fn from_values(
        values: Vec<f64>,
        shape: (usize, usize),
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let values = Tensor::from_vec(values, shape, &Device::Cpu)?
            .to_dtype(dtype)?
            .to_device(device)?;
        Self::new(Var::from_tensor(&values)?)
    }

    /// Moves it under a dense gradient.
    pub(crate) fn step(&self, by: AdamStep<'_>, grad: &Tensor) -> Result<()> {
        #[cfg(feature = "cuda")]
        if is_on_gpu(&self.param) {
            return Self::step_all(by, &[(self, grad.clone())]);
        }
        if !self.param.device().is_cpu() {
            return self.step_reference(by.adam, by.t, grad);
        }
        let grad = grad.contiguous()?;
        match self.param.dtype() {
            DType::F32 => with(&grad, |g: &[f32]| {
                self.with_slices(|slots| update(by.step(), slots, g))
            }),
            DType::F64 => with(&grad, |g: &[f64]| {
                self.with_slices(|slots| update(by.step(), slots, g))
            }),
            other => bail!("parameters are f32 or f64, not {other:?}"),
        }
    }

    /// Moves several parameters, each under its dense gradient: one launch on a GPU.
    pub(crate) fn step_all(by: AdamStep<'_>, slots: &[(&Self, Tensor)]) -> Result<()> {
        #[cfg(feature = "cuda")]
        if slots.iter().all(|(slot, _)| is_on_gpu(&slot.param)) {
            let grads = slots
                .iter()
                .map(|(_, grad)| grad.contiguous())
                .collect::<Result<Vec<_>>>()?;
            let all = slots.iter().zip(&grads);
            let all: Vec<_> = all
                .map(|((s, _), grad)| [&*s.param, &*s.first, &*s.second, grad])
                .collect();
            return prl_kernels::ops::adam::cuda::update(by.step(), &all, by.watch.on_gpu.as_ref());
        }
        slots
            .iter()
            .try_for_each(|(slot, grad)| slot.step(by, grad))
    }

    /// Adam's step under a gradient that is zero but for some rows (ascending, distinct); every row's moments decay.
    pub(crate) fn step_rows<T: MutableStorage>(
        &self,
        step: AdamFactors<T>,
        rows: &[u32],
        grads: &[T],
    ) -> Result<()> {
        let width = self.param.dim(1)?;
        self.with_slices(|slots| update_rows(step, slots, width, rows, grads))
    }

    /// Calls `f` with parameter and moments as slices. CPU only.
    pub(crate) fn with_slices<T: MutableStorage, R>(
        &self,
        f: impl FnOnce(AdamSlices<'_, T>) -> R,
    ) -> Result<R> {
        with_mut(&self.param, |param: &mut [T]| {
            with_mut(&self.first, |first: &mut [T]| {
                with_mut(&self.second, |second: &mut [T]| {
                    Ok(f(AdamSlices {
                        param,
                        first,
                        second,
                    }))
                })
            })
        })
    }

    /// The same step from candle's operations, for devices the kernels do not run on.
    fn step_reference(&self, adam: Adam, t: u64, grad: &Tensor) -> Result<()> {
        let t = i32::try_from(t).unwrap_or(i32::MAX);
        let first = ((self.first.as_tensor() * adam.beta1)? + (grad * (1.0 - adam.beta1))?)?;
        let second =
            ((self.second.as_tensor() * adam.beta2)? + (grad.sqr()? * (1.0 - adam.beta2))?)?;
        let scale = ((&second / (1.0 - adam.beta2.powi(t)))?.sqrt()? + adam.eps)?;
        let delta = ((&first / scale)? * (adam.lr / (1.0 - adam.beta1.powi(t))))?;
        self.param.set(&(self.param.as_tensor() - delta)?)?;
        self.first.set(&first)?;
        self.second.set(&second)
    }
}

#[cfg(test)]
mod tests {
    use super::{AdamParam, AdamStep, FiniteCheck};
    use candle_core::{DType, Device, Tensor};
    use prl_kernels::ops::adam::Adam;

    #[test]
    fn the_composed_step_is_the_fused_one() {
        let values: Vec<f64> = (0..12).map(|i| (0.7 * f64::from(i)).sin()).collect();
        let slot =
            || AdamParam::from_values(values.clone(), (3, 4), DType::F64, &Device::Cpu).unwrap();
        let (fused, composed) = (slot(), slot());
        for t in 1..5 {
            let grad = Tensor::from_vec(
                values.iter().map(|x| x * t as f64).collect(),
                (3, 4),
                &Device::Cpu,
            )
            .unwrap();
            fused
                .step(
                    AdamStep {
                        adam: Adam::new(0.01),
                        t,
                        watch: &FiniteCheck::none(),
                    },
                    &grad,
                )
                .unwrap();
            composed.step_reference(Adam::new(0.01), t, &grad).unwrap();
        }
        let flat = |s: &AdamParam| s.param.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        for (a, b) in flat(&fused).iter().zip(flat(&composed)) {
            assert!((a - b).abs() < 1e-14);
        }
    }
}
