//! Softmax over the last axis.

use candle_core::{DType, Tensor};

use super::{CHUNK, expect_dims, rows};
use crate::parallel::{chunks_mut, for_each_part};
use crate::{TensorError, Workspace, access};

/// `y = exp(x) / Σ exp(x)` over the last axis; rows do not overflow.
///
/// `logits`: `[…, C]`, `C` at least 1.
///
/// # Errors
/// See [the module](super).
pub fn softmax(ws: &mut Workspace, logits: &Tensor) -> Result<Tensor, TensorError> {
    let (_, classes) = rows("softmax", "logits", logits)?;
    let y = ws.take(logits.dims(), DType::F32)?;
    let logits = access::read::<f32>(logits)?;
    let logits = &*logits;
    let chunk = rows_chunk(classes) * classes;
    access::write(&y, |y| {
        for_each_part(chunks_mut(y, chunk), |i, y| {
            let logits = logits[i * chunk..].chunks_exact(classes);
            for (y, logits) in y.chunks_exact_mut(classes).zip(logits) {
                let sum = exponentials(logits, y).1;
                y.iter_mut().for_each(|y| *y /= sum);
            }
        });
    })?;
    Ok(y)
}

/// The gradient of [`softmax`]: `dx = y * (dy - Σ y dy)`, the sum over the last axis.
///
/// # Errors
/// See [the module](super).
pub fn softmax_backward(
    ws: &mut Workspace,
    y: &Tensor,
    dy: &Tensor,
) -> Result<Tensor, TensorError> {
    const OP: &str = "softmax backward";
    let (_, classes) = rows(OP, "output", y)?;
    expect_dims(OP, "output gradient", dy, y.dims())?;
    let dx = ws.take(y.dims(), DType::F32)?;
    let (y, dy) = (access::read::<f32>(y)?, access::read::<f32>(dy)?);
    let (y, dy) = (&*y, &*dy);
    let chunk = rows_chunk(classes) * classes;
    access::write(&dx, |dx| {
        for_each_part(chunks_mut(dx, chunk), |i, dx| {
            let y = y[i * chunk..].chunks_exact(classes);
            let dy = dy[i * chunk..].chunks_exact(classes);
            for ((dx, y), dy) in dx.chunks_exact_mut(classes).zip(y).zip(dy) {
                let dot: f32 = y.iter().zip(dy).map(|(y, dy)| y * dy).sum();
                for ((dx, y), dy) in dx.iter_mut().zip(y).zip(dy) {
                    *dx = y * (dy - dot);
                }
            }
        });
    })?;
    Ok(dx)
}

/// Rows of `columns` elements that one task handles.
pub(super) fn rows_chunk(columns: usize) -> usize {
    // An exponential costs some twenty times what other elements cost.
    (CHUNK / 16 / columns).max(1)
}

/// `out = exp(logits - max)`; returns the maximum and the sum of the exponentials.
pub(super) fn exponentials(logits: &[f32], out: &mut [f32]) -> (f32, f32) {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for (out, &logit) in out.iter_mut().zip(logits) {
        *out = (logit - max).exp();
        sum += *out;
    }
    (max, sum)
}
