//! Convolutions by cuDNN.
//!
//! The first time that a convolution is met, cuDNN is asked which ways it has, and the one that it
//! takes for the fastest is kept, or the one that [is](crate::set_cudnn_benchmark), of those that give the same numbers
//! each time. Bias and activation are part of it where it has a way for them together.
//! Images stay as they are, channels last; filters are turned into cuDNN's order and back.

mod benchmark;
mod descriptor;
mod plan;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::CStr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::cuda_backend::DeviceId;
use candle_core::cuda_backend::cudarc::cudnn::result::{self, CudnnError};
use candle_core::cuda_backend::cudarc::cudnn::sys;
use candle_core::cuda_backend::cudarc::driver::sys::CUstream;
use candle_core::{DType, Tensor};

use super::command::{Call, Command};
use super::conv::{Convolution, Direction};
use super::{Gpu, Values, blocks, failure, int, launch, of_gpu, recording};
use crate::kernels::Activation;
use crate::{TensorError, Workspace, cudnn_benchmark};
use plan::{ALIGNMENT, Addresses, Plan, WORKSPACE};

/// Convolutions that are remembered; with more, all are looked up anew.
const PLANS: usize = 4096;

/// What cuDNN knows of each GPU. Whoever starts something holds the lock: a handle is for one thread
/// at a time.
static LIBRARIES: Mutex<Vec<(DeviceId, Library)>> = Mutex::new(Vec::new());

/// What a plan is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    convolution: Convolution,
    direction: Direction,
    values: Values,
    /// What is done to the result.
    has_bias: bool,
    relu: bool,
}

/// cuDNN on one GPU, for as long as the program runs.
struct Library {
    handle: sys::cudnnHandle_t,
    /// What starts on the stream of notes, once there are some: a handle keeps to its stream.
    noting: Option<sys::cudnnHandle_t>,
    /// `None` where cuDNN has no way.
    plans: HashMap<Key, Option<Arc<Plan>>>,
}

// SAFETY: handles and descriptors belong to no thread; they are used by one at a time.
unsafe impl Send for Library {}

/// A handle that starts what it is asked for on this stream.
fn handle_on(stream: CUstream) -> Result<sys::cudnnHandle_t, CudnnError> {
    let handle = result::create_handle()?;
    // SAFETY: the handle is new. Its stream is that of the tensors of its device, or of notes, and lives as long.
    unsafe { result::set_stream(handle, stream.cast()) }?;
    Ok(handle)
}

impl Library {
    fn open(gpu: &Gpu) -> Result<Self, CudnnError> {
        Ok(Self {
            handle: handle_on(gpu.stream().cu_stream())?,
            noting: None,
            plans: HashMap::new(),
        })
    }

    /// The handle for the GPU's stream, or for that of notes.
    fn handle(&mut self, notes: Option<CUstream>) -> Result<sys::cudnnHandle_t, CudnnError> {
        Ok(match (notes, self.noting) {
            (None, _) => self.handle,
            (Some(_), Some(noting)) => noting,
            (Some(stream), None) => *self.noting.insert(handle_on(stream)?),
        })
    }

    /// How it does a convolution, if it has a way.
    fn plan(&mut self, key: &Key) -> Result<Option<Arc<Plan>>, CudnnError> {
        if self.plans.len() >= PLANS && !self.plans.contains_key(key) {
            self.plans.clear();
        }
        let plan = match self.plans.entry(*key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let plan = Plan::find(self.handle, key, WORKSPACE);
                entry.insert(or_unsupported(plan)?.map(Arc::new))
            }
        };
        Ok(plan.clone())
    }

    /// From now on does a convolution in a way that takes at most so many bytes beside the tensors, if there is one;
    /// with what follows it, not at all otherwise.
    fn plan_with_less(&mut self, key: &Key, most: usize) -> Result<Option<Arc<Plan>>, CudnnError> {
        let plan = or_unsupported(Plan::find(self.handle, key, most))?.map(Arc::new);
        // What follows a convolution can always be done by itself, without another search for memory.
        if plan.is_some() || key.has_bias || key.relu {
            self.plans.insert(*key, plan.clone());
        }
        Ok(plan)
    }
}

/// Computes one of inputs, weights and outputs, adds a bias and applies the activation, or answers `false` where cuDNN has
/// no way to do all of it.
pub(crate) fn convolve(
    gpu: &Gpu,
    ws: &mut Workspace,
    op: &'static str,
    convolution: &Convolution,
    direction: Direction,
    (x, w, y): (&Tensor, &Tensor, &Tensor),
    (bias, activation): (Option<&Tensor>, Activation),
) -> Result<bool, TensorError> {
    let bound = gpu.stream().context().bind_to_thread();
    bound.map_err(|error| failure(op, &error))?;
    let values = Values::of(op, x)?;
    let key = &Key {
        convolution: *convolution,
        direction,
        values,
        has_bias: bias.is_some(),
        relu: activation == Activation::Relu,
    };
    let (x_at, y_at) = (values.address(gpu, op, x)?, values.address(gpu, op, y)?);
    let bias_at = gpu.address_or_null::<f32>(op, bias)?;
    // Views may begin anywhere.
    if [x_at, y_at, bias_at]
        .iter()
        .any(|at| at % ALIGNMENT as u64 != 0)
    {
        return Ok(false);
    }
    let found = with_library(gpu, |library| library.plan(key));
    let Some(mut plan) = found.map_err(|error| refusal(op, error))? else {
        return Ok(false);
    };
    let (patch, outputs) = (convolution.patch(), convolution.outputs as usize);
    let filter = ws.take(&[outputs, patch], values.dtype())?;
    if direction != Direction::Weights {
        transpose(gpu, op, w, &filter, (patch, outputs))?;
    }
    let mut addresses = Addresses {
        x: x_at,
        w: values.address(gpu, op, &filter)?,
        y: y_at,
        bias: bias_at,
        workspace: 0,
    };
    if cudnn_benchmark()
        && !plan.has_run.load(Ordering::Relaxed)
        && let Some(fastest) = benchmark::fastest(gpu, ws, op, key, &addresses)?
    {
        plan = fastest;
    }
    let memory = loop {
        match ws.take(&[plan.workspace], DType::U8) {
            Err(TensorError::OutOfMemory { .. }) if plan.workspace > 0 => {
                let less = with_library(gpu, |library| {
                    library.plan_with_less(key, plan.workspace - 1)
                });
                let Some(less) = less.map_err(|error| refusal(op, error))? else {
                    ws.give(&filter);
                    return Ok(false);
                };
                plan = less;
            }
            taken => break taken?,
        }
    };
    addresses.workspace = gpu.address::<u8>(op, &memory)?;
    let convolve = Convolve {
        op,
        plan,
        addresses,
    };
    let ran = convolve.try_start(gpu, key)?;
    if ran && direction == Direction::Weights {
        transpose(gpu, op, &filter, w, (outputs, patch))?;
    }
    ws.give(&filter);
    ws.give(&memory);
    Ok(ran)
}

/// A convolution to be started.
pub(crate) struct Convolve {
    op: &'static str,
    plan: Arc<Plan>,
    addresses: Addresses,
}

impl PartialEq for Convolve {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.plan, &other.plan) && self.addresses == other.addresses
    }
}

impl Convolve {
    /// Starts or records it, or answers `false` where cuDNN has no way after all, which it tells when it is first
    /// asked to go.
    fn try_start(self, gpu: &Gpu, key: &Key) -> Result<bool, TensorError> {
        let has_run = self.plan.has_run.load(Ordering::Relaxed);
        if has_run && recording::is_on(gpu) {
            recording::record(|commands| commands.push(Command::Call(Call::Convolve(self))));
            return Ok(true);
        }
        recording::flush()?;
        match or_unsupported(self.run(gpu, None).map(Some)) {
            Ok(Some(())) => {
                self.plan.has_run.store(true, Ordering::Relaxed);
                Ok(true)
            }
            Ok(None) => {
                let forgotten = with_library(gpu, |library| {
                    library.plans.insert(*key, None);
                    Ok(())
                });
                forgotten.map_err(|error| refusal(self.op, error))?;
                Ok(false)
            }
            Err(error) => Err(refusal(self.op, error)),
        }
    }

    /// Makes sure that a library is there to note it on this stream.
    pub(crate) fn prepare(&self, gpu: &Gpu, notes: CUstream) -> Result<(), TensorError> {
        with_library(gpu, |library| library.handle(Some(notes)).map(drop))
            .map_err(|error| refusal(self.op, error))
    }

    /// Starts it, on the stream of notes if that is given.
    pub(crate) fn start(&self, gpu: &Gpu, notes: Option<CUstream>) -> Result<(), TensorError> {
        // A recording may be started while another GPU is current.
        let bound = gpu.stream().context().bind_to_thread();
        bound.map_err(|error| failure(self.op, &error))?;
        self.run(gpu, notes)
            .map_err(|error| refusal(self.op, error))
    }

    fn run(&self, gpu: &Gpu, notes: Option<CUstream>) -> Result<(), CudnnError> {
        with_library(gpu, |library| {
            let handle = library.handle(notes)?;
            // SAFETY: the tensors are as large as the plan says, and stay in use on the GPU's
            // stream only. The handle is this thread's as long as it holds the library.
            unsafe { self.plan.run(handle, &self.addresses) }
        })
    }
}

/// Lets `use_it` work with cuDNN on this GPU, whose context is current.
fn with_library<R>(
    gpu: &Gpu,
    use_it: impl FnOnce(&mut Library) -> Result<R, CudnnError>,
) -> Result<R, CudnnError> {
    let mut libraries = LIBRARIES.lock().unwrap_or_else(PoisonError::into_inner);
    use_it(of_gpu(&mut libraries, gpu, Library::open)?)
}

/// Makes "not supported", in all its kinds, a `None`.
fn or_unsupported<T>(found: Result<Option<T>, CudnnError>) -> Result<Option<T>, CudnnError> {
    match found {
        // All 3000 to 3999 are kinds of it.
        Err(CudnnError(status)) if status as u32 / 1000 == 3 => Ok(None),
        other => other,
    }
}

fn refusal(op: &'static str, error: CudnnError) -> TensorError {
    // SAFETY: cuDNN has a text, which it never frees, for every status.
    let text = unsafe { CStr::from_ptr(sys::cudnnGetErrorString(error.0)) };
    failure(op, &format_args!("cuDNN: {}", text.to_string_lossy()))
}

/// Writes the transpose of a matrix, of which one is `f32`.
fn transpose(
    gpu: &Gpu,
    op: &'static str,
    x: &Tensor,
    y: &Tensor,
    (rows, columns): (usize, usize),
) -> Result<(), TensorError> {
    const SIDE: usize = 32;
    let threads = blocks(rows.div_ceil(SIDE) * columns.div_ceil(SIDE));
    let (from, to) = (Values::of(op, x)?, Values::of(op, y)?);
    let (x, y) = (from.address(gpu, op, x)?, to.address(gpu, op, y)?);
    let (rows, columns) = (int(op, rows)?, int(op, columns)?);
    if from == Values::F32 {
        launch!(gpu, FILTER.transpose_filter of to, threads, x, y, rows, columns);
    } else {
        launch!(gpu, FILTER.transpose_gradient of from, threads, x, y, rows, columns);
    }
    Ok(())
}
