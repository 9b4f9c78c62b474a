//! CUDA runtime of the fused operations: device memory, kernel launches and cuBLAS products, in
//! order on one stream.

mod allocator;
mod arg;
mod commands;
mod finite_check;
mod graph;
mod multi_tensor;
pub(crate) mod row_ops;
mod step_memory;
pub(crate) mod tile;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::cuda_backend::cudarc::driver::{
    CudaFunction, CudaSlice, CudaStream, DeviceRepr, LaunchConfig, result, sys,
};
use candle_core::cuda_backend::{CudaDevice, CudaStorage, WrapErr};
use candle_core::op::BackpropOp;
use candle_core::{Device, Result, Shape, Storage, Tensor};

pub(crate) use allocator::{DeviceBuffer, DeviceF32};
pub(crate) use arg::{Arg, Matrix, View, Words, address_of, part, rows, view, with};
use commands::{Commands, Product};
pub use finite_check::{FiniteCheck, FiniteStatus};
pub use graph::{GraphCounts, StepGraphs};
pub(crate) use multi_tensor::MultiTensorLaunch;

/// Default number of threads per block.
pub(crate) const THREADS: u32 = 256;

/// Floats of shared memory that a block can use on every GPU.
pub(crate) const SHARED: usize = 48 * 1024 / size_of::<f32>();

/// A compiled PTX module.
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
    CASER_CONV "caser_conv",
    CASER_CONV_BACKWARD "caser_conv_backward",
    DROPOUT "dropout",
    EMBEDDING_SUM "embedding_sum",
    GRU "gru",
    GRU_NARROW "gru_narrow",
    LAYER_NORM "layer_norm",
    LINEAR "linear",
    NEXTITNET_CONV "nextitnet_conv",
    NEXTITNET_TAPS "nextitnet_taps",
    Q_LEARNING "q_learning",
    RANK "rank",
    ROWS "rows",
    SOFTMAX_HEAD "softmax_head",
    SOFTMAX_HEAD_SCORES "softmax_head_scores",
    SOFTMAX_HEAD_STEP "softmax_head_step",
}

/// A CUDA device.
pub(crate) struct Gpu(pub(crate) CudaDevice);

impl Gpu {
    /// The device of a tensor.
    pub(crate) fn of(tensor: &Tensor) -> Result<Self> {
        Ok(Self(tensor.device().as_cuda_device()?.clone()))
    }

    /// Whether a buffer belongs to this device and its stream.
    pub(crate) fn has<T>(&self, memory: &DeviceBuffer<T>) -> bool {
        memory.is_on(&self.0)
    }

    /// Allocates `n` uninitialised floats.
    pub(crate) fn alloc(&self, n: usize) -> Result<DeviceF32> {
        DeviceBuffer::new(&self.0, n)
    }

    /// Allocates `n` uninitialised 32-bit words.
    pub(crate) fn alloc_u32(&self, n: usize) -> Result<DeviceBuffer<u32>> {
        DeviceBuffer::new(&self.0, n)
    }

    /// Allocates an uninitialised slice that a tensor can own.
    pub(crate) fn owned(&self, n: usize) -> Result<CudaSlice<f32>> {
        graph::forbid(&self.0, "memory of the driver's")?;
        // SAFETY: every caller hands it to an operation that sets all of it before anything reads
        // it.
        unsafe { self.0.alloc(n.max(1)) }
    }

    /// Allocates `n` zeros.
    pub(crate) fn zeros(&self, n: usize) -> Result<DeviceF32> {
        let zeros = self.alloc(n)?;
        self.clear(view(&zeros))?;
        Ok(zeros)
    }

    /// Allocates `n` words of zero.
    pub(crate) fn zeros_u32(&self, n: usize) -> Result<DeviceBuffer<u32>> {
        let zeros = self.alloc_u32(n)?;
        self.clear(view(&zeros).cast())?;
        Ok(zeros)
    }

    /// Fills with zeros.
    pub(crate) fn clear(&self, numbers: View<'_>) -> Result<()> {
        let bytes = numbers.len * size_of::<f32>();
        self.issue(|commands| commands.clear(numbers.address, bytes))
    }

    /// Copies host values to the device.
    pub(crate) fn copy_in<T: DeviceRepr>(&self, values: &[T]) -> Result<DeviceBuffer<T>> {
        DeviceBuffer::from_host(&self.0, values)
    }

    /// Copies to the host; waits for all previous work.
    pub(crate) fn copy_out<T: DeviceRepr + Clone + Default>(
        &self,
        memory: &DeviceBuffer<T>,
    ) -> Result<Vec<T>> {
        memory.read(&self.0)
    }

    /// Copies within the device; `to` must be at least as long as `from`.
    pub(crate) fn copy(&self, from: View<'_>, to: View<'_>) -> Result<()> {
        assert!(
            from.len <= to.len,
            "{} numbers to the place of {}",
            from.len,
            to.len
        );
        let bytes = from.len * size_of::<f32>();
        self.issue(|commands| commands.copy(to.address, from.address, bytes))
    }

    /// Allocates a copy.
    pub(crate) fn copy_of(&self, from: View<'_>) -> Result<DeviceF32> {
        let to = self.alloc(from.len)?;
        self.copy(from, view(&to))?;
        Ok(to)
    }

    /// Number of multiprocessors.
    pub(crate) fn processors(&self) -> Result<usize> {
        self.attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)
    }

    /// Largest shared memory of a block, in floats (opt-in limit).
    pub(crate) fn shared(&self) -> Result<usize> {
        let bytes = self.attribute(
            sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN,
        )?;
        Ok(bytes / size_of::<f32>())
    }

    fn attribute(&self, which: sys::CUdevice_attribute) -> Result<usize> {
        Ok(self.0.cuda_stream().context().attribute(which).w()? as usize)
    }

    /// Looks up a kernel; cached per thread.
    fn function(&self, module: Module, kernel: &'static str) -> Result<Rc<CudaFunction>> {
        /// Stream, module and kernel.
        type Key = (usize, &'static str, &'static str);
        thread_local!(static FUNCTIONS: RefCell<HashMap<Key, Rc<CudaFunction>>> = RefCell::default());
        let key = (
            Arc::as_ptr(&self.0.cuda_stream()) as usize,
            module.name,
            kernel,
        );
        if let Some(function) = FUNCTIONS.with_borrow(|functions| functions.get(&key).cloned()) {
            return Ok(function);
        }
        let function = Rc::new(
            self.0
                .get_or_load_custom_func(kernel, module.name, module.ptx)?
                .into_cuda_function(),
        );
        // The driver loads a kernel at its first use, which a capture need not allow: load it now.
        let registers = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_NUM_REGS;
        function.get_attribute(registers).w()?;
        FUNCTIONS.with_borrow_mut(|functions| functions.insert(key, Rc::clone(&function)));
        Ok(function)
    }

    /// Launches a kernel. `args` must match its signature.
    pub(crate) fn launch(
        &self,
        module: Module,
        kernel: &'static str,
        shape: LaunchConfig,
        args: &[Arg],
    ) -> Result<()> {
        // The driver refuses an empty grid.
        if shape.grid_dim.0 == 0 || shape.grid_dim.1 == 0 {
            return Ok(());
        }
        let function = self.function(module, kernel)?;
        // More shared memory than every GPU has must be requested for the kernel.
        if shape.shared_mem_bytes as usize > SHARED * size_of::<f32>() {
            let most = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            function
                .set_attribute(most, shape.shared_mem_bytes as i32)
                .w()?;
        }
        graph::check_args(&self.0, args);
        self.issue(|commands| commands.launch(function.cu_function(), shape, args))
    }

    /// Issues a command, or appends it to the step that is recorded.
    fn issue(&self, mut command: impl FnMut(&mut Commands)) -> Result<()> {
        if graph::append(&self.0, &mut command) {
            return Ok(());
        }
        let mut commands = Commands::default();
        command(&mut commands);
        let (stream, blas) = (bound(&self.0)?, self.0.cublas_handle());
        commands.get(0).issue(stream.cu_stream(), *blas.handle())
    }

    /// `to = a b`, with `a` `[m, k]` and `b` `[k, n]`, by cuBLAS.
    pub(crate) fn product(
        &self,
        [m, n, k]: [usize; 3],
        a: Matrix<'_>,
        b: Matrix<'_>,
        to: Matrix<'_>,
    ) -> Result<()> {
        if m == 0 || n == 0 {
            return Ok(());
        }
        let factor = |matrix: Matrix<'_>| {
            (
                matrix.numbers.address,
                matrix.stride,
                matrix.is_transposed(),
            )
        };
        // cuBLAS is column-major: compute the transposed product with swapped operands.
        let product = Product {
            sizes: [n, m, k],
            factors: [factor(b), factor(a)],
            result: (to.numbers.address, to.stride),
        };
        self.issue(|commands| commands.product(product))
    }

    /// Creates a variable tensor whose elements `set` writes.
    pub(crate) fn variable(
        &self,
        shape: impl Into<Shape>,
        set: impl FnOnce(View<'_>) -> Result<()>,
    ) -> Result<Tensor> {
        let shape = shape.into();
        if let Some(variable) = self.recorded_variable(&shape)? {
            with([&variable], |[numbers]| set(numbers))?;
            return Ok(variable);
        }
        let numbers = self.owned(shape.elem_count())?;
        set(view(&numbers))?;
        let storage = CudaStorage::wrap_cuda_slice(numbers, self.0.clone());
        Ok(Tensor::from_storage(
            Storage::Cuda(storage),
            shape,
            BackpropOp::none(),
            true,
        ))
    }

    /// If a step is recorded, refuses it if an address is in memory of another operation's.
    pub(crate) fn check_addresses(&self, addresses: impl Iterator<Item = u64>) {
        graph::check_addresses(&self.0, addresses);
    }

    /// Whether a step is recorded.
    pub(crate) fn is_recording(&self) -> bool {
        graph::is_recording(&self.0)
    }

    /// An uninitialised variable of the step that is recorded; `None` if there is none.
    pub(crate) fn recorded_variable(&self, shape: &Shape) -> Result<Option<Tensor>> {
        graph::variable(&self.0, shape).transpose()
    }
}

/// The stream of a device, with its context bound to this thread.
fn bound(device: &CudaDevice) -> Result<Arc<CudaStream>> {
    let stream = device.cuda_stream();
    stream.context().bind_to_thread().w()?;
    Ok(stream)
}

/// Sizes as arguments of a kernel.
pub(crate) fn sizes<const N: usize>(sizes: [usize; N]) -> [Arg; N] {
    sizes.map(|size| Arg::Word(size as u32))
}

/// Launch with one thread per element.
pub(crate) fn each(n: usize) -> LaunchConfig {
    blocks(n.div_ceil(THREADS as usize), THREADS, 0)
}

/// Launch with `n` blocks of `threads` threads and `shared` floats of shared memory each.
pub(crate) fn blocks(n: usize, threads: u32, shared: usize) -> LaunchConfig {
    let shared_mem_bytes = (shared * size_of::<f32>()) as u32;
    LaunchConfig {
        grid_dim: (n as u32, 1, 1),
        block_dim: (threads, 1, 1),
        shared_mem_bytes,
    }
}

/// Number of threads for `n` elements: the next power of two in 32..=256.
pub(crate) fn threads(n: usize) -> u32 {
    (n.next_power_of_two() as u32).clamp(32, THREADS)
}

/// Opens a GPU as a candle device with one stream for all threads; freed memory stays in the
/// driver's pool. Repeated calls return the same device.
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
            let pool =
                result::device::get_default_mem_pool(cuda.cuda_stream().context().cu_device())
                    .w()?;
            let threshold = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
            result::mem_pool::set_attribute(pool, threshold, (&raw mut kept).cast()).w()?;
        }
    }
    Ok(device)
}

/// Peak device memory of this process in bytes, if the driver counts it.
///
/// # Errors
/// If the device is no GPU, or fails.
pub fn peak_memory(device: &Device) -> Result<Option<u64>> {
    let stream = device.as_cuda_device()?.cuda_stream();
    let context = stream.context();
    if !context.has_async_alloc() {
        return Ok(None);
    }
    let (mut bytes, most) = (
        0_u64,
        sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH,
    );
    // SAFETY: the pool is that of the context's device, and the attribute is 64 bits.
    unsafe {
        let pool = result::device::get_default_mem_pool(context.cu_device()).w()?;
        result::mem_pool::get_attribute(pool, most, (&raw mut bytes).cast()).w()?;
    }
    Ok(Some(bytes))
}

/// Whether all elements of contiguous `f32` tensors on one GPU are finite. One word is copied back.
///
/// # Errors
/// If a tensor has another type or device, or the GPU fails.
pub fn are_finite(tensors: &[&Tensor]) -> Result<bool> {
    let Some(first) = tensors.first() else {
        return Ok(true);
    };
    let check = FiniteCheck::new(first.device(), 0)?;
    check.track(tensors)?;
    Ok(check.read()?.is_finite)
}
