//! Pooling over all axes between samples and channels, which the layers of sequences and of images share.

use crate::error::NnError;
use crate::layer::Pass;
use keros_tensor::{Tensor, kernels};

/// Shape of a sample's output: `[C]`, or with `keepdims` a 1 for each axis before it.
pub(super) fn output(input: &[usize], keepdims: bool) -> Vec<usize> {
    let axes = input.len().saturating_sub(1);
    let ones = if keepdims { axes } else { 0 };
    let mut shape = vec![1; ones];
    shape.extend(&input[axes..]);
    shape
}

pub(super) fn mean(x: &Tensor, keepdims: bool, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
    let y = kernels::global_average_pool(pass.workspace, x)?;
    shaped(y, x, keepdims)
}

/// `input` is the shape of a sample.
pub(super) fn mean_backward(
    dy: &Tensor,
    input: Option<&[usize]>,
    pass: &mut Pass<'_>,
) -> Result<Option<Tensor>, NnError> {
    let input = input.ok_or(NnError::NotBuilt)?;
    if !pass.wants_input_grad {
        return Ok(None);
    }
    let (samples, channels) = (dy.dim(0)?, dy.dim(dy.rank() - 1)?);
    let flat = dy.reshape((samples, channels))?;
    let x_shape = [&[samples], input].concat();
    let dx = kernels::global_average_pool_backward(pass.workspace, &flat, &x_shape)?;
    pass.workspace.give(dy);
    Ok(Some(dx))
}

pub(super) fn maximum(x: &Tensor, keepdims: bool, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
    let y = kernels::global_max_pool(pass.workspace, x)?;
    pass.save(x);
    pass.save(&y);
    shaped(y, x, keepdims)
}

pub(super) fn maximum_backward(
    dy: &Tensor,
    pass: &mut Pass<'_>,
) -> Result<Option<Tensor>, NnError> {
    let (y, x) = (pass.restore()?, pass.restore()?);
    if !pass.wants_input_grad {
        return Ok(None);
    }
    let flat = dy.reshape(y.shape())?;
    let dx = kernels::global_max_pool_backward(pass.workspace, &x, &y, &flat)?;
    pass.workspace.give(dy);
    pass.workspace.give(&y);
    Ok(Some(dx))
}

/// `[N, C]` as the layer returns it.
fn shaped(y: Tensor, x: &Tensor, keepdims: bool) -> Result<Tensor, NnError> {
    if !keepdims {
        return Ok(y);
    }
    let mut shape = vec![1; x.rank()];
    (shape[0], shape[x.rank() - 1]) = y.dims2()?;
    Ok(y.reshape(shape)?)
}
