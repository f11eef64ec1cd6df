//! How cuDNN does one convolution in one direction: descriptors and the algorithm.

use std::ffi::c_int;
use std::sync::atomic::AtomicBool;

use candle_core::cuda_backend::cudarc::cudnn::result::{self, CudnnError};
use candle_core::cuda_backend::cudarc::cudnn::sys;

use super::super::Values;
use super::super::conv::Direction;
use super::{Key, Padded};

/// Most memory that an algorithm may take beside its tensors, in bytes. What is free just now does not count: the same
/// convolution is done in the same way each time.
pub(super) const WORKSPACE: usize = 1 << 30;
/// Answers that cuDNN is asked for; it has not so many algorithms.
const ANSWERS: usize = 16;

/// A descriptor of cuDNN, destroyed with its owner.
struct Descriptor<T: Copy> {
    raw: T,
    destroy: unsafe fn(T) -> Result<(), CudnnError>,
}

impl<T: Copy> Drop for Descriptor<T> {
    fn drop(&mut self) {
        // SAFETY: it was created, and is destroyed once. What this returns changes nothing.
        let _ = unsafe { (self.destroy)(self.raw) };
    }
}

#[derive(Clone, Copy)]
enum Algorithm {
    Outputs(sys::cudnnConvolutionFwdAlgo_t),
    Inputs(sys::cudnnConvolutionBwdDataAlgo_t),
    Weights(sys::cudnnConvolutionBwdFilterAlgo_t),
}

/// What cuDNN is given to compute one of `x`, `w` and `y`.
pub(super) struct Plan {
    x: Descriptor<sys::cudnnTensorDescriptor_t>,
    w: Descriptor<sys::cudnnFilterDescriptor_t>,
    y: Descriptor<sys::cudnnTensorDescriptor_t>,
    convolution: Descriptor<sys::cudnnConvolutionDescriptor_t>,
    algorithm: Algorithm,
    /// Bytes that the algorithm takes beside the tensors.
    pub(super) workspace: usize,
    /// Whether it has been started once: what cuDNN does not support it may tell only then.
    pub(super) has_run: AtomicBool,
}

// SAFETY: descriptors belong to no thread, and are only read once the plan is made.
unsafe impl Send for Plan {}
// SAFETY: as above.
unsafe impl Sync for Plan {}

/// The algorithms of one direction, the fastest first, of those that always give the same numbers.
macro_rules! candidates {
    ($get:path, $answer:ty, $variant:path, $handle:expr, $($descriptor:expr),*) => {{
        // SAFETY: zeros are an answer, if one that means nothing.
        let mut answers: [$answer; ANSWERS] = unsafe { std::mem::zeroed() };
        let mut count = 0;
        // SAFETY: handle and descriptors are valid, and so many answers have room.
        unsafe { $get($handle, $($descriptor.raw),*, ANSWERS as c_int, &mut count, answers.as_mut_ptr()) }?;
        let answers = answers.into_iter().take(count.max(0) as usize);
        let usable = answers.filter(|answer| {
            answer.status == sys::cudnnStatus_t::CUDNN_STATUS_SUCCESS
                && answer.determinism == sys::cudnnDeterminism_t::CUDNN_DETERMINISTIC
        });
        usable.map(|answer| ($variant(answer.algo), answer.mathType)).collect::<Vec<_>>()
    }};
}

impl Plan {
    /// The fastest way of cuDNN that takes at most so many bytes beside the tensors; none if there is none.
    pub(super) fn find(
        handle: sys::cudnnHandle_t,
        padded: &Padded,
        (_, direction, values, tf32): Key,
        most: usize,
    ) -> Result<Option<Self>, CudnnError> {
        let wanted = match values {
            Values::F32 => wanted_math(tf32),
            Values::Bf16 | Values::F16 => sys::cudnnMathType_t::CUDNN_TENSOR_OP_MATH,
        };
        let mut plan = Self::describe(padded, values, wanted)?;
        let Self {
            x,
            w,
            y,
            convolution: c,
            ..
        } = &plan;
        let candidates = match direction {
            Direction::Outputs => candidates!(
                result::get_convolution_forward_algorithm,
                sys::cudnnConvolutionFwdAlgoPerf_t,
                Algorithm::Outputs,
                handle,
                x,
                w,
                c,
                y
            ),
            Direction::Inputs => candidates!(
                result::get_convolution_backward_data_algorithm,
                sys::cudnnConvolutionBwdDataAlgoPerf_t,
                Algorithm::Inputs,
                handle,
                w,
                y,
                c,
                x
            ),
            Direction::Weights => candidates!(
                result::get_convolution_backward_filter_algorithm,
                sys::cudnnConvolutionBwdFilterAlgoPerf_t,
                Algorithm::Weights,
                handle,
                x,
                y,
                c,
                w
            ),
        };
        for (algorithm, fastest) in candidates {
            let math = match fastest {
                _ if values == Values::F32 && !tf32 => wanted,
                // That would round to 16 bits.
                sys::cudnnMathType_t::CUDNN_TENSOR_OP_MATH_ALLOW_CONVERSION => continue,
                _ => fastest,
            };
            // SAFETY: the descriptor is valid.
            unsafe { result::set_convolution_math_type(plan.convolution.raw, math) }?;
            plan.algorithm = algorithm;
            // One that does not exist with this kind of mathematics is passed over.
            match plan.workspace_bytes(handle) {
                Ok(bytes) if bytes <= most => {
                    plan.workspace = bytes;
                    return Ok(Some(plan));
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// Descriptors of the tensors, without an algorithm.
    fn describe(
        padded: &Padded,
        values: Values,
        math: sys::cudnnMathType_t,
    ) -> Result<Self, CudnnError> {
        use sys::cudnnDataType_t::CUDNN_DATA_FLOAT as FLOAT;
        let data = match values {
            Values::F32 => FLOAT,
            Values::Bf16 => sys::cudnnDataType_t::CUDNN_DATA_BFLOAT16,
            Values::F16 => sys::cudnnDataType_t::CUDNN_DATA_HALF,
        };
        use sys::cudnnTensorFormat_t::CUDNN_TENSOR_NHWC as CHANNELS_LAST;
        let (c, g) = (&padded.convolution, &padded.convolution.window);
        let mode = sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION;
        let tensor = |sizes| {
            let descriptor = Descriptor {
                raw: result::create_tensor_descriptor()?,
                destroy: result::destroy_tensor_descriptor,
            };
            // SAFETY: the descriptor is new.
            unsafe {
                result::set_tensor4d_descriptor(descriptor.raw, CHANNELS_LAST, data, sizes)?;
            }
            Ok(descriptor)
        };
        let w = Descriptor {
            raw: result::create_filter_descriptor()?,
            destroy: result::destroy_filter_descriptor,
        };
        let convolution = Descriptor {
            raw: result::create_convolution_descriptor()?,
            destroy: result::destroy_convolution_descriptor,
        };
        let filter = [
            c.outputs,
            g.channels / c.groups,
            g.window_height,
            g.window_width,
        ];
        // SAFETY: the descriptors are new.
        unsafe {
            result::set_filter4d_descriptor(w.raw, data, CHANNELS_LAST, filter)?;
            result::set_convolution2d_descriptor(
                convolution.raw,
                g.top,
                g.left,
                g.stride_y,
                g.stride_x,
                g.dilation_y,
                g.dilation_x,
                mode,
                FLOAT,
            )?;
            result::set_convolution_group_count(convolution.raw, c.groups)?;
            result::set_convolution_math_type(convolution.raw, math)?;
        }
        Ok(Self {
            x: tensor([g.images, g.channels, g.height, g.width])?,
            w,
            y: tensor([g.images, c.outputs, g.rows, g.columns])?,
            convolution,
            algorithm: Algorithm::Outputs(
                sys::cudnnConvolutionFwdAlgo_t::CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM,
            ),
            workspace: 0,
            has_run: AtomicBool::new(false),
        })
    }

    fn workspace_bytes(&self, handle: sys::cudnnHandle_t) -> Result<usize, CudnnError> {
        let (x, w, y, c) = (self.x.raw, self.w.raw, self.y.raw, self.convolution.raw);
        // SAFETY: handle and descriptors are valid.
        unsafe {
            match self.algorithm {
                Algorithm::Outputs(a) => {
                    result::get_convolution_forward_workspace_size(handle, x, w, c, y, a)
                }
                Algorithm::Inputs(a) => {
                    result::get_convolution_backward_data_workspace_size(handle, w, y, c, x, a)
                }
                Algorithm::Weights(a) => {
                    result::get_convolution_backward_filter_workspace_size(handle, x, y, c, w, a)
                }
            }
        }
    }

    /// Starts the computation on the addresses of `x`, `w`, `y` and of memory to work in.
    ///
    /// # Safety
    /// There is as much memory as the descriptors and [`workspace`](Self::workspace) say.
    pub(super) unsafe fn run(
        &self,
        handle: sys::cudnnHandle_t,
        [x, w, y, memory]: [u64; 4],
    ) -> Result<(), CudnnError> {
        let (alpha, beta) = (1.0_f32, 0.0_f32);
        let (alpha, beta) = ((&raw const alpha).cast(), (&raw const beta).cast());
        let (x_as, w_as, y_as) = (self.x.raw, self.w.raw, self.y.raw);
        let (c, bytes) = (self.convolution.raw, self.workspace);
        let memory = match bytes {
            0 => std::ptr::null_mut(),
            _ => memory as *mut _,
        };
        // SAFETY: handle and descriptors are valid, the factors are read before the call returns, and
        // the caller vouches for the memory.
        unsafe {
            match self.algorithm {
                Algorithm::Outputs(a) => {
                    let (x, w, y) = (x as *const _, w as *const _, y as *mut _);
                    result::convolution_forward(
                        handle, alpha, x_as, x, w_as, w, c, a, memory, bytes, beta, y_as, y,
                    )
                }
                Algorithm::Inputs(a) => {
                    let (x, w, y) = (x as *mut _, w as *const _, y as *const _);
                    result::convolution_backward_data(
                        handle, alpha, w_as, w, y_as, y, c, a, memory, bytes, beta, x_as, x,
                    )
                }
                Algorithm::Weights(a) => {
                    let (x, w, y) = (x as *const _, w as *mut _, y as *const _);
                    result::convolution_backward_filter(
                        handle, alpha, x_as, x, y_as, y, c, a, memory, bytes, beta, w_as, w,
                    )
                }
            }
        }
    }
}

/// What cuDNN is asked for: since GPUs have TF32, the default allows it.
fn wanted_math(tf32: bool) -> sys::cudnnMathType_t {
    match tf32 {
        true => sys::cudnnMathType_t::CUDNN_DEFAULT_MATH,
        false => sys::cudnnMathType_t::CUDNN_FMA_MATH,
    }
}
