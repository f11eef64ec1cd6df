//! What optimizers of every kind do around an update: gradients accumulated and clipped, parameters
//! decayed and averaged.

use candle_core::Tensor;

use super::optimizer::update;
use super::{CHUNK, expect_dims};
use crate::parallel::{chunks_mut, for_each_part};
use crate::simd::multiversion;
use crate::{TensorError, access};

/// `sum += x`, element by element.
///
/// # Errors
/// See [the module](super).
pub fn accumulate(sum: &Tensor, x: &Tensor) -> Result<(), TensorError> {
    update("accumulating", [sum], x, |[sum], x| add_slice(sum, x))
}

/// The mean of `count` gradients, the last of which is `grad` and the others are added up in `sum`:
/// `grad = (grad + sum) / count`, element by element, and `sum = 0`.
///
/// # Errors
/// See [the module](super).
pub fn mean_of_accumulated(grad: &Tensor, sum: &Tensor, count: u64) -> Result<(), TensorError> {
    expect_dims("averaging gradients", "sum", sum, grad.dims())?;
    let count = count as f32;
    access::write2(grad, sum, |grad: &mut [f32], sum: &mut [f32]| {
        let parts = (chunks_mut(grad, CHUNK), chunks_mut(sum, CHUNK));
        for_each_part(parts, |_, (grad, sum)| mean_slice(grad, sum, count));
    })
}

/// `average = momentum average + rate x`, element by element: one step of a moving average, whose
/// `rate` is `1 - momentum` unless `x` needs a correction.
///
/// # Errors
/// See [the module](super).
pub fn moving_average(
    average: &Tensor,
    x: &Tensor,
    momentum: f64,
    rate: f64,
) -> Result<(), TensorError> {
    let (momentum, rate) = (momentum as f32, rate as f32);
    update("moving average", [average], x, |[average], x| {
        average_slice(average, x, momentum, rate);
    })
}

/// Decoupled weight decay (I. Loshchilov, F. Hutter, 2019): `w -= rate w`, where `rate` is the
/// decay times the learning rate.
///
/// # Errors
/// See [the module](super).
pub fn weight_decay(param: &Tensor, rate: f64) -> Result<(), TensorError> {
    let rate = rate as f32;
    in_place(param, |w| decay_slice(w, rate))
}

/// `x = factor x`.
///
/// # Errors
/// See [the module](super).
pub fn scale(x: &Tensor, factor: f64) -> Result<(), TensorError> {
    let factor = factor as f32;
    in_place(x, |x| scale_slice(x, factor))
}

/// Every element into `[-limit, limit]`; NaN stays NaN.
///
/// # Errors
/// [`TensorError::Argument`] if `limit` is negative or NaN; otherwise see [the module](super).
pub fn clamp(x: &Tensor, limit: f64) -> Result<(), TensorError> {
    let limit = limit as f32;
    if limit.is_nan() || limit < 0.0 {
        let expected = "a number that is not negative";
        return Err(TensorError::argument("clipping", "limit", expected, limit));
    }
    in_place(x, |x| clamp_slice(x, limit))
}

/// The sum of `f(x)` over all elements, added up in f64 in an order that depends on the shape alone.
///
/// # Errors
/// See [the module](super).
pub fn sum(x: &Tensor, f: impl Fn(f32) -> f64 + Sync) -> Result<f64, TensorError> {
    let x = access::read::<f32>(x)?;
    let x = &*x;
    if x.len() <= CHUNK {
        return Ok(sum_slice(x, &f));
    }
    let mut sums = vec![0.0; x.len().div_ceil(CHUNK)];
    for_each_part(chunks_mut(&mut sums, 1), |i, sum| {
        let end = x.len().min((i + 1) * CHUNK);
        sum.fill(sum_slice(&x[i * CHUNK..end], &f));
    });
    Ok(sums.iter().sum())
}

fn in_place(x: &Tensor, run: impl Fn(&mut [f32]) + Sync) -> Result<(), TensorError> {
    access::write(x, |x: &mut [f32]| {
        for_each_part(chunks_mut(x, CHUNK), |_, x| run(x));
    })
}

/// Sums that run beside each other in [`sum_slice`].
const LANES: usize = 16;

multiversion! {
    fn sum_slice<F: Fn(f32) -> f64>(x: &[f32], f: F) -> f64 {
        let mut sums = [0.0; LANES];
        let (blocks, rest) = x.as_chunks::<LANES>();
        for block in blocks {
            for (sum, &x) in sums.iter_mut().zip(block) {
                *sum += f(x);
            }
        }
        let rest: f64 = rest.iter().map(|&x| f(x)).sum();
        sums.iter().sum::<f64>() + rest
    }

    fn add_slice(sum: &mut [f32], x: &[f32]) {
        for (sum, &x) in sum.iter_mut().zip(x) {
            *sum += x;
        }
    }

    fn mean_slice(grad: &mut [f32], sum: &mut [f32], count: f32) {
        for (grad, sum) in grad.iter_mut().zip(sum) {
            *grad = (*grad + *sum) / count;
            *sum = 0.0;
        }
    }

    fn average_slice(average: &mut [f32], x: &[f32], momentum: f32, rest: f32) {
        for (average, &x) in average.iter_mut().zip(x) {
            *average = momentum * *average + rest * x;
        }
    }

    fn decay_slice(param: &mut [f32], rate: f32) {
        for w in param {
            *w -= rate * *w;
        }
    }

    fn scale_slice(x: &mut [f32], factor: f32) {
        for x in x {
            *x *= factor;
        }
    }

    fn clamp_slice(x: &mut [f32], limit: f32) {
        for x in x {
            *x = x.clamp(-limit, limit);
        }
    }
}
