//! Arguments of kernels and products: device pointers and sizes.

use std::marker::PhantomData;

use candle_core::cuda_backend::cudarc::driver::{CudaSlice, DevicePtr};
use candle_core::cuda_backend::{CudaDType, CudaStorage};
use candle_core::{Layout, Result, Storage, Tensor, bail};

use super::DeviceBuffer;

/// Device pointer and length of a borrowed range.
#[derive(Clone, Copy)]
pub(crate) struct View<'a, T = f32> {
    pub(super) address: u64,
    pub(crate) len: usize,
    memory: PhantomData<&'a T>,
}

/// A range of 32-bit words.
pub(crate) type Words<'a> = View<'a, u32>;

impl<T> View<'_, T> {
    /// The first `n` elements.
    pub(crate) fn first(self, n: usize) -> Self {
        Self { len: n, ..self }
    }

    /// Reinterprets the elements as a type of the same size.
    pub(crate) fn cast<'a, U>(self) -> View<'a, U>
    where
        Self: 'a,
    {
        View {
            address: self.address,
            len: self.len,
            memory: PhantomData,
        }
    }

    /// The elements from the `n`-th on; empty past the end.
    pub(crate) fn from(self, n: usize) -> Self {
        Self {
            address: self.address + (n * size_of::<T>()) as u64,
            len: self.len.saturating_sub(n),
            ..self
        }
    }
}

/// A range of device memory.
pub(crate) trait OnDevice<T> {
    /// Device address.
    fn address(&self) -> u64;
    /// Number of elements.
    fn len(&self) -> usize;
}

impl<T> OnDevice<T> for CudaSlice<T> {
    fn address(&self) -> u64 {
        address(self)
    }

    fn len(&self) -> usize {
        self.len()
    }
}

/// The whole range.
pub(crate) fn view<T>(of: &impl OnDevice<T>) -> View<'_, T> {
    View {
        address: of.address(),
        len: of.len(),
        memory: PhantomData,
    }
}

/// The elements of a contiguous tensor in a storage.
pub(crate) fn part<'a>(storage: &'a CudaStorage, layout: &Layout) -> Result<View<'a>> {
    let Some((start, _)) = layout.contiguous_offsets() else {
        bail!("a fused operation needs contiguous tensors; call contiguous() first")
    };
    let len = layout.shape().elem_count();
    Ok(view(f32::as_cuda_slice(storage)?).from(start).first(len))
}

pub(super) fn address<T>(slice: &CudaSlice<T>) -> u64 {
    // With one stream no events are needed.
    slice.device_ptr(slice.stream()).0
}

/// An argument of a kernel.
#[derive(Clone, Copy)]
pub(crate) enum Arg {
    Long(u64),
    Word(u32),
    Number(f32),
}

impl<T> From<View<'_, T>> for Arg {
    fn from(view: View<'_, T>) -> Self {
        Self::Long(view.address)
    }
}

impl<T> From<&DeviceBuffer<T>> for Arg {
    fn from(memory: &DeviceBuffer<T>) -> Self {
        Self::Long(memory.address())
    }
}

impl<T> From<Option<View<'_, T>>> for Arg {
    /// `None` is a null pointer.
    fn from(view: Option<View<'_, T>>) -> Self {
        Self::Long(view.map_or(0, |view| view.address))
    }
}

impl From<u32> for Arg {
    fn from(word: u32) -> Self {
        Self::Word(word)
    }
}

impl From<bool> for Arg {
    fn from(flag: bool) -> Self {
        Self::Word(flag.into())
    }
}

impl From<f32> for Arg {
    fn from(number: f32) -> Self {
        Self::Number(number)
    }
}

/// A matrix operand: elements, row stride and transposition.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    pub(super) numbers: View<'a>,
    pub(super) stride: usize,
    is_turned: bool,
}

/// A row-major matrix with the given row stride.
pub(crate) fn rows(numbers: View<'_>, stride: usize) -> Matrix<'_> {
    Matrix {
        numbers,
        stride,
        is_turned: false,
    }
}

impl Matrix<'_> {
    /// The transpose.
    pub(crate) fn turned(self) -> Self {
        Self {
            is_turned: !self.is_turned,
            ..self
        }
    }

    pub(super) fn is_transposed(self) -> bool {
        self.is_turned
    }
}

/// Calls `f` with the elements of contiguous tensors.
pub(crate) fn with<const N: usize, R>(
    tensors: [&Tensor; N],
    f: impl FnOnce([View<'_>; N]) -> Result<R>,
) -> Result<R> {
    let guards = tensors.map(Tensor::storage_and_layout);
    let views = guards.iter().map(|(storage, layout)| match &**storage {
        Storage::Cuda(storage) => part(storage, layout),
        _ => bail!(
            "expected a tensor on the GPU, got one on {:?}",
            storage.device().location()
        ),
    });
    let views = views.collect::<Result<Vec<_>>>()?;
    f(std::array::from_fn(|i| views[i]))
}

/// Device address of a contiguous `f32` tensor; valid while the tensor lives.
pub(crate) fn address_of(tensor: &Tensor) -> Result<u64> {
    with([tensor], |[numbers]| Ok(numbers.address))
}
