//! Access to the elements of CPU tensors as slices, without a copy.

use std::cell::{Cell, RefCell};

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Storage, Tensor, bail};

use crate::Real;

/// Calls `f` with the elements of a contiguous CPU tensor.
pub fn with<T: Real, R>(tensor: &Tensor, f: impl FnOnce(&[T]) -> Result<R>) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else {
        bail!("this kernel runs on a CPU tensor only")
    };
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("this kernel needs a contiguous tensor; call contiguous() first")
    };
    f(&storage.as_slice::<T>()?[start..end])
}

/// Calls `f` with the elements of a contiguous CPU tensor, mutable in place. Do not touch the
/// tensor inside `f`.
pub fn with_mut<T: MutableStorage, R>(
    tensor: &Tensor,
    f: impl FnOnce(&mut [T]) -> Result<R>,
) -> Result<R> {
    let op = InPlace {
        f: Cell::new(Some(f)),
        result: RefCell::new(None),
        element: std::marker::PhantomData::<T>,
    };
    tensor.inplace_op1(&op)?;
    match op.result.into_inner() {
        Some(result) => Ok(result),
        None => bail!("the in-place operation did not run"),
    }
}

/// Element types with mutable access to candle's storage.
pub trait MutableStorage: Real {
    /// The storage's vector, if it has this type.
    fn vector(storage: &mut CpuStorage) -> Option<&mut Vec<Self>>;
}

impl MutableStorage for f32 {
    fn vector(storage: &mut CpuStorage) -> Option<&mut Vec<Self>> {
        if let CpuStorage::F32(v) = storage {
            Some(v)
        } else {
            None
        }
    }
}

impl MutableStorage for f64 {
    fn vector(storage: &mut CpuStorage) -> Option<&mut Vec<Self>> {
        if let CpuStorage::F64(v) = storage {
            Some(v)
        } else {
            None
        }
    }
}

struct InPlace<T, F, R> {
    f: Cell<Option<F>>,
    result: RefCell<Option<R>>,
    element: std::marker::PhantomData<T>,
}

impl<T: MutableStorage, R, F: FnOnce(&mut [T]) -> Result<R>> InplaceOp1 for InPlace<T, F, R> {
    fn name(&self) -> &'static str {
        "in-place kernel"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let (Some((start, end)), Some(f)) = (layout.contiguous_offsets(), self.f.take()) else {
            bail!("this kernel needs a contiguous tensor; call contiguous() first");
        };
        let Some(v) = T::vector(storage) else {
            bail!("this kernel needs a tensor of type {:?}", T::DTYPE)
        };
        *self.result.borrow_mut() = Some(f(&mut v[start..end])?);
        Ok(())
    }
}
