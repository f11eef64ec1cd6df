//! Convolutions by cuDNN.
//!
//! The first time that a convolution is met, cuDNN is asked which ways it has, and the one that it
//! takes for the fastest is kept, of those that give the same numbers each time.
//! Images stay as they are, channels last; filters are turned into cuDNN's order and back, and a
//! border that is wider on one side is made wider in memory.

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
use super::window::{Window, by_4};
use super::{Gpu, Values, blocks, each, failure, int, launch, of_gpu, recording};
use crate::{TensorError, Workspace, tf32};
use plan::{Plan, WORKSPACE};

/// Convolutions that are remembered; with more, all are looked up anew.
const PLANS: usize = 4096;

/// What cuDNN knows of each GPU. Whoever starts something holds the lock: a handle is for one thread
/// at a time.
static LIBRARIES: Mutex<Vec<(DeviceId, Library)>> = Mutex::new(Vec::new());

/// What a plan is for: a convolution, what is computed, of which values, and whether in TF32.
type Key = (Convolution, Direction, Values, bool);

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
    fn plan(&mut self, key: &Key, padded: &Padded) -> Result<Option<Arc<Plan>>, CudnnError> {
        if self.plans.len() >= PLANS && !self.plans.contains_key(key) {
            self.plans.clear();
        }
        let plan = match self.plans.entry(*key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let plan = Plan::find(self.handle, padded, *key, WORKSPACE);
                entry.insert(or_unsupported(plan)?.map(Arc::new))
            }
        };
        Ok(plan.clone())
    }

    /// From now on does a convolution in a way that takes at most so many bytes beside the tensors, if there is one.
    fn plan_with_less(
        &mut self,
        key: &Key,
        padded: &Padded,
        most: usize,
    ) -> Result<Option<Arc<Plan>>, CudnnError> {
        let plan = or_unsupported(Plan::find(self.handle, padded, *key, most))?.map(Arc::new);
        if plan.is_some() {
            self.plans.insert(*key, plan.clone());
        }
        Ok(plan)
    }
}

/// Computes one of inputs, weights and outputs, or answers `false` where cuDNN cannot.
pub(crate) fn convolve(
    gpu: &Gpu,
    ws: &mut Workspace,
    op: &'static str,
    convolution: &Convolution,
    direction: Direction,
    (x, w, y): (&Tensor, &Tensor, &Tensor),
) -> Result<bool, TensorError> {
    let Some(padded) = Padded::new(convolution) else {
        return Ok(false);
    };
    let bound = gpu.stream().context().bind_to_thread();
    bound.map_err(|error| failure(op, &error))?;
    let values = Values::of(op, x)?;
    let key = (*convolution, direction, values, tf32());
    let found = with_library(gpu, |library| library.plan(&key, &padded));
    let Some(mut plan) = found.map_err(|error| refusal(op, error))? else {
        return Ok(false);
    };
    let (patch, outputs) = (convolution.patch(), convolution.outputs as usize);
    let filter = ws.take(&[outputs, patch], values.dtype())?;
    let image = match padded.is_plain() {
        true => x.clone(),
        false => ws.take(&padded.shape(), values.dtype())?,
    };
    let give_back = |ws: &mut Workspace| {
        ws.give(&filter);
        if !padded.is_plain() {
            ws.give(&image);
        }
    };
    let memory = loop {
        match ws.take(&[plan.workspace], DType::U8) {
            Err(TensorError::OutOfMemory { .. }) if plan.workspace > 0 => {
                let less = with_library(gpu, |library| {
                    library.plan_with_less(&key, &padded, plan.workspace - 1)
                });
                let Some(less) = less.map_err(|error| refusal(op, error))? else {
                    give_back(ws);
                    return Ok(false);
                };
                plan = less;
            }
            taken => break taken?,
        }
    };
    if direction != Direction::Weights {
        transpose(gpu, op, w, &filter, (patch, outputs))?;
    }
    if direction != Direction::Inputs && !padded.is_plain() {
        padded.pad(gpu, op, x, &image)?;
    }
    let convolve = Convolve {
        op,
        plan,
        addresses: [
            values.address(gpu, op, &image)?,
            values.address(gpu, op, &filter)?,
            values.address(gpu, op, y)?,
            gpu.address::<u8>(op, &memory)?,
        ],
    };
    let ran = convolve.try_start(gpu, &key)?;
    if ran && direction == Direction::Weights {
        transpose(gpu, op, &filter, w, (outputs, patch))?;
    }
    if ran && direction == Direction::Inputs && !padded.is_plain() {
        padded.crop(gpu, op, &image, x)?;
    }
    give_back(ws);
    ws.give(&memory);
    Ok(ran)
}

/// A convolution to be started.
pub(crate) struct Convolve {
    op: &'static str,
    plan: Arc<Plan>,
    /// Of images, filter, outputs and the memory to work in.
    addresses: [u64; 4],
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
        self.run(gpu, notes)
            .map_err(|error| refusal(self.op, error))
    }

    fn run(&self, gpu: &Gpu, notes: Option<CUstream>) -> Result<(), CudnnError> {
        with_library(gpu, |library| {
            let handle = library.handle(notes)?;
            // SAFETY: the tensors are as large as the descriptors of the plan say, and stay in use on the GPU's
            // stream only. The handle is this thread's as long as it holds the library.
            unsafe { self.plan.run(handle, self.addresses) }
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
        launch!(gpu, IMAGE.transpose_filter of to, threads, x, y, rows, columns);
    } else {
        launch!(gpu, IMAGE.transpose_gradient of from, threads, x, y, rows, columns);
    }
    Ok(())
}

/// A convolution as cuDNN does it: with the same padding on both sides.
pub(crate) struct Padded {
    /// The whole of it, with its own border in `window` where the sides differ.
    pub(crate) convolution: Convolution,
    /// Size of the images before.
    height: i32,
    width: i32,
    /// Rows and columns that come before an image in memory.
    top: i32,
    left: i32,
}

impl Padded {
    /// `None` where the border would take several times the memory of the images, which dilation
    /// can bring about.
    fn new(convolution: &Convolution) -> Option<Self> {
        let g = convolution.window;
        let after =
            |length: i32, before: i32, windows: i32, stride: i32, cells: i32, dilation: i32| {
                ((windows - 1) * stride + (cells - 1) * dilation + 1 - length - before).max(0)
            };
        let bottom = after(
            g.height,
            g.top,
            g.rows,
            g.stride_y,
            g.window_height,
            g.dilation_y,
        );
        let right = after(
            g.width,
            g.left,
            g.columns,
            g.stride_x,
            g.window_width,
            g.dilation_x,
        );
        let (both_y, both_x) = (g.top.min(bottom), g.left.min(right));
        let window = Window {
            height: g.height + g.top.max(bottom) - both_y,
            width: g.width + g.left.max(right) - both_x,
            top: both_y,
            left: both_x,
            ..g
        };
        let elements = |g: &Window| {
            [g.images, g.height, g.width, g.channels]
                .iter()
                .map(|&n| n as u64)
                .product::<u64>()
        };
        let most = (8 * elements(&g)).min(i32::MAX as u64);
        (elements(&window) <= most).then(|| Self {
            convolution: Convolution {
                window,
                ..*convolution
            },
            height: g.height,
            width: g.width,
            top: g.top - both_y,
            left: g.left - both_x,
        })
    }

    /// Whether nothing has to be added.
    fn is_plain(&self) -> bool {
        let window = &self.convolution.window;
        (window.height, window.width) == (self.height, self.width)
    }

    /// Shape of the images with the border.
    fn shape(&self) -> [usize; 4] {
        let g = &self.convolution.window;
        [g.images, g.height, g.width, g.channels].map(|n| n as usize)
    }

    /// Copies images into the middle of zeros.
    fn pad(&self, gpu: &Gpu, op: &'static str, x: &Tensor, y: &Tensor) -> Result<(), TensorError> {
        let g = &self.convolution.window;
        let sizes = ((self.height, self.width), (g.height, g.width));
        shift(gpu, op, x, y, sizes, (self.top, self.left), g.channels)
    }

    /// The reverse of [`pad`](Self::pad).
    fn crop(&self, gpu: &Gpu, op: &'static str, x: &Tensor, y: &Tensor) -> Result<(), TensorError> {
        let g = &self.convolution.window;
        let sizes = ((g.height, g.width), (self.height, self.width));
        shift(gpu, op, x, y, sizes, (-self.top, -self.left), g.channels)
    }
}

/// Copies images into ones of another size; see image.cu.
fn shift(
    gpu: &Gpu,
    op: &'static str,
    x: &Tensor,
    y: &Tensor,
    ((height, width), (new_height, new_width)): ((i32, i32), (i32, i32)),
    (top, left): (i32, i32),
    channels: i32,
) -> Result<(), TensorError> {
    let n = int(op, y.elem_count())?;
    let values = Values::of(op, y)?;
    let (x, y) = (values.address(gpu, op, x)?, values.address(gpu, op, y)?);
    if by_4(channels, &[x, y]) {
        let (channels, n) = (channels / 4, n / 4);
        let threads = each(n as usize);
        launch!(
            gpu,
            IMAGE.shift_by_4 of values,
            threads,
            x,
            y,
            height,
            width,
            new_height,
            new_width,
            top,
            left,
            channels,
            n
        );
    } else {
        let threads = each(n as usize);
        launch!(
            gpu,
            IMAGE.shift of values,
            threads,
            x,
            y,
            height,
            width,
            new_height,
            new_width,
            top,
            left,
            channels,
            n
        );
    }
    Ok(())
}
