//! Convolutions by cuDNN.
//!
//! The first time that a convolution is met, cuDNN is asked which ways it has, and the one that it
//! takes for the fastest is kept, of those that give the same numbers each time.
//! Images stay as they are, channels last; filters are turned into cuDNN's order and back, and a
//! border that is wider on one side is made wider in memory.

mod plan;

use std::collections::HashMap;
use std::ffi::CStr;
use std::sync::{Mutex, PoisonError};

use candle_core::cuda_backend::DeviceId;
use candle_core::cuda_backend::cudarc::cudnn::result::{self, CudnnError};
use candle_core::cuda_backend::cudarc::cudnn::sys;
use candle_core::{DType, Tensor};

use super::conv::{Convolution, Direction};
use super::window::{Window, by_4};
use super::{Gpu, Values, address, blocks, each, failure, int, launch};
use crate::{TensorError, Workspace, tf32};
use plan::Plan;

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
    /// `None` where cuDNN has no way.
    plans: HashMap<Key, Option<Plan>>,
}

// SAFETY: handle and descriptors belong to no thread; they are used by one at a time.
unsafe impl Send for Library {}

impl Library {
    fn open(gpu: &Gpu) -> Result<Self, CudnnError> {
        let handle = result::create_handle()?;
        let stream = gpu.stream().cu_stream();
        // SAFETY: the handle is new, and used with tensors of this device only, which keep its stream.
        unsafe { result::set_stream(handle, stream.cast()) }?;
        Ok(Self {
            handle,
            plans: HashMap::new(),
        })
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
    let mut libraries = LIBRARIES.lock().unwrap_or_else(PoisonError::into_inner);
    let id = gpu.0.id();
    let at = match libraries.iter().position(|(other, _)| *other == id) {
        Some(at) => at,
        None => {
            let library = Library::open(gpu).map_err(|error| refusal(op, error))?;
            libraries.push((id, library));
            libraries.len() - 1
        }
    };
    let library = &mut libraries[at].1;
    let values = Values::of(op, x)?;
    let key = (*convolution, direction, values, tf32());
    if library.plans.len() >= PLANS && !library.plans.contains_key(&key) {
        library.plans.clear();
    }
    let handle = library.handle;
    let plan = match library.plans.entry(key) {
        std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
        std::collections::hash_map::Entry::Vacant(entry) => {
            let plan = Plan::find(handle, &padded, direction, values, tf32());
            entry.insert(or_unsupported(plan).map_err(|error| refusal(op, error))?)
        }
    };
    let Some(found) = plan else {
        return Ok(false);
    };

    let (patch, outputs) = (convolution.patch(), convolution.outputs as usize);
    let filter = ws.take(&[outputs, patch], values.dtype())?;
    let image = match padded.is_plain() {
        true => x.clone(),
        false => ws.take(&padded.shape(), values.dtype())?,
    };
    let memory = ws.take(&[found.workspace], DType::U8)?;
    if direction != Direction::Weights {
        transpose(gpu, op, w, &filter, (patch, outputs))?;
    }
    if direction != Direction::Inputs && !padded.is_plain() {
        padded.pad(gpu, op, x, &image)?;
    }
    let addresses = (
        values.address(op, &image)?,
        values.address(op, &filter)?,
        values.address(op, y)?,
        address::<u8>(op, &memory)?,
    );
    // SAFETY: the tensors are as large as the descriptors of the plan say, and stay in use on this
    // stream only.
    let ran = or_unsupported(unsafe { found.run(handle, addresses) }.map(Some));
    let ran = ran.map_err(|error| refusal(op, error))?.is_some();
    if !ran {
        *plan = None;
    }
    if ran && direction == Direction::Weights {
        transpose(gpu, op, &filter, w, (outputs, patch))?;
    }
    if ran && direction == Direction::Inputs && !padded.is_plain() {
        padded.crop(gpu, op, &image, x)?;
    }
    ws.give(&filter);
    ws.give(&memory);
    if !padded.is_plain() {
        ws.give(&image);
    }
    Ok(ran)
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
    let (x, y) = (from.address(op, x)?, to.address(op, y)?);
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
    let (x, y) = (values.address(op, x)?, values.address(op, y)?);
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
