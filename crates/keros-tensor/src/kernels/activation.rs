//! The activations that kernels fuse into their output.

use candle_core::Tensor;

use super::elementwise::{map, zip_map};
use super::expect_dims;
use crate::scratch::with_scratch;
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

/// Rows that [`add_few_rows`] is meant for: so many that it adds 256 times.
pub(super) const FEW_ROWS: usize = 1024;

/// `sums += Σ rows` of a matrix with `sums.len()` columns, in pieces of whole rows.
///
/// A long sum is one of sums of [`FEW_ROWS`], and of 256 of these: otherwise what rounding costs would
/// grow with the number of rows.
pub(super) fn add_rows<'a>(pieces: impl IntoIterator<Item = &'a [f32]>, sums: &mut [f32]) {
    let columns = sums.len();
    if columns == 0 {
        return;
    }
    with_scratch(2 * columns, |scratch| {
        scratch.fill(0.0);
        let (block_sum, long_sum) = scratch.split_at_mut(columns);
        let (mut rows, mut blocks) = (0, 0);
        for piece in pieces {
            for few in piece.chunks(FEW_ROWS * columns) {
                add_few_rows(few, block_sum);
                rows += few.len() / columns;
                if rows >= FEW_ROWS {
                    add(block_sum, long_sum);
                    block_sum.fill(0.0);
                    (rows, blocks) = (0, blocks + 1);
                }
                if blocks == 256 {
                    add(long_sum, sums);
                    long_sum.fill(0.0);
                    blocks = 0;
                }
            }
        }
        add(block_sum, long_sum);
        add(long_sum, sums);
    });
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

    /// `sums += Σ rows` of a matrix with `sums.len()` columns, of at most [`FEW_ROWS`].
    pub(super) fn add_few_rows(rows: &[f32], sums: &mut [f32]) {
        let columns = sums.len();
        // Several rows for each sum that is read and written.
        let groups = rows.chunks_exact(4 * columns);
        let rest = groups.remainder().chunks_exact(columns);
        for rows in groups {
            let (a, b) = rows.split_at(2 * columns);
            let ((a, b), (c, d)) = (a.split_at(columns), b.split_at(columns));
            let pairs = a.iter().zip(b).zip(c.iter().zip(d));
            for (sum, ((a, b), (c, d))) in sums.iter_mut().zip(pairs) {
                *sum += (a + b) + (c + d);
            }
        }
        for row in rest {
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
