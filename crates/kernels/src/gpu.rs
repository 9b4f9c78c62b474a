//! What the fused operations share on a GPU: memory, launches and products, all in order on one stream.

mod arg;
mod deal;
pub(crate) mod op;
pub(crate) mod tile;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::backend::BackendDevice;
use candle_core::cuda_backend::cudarc::cublas::result::sgemm;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, DeviceRepr, LaunchConfig, PushKernelArg, result, sys};
use candle_core::cuda_backend::{CudaDevice, CudaStorage, WrapErr};
use candle_core::op::BackpropOp;
use candle_core::{Device, Result, Shape, Storage, Tensor};

pub(crate) use arg::{Arg, Matrix, View, Words, address_of, part, rows, view, with};
pub(crate) use deal::Deal;

/// Numbers on the GPU.
pub(crate) type Numbers = CudaSlice<f32>;

/// Threads of a block that has no reason for another number.
pub(crate) const THREADS: u32 = 256;

/// Bytes that a block may share without asking.
const COMMON_SHARED: u32 = 49152;

/// Kernels that are compiled together.
#[derive(Clone, Copy)]
pub(crate) struct Module {
    name: &'static str,
    ptx: &'static str,
}

macro_rules! modules {
    ($($module:ident $name:literal,)+) => {
        $(pub(crate) const $module: Module = Module {
            name: concat!("prl ", $name),
            ptx: include_str!(concat!(env!("OUT_DIR"), "/", $name, ".ptx")),
        };)+
    };
}

modules! {
    ADAM "adam",
    ATTENTION "attention",
    CONVOLVE "convolve",
    FILTERS "filters",
    GRU "gru",
    GRU_NARROW "gru_narrow",
    HEAD "head",
    HEAD_STEP "head_step",
    LINEAR "linear",
    MASK "mask",
    NORM "norm",
    RANK "rank",
    ROWS "rows",
    TAPS_GRADIENT "taps",
}

/// A GPU.
pub(crate) struct Gpu(CudaDevice);

impl Gpu {
    /// Where a tensor lies.
    pub(crate) fn of(tensor: &Tensor) -> Result<Self> {
        Ok(Self(tensor.device().as_cuda_device()?.clone()))
    }

    /// Whether a slice lies here, and in the order of the same stream.
    pub(crate) fn has<T>(&self, slice: &CudaSlice<T>) -> bool {
        Arc::ptr_eq(slice.stream(), &self.0.cuda_stream())
    }

    /// Room for so many numbers, which are not set.
    pub(crate) fn room(&self, n: usize) -> Result<Numbers> {
        self.unset(n)
    }

    /// Room for so many words, which are not set.
    pub(crate) fn words(&self, n: usize) -> Result<CudaSlice<u32>> {
        self.unset(n)
    }

    fn unset<T: DeviceRepr>(&self, n: usize) -> Result<CudaSlice<T>> {
        // SAFETY: every caller hands it to a kernel or a product that sets all of it before anything reads it.
        unsafe { self.0.alloc(n.max(1)) }
    }

    /// So many zeros.
    pub(crate) fn zeros(&self, n: usize) -> Result<Numbers> {
        self.0.alloc_zeros(n.max(1))
    }

    /// A copy of what lies on the CPU.
    pub(crate) fn copy_in<T: DeviceRepr + Clone + Default + 'static>(&self, values: &[T]) -> Result<CudaSlice<T>> {
        if values.is_empty() { self.unset(1) } else { self.0.clone_htod(values) }
    }

    /// A copy on the CPU; waits for all that comes before.
    pub(crate) fn copy_out<T: DeviceRepr>(&self, slice: &CudaSlice<T>) -> Result<Vec<T>> {
        let values = self.0.clone_dtoh(slice)?;
        // That the copy itself waits is a habit of drivers, not a promise.
        self.0.synchronize()?;
        Ok(values)
    }

    /// Copies some numbers to where at least as many lie.
    pub(crate) fn copy(&self, from: View<'_>, to: View<'_>) -> Result<()> {
        assert!(from.len <= to.len, "{} numbers to the place of {}", from.len, to.len);
        let bytes = from.len * size_of::<f32>();
        // SAFETY: there is room, and the stream is that of both.
        unsafe { result::memcpy_dtod_async(to.address, from.address, bytes, self.0.cuda_stream().cu_stream()) }.w()
    }

    /// A copy of some numbers.
    pub(crate) fn copy_of(&self, from: View<'_>) -> Result<Numbers> {
        let to = self.room(from.len)?;
        self.copy(from, view(&to))?;
        Ok(to)
    }

    /// How many blocks of the largest kind run at a time.
    pub(crate) fn processors(&self) -> Result<usize> {
        self.attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)
    }

    /// How many numbers a block may share.
    pub(crate) fn shared(&self) -> Result<usize> {
        let bytes = self.attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?;
        Ok(bytes / size_of::<f32>())
    }

    fn attribute(&self, which: sys::CUdevice_attribute) -> Result<usize> {
        Ok(self.0.cuda_stream().context().attribute(which).w()? as usize)
    }

    /// Runs a kernel. The arguments are those that it says it takes.
    pub(crate) fn launch(&self, module: Module, kernel: &str, shape: LaunchConfig, args: &[Arg]) -> Result<()> {
        if shape.grid_dim.0 == 0 || shape.grid_dim.1 == 0 {
            return Ok(());
        }
        let function = self.0.get_or_load_custom_func(kernel, module.name, module.ptx)?;
        if shape.shared_mem_bytes > COMMON_SHARED {
            let most = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            function.set_attribute(most, shape.shared_mem_bytes as i32).w()?;
        }
        let mut builder = function.builder();
        for arg in args {
            match arg {
                Arg::Long(long) => builder.arg(long),
                Arg::Word(word) => builder.arg(word),
                Arg::Number(number) => builder.arg(number),
            };
        }
        // SAFETY: each caller stands beside its kernel's description: the arguments have the types and the lengths that it
        // names. What they point to lives until now, and memory is given back in the order of the stream.
        unsafe { builder.launch(shape) }.w()?;
        Ok(())
    }

    /// `to = a b`, with a `[m, k]`, b `[k, n]`, and the rows of `to` so far apart.
    pub(crate) fn product(&self, [m, n, k]: [usize; 3], a: Matrix<'_>, b: Matrix<'_>, to: Matrix<'_>) -> Result<()> {
        if m == 0 || n == 0 {
            return Ok(());
        }
        let [m, n, k] = [m, n, k].map(|size| size as i32);
        let [lda, ldb, ldc] = [a, b, to].map(|matrix| matrix.stride as i32);
        let [a_at, b_at, c_at] = [a, b, to].map(|matrix| matrix.numbers.address);
        let (one, none) = (1.0, 0.0);
        let blas = self.0.cublas_handle();
        // cuBLAS counts columns first, so the product is made of the transposes, the other way round.
        let (b_op, a_op) = (b.operation(), a.operation());
        // SAFETY: the callers' matrices hold as many rows as the sizes say, and the handle is that of their stream.
        unsafe {
            let (b, a, c) = (b_at as *const f32, a_at as *const f32, c_at as *mut f32);
            sgemm(*blas.handle(), b_op, a_op, n, m, k, &one, b, ldb, a, lda, &none, c, ldc)
        }
        .map_err(candle_core::Error::wrap)
    }

    /// Numbers as a tensor without a past.
    pub(crate) fn tensor(&self, numbers: Numbers, shape: impl Into<Shape>) -> Tensor {
        self.wrapped(numbers, shape, false)
    }

    /// Numbers as a tensor to differentiate by.
    pub(crate) fn variable(&self, numbers: Numbers, shape: impl Into<Shape>) -> Tensor {
        self.wrapped(numbers, shape, true)
    }

    fn wrapped(&self, numbers: Numbers, shape: impl Into<Shape>, is_variable: bool) -> Tensor {
        let storage = CudaStorage::wrap_cuda_slice(numbers, self.0.clone());
        Tensor::from_storage(Storage::Cuda(storage), shape, BackpropOp::none(), is_variable)
    }
}

/// A thread for each of n elements.
pub(crate) fn each(n: usize) -> LaunchConfig {
    blocks(n.div_ceil(THREADS as usize), THREADS, 0)
}

/// So many blocks of so many threads, with so many numbers of memory that a block shares.
pub(crate) fn blocks(n: usize, threads: u32, shared: usize) -> LaunchConfig {
    let shared_mem_bytes = (shared * size_of::<f32>()) as u32;
    LaunchConfig { grid_dim: (n as u32, 1, 1), block_dim: (threads, 1, 1), shared_mem_bytes }
}

/// The power of two with about a thread for each of n elements.
pub(crate) fn threads(n: usize) -> u32 {
    (n.next_power_of_two() as u32).clamp(32, THREADS)
}

/// A GPU as a device of candle's: with one stream for all threads, which orders everything, and memory that is given back
/// to the system at the end alone. Every call for a GPU returns the same device.
///
/// # Errors
/// If there is no such GPU, or no driver.
pub fn device(ordinal: usize) -> Result<Device> {
    static DEVICES: Mutex<BTreeMap<usize, Device>> = Mutex::new(BTreeMap::new());
    let mut devices = DEVICES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(device) = devices.get(&ordinal) {
        return Ok(device.clone());
    }
    let device = begin(ordinal)?;
    devices.insert(ordinal, device.clone());
    Ok(device)
}

fn begin(ordinal: usize) -> Result<Device> {
    let device = Device::new_cuda_with_stream(ordinal)?;
    let cuda = device.as_cuda_device()?;
    let mut kept = u64::MAX;
    // SAFETY: all of the device's work is on the one stream, and the attribute is 64 bits.
    unsafe {
        cuda.disable_event_tracking();
        if cuda.cuda_stream().context().has_async_alloc() {
            let pool = result::device::get_default_mem_pool(cuda.cuda_stream().context().cu_device()).w()?;
            let threshold = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
            result::mem_pool::set_attribute(pool, threshold, (&raw mut kept).cast()).w()?;
        }
    }
    Ok(device)
}

/// Whether no number of contiguous `f32` tensors of one GPU is NaN or infinite: one word comes back for all of them.
///
/// # Errors
/// If a tensor is another, or the GPU fails.
pub fn are_finite(tensors: &[&Tensor]) -> Result<bool> {
    let Some(first) = tensors.first() else { return Ok(true) };
    let gpu = Gpu::of(first)?;
    let found = gpu.copy_in(&[0_u32])?;
    let addresses = tensors.iter().map(|tensor| address_of(tensor)).collect::<Result<Vec<_>>>()?;
    let lengths: Vec<usize> = tensors.iter().map(|tensor| tensor.elem_count()).collect();
    let deal = Deal::new(addresses.into_iter().map(|address| [address]), &lengths);
    deal.launch(&gpu, "find_strange", &[(&found).into()])?;
    Ok(gpu.copy_out(&found)? == [0])
}
