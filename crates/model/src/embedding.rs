//! Item embedding: lookup of rows as a variable of the autograd graph, and the update of the table
//! from the gradient of those rows.

use candle_core::{DType, Device, Result, Tensor, Var};
use prl_kernels::ops::embedding::{gather, sum_by_row};
use prl_kernels::storage::{with, with_mut};
use prl_nn::{Backend, Init, format1_name};

use crate::dtype::by_dtype;
use crate::param::{AdamParam, AdamStep};

/// Item embedding `[items + 1, dim]`; the last row is that of the pad.
pub(crate) struct Embedding {
    pub(crate) table: AdamParam,
}

impl Embedding {
    /// A table drawn from N(0, 0.01).
    pub(crate) fn new(
        items: usize,
        dim: usize,
        dtype: DType,
        device: &Device,
        seed: u64,
    ) -> Result<Self> {
        let shape = [items + 1, dim];
        let name = "item_emb.weight";
        let mut rng = prl_seed::stream(seed, &format1_name(name), 0);
        let values = Init::Normal(0.01).values(&shape, &mut rng)?;
        Ok(Self {
            table: AdamParam::from_values(name, values, (items + 1, dim), dtype, device)?,
        })
    }

    /// The rows of `[B, L]` ids, as a variable `[B, L, dim]` to differentiate by.
    pub(crate) fn rows(&self, ids: &[u32], length: usize) -> Result<Tensor> {
        let table = self.table.param.as_tensor();
        let shape = (ids.len() / length, length, table.dim(1)?);
        match self.table.backend() {
            Backend::CpuFused => by_dtype!(table.dtype(), T => with(table, |t: &[T]| {
                let rows = gather(t, shape.2, ids);
                Ok(Var::from_vec(rows, shape, &Device::Cpu)?.as_tensor().clone())
            })),
            #[cfg(feature = "cuda")]
            Backend::Cuda => prl_kernels::ops::embedding::cuda::gather(table, ids, shape),
            _ => {
                let ids = Tensor::from_slice(ids, ids.len(), table.device())?;
                let rows = table.detach().index_select(&ids, 0)?.reshape(shape)?;
                Ok(Var::from_tensor(&rows)?.as_tensor().clone())
            }
        }
    }

    /// Applies one Adam update from the gradient of the rows of `ids`.
    pub(crate) fn step(&self, adam: AdamStep<'_>, ids: &[u32], grad: &Tensor) -> Result<()> {
        let table = self.table.param.as_tensor();
        let width = table.dim(1)?;
        let grad = grad.reshape(((), width))?.contiguous()?;
        match self.table.backend() {
            Backend::CpuFused => by_dtype!(table.dtype(), T => with(&grad, |g: &[T]| {
                let (rows, grads) = sum_by_row(ids, g, width);
                if self.table.is_lazy() {
                    return self.table.step_touched(adam, &rows, &grads);
                }
                self.table.step_rows(adam.step(), &rows, &grads)
            })),
            #[cfg(feature = "cuda")]
            Backend::Cuda => {
                let dense =
                    prl_kernels::ops::embedding::cuda::add_by_row(table.dim(0)?, ids, None, &grad)?;
                self.table.step(adam, &dense)
            }
            _ => {
                let ids = Tensor::from_slice(ids, ids.len(), table.device())?;
                let dense = table.zeros_like()?.index_add(&ids, &grad, 0)?;
                self.table.step(adam, &dense)
            }
        }
    }
}

impl Embedding {
    /// Applies one Adam update from a dense gradient `[items + 1, dim]`, that of a tied output
    /// layer, plus the gradient of the rows of `ids`.
    pub(crate) fn step_tied(
        &self,
        adam: AdamStep<'_>,
        dense: Tensor,
        rows: Option<(&[u32], &Tensor)>,
    ) -> Result<()> {
        let Some((ids, grad)) = rows else {
            return self.table.step(adam, &dense);
        };
        let width = self.table.param.dim(1)?;
        let grad = grad.reshape(((), width))?.contiguous()?;
        let dense = match self.table.backend() {
            Backend::CpuFused => {
                by_dtype!(dense.dtype(), T => with(&grad, |g: &[T]| {
                    let (rows, sums) = sum_by_row(ids, g, width);
                    with_mut(&dense, |dense: &mut [T]| {
                        for (&row, sums) in rows.iter().zip(sums.chunks_exact(width)) {
                            let row = &mut dense[row as usize * width..][..width];
                            for (x, &sum) in row.iter_mut().zip(sums) {
                                *x += sum;
                            }
                        }
                        Ok(())
                    })
                }))?;
                dense
            }
            _ => {
                let ids = Tensor::from_slice(ids, ids.len(), dense.device())?;
                dense.index_add(&ids, &grad, 0)?
            }
        };
        self.table.step(adam, &dense)
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
    fn sparse_update_matches_dense_adam_on_every_row() {
        let table = Embedding::new(5, 3, DType::F64, &Device::Cpu, 1).unwrap();
        let ids = [4, 0, 4, 5];
        let grad: Vec<f64> = (0..12).map(f64::from).collect();
        let grad = Tensor::from_vec(grad, (2, 2, 3), &Device::Cpu).unwrap();
        let dense = Embedding::new(5, 3, DType::F64, &Device::Cpu, 1).unwrap();
        for t in 1..4 {
            let step = AdamStep {
                adam: Adam::new(0.01),
                t,
                check: &FiniteCheck::none(),
            };
            table.step(step, &ids, &grad).unwrap();
            let index = Tensor::new(&ids, &Device::Cpu).unwrap();
            let whole = dense.table.param.zeros_like().unwrap();
            let whole = whole
                .index_add(&index, &grad.reshape((4, 3)).unwrap(), 0)
                .unwrap();
            dense.table.step(step, &whole).unwrap();
        }
        for (a, b) in flat(&table.table.param)
            .iter()
            .zip(flat(&dense.table.param))
        {
            assert!((a - b).abs() < 1e-12, "{a} and {b}");
        }
        let rows = table.rows(&ids, 2).unwrap();
        assert_eq!(flat(&rows)[3..6], flat(&table.table.param)[0..3]);
    }
}
