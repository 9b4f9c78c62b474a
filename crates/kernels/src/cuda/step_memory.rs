//! Memory of a recorded training step: the same addresses at every step with the same sizes.

use std::collections::HashMap;
use std::mem::ManuallyDrop;
use std::sync::Arc;

use candle_core::cuda_backend::cudarc::driver::{CudaSlice, DeviceRepr, result, sys};
use candle_core::cuda_backend::{CudaDevice, CudaStorage, WrapErr};
use candle_core::op::BackpropOp;
use candle_core::{Result, Shape, Storage, Tensor};

use super::allocator::{LARGE, SLAB, Slab};
use super::arg::OnDevice;
use super::{DeviceBuffer, bound};

/// Bytes of a chunk of uploads.
const UPLOADED: usize = 1 << 20;

/// Host values to upload, page-locked, with the device memory that they are copied to.
struct Upload {
    slab: Slab,
    host: *mut u8,
    bytes: usize,
}

impl Upload {
    fn new(device: &CudaDevice, bytes: usize) -> Result<Self> {
        let slab = Slab::new(device, bytes.div_ceil(size_of::<f32>()))?;
        // SAFETY: the memory is freed when the upload is dropped, and written before it is read.
        let host = unsafe { result::malloc_host(bytes, 0) }.w()?;
        Ok(Self {
            slab,
            host: host.cast(),
            bytes,
        })
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // SAFETY: the pointer came from `malloc_host`. An error at the end of the process, when the
        // context is gone, has no consequence.
        _ = unsafe { result::free_host(self.host.cast()) };
    }
}

/// Memory of the steps of one model. A step takes it from the beginning, in the order of its
/// allocations, so that equal steps have equal addresses; nothing is given back within a step.
pub(super) struct StepMemory {
    device: CudaDevice,
    /// Chunks for small buffers, used one after another.
    slabs: Vec<Slab>,
    slab: usize,
    /// Chunks for one large buffer each, in the order of the allocations.
    large: Vec<Slab>,
    n_large: usize,
    uploads: Vec<Upload>,
    upload: usize,
    /// Variables that alias a range, by address and shape.
    variables: HashMap<(u64, Vec<usize>), ManuallyDrop<Tensor>>,
}

impl StepMemory {
    pub(super) fn new(device: &CudaDevice) -> Self {
        Self {
            device: device.clone(),
            slabs: Vec::new(),
            slab: 0,
            large: Vec::new(),
            n_large: 0,
            uploads: Vec::new(),
            upload: 0,
            variables: HashMap::new(),
        }
    }

    /// Begins a step: all memory is free again.
    pub(super) fn reset(&mut self) {
        for slab in self.slabs.iter_mut().chain(&mut self.large) {
            slab.reset();
        }
        for upload in &mut self.uploads {
            upload.slab.reset();
        }
        (self.slab, self.n_large, self.upload) = (0, 0, 0);
    }

    /// A buffer of `n` uninitialised elements.
    pub(super) fn buffer<T>(&mut self, n: usize) -> Result<DeviceBuffer<T>> {
        let words = (n * size_of::<T>()).div_ceil(size_of::<f32>());
        if words > LARGE {
            let i = self.n_large;
            if self.large.get(i).is_none_or(|slab| !slab.has_room(words)) {
                // An eighth more, so that slightly larger buffers do not move.
                let slab = Slab::new(&self.device, words + words / 8)?;
                self.large.truncate(i);
                self.large.push(slab);
            }
            self.n_large += 1;
            return Ok(self.large[i].cut(n));
        }
        while self
            .slabs
            .get(self.slab)
            .is_some_and(|slab| !slab.has_room(words))
        {
            self.slab += 1;
        }
        if self.slab == self.slabs.len() {
            self.slabs.push(Slab::new(&self.device, SLAB)?);
        }
        Ok(self.slabs[self.slab].cut(n))
    }

    /// A buffer of host values, which [`send`](Self::send) copies.
    pub(super) fn uploaded<T: DeviceRepr>(&mut self, values: &[T]) -> Result<DeviceBuffer<T>> {
        let bytes = size_of_val(values);
        let words = bytes.div_ceil(size_of::<f32>());
        while self
            .uploads
            .get(self.upload)
            .is_some_and(|upload| !upload.slab.has_room(words))
        {
            self.upload += 1;
        }
        if self.upload == self.uploads.len() {
            let bytes = bytes.next_multiple_of(256).max(UPLOADED);
            self.uploads.push(Upload::new(&self.device, bytes)?);
        }
        let upload = &mut self.uploads[self.upload];
        let buffer: DeviceBuffer<T> = upload.slab.cut(values.len());
        let at = (buffer.address() - upload.slab.address) as usize;
        assert!(at + bytes <= upload.bytes);
        // SAFETY: the range is in the upload's host memory, as checked, and no copy from it is in
        // flight: steps wait for each other.
        unsafe {
            let to = upload.host.add(at);
            std::ptr::copy_nonoverlapping(values.as_ptr().cast::<u8>(), to, bytes);
        }
        Ok(buffer)
    }

    /// Copies the step's host values to the device; returns the number of copies.
    pub(super) fn send(&self) -> Result<usize> {
        let stream = bound(&self.device)?;
        let mut copies = 0;
        for upload in &self.uploads {
            let bytes = (upload.slab.used() * size_of::<f32>()).min(upload.bytes);
            if bytes == 0 {
                continue;
            }
            // SAFETY: both sides are as long, the host memory stays until the upload is dropped,
            // and it is written again only after the step has ended.
            unsafe {
                let from = std::slice::from_raw_parts(upload.host, bytes);
                result::memcpy_htod_async(upload.slab.address, from, stream.cu_stream()).w()?;
            }
            copies += 1;
        }
        Ok(copies)
    }

    /// A variable of uninitialised elements.
    pub(super) fn variable(&mut self, shape: &Shape) -> Result<Tensor> {
        let n = shape.elem_count().max(1);
        let address = self.buffer::<f32>(n)?.address();
        let key = (address, shape.dims().to_vec());
        if let Some(variable) = self.variables.get(&key) {
            return Ok(Tensor::clone(variable));
        }
        let stream = self.device.cuda_stream();
        // SAFETY: the range is `n` floats of a chunk. The slice never frees it: the tensor that
        // owns the slice is kept for ever, and the chunk outlives every step.
        let slice: CudaSlice<f32> =
            unsafe { stream.upgrade_device_ptr(address as sys::CUdeviceptr, n) };
        let storage = CudaStorage::wrap_cuda_slice(slice, self.device.clone());
        let storage = Storage::Cuda(storage);
        let variable = Tensor::from_storage(storage, shape.clone(), BackpropOp::none(), true);
        self.variables
            .insert(key, ManuallyDrop::new(variable.clone()));
        Ok(variable)
    }

    /// Whether an address is in the part of the memory that the step has taken, or just behind it,
    /// where an empty range may begin.
    pub(super) fn has(&self, address: u64) -> bool {
        let uploads = self.uploads.iter().map(|upload| &upload.slab);
        let mut slabs = self.slabs.iter().chain(&self.large).chain(uploads);
        slabs.any(|slab| slab.has_taken(address))
    }

    /// Whether it is the memory of a device's stream.
    pub(super) fn is_of(&self, device: &CudaDevice) -> bool {
        Arc::ptr_eq(&self.device.cuda_stream(), &device.cuda_stream())
    }

    /// The device.
    pub(super) fn device(&self) -> &CudaDevice {
        &self.device
    }
}
