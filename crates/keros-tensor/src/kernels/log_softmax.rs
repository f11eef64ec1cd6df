//! The logarithm of the softmax over the last axis.

use candle_core::{DType, Tensor};

use super::softmax::{exponentials, maximum, rows_chunk, sum};
use super::{expect_dims, math, rows};
use crate::parallel::{chunks_mut, for_each_part};
use crate::simd::multiversion;
use crate::{TensorError, Workspace, access};

/// `y = x - ln Σ exp(x)` over the last axis; rows do not overflow.
///
/// `x`: `[…, C]`, `C` at least 1.
///
/// # Errors
/// See [the module](super).
pub fn log_softmax(ws: &mut Workspace, x: &Tensor) -> Result<Tensor, TensorError> {
    let (_, classes) = rows("log softmax", "logits", x)?;
    on_gpu!(x, |gpu| cuda::softmax::log_softmax(gpu, ws, x));
    let y = ws.take(x.dims(), DType::F32)?;
    let x = access::read::<f32>(x)?;
    let x = &*x;
    let chunk = rows_chunk(classes) * classes;
    access::write(&y, |y| {
        for_each_part(chunks_mut(y, chunk), |i, y| {
            forward(&x[i * chunk..], classes, y);
        });
    })?;
    Ok(y)
}

/// The gradient of [`log_softmax`] from its output: `dx = dy - exp(y) Σ dy`, the sum over the last
/// axis.
///
/// # Errors
/// See [the module](super).
pub fn log_softmax_backward(
    ws: &mut Workspace,
    y: &Tensor,
    dy: &Tensor,
) -> Result<Tensor, TensorError> {
    const OP: &str = "log softmax backward";
    let (_, classes) = rows(OP, "output", y)?;
    expect_dims(OP, "output gradient", dy, y.dims())?;
    on_gpu!(y, |gpu| cuda::softmax::log_softmax_backward(gpu, ws, y, dy));
    let dx = ws.take(y.dims(), DType::F32)?;
    let (y, dy) = (access::read::<f32>(y)?, access::read::<f32>(dy)?);
    let (y, dy) = (&*y, &*dy);
    let chunk = rows_chunk(classes) * classes;
    access::write(&dx, |dx| {
        for_each_part(chunks_mut(dx, chunk), |i, dx| {
            backward(&y[i * chunk..], &dy[i * chunk..], classes, dx);
        });
    })?;
    Ok(dx)
}

multiversion! {
    fn forward(x: &[f32], classes: usize, y: &mut [f32]) {
        exponentials(x, classes, y, |_, _| {});
        for (y, x) in y.chunks_exact_mut(classes).zip(x.chunks_exact(classes)) {
            let (max, log_sum) = (maximum(x), sum(y).ln());
            for (y, &x) in y.iter_mut().zip(x) {
                *y = x - max - log_sum;
            }
        }
    }

    fn backward(y: &[f32], dy: &[f32], classes: usize, dx: &mut [f32]) {
        let inputs = y.chunks_exact(classes).zip(dy.chunks_exact(classes));
        for (dx, (y, dy)) in dx.chunks_exact_mut(classes).zip(inputs) {
            let sum = sum(dy);
            for ((dx, &y), dy) in dx.iter_mut().zip(y).zip(dy) {
                *dx = dy - math::exp(y) * sum;
            }
        }
    }
}
