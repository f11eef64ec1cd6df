//! CUDA graphs of what comes again: one call starts all of it.
//!
//! What is recorded is compared with what was recorded before. The second time that the same kernels and calls of
//! libraries come, on the same memory, they become a graph, a chain of one node for each. From then on only the
//! parameters of kernels that have changed, such as the seed of a dropout, are set anew before it is started.
//!
//! A call of a library becomes the graph of what the library starts on a stream that only notes it. Stream and
//! handles of the libraries are apart from those of what is meant to be done, which other threads do meanwhile.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::cuda_backend::DeviceId;
use candle_core::cuda_backend::cudarc::driver::sys::{
    self, CUDA_GRAPH_INSTANTIATE_PARAMS, CUDA_KERNEL_NODE_PARAMS, CUDA_MEMSET_NODE_PARAMS, CUgraph,
    CUgraphExec, CUgraphInstantiateResult, CUgraphNode, CUstreamCaptureMode,
};
use candle_core::cuda_backend::cudarc::driver::{CudaContext, DriverError, LaunchConfig, result};

use super::command::{Call, Command, Commands, Recorded, Zero};
use super::host::SideStream;
use super::{Gpu, failure, of_gpu, recording};
use crate::TensorError;

/// Fewer commands are started one by one.
const LEAST: usize = 4;
/// Different recordings that are remembered: more than the pieces of a step and of an evaluation, with whole batches and
/// the last ones, or none of them would come again before it is forgotten.
const MOST: usize = 256;

/// Where calls of libraries are noted on each GPU, for as long as the program runs: whoever notes one holds the lock.
static NOTES: Mutex<Vec<(DeviceId, SideStream)>> = Mutex::new(Vec::new());

/// The recordings of a workspace, the latest last.
#[derive(Default)]
pub(crate) struct Graphs {
    known: Vec<Known>,
}

struct Known {
    commands: Commands,
    state: State,
}

enum State {
    /// It came once.
    Seen,
    Made(Graph),
    /// The driver or a library has refused to make or start a graph of it.
    Refused,
}

impl Graphs {
    /// Does what was recorded.
    pub(crate) fn start(&mut self, gpu: &Gpu, commands: &mut Commands) -> Result<(), TensorError> {
        if commands.len() < LEAST {
            return commands.run(gpu);
        }
        let at = self
            .known
            .iter()
            .position(|known| known.commands.is_like(commands));
        let Some(at) = at else {
            commands.run(gpu)?;
            if self.known.len() == MOST {
                self.known.remove(0);
            }
            self.known.push(Known {
                commands: std::mem::take(commands),
                state: State::Seen,
            });
            return Ok(());
        };
        let mut known = self.known.remove(at);
        if known.start(gpu, commands).is_err() {
            known.state = State::Refused;
        }
        let is_done = matches!(known.state, State::Made(_));
        self.known.push(known);
        match is_done {
            true => Ok(()),
            false => commands.run(gpu),
        }
    }
}

impl Known {
    /// Starts the graph, which is made first if there is none.
    fn start(&mut self, gpu: &Gpu, commands: &mut Commands) -> Result<(), TensorError> {
        match &mut self.state {
            State::Refused => return Ok(()),
            State::Made(graph) => {
                graph.update(&self.commands, commands)?;
                graph.start(gpu)?;
            }
            State::Seen => {
                let graph = Graph::new(gpu, commands)?;
                graph.start(gpu)?;
                self.state = State::Made(graph);
            }
        }
        // The parameters that it now has. Until it has started they are the caller's, who does the work otherwise.
        std::mem::swap(&mut self.commands, commands);
        Ok(())
    }
}

/// A graph that can be started.
struct Graph {
    nodes: Nodes,
    exec: CUgraphExec,
}

// SAFETY: the driver takes graphs from any thread, and their owner is used by one at a time.
unsafe impl Send for Graph {}

impl Graph {
    fn new(gpu: &Gpu, commands: &Commands) -> Result<Self, TensorError> {
        let nodes = Nodes::new(gpu, commands)?;
        let mut exec = std::ptr::null_mut();
        let mut how = CUDA_GRAPH_INSTANTIATE_PARAMS {
            flags: 0,
            hUploadStream: std::ptr::null_mut(),
            hErrNode_out: std::ptr::null_mut(),
            result_out: CUgraphInstantiateResult::CUDA_GRAPH_INSTANTIATE_SUCCESS,
        };
        // SAFETY: the graph is whole, and the others are where the driver writes to.
        unsafe { sys::cuGraphInstantiateWithParams(&mut exec, nodes.graph, &mut how) }
            .result()
            .map_err(|error| refused(&error))?;
        Ok(Self { nodes, exec })
    }

    /// Sets the parameters of kernels that differ in commands that are alike.
    fn update(&mut self, old: &Commands, new: &Commands) -> Result<(), TensorError> {
        self.nodes.bind()?;
        for (command, &node) in new.iter().zip(&self.nodes.list) {
            let Command::Kernel(kernel) = command else {
                continue;
            };
            if new.has_same_parameters(kernel, old) {
                continue;
            }
            let mut parameters = new.parameters(kernel);
            let parameters = node_of(kernel, &mut parameters);
            // SAFETY: the node is one of this graph, and the driver copies the parameters.
            unsafe { sys::cuGraphExecKernelNodeSetParams_v2(self.exec, node, &parameters) }
                .result()
                .map_err(|error| refused(&error))?;
        }
        Ok(())
    }

    fn start(&self, gpu: &Gpu) -> Result<(), TensorError> {
        self.nodes.bind()?;
        // SAFETY: what its kernels and calls work on has been recorded just now, and is in use on this stream only.
        unsafe { result::graph::launch(self.exec, gpu.stream().cu_stream()) }
            .map_err(|error| refused(&error))?;
        recording::count_graph_start();
        Ok(())
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        let _ = self.nodes.bind();
        // SAFETY: it is destroyed once; the driver keeps one that is at work until it is done.
        let _ = unsafe { result::graph::exec_destroy(self.exec) };
    }
}

/// The description of a graph: a node for each command, which comes after the one before.
struct Nodes {
    graph: CUgraph,
    list: Vec<CUgraphNode>,
    context: Arc<CudaContext>,
}

impl Nodes {
    fn new(gpu: &Gpu, commands: &Commands) -> Result<Self, TensorError> {
        let context = gpu.stream().context().clone();
        let mut nodes = Self::empty(&context)?;
        for command in commands.iter() {
            let node = match command {
                Command::Kernel(kernel) => nodes.kernel(kernel, commands),
                Command::Zero(zero) => nodes.zero(*zero),
                Command::Call(call) => nodes.call(gpu, call),
            };
            nodes.list.push(node?);
        }
        Ok(nodes)
    }

    fn empty(context: &Arc<CudaContext>) -> Result<Self, TensorError> {
        context.bind_to_thread().map_err(|error| refused(&error))?;
        let mut graph = std::ptr::null_mut();
        // SAFETY: `graph` is where the driver writes to.
        let made = unsafe { sys::cuGraphCreate(&mut graph, 0) };
        made.result().map_err(|error| refused(&error))?;
        Ok(Self {
            graph,
            list: Vec::new(),
            context: context.clone(),
        })
    }

    fn bind(&self) -> Result<(), TensorError> {
        self.context
            .bind_to_thread()
            .map_err(|error| refused(&error))
    }

    /// What comes before the next node.
    fn last(&self) -> &[CUgraphNode] {
        &self.list[self.list.len().saturating_sub(1)..]
    }

    fn kernel(&self, kernel: &Recorded, commands: &Commands) -> Result<CUgraphNode, TensorError> {
        let (mut node, before) = (std::ptr::null_mut(), self.last());
        let mut parameters = commands.parameters(kernel);
        let parameters = node_of(kernel, &mut parameters);
        // SAFETY: the nodes before are those of this graph, and the driver copies the parameters.
        let added = unsafe {
            sys::cuGraphAddKernelNode_v2(
                &mut node,
                self.graph,
                before.as_ptr(),
                before.len(),
                &parameters,
            )
        };
        added.result().map_err(|error| refused(&error))?;
        Ok(node)
    }

    fn zero(&self, zero: Zero) -> Result<CUgraphNode, TensorError> {
        let (mut node, before) = (std::ptr::null_mut(), self.last());
        let parameters = CUDA_MEMSET_NODE_PARAMS {
            dst: zero.first,
            pitch: 0,
            value: 0,
            elementSize: 1,
            width: zero.bytes,
            height: 1,
        };
        // SAFETY: as for a kernel, and the context is that of the memory.
        let added = unsafe {
            sys::cuGraphAddMemsetNode(
                &mut node,
                self.graph,
                before.as_ptr(),
                before.len(),
                &parameters,
                self.context.cu_ctx(),
            )
        };
        added.result().map_err(|error| refused(&error))?;
        Ok(node)
    }

    /// The graph of what a library starts, as one node.
    fn call(&self, gpu: &Gpu, call: &Call) -> Result<CUgraphNode, TensorError> {
        let mut notes = NOTES.lock().unwrap_or_else(PoisonError::into_inner);
        let stream = of_gpu(&mut notes, gpu, |gpu| {
            SideStream::new(gpu.stream().context())
        })?
        .raw();
        call.prepare(gpu, stream)?;
        // Relaxed: a library may ask the driver for memory of its own meanwhile.
        let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
        // SAFETY: the stream lives, and is used under the lock.
        unsafe { result::stream::begin_capture(stream, mode) }.map_err(|error| refused(&error))?;
        let started = call.start(gpu, Some(stream));
        // SAFETY: what was begun is ended, whatever came of it.
        let noted = unsafe { result::stream::end_capture(stream) };
        let noted = Nodes {
            graph: noted.map_err(|error| refused(&error))?,
            list: Vec::new(),
            context: self.context.clone(),
        };
        started?;
        let (mut node, before) = (std::ptr::null_mut(), self.last());
        // SAFETY: as for a kernel; the driver copies the other graph.
        let added = unsafe {
            sys::cuGraphAddChildGraphNode(
                &mut node,
                self.graph,
                before.as_ptr(),
                before.len(),
                noted.graph,
            )
        };
        added.result().map_err(|error| refused(&error))?;
        Ok(node)
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        let _ = self.bind();
        // SAFETY: it is destroyed once. What was made of it is not touched.
        let _ = unsafe { result::graph::destroy(self.graph) };
    }
}

fn node_of(kernel: &Recorded, parameters: &mut [*mut std::ffi::c_void]) -> CUDA_KERNEL_NODE_PARAMS {
    let LaunchConfig {
        grid_dim: grid,
        block_dim: block,
        shared_mem_bytes,
    } = kernel.kernel.threads;
    CUDA_KERNEL_NODE_PARAMS {
        func: kernel.kernel.function.cu_function(),
        gridDimX: grid.0,
        gridDimY: grid.1,
        gridDimZ: grid.2,
        blockDimX: block.0,
        blockDimY: block.1,
        blockDimZ: block.2,
        sharedMemBytes: shared_mem_bytes,
        kernelParams: parameters.as_mut_ptr(),
        extra: std::ptr::null_mut(),
        kern: std::ptr::null_mut(),
        ctx: std::ptr::null_mut(),
    }
}

fn refused(error: &DriverError) -> TensorError {
    failure("making a graph", error)
}
