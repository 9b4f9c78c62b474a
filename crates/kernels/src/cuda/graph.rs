//! Training steps as CUDA graphs: one graph launch in place of a launch for each kernel.
//!
//! While a step is recorded, this module's [`Gpu`](super::Gpu) issues nothing: launches, fills and
//! products are appended to a list of commands, buffers come from memory that has the same
//! addresses at every step, and host values are gathered for one upload. The list then selects a
//! graph: an equal one is launched again; one of the same structure has its changed nodes set; else
//! the commands are captured into a new graph, from a stream that nothing else uses. A graph can
//! thus never run with stale sizes or addresses. Nothing runs on the GPU before the list is
//! complete, so that a step that cannot be recorded is repeated without a graph. That is a step
//! that reads from the GPU, or whose kernels read memory that is neither the step's nor a
//! parameter's: another library, which is not recorded, wrote it.

use std::cell::RefCell;
use std::ptr::{null, null_mut};
use std::sync::Arc;

use candle_core::cuda_backend::cudarc::cublas::CudaBlas;
use candle_core::cuda_backend::cudarc::cublas::sys::cublasSetWorkspace_v2;
use candle_core::cuda_backend::cudarc::driver::{CudaStream, DeviceRepr, result, sys};
use candle_core::cuda_backend::{CudaDevice, WrapErr};
use candle_core::{Device, Result, Shape, Tensor, bail};

use super::allocator::Slab;
use super::commands::Commands;
use super::step_memory::StepMemory;
use super::{Arg, DeviceBuffer, address_of, bound};

/// Graphs of one structure that are kept, each with its own sizes and addresses.
const VARIANTS: usize = 4;
/// Graphs that may be captured before the share of captured steps decides.
const MAX_CAPTURES: u64 = 64;
/// Least number of steps a capture, in the long run.
const STEPS_PER_CAPTURE: u64 = 4;

/// Numbers of what the steps of a [`StepGraphs`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GraphCounts {
    /// Steps that were one graph launch.
    pub launched: u64,
    /// Graphs that were captured.
    pub captured: u64,
    /// Steps before whose launch nodes of the graph were changed.
    pub updated: u64,
    /// Nodes that were changed.
    pub changed_nodes: u64,
    /// Copies of host values to the GPU.
    pub uploads: u64,
    /// Steps without a graph.
    pub eager: u64,
}

/// A captured list of commands.
struct Captured {
    commands: Commands,
    graph: sys::CUgraph,
    exec: sys::CUgraphExec,
    /// The node of each command; of a product, the last one of those that cuBLAS turned it into.
    nodes: Vec<Option<sys::CUgraphNode>>,
    last_launch: u64,
}

impl Drop for Captured {
    fn drop(&mut self) {
        // SAFETY: both came from the driver and are used nowhere else. An error here, as at the end
        // of the process, has no consequence.
        unsafe {
            if !self.exec.is_null() {
                _ = result::graph::exec_destroy(self.exec);
            }
            _ = result::graph::destroy(self.graph);
        }
    }
}

/// The stream that commands are captured from, with a handle of cuBLAS.
struct CaptureStream {
    stream: Arc<CudaStream>,
    blas: CudaBlas,
    /// Workspace of the products, which their graphs use.
    _workspace: Slab,
}

impl CaptureStream {
    fn new(device: &CudaDevice) -> Result<Self> {
        let context = bound(device)?.context().clone();
        let stream = context.new_stream().w()?;
        let blas = CudaBlas::new(Arc::clone(&stream)).map_err(candle_core::Error::wrap)?;
        // The sizes that cuBLAS allocates itself, by compute capability, so that it selects the
        // same kernels.
        let major = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR;
        let bytes = match context.attribute(major).w()? {
            ..9 => 4 << 20,
            _ => 32 << 20,
        };
        let workspace = Slab::new(device, bytes / size_of::<f32>())?;
        // SAFETY: the workspace lives as long as the handle.
        unsafe {
            cublasSetWorkspace_v2(*blas.handle(), workspace.address as *mut _, bytes)
                .result()
                .map_err(candle_core::Error::wrap)?;
        }
        Ok(Self {
            stream,
            blas,
            _workspace: workspace,
        })
    }
}

/// Graphs of the training steps of one model on one GPU, with their memory.
pub struct StepGraphs {
    // Before the memory that they use.
    captured: Vec<Captured>,
    stream: Option<CaptureStream>,
    /// `None` while a step is recorded.
    recorder: Option<Recorder>,
    counts: GraphCounts,
    /// Why steps are not recorded any more.
    failure: Option<String>,
    is_failure_new: bool,
}

// SAFETY: the driver's handles and the page-locked memory belong to no thread, and a `StepGraphs`
// is used by one thread at a time.
unsafe impl Send for StepGraphs {}

/// Commands and memory of the step that is recorded.
struct Recorder {
    commands: Commands,
    memory: StepMemory,
    /// Ranges of the parameters, by address.
    parameters: Vec<(u64, u64)>,
    /// The operation of the step that cannot be recorded, if there was one.
    obstacle: Option<String>,
}

thread_local! {
    /// The step that this thread records.
    static RECORDER: RefCell<Option<Recorder>> = const { RefCell::new(None) };
}

/// Restores the outer recorder when a recording ends, also by a panic.
struct Outer(Option<Recorder>);

impl Drop for Outer {
    fn drop(&mut self) {
        RECORDER.set(self.0.take());
    }
}

/// Calls `f` with the recorder, if this thread records a step of the device's stream.
fn with_recorder<R>(device: &CudaDevice, f: impl FnOnce(&mut Recorder) -> R) -> Option<R> {
    RECORDER.with_borrow_mut(|recorder| {
        let recorder = recorder
            .as_mut()
            .filter(|recorder| recorder.memory.is_of(device));
        recorder.map(f)
    })
}

/// Whether this thread records a step of the device's stream.
pub(super) fn is_recording(device: &CudaDevice) -> bool {
    with_recorder(device, |_| ()).is_some()
}

/// Appends a command to the step that is recorded; `false` if there is none.
pub(super) fn append(device: &CudaDevice, f: impl FnOnce(&mut Commands)) -> bool {
    let appended = with_recorder(device, |recorder| {
        f(&mut recorder.commands);
        let last = recorder.commands.len() - 1;
        let addresses = recorder.commands.get(last).addresses();
        recorder.check(addresses.into_iter());
    });
    appended.is_some()
}

/// Notes an obstacle if an argument of a kernel is memory of another operation's.
pub(super) fn check_args(device: &CudaDevice, args: &[Arg]) {
    let addresses = args.iter().filter_map(|arg| match arg {
        Arg::Long(address) => Some(*address),
        Arg::Word(_) | Arg::Number(_) => None,
    });
    check_addresses(device, addresses);
}

/// Notes an obstacle if an address is in memory of another operation's.
pub(super) fn check_addresses(device: &CudaDevice, addresses: impl Iterator<Item = u64>) {
    _ = with_recorder(device, |recorder| recorder.check(addresses));
}

/// A buffer of the step that is recorded, if there is one.
pub(super) fn buffer<T>(device: &CudaDevice, n: usize) -> Option<Result<DeviceBuffer<T>>> {
    with_recorder(device, |recorder| recorder.memory.buffer(n))
}

/// A buffer of host values of the step that is recorded, if there is one.
pub(super) fn uploaded<T: DeviceRepr>(
    device: &CudaDevice,
    values: &[T],
) -> Option<Result<DeviceBuffer<T>>> {
    with_recorder(device, |recorder| recorder.memory.uploaded(values))
}

/// A variable of the step that is recorded, if there is one.
pub(super) fn variable(device: &CudaDevice, shape: &Shape) -> Option<Result<Tensor>> {
    with_recorder(device, |recorder| recorder.memory.variable(shape))
}

/// Fails if a step is recorded, since it cannot contain `what`.
pub(super) fn forbid(device: &CudaDevice, what: &str) -> Result<()> {
    let error = with_recorder(device, |recorder| recorder.refuse(what));
    error.map_or(Ok(()), Err)
}

impl Recorder {
    fn new(device: &CudaDevice) -> Self {
        Self {
            commands: Commands::default(),
            memory: StepMemory::new(device),
            parameters: Vec::new(),
            obstacle: None,
        }
    }

    /// Notes an obstacle if an address is neither in the step's memory nor in a parameter.
    fn check(&mut self, addresses: impl Iterator<Item = u64>) {
        for address in addresses {
            let after = self
                .parameters
                .partition_point(|&(start, _)| start <= address);
            // Just behind a range an empty one may begin.
            let is_parameter = after > 0 && address <= self.parameters[after - 1].1;
            if address != 0 && !is_parameter && !self.memory.has(address) {
                self.note("a kernel reads memory of an operation that is not recorded".into());
            }
        }
    }

    fn note(&mut self, obstacle: String) {
        self.obstacle.get_or_insert(obstacle);
    }

    fn refuse(&mut self, what: &str) -> candle_core::Error {
        self.note(format!("the step contains {what}"));
        candle_core::Error::Msg(format!("a recorded step cannot contain {what}"))
    }
}

impl StepGraphs {
    /// No graphs yet, for steps that read and update parameters: contiguous `f32` tensors of the
    /// device, at addresses that do not change.
    ///
    /// # Errors
    /// If the device is not a GPU, or a parameter is no such tensor.
    pub fn new<'a>(device: &Device, parameters: impl Iterator<Item = &'a Tensor>) -> Result<Self> {
        let mut recorder = Recorder::new(device.as_cuda_device()?);
        for parameter in parameters {
            let start = address_of(parameter)?;
            let bytes = parameter.elem_count() * size_of::<f32>();
            recorder.parameters.push((start, start + bytes as u64));
        }
        recorder.parameters.sort_unstable();
        Ok(Self {
            captured: Vec::new(),
            stream: None,
            recorder: Some(recorder),
            counts: GraphCounts::default(),
            failure: None,
            is_failure_new: false,
        })
    }

    /// Numbers of launches, captures, changed nodes, uploads and eager steps.
    pub fn counts(&self) -> GraphCounts {
        self.counts
    }

    /// Why steps are not recorded any more; `None` at later calls.
    pub fn take_failure(&mut self) -> Option<&str> {
        if !std::mem::take(&mut self.is_failure_new) {
            return None;
        }
        self.failure.as_deref()
    }

    /// Runs the kernels of `step` as one graph. Where they cannot be recorded, `step` is called
    /// again without a graph, and so are all later steps. `step` must not read from the GPU, and
    /// its result must be read before the next step.
    ///
    /// # Errors
    /// If `step` fails.
    pub fn run<R, E>(
        &mut self,
        step: impl Fn() -> std::result::Result<R, E>,
    ) -> std::result::Result<R, E> {
        if self.failure.is_none() {
            match self.record(&step) {
                Ok(result) => {
                    self.counts.launched += 1;
                    return Ok(result);
                }
                Err(failure) => {
                    // An error of the step itself is the same without a graph.
                    let result = step()?;
                    (self.failure, self.is_failure_new) = (Some(failure), true);
                    // Nothing uses the memory any more.
                    self.captured.clear();
                    self.recorder = None;
                    self.counts.eager += 1;
                    return Ok(result);
                }
            }
        }
        self.counts.eager += 1;
        step()
    }

    /// Records a step and launches its graph; if it fails, nothing was launched, and the reason is
    /// returned.
    fn record<R, E>(
        &mut self,
        step: impl Fn() -> std::result::Result<R, E>,
    ) -> std::result::Result<R, String> {
        let Some(mut recorder) = self.recorder.take() else {
            return Err("a step was interrupted".into());
        };
        let device = recorder.memory.device().clone();
        let stream = device.cuda_stream();
        // The last step's result was read, or its kernels may still run.
        if let Err(error) = stream.synchronize().w() {
            self.recorder = Some(recorder);
            return Err(error.to_string());
        }
        recorder.commands.reset();
        recorder.memory.reset();
        let outer = Outer(RECORDER.replace(Some(recorder)));
        let result = step();
        let recorder = RECORDER.take();
        drop(outer);
        let Some(mut recorder) = recorder else {
            return Err("another step was recorded meanwhile".into());
        };
        let submitted = match (&result, recorder.obstacle.take()) {
            (_, Some(obstacle)) => Err(obstacle),
            (Err(_), None) => Err("the step failed".into()),
            (Ok(_), None) => self.submit(&recorder).map_err(|error| error.to_string()),
        };
        self.recorder = Some(recorder);
        match (submitted, result) {
            (Ok(()), Ok(result)) => Ok(result),
            (Err(failure), _) => Err(failure),
            (Ok(()), Err(_)) => Err("the step failed".into()),
        }
    }

    /// Uploads the host values of the recorded step and launches its graph.
    fn submit(&mut self, recorder: &Recorder) -> Result<()> {
        let (commands, device) = (&recorder.commands, recorder.memory.device());
        if commands.len() == 0 {
            bail!("the step has no kernels");
        }
        let i = self.graph_of(commands, device)?;
        self.counts.uploads += recorder.memory.send()? as u64;
        let stream = bound(device)?;
        let now = self.counts.launched + self.counts.eager + 1;
        self.captured[i].last_launch = now;
        // SAFETY: the graph is valid, and so is the memory of its commands: they were recorded now.
        unsafe { result::graph::launch(self.captured[i].exec, stream.cu_stream()) }.w()
    }

    /// Index of the graph of some commands: an equal one, one that is changed, or a new one.
    fn graph_of(&mut self, commands: &Commands, device: &CudaDevice) -> Result<usize> {
        if let Some(i) = self.captured.iter().position(|c| c.commands == *commands) {
            return Ok(i);
        }
        let mut variants = Vec::new();
        for (i, captured) in self.captured.iter().enumerate() {
            if captured.commands.has_structure_of(commands) {
                variants.push((captured.last_launch, i));
            }
        }
        if variants.len() >= VARIANTS
            && let Some(&(_, oldest)) = variants.iter().min()
        {
            if self.change(oldest, commands, device)? {
                return Ok(oldest);
            }
            self.captured[oldest] = self.capture(commands, device)?;
            return Ok(oldest);
        }
        let captured = self.capture(commands, device)?;
        self.captured.push(captured);
        Ok(self.captured.len() - 1)
    }

    /// Sets the nodes of a graph whose commands differ; `false` if that is not possible.
    fn change(&mut self, i: usize, commands: &Commands, device: &CudaDevice) -> Result<bool> {
        let captured = &mut self.captured[i];
        let (before, after) = (captured.commands.iter(), commands.iter());
        let mut changed = Vec::new();
        for ((old, new), node) in before.zip(after).zip(&captured.nodes) {
            if old == new {
                continue;
            }
            let Some(node) = node.filter(|_| !new.is_product()) else {
                return Ok(false);
            };
            changed.push((new, node));
        }
        let stream = bound(device)?;
        let context = stream.context().cu_ctx();
        // If a node fails, the graph is of no use any more: no commands equal none.
        captured.commands.reset();
        for &(command, node) in &changed {
            // SAFETY: the node is that of a command of the same kind, as the structure is the same.
            unsafe { command.set(captured.exec, node, context) }?;
        }
        captured.commands.clone_from(commands);
        self.counts.updated += 1;
        self.counts.changed_nodes += changed.len() as u64;
        Ok(true)
    }

    /// Captures commands into a new graph.
    fn capture(&mut self, commands: &Commands, device: &CudaDevice) -> Result<Captured> {
        let (captured, steps) = (self.counts.captured, self.counts.launched);
        if captured >= MAX_CAPTURES && captured * STEPS_PER_CAPTURE > steps {
            bail!("{captured} of {steps} steps had kernels of another kind than those before");
        }
        let own = match &self.stream {
            Some(own) => own,
            None => self.stream.insert(CaptureStream::new(device)?),
        };
        let (stream, blas) = (own.stream.cu_stream(), *own.blas.handle());
        // The memory was allocated in the order of the device's stream.
        bound(device)?.synchronize().w()?;
        // cuBLAS loads its kernels at their first use, which a capture need not allow. What the
        // products write to is the step's memory, which the graph overwrites.
        for command in commands.iter().filter(|command| command.is_product()) {
            command.issue(stream, blas)?;
        }
        own.stream.synchronize().w()?;
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
        own.stream.begin_capture(mode).w()?;
        let (mut issued, mut nodes) = (Ok(()), Vec::with_capacity(commands.len()));
        for command in commands.iter() {
            issued = issued.and_then(|()| command.issue(stream, blas));
            // SAFETY: the stream is captured by this thread.
            nodes.push(unsafe { last_node(stream) });
        }
        // SAFETY: the stream is this device's; the graph is owned by the result from here on.
        let graph = unsafe { result::stream::end_capture(stream) }.w()?;
        let mut captured = Captured {
            commands: commands.clone(),
            graph,
            exec: null_mut(),
            nodes,
            last_launch: 0,
        };
        issued?;
        // SAFETY: the graph is valid.
        captured.exec = unsafe {
            let flags = sys::CUgraphInstantiate_flags(0);
            result::graph::instantiate(graph, flags).w()?
        };
        self.counts.captured += 1;
        Ok(captured)
    }
}

/// The node of the command that a captured stream was given last; `None` if it is not a single
/// one.
///
/// # Safety
/// The stream must be captured by this thread.
unsafe fn last_node(stream: sys::CUstream) -> Option<sys::CUgraphNode> {
    let mut status = sys::CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE;
    let (mut id, mut graph) = (0, null_mut());
    let (mut nodes, mut edges, mut n) = (null(), null(), 0);
    // SAFETY: the driver sets all of them; the nodes are valid until the stream's next command.
    unsafe {
        sys::cuStreamGetCaptureInfo_v3(
            stream,
            &raw mut status,
            &raw mut id,
            &raw mut graph,
            &raw mut nodes,
            &raw mut edges,
            &raw mut n,
        )
        .result()
        .ok()?;
        (n == 1 && !nodes.is_null()).then(|| *nodes)
    }
}
