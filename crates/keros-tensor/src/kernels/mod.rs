//! Forward and backward passes, losses and optimizer updates on `f32` tensors, channels-last.
//!
//! Every function that makes a tensor takes it from the [`Workspace`](crate::Workspace) it is given
//! and so shares its rule: the result is valid until the workspace is recycled.
//! Inputs are contiguous tensors on one device, the CPU or a GPU, which then does the work; a tensor
//! on another device, of another element type or shape is an error, and so is an output that shares
//! its storage with an input.
//! On a GPU a function returns when the work is started, and a few of them, which say so, wait for it.
//!
//! For mixed precision the values that layers hand on may be `bf16` or `f16` on a GPU: what convolutions, dense
//! layers, batch normalization, pools, merges, activations other than the softmaxes, dropout and noise, borders
//! and moves along an axis take and return.
//! All tensors of values of one call are of one type; weights, statistics and gradients of parameters
//! stay `f32`, sums are taken in `f32` or better, and [`cast`] is the way from one type to the other.
//!
//! Backward functions take the output `y` of the forward pass where the activation is fused into
//! it, and overwrite (never add to) the gradients that they are given to fill.
//!
//! ```
//! use keros_tensor::kernels::{Activation, Conv2dSpec, conv2d, conv2d_backward};
//! use keros_tensor::{DType, Device, Tensor, Workspace};
//!
//! let x = Tensor::ones((2, 5, 5, 3), DType::F32, &Device::Cpu)?;
//! let w = Tensor::ones((3, 3, 3, 8), DType::F32, &Device::Cpu)?;
//! let (spec, relu) = (Conv2dSpec::default(), Activation::Relu);
//! let mut ws = Workspace::new(&Device::Cpu);
//!
//! let y = conv2d(&mut ws, &x, &w, None, &spec, relu)?;
//! assert_eq!(y.dims(), [2, 3, 3, 8]);
//! let (dy, dw) = (y.ones_like()?, w.zeros_like()?);
//! let dx = conv2d_backward(&mut ws, &x, &w, &y, &dy, &spec, relu, &dw, None, true)?;
//! assert_eq!(dx.map(|dx| dx.dims().to_vec()), Some(vec![2, 5, 5, 3]));
//! // The next step takes its tensors from the same memory.
//! ws.recycle();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

/// Hands on to the function of [`cuda`](crate::cuda) that does the same, if the tensor is on a GPU.
macro_rules! on_gpu {
    ($tensor:expr, |$gpu:ident| $call:expr) => {
        #[cfg(feature = "cuda")]
        if let Some($gpu) = &crate::cuda::gpu($tensor) {
            use crate::cuda;
            return $call;
        }
    };
}

mod activation;
mod affine;
mod average_pool;
mod batch_norm;
mod border;
mod cast;
mod concat;
mod constraint;
mod conv;
mod ctc_loss;
mod dense;
mod dropout;
mod element_loss;
mod elementwise;
mod embedding;
mod function;
mod global_pool;
mod label_loss;
mod log_softmax;
mod loss;
mod math;
mod matmul;
mod merge;
mod muon;
mod noise;
mod normalize;
mod optimizer;
mod optimizer_common;
mod optimizer_norms;
mod optimizer_rules;
mod overlap_loss;
mod permute;
mod pool;
mod prelu;
mod resample;
mod row_loss;
mod softmax;

pub use activation::{Activation, activation, activation_backward};
pub use affine::affine;
pub use average_pool::{average_pool2d, average_pool2d_backward};
pub use batch_norm::{BatchNorm, batch_norm, batch_norm_backward, channel_statistics};
pub use border::{Border, crop2d, zero_pad2d};
pub use cast::cast;
pub use concat::{concatenate, slice_axis};
pub use constraint::{NormBounds, bound_norms, non_negative};
pub use conv::{
    Conv2dSpec, conv2d, conv2d_backward, conv2d_transpose, conv2d_transpose_backward,
    depthwise_conv2d, depthwise_conv2d_backward,
};
pub use ctc_loss::{check_ctc_labels, ctc_loss};
pub use dense::{dense, dense_backward};
pub use dropout::{dropout, dropout_backward};
pub use element_loss::{ElementLoss, element_loss, hinge_targets};
pub use elementwise::{copy, fill, map, u8_to_f32, zip_map};
pub use embedding::{check_indices, embedding, embedding_backward};
pub use function::{Function, function, function_backward};
pub use global_pool::{
    global_average_pool, global_average_pool_backward, global_max_pool, global_max_pool_backward,
};
pub use label_loss::{Circle, LabelLoss, circle_loss, label_loss};
pub use log_softmax::{log_softmax, log_softmax_backward};
#[cfg(feature = "cuda")]
pub(crate) use loss::LossRows;
pub use loss::{categorical_cross_entropy, check_labels, correct, softmax_cross_entropy};
pub use merge::{MergeOp, merge, merge_backward};
pub use muon::{Muon, muon_update};
pub use noise::{gaussian_dropout, gaussian_noise};
pub use normalize::{
    NormLayout, NormParams, normalize, normalize_backward, unit_normalize, unit_normalize_backward,
};
pub use optimizer::{
    FtrlStrengths, Update, adadelta_update, adagrad_update, adam_update, adamax_update,
    amsgrad_update, ftrl_update, lion_update, nadam_update, rmsprop_update, sgd_update,
};
#[cfg(feature = "cuda")]
pub(crate) use optimizer::{Group, single};
pub use optimizer_common::{
    L1L2, PenaltySums, accumulate, add_l1_l2_gradient, clamp, clip_global_norm, clip_norms,
    l1_l2_penalties, l1_l2_sums, mean_of_accumulated, moving_average, scale, sum, sums_of_squares,
    weight_decay,
};
#[cfg(feature = "cuda")]
pub(crate) use optimizer_norms::Factor;
pub use optimizer_norms::{Adafactor, adafactor_update, lamb_update};
pub use overlap_loss::{Overlap, overlap_loss};
pub use padding::Padding;
pub use permute::permute;
pub use pool::{Pool2dSpec, max_pool2d, max_pool2d_backward};
pub use prelu::{prelu, prelu_backward};
pub use resample::{Taps, resample};
pub use row_loss::{RowLoss, row_loss};
pub use softmax::{softmax, softmax_backward};

mod padding;

#[cfg(feature = "cuda")]
pub(crate) use {
    conv::Geometry as ConvGeometry, pool::Geometry as PoolGeometry, resample::Enlargement,
};

use candle_core::Tensor;

use crate::TensorError;

/// Elements that one task of an element-wise kernel handles.
const CHUNK: usize = 16 * 1024;

/// The tensor has these dimensions, or an error that names it.
fn expect_dims(
    op: &'static str,
    what: &'static str,
    tensor: &Tensor,
    dims: &[usize],
) -> Result<(), TensorError> {
    if tensor.dims() != dims {
        return Err(TensorError::shape(
            op,
            what,
            format_args!("{dims:?}"),
            tensor.dims(),
        ));
    }
    Ok(())
}

/// The dimensions of a tensor of rank `N`, or an error that names it.
fn dims<const N: usize>(
    op: &'static str,
    what: &'static str,
    tensor: &Tensor,
    expected: &str,
) -> Result<[usize; N], TensorError> {
    <[usize; N]>::try_from(tensor.dims())
        .map_err(|_| TensorError::shape(op, what, expected, tensor.dims()))
}

/// The size of the last axis (of at least 1) and the number of rows before it.
fn rows(
    op: &'static str,
    what: &'static str,
    tensor: &Tensor,
) -> Result<(usize, usize), TensorError> {
    match tensor.dims().split_last() {
        Some((&last, outer)) if last > 0 => Ok((outer.iter().product(), last)),
        _ => Err(TensorError::shape(
            op,
            what,
            "a last axis of at least 1",
            tensor.dims(),
        )),
    }
}
