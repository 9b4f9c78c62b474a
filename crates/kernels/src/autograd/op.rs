//! Fused operations as candle custom operations: slices in, a vector out, an explicit backward
//! pass.

#[cfg(feature = "cuda")]
mod cuda;

use std::ops::Deref;
use std::sync::OnceLock;

use candle_core::backend::BackendStorage;
#[cfg(feature = "cuda")]
use candle_core::cuda_backend::CudaStorage;
use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, DType, Layout, Result, Shape, Storage, Tensor,
    WithDType, bail,
};

use crate::Real;
#[cfg(feature = "cuda")]
use crate::autograd::cuda::CudaOp;

/// Empty without the feature `cuda`.
#[cfg(not(feature = "cuda"))]
pub(crate) trait CudaOp<const N: usize> {}
#[cfg(not(feature = "cuda"))]
impl<F, const N: usize> CudaOp<N> for F {}

/// An operation on N contiguous tensors of one type, differentiable in all of them.
pub(crate) trait FusedOp<const N: usize>: CudaOp<N> + Send + Sync + 'static {
    /// Name in error messages.
    const NAME: &'static str;
    /// Values saved for the backward pass, beside the arguments and the result.
    type Saved<T: Real>: Send + Sync + 'static;

    /// The result and the saved values.
    fn forward<T: Real>(&self, args: [&[T]; N]) -> (Vec<T>, Self::Saved<T>);

    /// Arguments whose gradient equals the result's gradient; `backward` returns an empty vector
    /// for them.
    const PASS_THROUGH_GRAD: [bool; N] = [false; N];

    /// The gradient of each argument, of the argument's length, from the result and its gradient.
    fn backward<T: Real>(
        &self,
        args: [&[T]; N],
        tape: &Self::Saved<T>,
        out: &[T],
        grad: &[T],
    ) -> [Vec<T>; N];
}

/// A fused operation with the shape of its result and, after the forward pass, its saved values.
pub(crate) struct Op<F: FusedOp<N>, const N: usize> {
    pub(crate) fused: F,
    pub(crate) shape: Shape,
    single: OnceLock<F::Saved<f32>>,
    double: OnceLock<F::Saved<f64>>,
    #[cfg(feature = "cuda")]
    pub(crate) kept: OnceLock<F::SavedCuda>,
}

impl<F: FusedOp<N>, const N: usize> Op<F, N> {
    /// Wraps an operation whose result has `shape`.
    pub(crate) fn new(fused: F, shape: impl Into<Shape>) -> Self {
        Self {
            fused,
            shape: shape.into(),
            single: OnceLock::new(),
            double: OnceLock::new(),
            #[cfg(feature = "cuda")]
            kept: OnceLock::new(),
        }
    }

    /// The result for contiguous arguments on any device.
    pub(crate) fn run(&self, args: [(&Storage, &Layout); N]) -> Result<(Storage, Shape)> {
        #[cfg(feature = "cuda")]
        if matches!(args[0].0, Storage::Cuda(_)) {
            let args = all(args.into_iter().map(gpu))?;
            let (storage, shape) = self.run_cuda(args)?;
            return Ok((Storage::Cuda(storage), shape));
        }
        let args = all(args.into_iter().map(cpu))?;
        let (storage, shape) = self.forward(args)?;
        Ok((Storage::Cpu(storage), shape))
    }

    fn forward(&self, args: [(&CpuStorage, &Layout); N]) -> Result<(CpuStorage, Shape)> {
        let out = match args[0].0.dtype() {
            DType::F32 => self.run_cpu(args, &self.single)?,
            DType::F64 => self.run_cpu(args, &self.double)?,
            other => bail!("{} runs on f32 or f64, not {other:?}", F::NAME),
        };
        Ok((out, self.shape.clone()))
    }

    fn run_cpu<T: Real>(
        &self,
        args: [(&CpuStorage, &Layout); N],
        tape: &OnceLock<F::Saved<T>>,
    ) -> Result<CpuStorage> {
        let slices = all(args.into_iter().map(slice))?;
        let (out, made) = self.fused.forward(slices);
        let _ = tape.set(made);
        Ok(T::to_cpu_storage_owned(out))
    }

    /// The gradient of each argument.
    pub(crate) fn backward(
        &self,
        args: [&Tensor; N],
        out: &Tensor,
        grad: &Tensor,
    ) -> Result<[Tensor; N]> {
        #[cfg(feature = "cuda")]
        if out.device().is_cuda() {
            return self.grads_cuda(args, out, grad);
        }
        match out.dtype() {
            DType::F32 => self.backward_cpu(args, &self.single, out, grad),
            _ => self.backward_cpu(args, &self.double, out, grad),
        }
    }

    fn backward_cpu<T: Real>(
        &self,
        args: [&Tensor; N],
        tape: &OnceLock<F::Saved<T>>,
        out: &Tensor,
        grad: &Tensor,
    ) -> Result<[Tensor; N]> {
        let Some(tape) = tape.get() else {
            bail!("{}: backward before forward", F::NAME)
        };
        // Gradients of candle's own operations may be views.
        let grad = grad.contiguous()?;
        let guards = [out, &grad].map(Tensor::storage_and_layout);
        let [out, values] = all(guards.iter().map(elements))?;
        let guards = args.map(Tensor::storage_and_layout);
        let slices = all(guards.iter().map(elements))?;
        let grads = self.fused.backward(slices, tape, out, values);
        let mut tensors = Vec::with_capacity(N);
        for ((values, like), passed) in grads.into_iter().zip(args).zip(F::PASS_THROUGH_GRAD) {
            tensors.push(if passed {
                Ok(grad.clone())
            } else {
                Tensor::from_vec(values, like.shape(), like.device())
            });
        }
        all(tensors.into_iter())
    }
}

/// A storage on the CPU with its layout.
fn cpu<'a>((storage, layout): (&'a Storage, &'a Layout)) -> Result<(&'a CpuStorage, &'a Layout)> {
    match storage {
        Storage::Cpu(storage) => Ok((storage, layout)),
        _ => bail!(
            "a fused operation got a tensor that is not on the CPU; all arguments must be on one device"
        ),
    }
}

/// A storage on a GPU with its layout.
#[cfg(feature = "cuda")]
fn gpu<'a>((storage, layout): (&'a Storage, &'a Layout)) -> Result<(&'a CudaStorage, &'a Layout)> {
    match storage {
        Storage::Cuda(storage) => Ok((storage, layout)),
        _ => bail!("a fused operation needs all tensors on the same GPU"),
    }
}

/// The elements of a contiguous storage.
fn slice<'a, T: WithDType>((storage, layout): (&'a CpuStorage, &Layout)) -> Result<&'a [T]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice()?[start..end]),
        None => bail!("a fused operation needs contiguous tensors; call contiguous() first"),
    }
}

/// The elements of a contiguous tensor on the CPU, from its storage and layout.
fn elements<'a, T: WithDType>(
    (storage, layout): &'a (impl Deref<Target = Storage>, &Layout),
) -> Result<&'a [T]> {
    slice(cpu((storage, layout))?)
}

/// Collects N results into an array.
pub(crate) fn all<A, const N: usize>(results: impl Iterator<Item = Result<A>>) -> Result<[A; N]> {
    let all = results.collect::<Result<Vec<A>>>()?;
    all.try_into()
        .or_else(|all: Vec<A>| bail!("got {} results; expected {N}", all.len()))
}

impl<F: FusedOp<1>> CustomOp1 for Op<F, 1> {
    fn name(&self) -> &'static str {
        F::NAME
    }

    fn cpu_fwd(&self, a: &CpuStorage, al: &Layout) -> Result<(CpuStorage, Shape)> {
        self.forward([(a, al)])
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, a: &CudaStorage, al: &Layout) -> Result<(CudaStorage, Shape)> {
        self.run_cuda([(a, al)])
    }

    fn bwd(&self, a: &Tensor, out: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let [a] = self.backward([a], out, grad)?;
        Ok(Some(a))
    }
}

impl<F: FusedOp<2>> CustomOp2 for Op<F, 2> {
    fn name(&self) -> &'static str {
        F::NAME
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        al: &Layout,
        b: &CpuStorage,
        bl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.forward([(a, al), (b, bl)])
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        a: &CudaStorage,
        al: &Layout,
        b: &CudaStorage,
        bl: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.run_cuda([(a, al), (b, bl)])
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        out: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [a, b] = self.backward([a, b], out, grad)?;
        Ok((Some(a), Some(b)))
    }
}

impl<F: FusedOp<3>> CustomOp3 for Op<F, 3> {
    fn name(&self) -> &'static str {
        F::NAME
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        al: &Layout,
        b: &CpuStorage,
        bl: &Layout,
        c: &CpuStorage,
        cl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.forward([(a, al), (b, bl), (c, cl)])
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        a: &CudaStorage,
        al: &Layout,
        b: &CudaStorage,
        bl: &Layout,
        c: &CudaStorage,
        cl: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.run_cuda([(a, al), (b, bl), (c, cl)])
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        c: &Tensor,
        out: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [a, b, c] = self.backward([a, b, c], out, grad)?;
        Ok((Some(a), Some(b), Some(c)))
    }
}
