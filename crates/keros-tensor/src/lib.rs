//! Devices, named parameters, recycled buffers and training kernels on candle tensors.
//!
//! Values and parameters are candle tensors; the reverse pass is explicit: every kernel of
//! [`kernels`] comes as a forward and a backward function, outputs come from a [`Workspace`] that
//! recycles its buffers from step to step, and the work is spread by [`parallel`].
//!
//! Layouts are channels-last everywhere: images `[N, H, W, C]`, convolution kernels
//! `[kh, kw, in, out]`, dense kernels `[in, out]`; values are `f32` unless said otherwise.
//!
//! Results are the same bit for bit for any number of threads.
//! They may differ in the last bits between processors, which have different vector instructions; see
//! [`simd`].

pub mod access;
#[cfg(feature = "cuda")]
mod cuda;
mod cudnn_benchmark;
mod device;
mod dlpack;
mod error;
mod file;
mod fitting;
#[cfg(feature = "keras-files")]
mod keras_file;
pub mod kernels;
mod memory;
mod npy;
mod npz;
pub mod parallel;
mod params;
mod precision;
mod readback;
mod recording;
mod rng;
mod scratch;
pub mod simd;
mod upload;
mod weights;
mod workspace;

pub use candle_core::{DType, Device, Shape, Tensor, Var, WithDType};

pub use cudnn_benchmark::{cudnn_benchmark, set_cudnn_benchmark};
pub use device::{device_name, parse_device};
pub use dlpack::{DlDataType, DlDevice, DlTensor, TensorView};
pub use error::{TensorDifference, TensorError, WeightsMismatch};
pub use fitting::{LoadedWeights, SkipReason, SkippedParam, load_fitting_params};
#[cfg(feature = "keras-files")]
pub use keras_file::{KerasLayer, LoadKeras, load_keras_params, read_keras_config};
pub use npz::{load_npz, save_npz};
pub use params::{Param, ParamId, Params};
pub use precision::{set_tf32, tf32};
pub use readback::Readback;
pub use recording::{Recording, cuda_graph_starts, cuda_graphs, set_cuda_graphs, unrecorded};
pub use rng::Stream;
pub use upload::{Convert, upload};
pub use weights::{check_params, load_params, load_tensors, save_params, save_tensors, set_params};
pub use workspace::Workspace;

/// The code of the README, so that it compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
