//! Device memory, cut from large slabs: allocating each small buffer by the driver, and freeing it,
//! takes longer than most kernels run.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::cuda_backend::cudarc::driver::{DeviceRepr, result};
use candle_core::cuda_backend::{CudaDevice, CudaStorage, WrapErr};
use candle_core::op::BackpropOp;
use candle_core::{Result, Shape, Storage, Tensor};

use super::arg::{OnDevice, address};
use super::{bound, graph};

/// Floats of a slab.
pub(super) const SLAB: usize = 8 << 20;
/// Larger buffers get a slab of their own.
pub(super) const LARGE: usize = SLAB / 4;
/// Floats whose multiples buffers begin at: the 256 bytes that the driver's own allocations have.
const ALIGNED: usize = 64;

/// A slab that buffers are cut from; returned to the driver when the last of them is dropped.
pub(super) struct Slab {
    numbers: Tensor,
    pub(super) address: u64,
    used: usize,
}

impl Slab {
    pub(super) fn new(device: &CudaDevice, n: usize) -> Result<Self> {
        // SAFETY: every part is given to a caller that writes it before anything reads it.
        let slice = unsafe { device.alloc::<f32>(n) }?;
        let address = address(&slice);
        let storage = Storage::Cuda(CudaStorage::wrap_cuda_slice(slice, device.clone()));
        Ok(Self {
            numbers: Tensor::from_storage(storage, n, BackpropOp::none(), false),
            address,
            used: 0,
        })
    }

    /// Number of floats in use.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// Whether a buffer of so many floats can be cut.
    pub(super) fn has_room(&self, words: usize) -> bool {
        self.used + words <= self.numbers.elem_count()
    }

    /// Whether an address is in the part in use, or just behind it.
    pub(super) fn has_taken(&self, address: u64) -> bool {
        let bytes = (self.used * size_of::<f32>()) as u64;
        self.used > 0 && (self.address..=self.address + bytes).contains(&address)
    }

    /// Makes the whole slab free, for an owner whose buffers are all dropped.
    pub(super) fn reset(&mut self) {
        self.used = 0;
    }

    pub(super) fn cut<T>(&mut self, n: usize) -> DeviceBuffer<T> {
        let start = self.used;
        let words = (n * size_of::<T>()).div_ceil(size_of::<f32>());
        self.used += words.next_multiple_of(ALIGNED);
        let address = self.address + (start * size_of::<f32>()) as u64;
        DeviceBuffer {
            slab: self.numbers.clone(),
            start,
            address,
            len: n,
            kind: PhantomData,
        }
    }
}

/// Device memory for floats or words, uninitialised at first. A clone is the same memory.
#[derive(Clone, Debug)]
pub(crate) struct DeviceBuffer<T> {
    slab: Tensor,
    start: usize,
    address: u64,
    len: usize,
    kind: PhantomData<T>,
}

/// Floats on the GPU.
pub(crate) type DeviceF32 = DeviceBuffer<f32>;

impl<T> DeviceBuffer<T> {
    /// Whether the buffer belongs to a device and its stream.
    pub(super) fn is_on(&self, device: &CudaDevice) -> bool {
        self.slab
            .device()
            .as_cuda_device()
            .is_ok_and(|own| Arc::ptr_eq(&own.cuda_stream(), &device.cuda_stream()))
    }
}

impl<T> OnDevice<T> for DeviceBuffer<T> {
    fn address(&self) -> u64 {
        self.address
    }

    fn len(&self) -> usize {
        self.len
    }
}

impl DeviceF32 {
    /// The buffer as a tensor without a graph.
    pub(crate) fn tensor(self, shape: impl Into<Shape>) -> Result<Tensor> {
        let shape = shape.into();
        self.slab
            .narrow(0, self.start, shape.elem_count())?
            .reshape(shape)
    }
}

impl<T: DeviceRepr> DeviceBuffer<T> {
    /// Allocates `n` uninitialised elements.
    pub(super) fn new(device: &CudaDevice, n: usize) -> Result<Self> {
        /// Current slab of each stream. All work of a stream is ordered, so any thread may reuse
        /// its memory.
        static OPEN: Mutex<Option<HashMap<usize, Slab>>> = Mutex::new(None);
        let words = (n * size_of::<T>()).div_ceil(size_of::<f32>());
        if let Some(buffer) = graph::buffer(device, n) {
            return buffer;
        }
        if words > LARGE {
            return Ok(Slab::new(device, words)?.cut(n));
        }
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        let open = open.get_or_insert_default();
        let stream = Arc::as_ptr(&device.cuda_stream()) as usize;
        if open
            .get(&stream)
            .is_none_or(|slab| slab.used + words > SLAB)
        {
            open.insert(stream, Slab::new(device, SLAB)?);
        }
        let Some(slab) = open.get_mut(&stream) else {
            unreachable!("it was just made")
        };
        Ok(slab.cut(n))
    }

    /// Copies host values to a new buffer.
    pub(super) fn from_host(device: &CudaDevice, values: &[T]) -> Result<Self> {
        if let Some(buffer) = graph::uploaded(device, values) {
            return buffer;
        }
        let (buffer, stream) = (Self::new(device, values.len())?, bound(device)?);
        // SAFETY: the buffer is as long, and a copy from memory that is not pinned has read it when
        // the call is over.
        unsafe { result::memcpy_htod_async(buffer.address, values, stream.cu_stream()) }.w()?;
        Ok(buffer)
    }
}

impl<T: DeviceRepr + Clone + Default> DeviceBuffer<T> {
    /// Copies to the host; waits for all previous work.
    pub(super) fn read(&self, device: &CudaDevice) -> Result<Vec<T>> {
        graph::forbid(device, "a copy to the host")?;
        let (mut values, stream) = (vec![T::default(); self.len], bound(device)?);
        if self.len > 0 {
            // SAFETY: the memory is as long as that, and is waited for below.
            unsafe {
                result::memcpy_dtoh_async(values.as_mut_slice(), self.address, stream.cu_stream())
            }
            .w()?;
        }
        // CUDA does not guarantee that a copy to pageable memory blocks.
        stream.synchronize().w()?;
        Ok(values)
    }
}
