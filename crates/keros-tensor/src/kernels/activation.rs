//! The activations that kernels fuse into their output.

use candle_core::Tensor;

use super::elementwise::{map, zip_map};
use super::expect_dims;
use crate::simd::multiversion;
use crate::{TensorError, Workspace};

/// An activation whose gradient follows from its output alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Activation {
    /// `y = x`.
    #[default]
    Linear,
    /// `y = max(x, 0)`; the gradient at 0 is 0.
    Relu,
}

/// `y = activation(x)` for a tensor of any shape.
///
/// # Errors
/// See [the module](super).
pub fn activation(
    ws: &mut Workspace,
    x: &Tensor,
    activation: Activation,
) -> Result<Tensor, TensorError> {
    on_gpu!(x, |gpu| match activation {
        Activation::Linear => cuda::elementwise::copied(gpu, "activation", ws, x),
        Activation::Relu => cuda::elementwise::relu(gpu, ws, x),
    });
    match activation {
        Activation::Linear => map(ws, x, |x| x),
        Activation::Relu => map(ws, x, relu),
    }
}

/// The gradient of [`activation`]: `dx = dy * activation'(x)`, from the output `y`.
///
/// # Errors
/// See [the module](super).
pub fn activation_backward(
    ws: &mut Workspace,
    y: &Tensor,
    dy: &Tensor,
    activation: Activation,
) -> Result<Tensor, TensorError> {
    expect_dims("activation backward", "output gradient", dy, y.dims())?;
    on_gpu!(y, |gpu| match activation {
        Activation::Linear => cuda::elementwise::copied(gpu, "activation backward", ws, dy),
        Activation::Relu => cuda::elementwise::relu_backward(gpu, ws, y, dy),
    });
    match activation {
        Activation::Linear => map(ws, dy, |dy| dy),
        Activation::Relu => zip_map(ws, y, dy, relu_backward),
    }
}

/// `max(x, 0)` that keeps NaN.
#[inline(always)]
pub(super) fn relu(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}

/// From the output or, which has the same sign, the input.
#[inline(always)]
pub(super) fn relu_backward(y: f32, dy: f32) -> f32 {
    if y > 0.0 { dy } else { 0.0 }
}

multiversion! {
    /// Adds `bias` to one row of outputs and applies the activation, in place.
    pub(super) fn finish_row(row: &mut [f32], bias: Option<&[f32]>, activation: Activation) {
        match (bias, activation) {
            (None, Activation::Linear) => {}
            (None, Activation::Relu) => row.iter_mut().for_each(|y| *y = relu(*y)),
            (Some(bias), Activation::Linear) => {
                for (y, &b) in row.iter_mut().zip(bias) {
                    *y += b;
                }
            }
            (Some(bias), Activation::Relu) => {
                for (y, &b) in row.iter_mut().zip(bias) {
                    *y = relu(*y + b);
                }
            }
        }
    }

    /// `out = dy * activation'` from the output `y` of the activation.
    pub(super) fn unapply(y: &[f32], dy: &[f32], out: &mut [f32], activation: Activation) {
        match activation {
            Activation::Linear => out.copy_from_slice(dy),
            Activation::Relu => {
                for ((out, &y), &dy) in out.iter_mut().zip(y).zip(dy) {
                    *out = relu_backward(y, dy);
                }
            }
        }
    }

    /// `sums += Σ rows` of a matrix with `sums.len()` columns, row after row.
    pub(super) fn add_rows(rows: &[f32], sums: &mut [f32]) {
        for row in rows.chunks_exact(sums.len()) {
            for (sum, &value) in sums.iter_mut().zip(row) {
                *sum += value;
            }
        }
    }

    /// `sums += values`.
    pub(super) fn add(values: &[f32], sums: &mut [f32]) {
        for (sum, &value) in sums.iter_mut().zip(values) {
            *sum += value;
        }
    }
}
