//! The two large ends of a model: the item embedding and the output layer.
//!
//! Each keeps its moments and takes its own training step. On a CPU both run on the fused kernels; elsewhere on candle's
//! operations, with the same results.

use candle_core::{DType, Device, Result, Tensor, Var, bail};
use prl_kernels::Real;
use prl_kernels::adam::Adam;
use prl_kernels::head::{Linear, LogSumExp, Sink, backward, log_sum_exp};
use prl_kernels::rank::{NotFinite, Ranking, rank};
use prl_kernels::rows::{gather, sum_by_row};
use prl_kernels::storage::{MutableStorage, with};
use prl_nn::Init;

use crate::slot::Slot;

/// Calls a function generic over the element type with the type of a tensor.
macro_rules! by_dtype {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            DType::F32 => {
                type $T = f32;
                $body
            }
            DType::F64 => {
                type $T = f64;
                $body
            }
            other => bail!("models are f32 or f64, not {other:?}"),
        }
    };
}

/// The item embedding: `[items + 1, dim]`, the last row being the pad's.
pub(crate) struct Embedding {
    pub(crate) slot: Slot,
}

impl Embedding {
    /// N(0, .01) (protocol: item embeddings).
    pub(crate) fn new(items: usize, dim: usize, dtype: DType, device: &Device, seed: u64) -> Result<Self> {
        let shape = [items + 1, dim];
        let values = Init::Normal(0.01).values(&shape, &mut prl_seed::stream(seed, "embedding.weight", 0))?;
        Ok(Self { slot: Slot::from_values(values, (items + 1, dim), dtype, device)? })
    }

    /// The rows of `[B, L]` ids, as a leaf `[B, L, dim]` to differentiate by.
    pub(crate) fn rows(&self, ids: &[u32], length: usize) -> Result<Var> {
        let table = self.slot.param.as_tensor();
        let shape = (ids.len() / length, length, table.dim(1)?);
        if !table.device().is_cpu() {
            let ids = Tensor::from_slice(ids, ids.len(), table.device())?;
            return Var::from_tensor(&table.detach().index_select(&ids, 0)?.reshape(shape)?);
        }
        by_dtype!(table.dtype(), T => with(table, |t: &[T]| Var::from_vec(gather(t, shape.2, ids), shape, &Device::Cpu)))
    }

    /// Adam's step `t` under the gradient of those rows.
    pub(crate) fn step(&self, adam: Adam, t: u64, ids: &[u32], grad: &Tensor) -> Result<()> {
        let table = self.slot.param.as_tensor();
        let width = table.dim(1)?;
        if !table.device().is_cpu() {
            let ids = Tensor::from_slice(ids, ids.len(), table.device())?;
            let dense = table.zeros_like()?.index_add(&ids, &grad.reshape(((), width))?.contiguous()?, 0)?;
            return self.slot.step(adam, t, &dense);
        }
        by_dtype!(table.dtype(), T => with(&grad.contiguous()?, |g: &[T]| {
            let (rows, grads) = sum_by_row(ids, g, width);
            self.slot.step_rows(adam.step(t), &rows, &grads)
        }))
    }
}

/// The output layer: scores are `weight . hidden + bias`, apart from the embedding, Xavier uniform, bias zero.
pub(crate) struct Head {
    pub(crate) weight: Slot,
    pub(crate) bias: Slot,
}

/// The loss of a batch, and what the middle needs of its gradient.
pub(crate) struct HeadStep {
    /// Sum of scale x cross-entropy.
    pub(crate) loss: f64,
    /// Gradient of the hidden vectors, `[B, width]`.
    pub(crate) hidden: Tensor,
}

impl Head {
    pub(crate) fn new(items: usize, width: usize, dtype: DType, device: &Device, seed: u64) -> Result<Self> {
        let weight = Init::Glorot.values(&[items, width], &mut prl_seed::stream(seed, "head.weight", 0))?;
        Ok(Self {
            weight: Slot::from_values(weight, (items, width), dtype, device)?,
            bias: Slot::new(Var::zeros(items, dtype, device)?)?,
        })
    }

    /// Takes Adam's step `t` on `sum of scale[b] x cross-entropy[b]`. A loss that is not finite is returned as it is, and
    /// nothing is updated.
    pub(crate) fn step(&self, adam: Adam, t: u64, hidden: &Tensor, targets: &[u32], scale: &[f64]) -> Result<HeadStep> {
        if hidden.device().is_cpu() {
            by_dtype!(hidden.dtype(), T => self.step_fused::<T>(adam, t, hidden, targets, scale))
        } else {
            self.step_composed(adam, t, hidden, targets, scale)
        }
    }

    fn step_fused<T: MutableStorage>(
        &self,
        adam: Adam,
        t: u64,
        hidden: &Tensor,
        targets: &[u32],
        scale: &[f64],
    ) -> Result<HeadStep> {
        let hidden = hidden.contiguous()?;
        let scale: Vec<T> = scale.iter().map(|&s| T::of(s)).collect();
        let lse: LogSumExp<T> =
            with(&hidden, |h: &[T]| self.with_linear(|linear| Ok(log_sum_exp(linear, h, targets))))?;
        let loss: f64 = lse.cross_entropy().zip(&scale).map(|(c, s)| c * s.double()).sum();
        if !loss.is_finite() {
            return Ok(HeadStep { loss, hidden });
        }
        let (grad, bias_grad) = with(&hidden, |h: &[T]| {
            with(self.bias.param.as_tensor(), |bias: &[T]| {
                self.weight.with_slots(|slots| {
                    let sink = Sink::Adam(adam.step(t), slots.first, slots.second);
                    backward(slots.param, bias, h, targets, &lse, &scale, sink)
                })
            })
        })?;
        self.bias.step(adam, t, &Tensor::from_vec(bias_grad, self.bias.param.shape(), &Device::Cpu)?)?;
        Ok(HeadStep { loss, hidden: Tensor::from_vec(grad, hidden.shape(), &Device::Cpu)? })
    }

    /// The same step from candle's operations; the whole logits exist for its duration.
    fn step_composed(&self, adam: Adam, t: u64, hidden: &Tensor, targets: &[u32], scale: &[f64]) -> Result<HeadStep> {
        let leaf = Var::from_tensor(&hidden.detach())?;
        let logits = self.logits(leaf.as_tensor())?;
        let top = logits.max_keepdim(1)?.detach();
        let lse = (logits.broadcast_sub(&top)?.exp()?.sum_keepdim(1)?.log()? + top)?;
        let targets = Tensor::from_slice(targets, (targets.len(), 1), hidden.device())?;
        let scale = Tensor::from_slice(scale, (scale.len(), 1), &Device::Cpu)?.to_dtype(hidden.dtype())?;
        let loss = ((lse - logits.gather(&targets, 1)?)? * scale.to_device(hidden.device())?)?.sum_all()?;
        let value = loss.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        if !value.is_finite() {
            return Ok(HeadStep { loss: value, hidden: hidden.clone() });
        }
        let grads = loss.backward()?;
        for slot in [&self.weight, &self.bias] {
            if let Some(grad) = grads.get(&slot.param) {
                slot.step(adam, t, grad)?;
            }
        }
        match grads.get(&leaf) {
            Some(grad) => Ok(HeadStep { loss: value, hidden: grad.clone() }),
            None => bail!("the loss does not depend on the hidden vectors"),
        }
    }

    fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        // The copy is needed: candle's product of a transposed view is wrong.
        hidden.matmul(&self.weight.param.t()?.contiguous()?)?.broadcast_add(&self.bias.param)
    }

    /// Ranks of the targets, if given, and the `k` best items of each hidden vector.
    pub(crate) fn rank(
        &self,
        hidden: &Tensor,
        targets: Option<&[u32]>,
        k: usize,
    ) -> Result<std::result::Result<Ranking<f32>, NotFinite>> {
        if !hidden.device().is_cpu() {
            return self.rank_composed(hidden, targets, k);
        }
        let (hidden, width) = (hidden.contiguous()?, hidden.dim(1)?);
        by_dtype!(hidden.dtype(), T => with(&hidden, |h: &[T]| {
            self.with_linear(|linear| Ok(rank(linear, h, width, targets, k).map(single)))
        }))
    }

    fn rank_composed(
        &self,
        hidden: &Tensor,
        targets: Option<&[u32]>,
        k: usize,
    ) -> Result<std::result::Result<Ranking<f32>, NotFinite>> {
        let scores = self.logits(hidden)?.to_dtype(DType::F32)?;
        let bad = (&scores * 0.0)?.sum(1)?.to_vec1::<f32>()?;
        if let Some(row) = bad.iter().position(|x| !x.is_finite()) {
            return Ok(Err(NotFinite { row }));
        }
        let ranks = match targets {
            Some(targets) => {
                let wanted = scores.gather(&Tensor::from_slice(targets, (targets.len(), 1), scores.device())?, 1)?;
                scores.broadcast_ge(&wanted)?.to_dtype(DType::F32)?.sum(1)?.to_vec1::<f32>()?
            }
            None => Vec::new(),
        };
        let k = k.min(scores.dim(1)?);
        let top = if k == 0 { vec![Vec::new(); scores.dim(0)?] } else { top_k(&scores, k)? };
        Ok(Ok(Ranking { ranks: ranks.into_iter().map(|r| r as u32).collect(), top }))
    }

    fn with_linear<T: MutableStorage, R>(&self, f: impl FnOnce(Linear<'_, T>) -> Result<R>) -> Result<R> {
        with(self.weight.param.as_tensor(), |weight: &[T]| {
            with(self.bias.param.as_tensor(), |bias: &[T]| f(Linear { weight, bias }))
        })
    }
}

fn single<T: Real>(ranking: Ranking<T>) -> Ranking<f32> {
    let top = ranking.top.into_iter().map(|row| row.into_iter().map(|(i, s)| (i, s.double() as f32)).collect());
    Ranking { ranks: ranking.ranks, top: top.collect() }
}

fn top_k(scores: &Tensor, k: usize) -> Result<Vec<Vec<(u32, f32)>>> {
    let rows = scores.to_vec2::<f32>()?;
    let best = |row: Vec<f32>| {
        let mut items: Vec<(u32, f32)> = row.into_iter().enumerate().map(|(i, s)| (i as u32, s)).collect();
        let order = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        items.select_nth_unstable_by(k - 1, order);
        items.truncate(k);
        items.sort_by(order);
        items
    };
    Ok(rows.into_iter().map(best).collect())
}

#[cfg(test)]
mod tests {
    use super::{Embedding, Head};
    use candle_core::{DType, Device, Tensor};
    use prl_kernels::adam::Adam;

    fn flat(t: &Tensor) -> Vec<f64> {
        t.flatten_all().unwrap().to_vec1::<f64>().unwrap()
    }

    fn assert_close(a: &[f64], b: &[f64]) {
        assert_eq!(a.len(), b.len());
        a.iter().zip(b).for_each(|(a, b)| assert!((a - b).abs() < 1e-12, "{a} and {b}"));
    }

    #[test]
    fn the_fused_head_and_the_composed_one_are_one() {
        let head = || Head::new(150, 6, DType::F64, &Device::Cpu, 3).unwrap();
        let (fused, composed) = (head(), head());
        let hidden: Vec<f64> = (0..60).map(|i| (0.3 * f64::from(i)).sin()).collect();
        let hidden = Tensor::from_vec(hidden, (10, 6), &Device::Cpu).unwrap();
        let targets: Vec<u32> = (0..10).map(|b| b * 13 % 150).collect();
        let scale: Vec<f64> = (0..10).map(|b| f64::from(b) * 0.01).collect();
        for t in 1..4 {
            let a = fused.step(Adam::new(0.01), t, &hidden, &targets, &scale).unwrap();
            let b = composed.step_composed(Adam::new(0.01), t, &hidden, &targets, &scale).unwrap();
            assert!((a.loss - b.loss).abs() < 1e-12);
            assert_close(&flat(&a.hidden), &flat(&b.hidden));
        }
        assert_close(&flat(&fused.weight.param), &flat(&composed.weight.param));
        assert_close(&flat(&fused.bias.param), &flat(&composed.bias.param));
        let a = fused.rank(&hidden, Some(&targets), 5).unwrap().unwrap();
        let b = composed.rank_composed(&hidden, Some(&targets), 5).unwrap().unwrap();
        assert_eq!(a.ranks, b.ranks);
        let ids = |top: &[Vec<(u32, f32)>]| top.iter().flatten().map(|x| x.0).collect::<Vec<_>>();
        assert_eq!(ids(&a.top), ids(&b.top));
    }

    #[test]
    fn a_loss_that_is_not_finite_updates_nothing() {
        let head = Head::new(20, 4, DType::F64, &Device::Cpu, 3).unwrap();
        let before = flat(&head.weight.param);
        let hidden = Tensor::full(f64::NAN, (1, 4), &Device::Cpu).unwrap();
        let step = head.step(Adam::new(0.1), 1, &hidden, &[0], &[1.0]).unwrap();
        assert!(step.loss.is_nan());
        assert_eq!(before, flat(&head.weight.param));
    }

    #[test]
    fn every_row_of_the_embedding_takes_the_dense_step() {
        let table = Embedding::new(5, 3, DType::F64, &Device::Cpu, 1).unwrap();
        let ids = [4, 0, 4, 5];
        let grad: Vec<f64> = (0..12).map(f64::from).collect();
        let grad = Tensor::from_vec(grad, (2, 2, 3), &Device::Cpu).unwrap();
        let dense = Embedding::new(5, 3, DType::F64, &Device::Cpu, 1).unwrap();
        for t in 1..4 {
            table.step(Adam::new(0.01), t, &ids, &grad).unwrap();
            let index = Tensor::new(&ids, &Device::Cpu).unwrap();
            let whole = dense.slot.param.zeros_like().unwrap();
            let whole = whole.index_add(&index, &grad.reshape((4, 3)).unwrap(), 0).unwrap();
            dense.slot.step(Adam::new(0.01), t, &whole).unwrap();
        }
        assert_close(&flat(&table.slot.param), &flat(&dense.slot.param));
        let rows = table.rows(&ids, 2).unwrap();
        assert_eq!(flat(&rows)[3..6], flat(&table.slot.param)[0..3]);
    }
}
