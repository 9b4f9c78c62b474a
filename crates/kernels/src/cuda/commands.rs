//! Device commands as words: issued at once, or recorded, compared and captured.

use candle_core::Result;
use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::cublas::result::sgemm;
use candle_core::cuda_backend::cudarc::cublas::sys::{cublasHandle_t, cublasOperation_t};
use candle_core::cuda_backend::cudarc::driver::{LaunchConfig, result, sys};

use super::Arg;

/// A kernel launch: function, grid, block, bytes of shared memory, arguments.
const LAUNCH: u64 = 0;
/// Zeros: address, bytes.
const CLEAR: u64 = 1;
/// A copy within the device: to, from, bytes.
const COPY: u64 = 2;
/// A product of cuBLAS, see [`Product`].
const PRODUCT: u64 = 3;
/// Words of a launch before its arguments.
const HEAD: usize = 9;

/// `c = a b` of column-major matrices, `a` `[m, k]` and `b` `[k, n]`.
#[derive(Clone, Copy)]
pub(super) struct Product {
    /// m, n, k.
    pub(super) sizes: [usize; 3],
    /// Address, distance of the columns and whether the matrix is transposed, of `a` and `b`.
    pub(super) factors: [(u64, usize, bool); 2],
    /// Address and distance of the columns of `c`.
    pub(super) result: (u64, usize),
}

/// Commands in the order of the stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Commands {
    words: Vec<u64>,
    /// First word of each command.
    starts: Vec<usize>,
}

impl Commands {
    /// Appends a kernel launch.
    pub(super) fn launch(&mut self, function: sys::CUfunction, shape: LaunchConfig, args: &[Arg]) {
        self.begin(LAUNCH);
        self.words.push(function as u64);
        let (grid, block) = (shape.grid_dim, shape.block_dim);
        for n in [grid.0, grid.1, grid.2, block.0, block.1, block.2] {
            self.words.push(n.into());
        }
        self.words.push(shape.shared_mem_bytes.into());
        for arg in args {
            // The driver reads as many bytes of an argument's word as its parameter has.
            self.words.push(match *arg {
                Arg::Long(long) => long,
                Arg::Word(word) => word.into(),
                Arg::Number(number) => number.to_bits().into(),
            });
        }
    }

    /// Appends the filling of a range with zeros.
    pub(super) fn clear(&mut self, address: u64, bytes: usize) {
        self.begin(CLEAR);
        self.words.extend([address, bytes as u64]);
    }

    /// Appends a copy within the device.
    pub(super) fn copy(&mut self, to: u64, from: u64, bytes: usize) {
        self.begin(COPY);
        self.words.extend([to, from, bytes as u64]);
    }

    /// Appends a product.
    pub(super) fn product(&mut self, product: Product) {
        self.begin(PRODUCT);
        self.words.extend(product.sizes.map(|size| size as u64));
        for (address, stride, is_turned) in product.factors {
            self.words
                .extend([address, stride as u64, u64::from(is_turned)]);
        }
        let (address, stride) = product.result;
        self.words.extend([address, stride as u64]);
    }

    fn begin(&mut self, kind: u64) {
        self.starts.push(self.words.len());
        self.words.push(kind);
    }

    /// Number of commands.
    pub(super) fn len(&self) -> usize {
        self.starts.len()
    }

    /// Removes all commands.
    pub(super) fn reset(&mut self) {
        self.words.clear();
        self.starts.clear();
    }

    /// A command.
    pub(super) fn get(&self, i: usize) -> Command<'_> {
        let end = self.starts.get(i + 1).copied();
        Command(&self.words[self.starts[i]..end.unwrap_or(self.words.len())])
    }

    /// All commands.
    pub(super) fn iter(&self) -> impl Iterator<Item = Command<'_>> {
        (0..self.len()).map(|i| self.get(i))
    }

    /// Whether other commands are the same kernels, and commands of the same other kinds, in the
    /// same order.
    pub(super) fn has_structure_of(&self, other: &Self) -> bool {
        let kind = |command: Command<'_>| {
            let function = command.function().map_or(0, |function| function as u64);
            (command.0[0], function)
        };
        self.len() == other.len() && self.iter().map(kind).eq(other.iter().map(kind))
    }
}

/// One command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Command<'a>(&'a [u64]);

impl Command<'_> {
    /// The kernel, if it is a launch.
    pub(super) fn function(self) -> Option<sys::CUfunction> {
        (self.0[0] == LAUNCH).then(|| self.0[1] as sys::CUfunction)
    }

    /// Whether it is a product, which cuBLAS turns into any number of kernels.
    pub(super) fn is_product(self) -> bool {
        self.0[0] == PRODUCT
    }

    /// Issues the command to a stream, whose context is bound to this thread. The handle of cuBLAS
    /// belongs to that stream.
    pub(super) fn issue(self, stream: sys::CUstream, blas: cublasHandle_t) -> Result<()> {
        let words = self.0;
        let sizes = |i: usize| words[i] as u32;
        // SAFETY: each caller that appends a command stands beside its kernel's description: the
        // arguments have the types and the lengths that it names. What they point to lives until
        // the command is issued, and memory is given back in the order of the stream.
        unsafe {
            match words[0] {
                LAUNCH => result::launch_kernel(
                    words[1] as sys::CUfunction,
                    (sizes(2), sizes(3), sizes(4)),
                    (sizes(5), sizes(6), sizes(7)),
                    sizes(8),
                    stream,
                    &mut parameters(&words[HEAD..]),
                )
                .w(),
                CLEAR => result::memset_d8_async(words[1], 0, words[2] as usize, stream).w(),
                COPY => {
                    result::memcpy_dtod_async(words[1], words[2], words[3] as usize, stream).w()
                }
                _ => product(blas, &words[1..]),
            }
        }
    }

    /// The ranges that it is given: addresses of arguments and matrices.
    pub(super) fn addresses(self) -> Vec<u64> {
        let words = self.0;
        match words[0] {
            CLEAR => vec![words[1]],
            COPY => vec![words[1], words[2]],
            PRODUCT => vec![words[4], words[7], words[10]],
            // The arguments do not tell which of them are addresses.
            _ => Vec::new(),
        }
    }

    /// Changes a node of an instantiated graph to this command, which is no product.
    ///
    /// # Safety
    /// Graph and node must be valid and belong together, and the node must be of the same kind.
    pub(super) unsafe fn set(
        self,
        exec: sys::CUgraphExec,
        node: sys::CUgraphNode,
        context: sys::CUcontext,
    ) -> Result<()> {
        let words = self.0;
        let sizes = |i: usize| words[i] as u32;
        // SAFETY: as of `issue`, and the caller vouches for graph and node.
        unsafe {
            match words[0] {
                LAUNCH => {
                    let mut arguments = parameters(&words[HEAD..]);
                    let parameters = sys::CUDA_KERNEL_NODE_PARAMS {
                        func: words[1] as sys::CUfunction,
                        gridDimX: sizes(2),
                        gridDimY: sizes(3),
                        gridDimZ: sizes(4),
                        blockDimX: sizes(5),
                        blockDimY: sizes(6),
                        blockDimZ: sizes(7),
                        sharedMemBytes: sizes(8),
                        kernelParams: arguments.as_mut_ptr(),
                        extra: std::ptr::null_mut(),
                        kern: std::ptr::null_mut(),
                        ctx: std::ptr::null_mut(),
                    };
                    sys::cuGraphExecKernelNodeSetParams_v2(exec, node, &raw const parameters)
                }
                CLEAR => {
                    let parameters = sys::CUDA_MEMSET_NODE_PARAMS {
                        dst: words[1],
                        pitch: 0,
                        value: 0,
                        elementSize: 1,
                        width: words[2] as usize,
                        height: 1,
                    };
                    sys::cuGraphExecMemsetNodeSetParams(exec, node, &raw const parameters, context)
                }
                _ => {
                    let mut copy: sys::CUDA_MEMCPY3D = std::mem::zeroed();
                    copy.srcMemoryType = sys::CUmemorytype::CU_MEMORYTYPE_DEVICE;
                    copy.dstMemoryType = sys::CUmemorytype::CU_MEMORYTYPE_DEVICE;
                    (copy.dstDevice, copy.srcDevice) = (words[1], words[2]);
                    (copy.WidthInBytes, copy.Height, copy.Depth) = (words[3] as usize, 1, 1);
                    sys::cuGraphExecMemcpyNodeSetParams(exec, node, &raw const copy, context)
                }
            }
            .result()
            .w()
        }
    }
}

/// Pointers to the arguments.
fn parameters(args: &[u64]) -> Vec<*mut std::ffi::c_void> {
    let mut parameters = Vec::with_capacity(args.len());
    for arg in args {
        // The driver only reads them.
        parameters.push(std::ptr::from_ref(arg).cast_mut().cast());
    }
    parameters
}

/// Issues a product.
///
/// # Safety
/// The matrices must have at least the rows and columns of the sizes.
unsafe fn product(blas: cublasHandle_t, words: &[u64]) -> Result<()> {
    let size = |i: usize| words[i] as i32;
    let operation = |i: usize| match words[i] {
        0 => cublasOperation_t::CUBLAS_OP_N,
        _ => cublasOperation_t::CUBLAS_OP_T,
    };
    let (one, none) = (1.0, 0.0);
    // SAFETY: the caller's matrices are as large as the sizes say, and the handle is that of their
    // stream.
    unsafe {
        sgemm(
            blas,
            operation(5),
            operation(8),
            size(0),
            size(1),
            size(2),
            &one,
            words[3] as *const f32,
            size(4),
            words[6] as *const f32,
            size(7),
            &none,
            words[9] as *mut f32,
            size(10),
        )
    }
    .map_err(candle_core::Error::wrap)
}
