//! Mean and maximum over all positions of each sample.

use candle_core::{DType, Tensor};

use super::activation::{FEW_ROWS, add_few_rows, add_rows};
use super::expect_dims;
use crate::parallel::{chunks_mut, for_each_part};
use crate::simd::multiversion;
use crate::{TensorError, Workspace, access};

/// The mean over all positions.
///
/// `x`: `[N, …, C]`, at least one position; the result: `[N, C]`.
///
/// # Errors
/// See [the module](super).
pub fn global_average_pool(ws: &mut Workspace, x: &Tensor) -> Result<Tensor, TensorError> {
    const OP: &str = "global_average_pool";
    let (samples, positions, channels) = sizes(OP, x.dims())?;
    on_gpu!(x, |gpu| {
        let sizes = (samples, positions, channels);
        cuda::global_pool::average(gpu, ws, OP, sizes, x)
    });
    let y = ws.take(&[samples, channels], DType::F32)?;
    let x = access::read::<f32>(x)?;
    let x = &*x;
    let sample = positions * channels;
    access::write(&y, |y| {
        for_each_part(chunks_mut(y, channels), |n, y| {
            y.fill(0.0);
            let x = &x[n * sample..][..sample];
            match positions <= FEW_ROWS {
                true => add_few_rows(x, y),
                false => add_rows([x], y),
            }
            y.iter_mut().for_each(|y| *y /= positions as f32);
        });
    })?;
    Ok(y)
}

/// The gradient of [`global_average_pool`]: `dx = dy / positions`.
///
/// `dy`: `[N, C]`; `x_shape`: `[N, …, C]`, the shape of the result.
///
/// # Errors
/// See [the module](super).
pub fn global_average_pool_backward(
    ws: &mut Workspace,
    dy: &Tensor,
    x_shape: &[usize],
) -> Result<Tensor, TensorError> {
    const OP: &str = "global_average_pool backward";
    let (samples, positions, channels) = sizes(OP, x_shape)?;
    expect_dims(OP, "output gradient", dy, &[samples, channels])?;
    on_gpu!(dy, |gpu| {
        let sizes = (samples, positions, channels);
        cuda::global_pool::average_backward(gpu, ws, OP, sizes, dy, x_shape)
    });
    let dx = ws.take(x_shape, DType::F32)?;
    let dy = access::read::<f32>(dy)?;
    let dy = &*dy;
    access::write(&dx, |dx| {
        for_each_part(chunks_mut(dx, positions * channels), |n, dx| {
            spread(&dy[n * channels..][..channels], 1.0 / positions as f32, dx);
        });
    })?;
    Ok(dx)
}

/// The maximum over all positions; NaN wins.
///
/// `x`: `[N, …, C]`, at least one position; the result: `[N, C]`.
///
/// # Errors
/// See [the module](super).
pub fn global_max_pool(ws: &mut Workspace, x: &Tensor) -> Result<Tensor, TensorError> {
    const OP: &str = "global_max_pool";
    let (samples, positions, channels) = sizes(OP, x.dims())?;
    on_gpu!(x, |gpu| {
        let sizes = (samples, positions, channels);
        cuda::global_pool::maximum(gpu, ws, OP, sizes, x)
    });
    let y = ws.take(&[samples, channels], DType::F32)?;
    let x = access::read::<f32>(x)?;
    let x = &*x;
    let sample = positions * channels;
    access::write(&y, |y| {
        for_each_part(chunks_mut(y, channels), |n, y| {
            maximum(&x[n * sample..][..sample], y);
        });
    })?;
    Ok(y)
}

/// The gradient of [`global_max_pool`]: positions that share the maximum `y` share its gradient, as
/// on TensorFlow.
///
/// `x`: `[N, …, C]`; `y` and `dy`: `[N, C]`; the result is as `x`.
///
/// # Errors
/// See [the module](super).
pub fn global_max_pool_backward(
    ws: &mut Workspace,
    x: &Tensor,
    y: &Tensor,
    dy: &Tensor,
) -> Result<Tensor, TensorError> {
    const OP: &str = "global_max_pool backward";
    let (samples, positions, channels) = sizes(OP, x.dims())?;
    expect_dims(OP, "output", y, &[samples, channels])?;
    expect_dims(OP, "output gradient", dy, &[samples, channels])?;
    on_gpu!(x, |gpu| {
        let sizes = (samples, positions, channels);
        cuda::global_pool::maximum_backward(gpu, ws, OP, sizes, x, y, dy)
    });
    let dx = ws.take(x.dims(), DType::F32)?;
    let shares = ws.take(&[samples, channels], DType::F32)?;
    {
        let (x, y) = (access::read::<f32>(x)?, access::read::<f32>(y)?);
        let dy = access::read::<f32>(dy)?;
        let (x, y, dy) = (&*x, &*y, &*dy);
        let sample = positions * channels;
        access::write2(&dx, &shares, |dx: &mut [f32], shares: &mut [f32]| {
            let parts = (chunks_mut(dx, sample), chunks_mut(shares, channels));
            for_each_part(parts, |n, (dx, shares)| {
                let range = n * channels..(n + 1) * channels;
                let (y, dy) = (&y[range.clone()], &dy[range]);
                to_maxima(&x[n * sample..][..sample], y, dy, shares, dx);
            });
        })?;
    }
    ws.give(&shares);
    Ok(dx)
}

/// Samples, positions and channels of `[N, …, C]`.
fn sizes(op: &'static str, shape: &[usize]) -> Result<(usize, usize, usize), TensorError> {
    if let [samples, positions @ .., channels] = shape {
        let positions = positions.iter().product::<usize>();
        if positions > 0 && *channels > 0 {
            return Ok((*samples, positions, *channels));
        }
    }
    let expected = "[N, …, C] with at least one position and channel";
    Err(TensorError::shape(op, "input", expected, shape))
}

multiversion! {
    fn spread(dy: &[f32], share: f32, dx: &mut [f32]) {
        for dx in dx.chunks_exact_mut(dy.len()) {
            for (dx, &dy) in dx.iter_mut().zip(dy) {
                *dx = dy * share;
            }
        }
    }

    fn maximum(x: &[f32], y: &mut [f32]) {
        y.fill(f32::NEG_INFINITY);
        for x in x.chunks_exact(y.len()) {
            for (y, &x) in y.iter_mut().zip(x) {
                *y = if (x > *y) | x.is_nan() { x } else { *y };
            }
        }
    }

    fn to_maxima(x: &[f32], y: &[f32], dy: &[f32], shares: &mut [f32], dx: &mut [f32]) {
        shares.fill(0.0);
        for x in x.chunks_exact(y.len()) {
            for ((share, &x), &y) in shares.iter_mut().zip(x).zip(y) {
                *share += if x == y { 1.0 } else { 0.0 };
            }
        }
        for (share, &dy) in shares.iter_mut().zip(dy) {
            *share = dy / *share;
        }
        for (dx, x) in dx.chunks_exact_mut(y.len()).zip(x.chunks_exact(y.len())) {
            for (((dx, &x), &y), &share) in dx.iter_mut().zip(x).zip(y).zip(&*shares) {
                *dx = if x == y { share } else { 0.0 };
            }
        }
    }
}
