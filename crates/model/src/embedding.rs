//! The item embedding: rows out as a leaf, their gradient back in.
//!
//! On a CPU it runs on the fused kernels; elsewhere on candle's operations, with the same results.

use candle_core::{DType, Device, Result, Tensor, Var};
use prl_kernels::ops::embedding::{gather, sum_by_row};
use prl_kernels::storage::with;
use prl_nn::Init;

#[cfg(feature = "cuda")]
use crate::device::is_on_gpu;
use crate::dtype::by_dtype;
use crate::param::{AdamParam, AdamStep};

/// The item embedding: `[items + 1, dim]`, the last row being the pad's.
pub(crate) struct Embedding {
    pub(crate) slot: AdamParam,
}

impl Embedding {
    /// N(0, .01) (protocol: item embeddings).
    pub(crate) fn new(
        items: usize,
        dim: usize,
        dtype: DType,
        device: &Device,
        seed: u64,
    ) -> Result<Self> {
        let shape = [items + 1, dim];
        let values = Init::Normal(0.01)
            .values(&shape, &mut prl_seed::stream(seed, "embedding.weight", 0))?;
        Ok(Self {
            slot: AdamParam::from_values(values, (items + 1, dim), dtype, device)?,
        })
    }

    /// The rows of `[B, L]` ids, as a variable `[B, L, dim]` to differentiate by.
    pub(crate) fn rows(&self, ids: &[u32], length: usize) -> Result<Tensor> {
        let table = self.slot.param.as_tensor();
        let shape = (ids.len() / length, length, table.dim(1)?);
        #[cfg(feature = "cuda")]
        if is_on_gpu(table) {
            return prl_kernels::ops::embedding::cuda::gather(table, ids, shape);
        }
        if !table.device().is_cpu() {
            let ids = Tensor::from_slice(ids, ids.len(), table.device())?;
            let rows = table.detach().index_select(&ids, 0)?.reshape(shape)?;
            return Ok(Var::from_tensor(&rows)?.as_tensor().clone());
        }
        by_dtype!(table.dtype(), T => with(table, |t: &[T]| {
            Ok(Var::from_vec(gather(t, shape.2, ids), shape, &Device::Cpu)?.as_tensor().clone())
        }))
    }

    /// Moves it under the gradient of those rows.
    pub(crate) fn step(&self, by: AdamStep<'_>, ids: &[u32], grad: &Tensor) -> Result<()> {
        let table = self.slot.param.as_tensor();
        let width = table.dim(1)?;
        #[cfg(feature = "cuda")]
        if is_on_gpu(table) {
            let grad = grad.reshape(((), width))?.contiguous()?;
            let dense =
                prl_kernels::ops::embedding::cuda::add_by_row(table.dim(0)?, ids, None, &grad)?;
            return self.slot.step(by, &dense);
        }
        if !table.device().is_cpu() {
            let ids = Tensor::from_slice(ids, ids.len(), table.device())?;
            let dense = table.zeros_like()?.index_add(
                &ids,
                &grad.reshape(((), width))?.contiguous()?,
                0,
            )?;
            return self.slot.step(by, &dense);
        }
        by_dtype!(table.dtype(), T => with(&grad.contiguous()?, |g: &[T]| {
            let (rows, grads) = sum_by_row(ids, g, width);
            self.slot.step_rows(by.step(), &rows, &grads)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::{AdamStep, Embedding};
    use crate::finite_check::FiniteCheck;
    use candle_core::{DType, Device, Tensor};
    use prl_kernels::ops::adam::Adam;

    fn flat(t: &Tensor) -> Vec<f64> {
        t.flatten_all().unwrap().to_vec1::<f64>().unwrap()
    }

    #[test]
    fn every_row_of_the_embedding_takes_the_dense_step() {
        let table = Embedding::new(5, 3, DType::F64, &Device::Cpu, 1).unwrap();
        let ids = [4, 0, 4, 5];
        let grad: Vec<f64> = (0..12).map(f64::from).collect();
        let grad = Tensor::from_vec(grad, (2, 2, 3), &Device::Cpu).unwrap();
        let dense = Embedding::new(5, 3, DType::F64, &Device::Cpu, 1).unwrap();
        for t in 1..4 {
            let by = AdamStep {
                adam: Adam::new(0.01),
                t,
                watch: &FiniteCheck::none(),
            };
            table.step(by, &ids, &grad).unwrap();
            let index = Tensor::new(&ids, &Device::Cpu).unwrap();
            let whole = dense.slot.param.zeros_like().unwrap();
            let whole = whole
                .index_add(&index, &grad.reshape((4, 3)).unwrap(), 0)
                .unwrap();
            dense.slot.step(by, &whole).unwrap();
        }
        for (a, b) in flat(&table.slot.param).iter().zip(flat(&dense.slot.param)) {
            assert!((a - b).abs() < 1e-12, "{a} and {b}");
        }
        let rows = table.rows(&ids, 2).unwrap();
        assert_eq!(flat(&rows)[3..6], flat(&table.slot.param)[0..3]);
    }
}
