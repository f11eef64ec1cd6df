//! Gaussian noise that is never stored: every pass draws it from the same stream.

use candle_core::{DType, Tensor};

use super::CHUNK;
use super::math::normal;
use crate::parallel::{chunks_mut, for_each_part};
use crate::rng::{GROUP, Stream};
use crate::simd::multiversion;
use crate::{TensorError, Workspace, access};

/// `y = x + stddev z`, where element `i` of `z` is made of number `i` of the stream and has the standard normal
/// distribution.
///
/// # Errors
/// [`TensorError::Argument`] for a standard deviation that is negative or not finite; otherwise see
/// [the module](super).
pub fn gaussian_noise(
    ws: &mut Workspace,
    x: &Tensor,
    stddev: f32,
    stream: Stream,
) -> Result<Tensor, TensorError> {
    noisy("Gaussian noise", ws, x, stddev, stream, false)
}

/// `y = x (1 + stddev z)` with the `z` of [`gaussian_noise`], of which the gradient is the same of `dy`.
///
/// # Errors
/// As [`gaussian_noise`].
pub fn gaussian_dropout(
    ws: &mut Workspace,
    x: &Tensor,
    stddev: f32,
    stream: Stream,
) -> Result<Tensor, TensorError> {
    noisy("Gaussian dropout", ws, x, stddev, stream, true)
}

fn noisy(
    op: &'static str,
    ws: &mut Workspace,
    x: &Tensor,
    stddev: f32,
    stream: Stream,
    is_factor: bool,
) -> Result<Tensor, TensorError> {
    if !(stddev >= 0.0 && stddev.is_finite()) {
        let expected = "a finite number from 0";
        return Err(TensorError::argument(op, "stddev", expected, stddev));
    }
    on_gpu!(x, |gpu| cuda::elementwise::noise(
        gpu, op, ws, x, stddev, stream, is_factor
    ));
    let y = ws.take(x.dims(), DType::F32)?;
    let x = access::read::<f32>(x)?;
    let x = &*x;
    access::write(&y, |y| {
        for_each_part(chunks_mut(y, CHUNK), |i, y| {
            let first_group = (i * CHUNK / GROUP) as u64;
            let x = &x[i * CHUNK..];
            if is_factor {
                multiply(x, y, &stream, first_group, stddev);
            } else {
                add(x, y, &stream, first_group, stddev);
            }
        });
    })?;
    Ok(y)
}

const _: () = assert!(CHUNK.is_multiple_of(GROUP));

multiversion! {
    fn add(x: &[f32], y: &mut [f32], stream: &Stream, first_group: u64, stddev: f32) {
        for ((y, x), group) in y.chunks_mut(GROUP).zip(x.chunks(GROUP)).zip(first_group..) {
            let words = stream.group(group);
            for ((y, &x), &word) in y.iter_mut().zip(x).zip(&words) {
                *y = x + stddev * normal(word);
            }
        }
    }

    fn multiply(x: &[f32], y: &mut [f32], stream: &Stream, first_group: u64, stddev: f32) {
        for ((y, x), group) in y.chunks_mut(GROUP).zip(x.chunks(GROUP)).zip(first_group..) {
            let words = stream.group(group);
            for ((y, &x), &word) in y.iter_mut().zip(x).zip(&words) {
                *y = x * (1.0 + stddev * normal(word));
            }
        }
    }
}
