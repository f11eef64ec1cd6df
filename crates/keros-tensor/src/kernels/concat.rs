//! Joining tensors along an axis, and taking them apart again.

use candle_core::{DType, Tensor};

use super::{CHUNK, expect_dims};
use crate::parallel::{chunks_mut, for_each_part};
use crate::{TensorError, Workspace, access};

/// The inputs one after the other along `axis`; their other axes agree.
///
/// # Errors
/// No input, no such axis, or other axes that differ; otherwise see [the module](super).
pub fn concatenate(
    ws: &mut Workspace,
    inputs: &[Tensor],
    axis: usize,
) -> Result<Tensor, TensorError> {
    const OP: &str = "concatenating";
    let mut shape = match inputs.first() {
        Some(first) if axis < first.dims().len() => first.dims().to_vec(),
        first => {
            let found = first.map_or(&[][..], Tensor::dims);
            let expected = format!("an axis {axis}");
            return Err(TensorError::shape(OP, "first input", expected, found));
        }
    };
    let mut length = 0;
    for input in inputs {
        if let Some(own) = input.dims().get(axis) {
            shape[axis] = *own;
            length += own;
        }
        expect_dims(OP, "input", input, &shape)?;
    }
    shape[axis] = length;
    on_gpu!(&inputs[0], |gpu| {
        cuda::shape::concatenate(gpu, ws, inputs, axis, &shape)
    });
    let y = ws.take(&shape, DType::F32)?;
    let inner: usize = shape[axis + 1..].iter().product();
    let guards = inputs
        .iter()
        .map(access::read::<f32>)
        .collect::<Result<Vec<_>, _>>()?;
    let parts: Vec<(&[f32], usize)> = guards
        .iter()
        .zip(inputs)
        .map(|(values, input)| (&**values, input.dims()[axis] * inner))
        .collect();
    let row = length * inner;
    let rows = (CHUNK / row.max(1)).max(1);
    access::write(&y, |y| {
        for_each_part(chunks_mut(y, rows * row), |i, y: &mut [f32]| {
            for (k, mut y) in y.chunks_exact_mut(row).enumerate() {
                let outer = i * rows + k;
                for &(values, width) in &parts {
                    let (own, rest) = y.split_at_mut(width);
                    own.copy_from_slice(&values[outer * width..(outer + 1) * width]);
                    y = rest;
                }
            }
        });
    })?;
    Ok(y)
}

/// A copy of `length` positions of `axis` from `start` on: the gradient of one input of
/// [`concatenate`].
///
/// # Errors
/// The axis does not reach that far; otherwise see [the module](super).
pub fn slice_axis(
    ws: &mut Workspace,
    x: &Tensor,
    axis: usize,
    start: usize,
    length: usize,
) -> Result<Tensor, TensorError> {
    let mut shape = x.dims().to_vec();
    let whole = match shape.get_mut(axis) {
        Some(whole) if start + length <= *whole => std::mem::replace(whole, length),
        _ => {
            let expected = format!("at least {} in axis {axis}", start + length);
            return Err(TensorError::shape("slicing", "input", expected, &shape));
        }
    };
    on_gpu!(x, |gpu| cuda::shape::slice_axis(
        gpu, ws, x, axis, start, &shape
    ));
    let y = ws.take(&shape, DType::F32)?;
    let inner: usize = shape[axis + 1..].iter().product();
    let x = access::read::<f32>(x)?;
    let x = &*x;
    let (row, start) = (length * inner, start * inner);
    let rows = (CHUNK / row.max(1)).max(1);
    access::write(&y, |y| {
        for_each_part(chunks_mut(y, rows * row), |i, y: &mut [f32]| {
            for (k, y) in y.chunks_exact_mut(row).enumerate() {
                let from = (i * rows + k) * whole * inner + start;
                y.copy_from_slice(&x[from..from + row]);
            }
        });
    })?;
    Ok(y)
}
