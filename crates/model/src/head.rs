//! The output layer, which keeps its moments and takes its own training step; as the critic it scores actions instead.
//!
//! On a CPU, and on a GPU in `f32`, it runs on the fused kernels; elsewhere on candle's operations, with the same results.

#[cfg(feature = "cuda")]
mod cuda;
mod reference;

use candle_core::{DType, Device, Result, Tensor, Var};
use prl_kernels::Real;
use prl_kernels::ops::adam::update;
use prl_kernels::ops::embedding::{gather, sum_by_row};
use prl_kernels::ops::rank::{NonFiniteScore, Ranking, rank};
use prl_kernels::ops::softmax_head::{OutputLayer, Sink, Softmax, backward, score, softmax};
use prl_kernels::ops::top_k_serving::TransposedItemMatrix;
use prl_kernels::simd::bf16::Bf16Pair;
use prl_kernels::simd::operand::GemmOperand;
use prl_kernels::storage::{MutableStorage, with};
use prl_nn::Init;

#[cfg(feature = "cuda")]
use crate::device::is_on_gpu;
use crate::dtype::by_dtype;
use crate::param::{AdamParam, AdamStep};
use crate::process_group::{Number, ProcessGroup};

/// The output layer: scores are `weight . hidden + bias`, apart from the embedding, Xavier uniform, bias zero.
pub(crate) struct Head {
    pub(crate) weight: AdamParam,
    pub(crate) bias: AdamParam,
    /// Whether the products of a step are made of numbers rounded to bfloat16.
    pub(crate) is_bf16: bool,
}

/// The loss of a batch, and what the middle needs of its gradient.
pub(crate) struct HeadStep {
    /// Sum of scale x cross-entropy; none where the watch will know it.
    pub(crate) loss: Option<f64>,
    /// Gradient of the hidden vectors, `[B, width]`.
    pub(crate) hidden: Tensor,
}

/// Where the output layers went in a step.
pub(crate) struct HeadOutput {
    /// The cross-entropy, unless the step's watch will know it.
    pub(crate) cross_entropy: Option<f64>,
    /// What else there is to the loss.
    pub(crate) beside: f64,
    /// The loss's gradient by the hidden vectors.
    pub(crate) gradient: Tensor,
}

impl Head {
    /// A layer whose initial values depend on the seed and its name.
    pub(crate) fn new(
        items: usize,
        width: usize,
        dtype: DType,
        device: &Device,
        seed: u64,
        name: &str,
    ) -> Result<Self> {
        let mut rng = prl_seed::stream(seed, &format!("{name}.weight"), 0);
        let weight = Init::Glorot.values(&[items, width], &mut rng)?;
        Ok(Self {
            weight: AdamParam::from_values(weight, (items, width), dtype, device)?,
            bias: AdamParam::new(Var::zeros(items, dtype, device)?)?,
            is_bf16: false,
        })
    }

    /// Takes Adam's step on `sum of scale[b] x cross-entropy[b]` over the examples of all ranks (several need a CPU). A
    /// loss that is not finite is returned as it is or seen by the watch, and nothing is updated.
    pub(crate) fn step(
        &self,
        by: AdamStep<'_>,
        hidden: &Tensor,
        targets: &[u32],
        scale: &[f64],
        group: &dyn ProcessGroup,
    ) -> Result<HeadStep> {
        #[cfg(feature = "cuda")]
        if is_on_gpu(hidden) {
            return self.step_cuda(by, hidden, targets, scale);
        }
        if !hidden.device().is_cpu() {
            self.step_reference(by, hidden, targets, scale)
        } else if self.is_bf16 && hidden.dtype() == DType::F32 {
            self.step_fused::<Bf16Pair>(by, hidden, targets, scale, group)
        } else {
            by_dtype!(hidden.dtype(), T => self.step_fused::<T>(by, hidden, targets, scale, group))
        }
    }

    fn step_fused<F: GemmOperand<Sum: Number>>(
        &self,
        by: AdamStep<'_>,
        hidden: &Tensor,
        targets: &[u32],
        scale: &[f64],
        group: &dyn ProcessGroup,
    ) -> Result<HeadStep> {
        let hidden = hidden.contiguous()?;
        let scale: Vec<F::Sum> = scale.iter().map(|&s| F::Sum::of(s)).collect();
        let swept: Softmax<F> = with(&hidden, |h: &[F::Sum]| {
            self.with_linear(|linear| Ok(softmax(linear, h, targets)))
        })?;
        let loss = group.total(
            swept
                .cross_entropy()
                .zip(&scale)
                .map(|(c, s)| c * s.double())
                .sum(),
        );
        if !loss.is_finite() {
            return Ok(HeadStep {
                loss: Some(loss),
                hidden,
            });
        }
        let (grad, bias_grad) = with(&hidden, |h: &[F::Sum]| {
            with(self.bias.param.as_tensor(), |bias: &[F::Sum]| {
                self.weight.with_slices(|slots| {
                    if group.is_alone() {
                        let sink = Sink::Adam(by.step(), slots.first, slots.second);
                        return backward(slots.param, bias, h, targets, &swept, &scale, sink);
                    }
                    let mut sums = vec![num_traits::zero(); slots.param.len() + bias.len()];
                    let (by_weight, by_bias) = sums.split_at_mut(slots.param.len());
                    let sink = Sink::Gradient(by_weight);
                    let (grad, bias_grad) =
                        backward(slots.param, bias, h, targets, &swept, &scale, sink);
                    by_bias.copy_from_slice(&bias_grad);
                    group.all_reduce_sum(F::Sum::as_buffer(&mut sums));
                    let bias_grad = sums.split_off(slots.param.len());
                    update(by.step(), slots, &sums);
                    (grad, bias_grad)
                })
            })
        })?;
        self.bias.step(
            by,
            &Tensor::from_vec(bias_grad, self.bias.param.shape(), &Device::Cpu)?,
        )?;
        Ok(HeadStep {
            loss: Some(loss),
            hidden: Tensor::from_vec(grad, hidden.shape(), &Device::Cpu)?,
        })
    }

    /// ProcessGroup of the targets, if given, and the `k` best items of each hidden vector.
    pub(crate) fn rank(
        &self,
        hidden: &Tensor,
        targets: Option<&[u32]>,
        k: usize,
    ) -> Result<std::result::Result<Ranking<f32>, NonFiniteScore>> {
        #[cfg(feature = "cuda")]
        if is_on_gpu(hidden) {
            return prl_kernels::ops::rank::cuda::rank(
                self.layer(),
                &hidden.contiguous()?,
                targets,
                k,
            );
        }
        if !hidden.device().is_cpu() {
            return self.rank_reference(hidden, targets, k);
        }
        let (hidden, width) = (hidden.contiguous()?, hidden.dim(1)?);
        by_dtype!(hidden.dtype(), T => with(&hidden, |h: &[T]| {
            self.with_linear(|linear| Ok(rank(linear, h, width, targets, k).map(single)))
        }))
    }

    /// The score of one item for each hidden vector `[B]`.
    pub(crate) fn scores(&self, hidden: &Tensor, items: &[u32]) -> Result<Vec<f64>> {
        if !hidden.device().is_cpu() {
            return self.scores_reference(hidden, items);
        }
        let (hidden, width) = (hidden.contiguous()?, hidden.dim(1)?);
        by_dtype!(hidden.dtype(), T => with(&hidden, |h: &[T]| {
            self.with_linear(|linear| Ok(score(linear, h, width, items).into_iter().map(Real::double).collect()))
        }))
    }

    /// The layer laid out for small batches; `None` unless it is an `f32` one on a CPU.
    pub(crate) fn catalogue(&self) -> Result<Option<TransposedItemMatrix<f32>>> {
        let weight = self.weight.param.as_tensor();
        if !weight.device().is_cpu() || weight.dtype() != DType::F32 {
            return Ok(None);
        }
        let width = weight.dim(1)?;
        self.with_linear(|linear| Ok(Some(TransposedItemMatrix::new(linear, width))))
    }

    /// The best item for each hidden vector `[B]`; of equal ones the first.
    pub(crate) fn best(
        &self,
        hidden: &Tensor,
    ) -> Result<std::result::Result<Vec<u32>, NonFiniteScore>> {
        let best = |ranking: Ranking<f32>| {
            ranking
                .top
                .into_iter()
                .filter_map(|top| Some(top.first()?.0))
                .collect()
        };
        Ok(self.rank(hidden, None, 1)?.map(best))
    }

    /// Takes Adam's step under the gradients `grads[b]` of the scores of `items[b]`; returns the gradient of the hidden
    /// vectors. Only those rows of the weight have a gradient, all of them move on their moments.
    pub(crate) fn step_chosen(
        &self,
        by: AdamStep<'_>,
        hidden: &Tensor,
        items: &[u32],
        grads: &[f64],
    ) -> Result<Tensor> {
        #[cfg(feature = "cuda")]
        if is_on_gpu(hidden) {
            return self.step_chosen_cuda(by, hidden, items, grads);
        }
        if !hidden.device().is_cpu() {
            return self.step_chosen_reference(by, hidden, items, grads);
        }
        by_dtype!(hidden.dtype(), T => self.step_chosen_fused::<T>(by, &hidden.contiguous()?, items, grads))
    }

    fn step_chosen_fused<T: MutableStorage>(
        &self,
        by: AdamStep<'_>,
        hidden: &Tensor,
        items: &[u32],
        grads: &[f64],
    ) -> Result<Tensor> {
        let width = hidden.dim(1)?;
        let times = |rows: &[T]| -> Vec<T> {
            rows.chunks_exact(width)
                .zip(grads)
                .flat_map(|(row, &g)| row.iter().map(move |&x| x * T::of(g)))
                .collect()
        };
        let chosen = with(self.weight.param.as_tensor(), |weight: &[T]| {
            Ok(gather(weight, width, items))
        })?;
        let (rows, by_weight) = with(hidden, |h: &[T]| Ok(sum_by_row(items, &times(h), width)))?;
        self.weight.step_rows(by.step(), &rows, &by_weight)?;
        let mut by_bias = vec![T::zero(); self.bias.param.elem_count()];
        items
            .iter()
            .zip(grads)
            .for_each(|(&item, &g)| by_bias[item as usize] += T::of(g));
        self.bias.step(
            by,
            &Tensor::from_vec(by_bias, self.bias.param.shape(), &Device::Cpu)?,
        )?;
        Tensor::from_vec(times(&chosen), hidden.shape(), &Device::Cpu)
    }

    fn with_linear<T: MutableStorage, R>(
        &self,
        f: impl FnOnce(OutputLayer<'_, T>) -> Result<R>,
    ) -> Result<R> {
        with(self.weight.param.as_tensor(), |weight: &[T]| {
            with(self.bias.param.as_tensor(), |bias: &[T]| {
                f(OutputLayer { weight, bias })
            })
        })
    }
}

fn single<T: Real>(ranking: Ranking<T>) -> Ranking<f32> {
    let top = ranking.top.into_iter().map(|row| {
        row.into_iter()
            .map(|(i, s)| (i, s.double() as f32))
            .collect()
    });
    Ranking {
        ranks: ranking.ranks,
        top: top.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::{AdamStep, Head};
    use crate::finite_check::FiniteCheck;
    use crate::process_group::SingleProcess;
    use candle_core::{DType, Device, Tensor};
    use prl_kernels::ops::adam::Adam;

    fn flat(t: &Tensor) -> Vec<f64> {
        t.flatten_all().unwrap().to_vec1::<f64>().unwrap()
    }

    fn assert_close(a: &[f64], b: &[f64]) {
        assert_eq!(a.len(), b.len());
        a.iter()
            .zip(b)
            .for_each(|(a, b)| assert!((a - b).abs() < 1e-12, "{a} and {b}"));
    }

    #[test]
    fn the_fused_head_and_the_composed_one_are_one() {
        let head = || Head::new(150, 6, DType::F64, &Device::Cpu, 3, "head").unwrap();
        let (fused, composed) = (head(), head());
        let hidden: Vec<f64> = (0..60).map(|i| (0.3 * f64::from(i)).sin()).collect();
        let hidden = Tensor::from_vec(hidden, (10, 6), &Device::Cpu).unwrap();
        let targets: Vec<u32> = (0..10).map(|b| b * 13 % 150).collect();
        let scale: Vec<f64> = (0..10).map(|b| f64::from(b) * 0.01).collect();
        let watch = FiniteCheck::none();
        let by = |t| AdamStep {
            adam: Adam::new(0.01),
            t,
            watch: &watch,
        };
        for t in 1..4 {
            let a = fused
                .step(by(t), &hidden, &targets, &scale, &SingleProcess)
                .unwrap();
            let b = composed
                .step_reference(by(t), &hidden, &targets, &scale)
                .unwrap();
            assert!((a.loss.unwrap() - b.loss.unwrap()).abs() < 1e-12);
            assert_close(&flat(&a.hidden), &flat(&b.hidden));
        }
        assert_close(&flat(&fused.weight.param), &flat(&composed.weight.param));
        assert_close(&flat(&fused.bias.param), &flat(&composed.bias.param));
        let a = fused.rank(&hidden, Some(&targets), 5).unwrap().unwrap();
        let b = composed
            .rank_reference(&hidden, Some(&targets), 5)
            .unwrap()
            .unwrap();
        assert_eq!(a.ranks, b.ranks);
        let ids = |top: &[Vec<(u32, f32)>]| top.iter().flatten().map(|x| x.0).collect::<Vec<_>>();
        assert_eq!(ids(&a.top), ids(&b.top));
    }

    #[test]
    fn a_critic_takes_the_same_step_fused_and_composed() {
        let critic = || Head::new(40, 6, DType::F64, &Device::Cpu, 3, "critic").unwrap();
        let (fused, composed) = (critic(), critic());
        let hidden = Tensor::from_vec(
            (0..30).map(|i| (0.3 * f64::from(i)).sin()).collect(),
            (5, 6),
            &Device::Cpu,
        );
        let hidden: Tensor = hidden.unwrap();
        let (items, grads) = ([7, 39, 7, 0, 12], [0.5, -1.0, 0.25, 0.0, 2.0]);
        let watch = FiniteCheck::none();
        let by = |t| AdamStep {
            adam: Adam::new(0.01),
            t,
            watch: &watch,
        };
        for t in 1..4 {
            let a = fused.step_chosen(by(t), &hidden, &items, &grads).unwrap();
            let b = composed
                .step_chosen_reference(by(t), &hidden, &items, &grads)
                .unwrap();
            assert_close(&flat(&a), &flat(&b));
        }
        assert_close(&flat(&fused.weight.param), &flat(&composed.weight.param));
        assert_close(&flat(&fused.bias.param), &flat(&composed.bias.param));
        let scores = fused.scores(&hidden, &items).unwrap();
        assert_close(
            &scores,
            &composed.scores_reference(&hidden, &items).unwrap(),
        );
        let best = fused.best(&hidden).unwrap().unwrap();
        let every = |b: usize| {
            let row = hidden.narrow(0, b, 1).unwrap();
            (0..40).max_by(|&x, &y| {
                let [x, y] = [x, y].map(|item| fused.scores(&row, &[item]).unwrap()[0]);
                x.total_cmp(&y)
            })
        };
        assert_eq!(
            best,
            (0..5).map(|b| every(b).unwrap()).collect::<Vec<u32>>()
        );
    }

    #[test]
    fn a_loss_that_is_not_finite_updates_nothing() {
        let head = Head::new(20, 4, DType::F64, &Device::Cpu, 3, "head").unwrap();
        let before = flat(&head.weight.param);
        let hidden = Tensor::full(f64::NAN, (1, 4), &Device::Cpu).unwrap();
        let by = AdamStep {
            adam: Adam::new(0.1),
            t: 1,
            watch: &FiniteCheck::none(),
        };
        let step = head
            .step(by, &hidden, &[0], &[1.0], &SingleProcess)
            .unwrap();
        assert!(step.loss.unwrap().is_nan());
        assert_eq!(before, flat(&head.weight.param));
    }
}
