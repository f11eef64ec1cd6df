//! Inverted dropout whose mask is never stored: both passes draw it from the same stream.

use candle_core::{DType, Tensor};

use super::CHUNK;
use crate::parallel::{chunks_mut, for_each_part};
use crate::rng::{GROUP, Stream};
use crate::simd::multiversion;
use crate::{TensorError, Workspace, access};

/// Sets a fraction `rate` of the elements to 0 and divides the others by `1 - rate`.
///
/// Element `i` is kept if number `i` of the stream is at least `rate * 2^32`.
/// `rate` is in `[0, 1)`.
///
/// # Errors
/// [`TensorError::Argument`] for a rate out of range; otherwise see [the module](super).
pub fn dropout(
    ws: &mut Workspace,
    x: &Tensor,
    rate: f32,
    stream: Stream,
) -> Result<Tensor, TensorError> {
    const OP: &str = "dropout";
    if !(0.0..1.0).contains(&rate) {
        return Err(TensorError::argument(OP, "rate", "0 <= rate < 1", rate));
    }
    // Exact: a product of at most 24 bits by a power of two, below 2^32.
    let threshold = (f64::from(rate) * 2f64.powi(32)) as u32;
    let scale = 1.0 / (1.0 - rate);
    on_gpu!(x, |gpu| {
        cuda::elementwise::dropout(gpu, ws, x, stream, threshold, scale)
    });
    let y = ws.take(x.dims(), DType::F32)?;
    let x = access::read::<f32>(x)?;
    let x = &*x;
    access::write(&y, |y| {
        for_each_part(chunks_mut(y, CHUNK), |i, y| {
            let first_group = (i * CHUNK / GROUP) as u64;
            mask(&x[i * CHUNK..], y, &stream, first_group, threshold, scale);
        });
    })?;
    Ok(y)
}

/// The gradient of [`dropout`]: the same mask and scale applied to `dy`.
///
/// # Errors
/// As [`dropout`].
pub fn dropout_backward(
    ws: &mut Workspace,
    dy: &Tensor,
    rate: f32,
    stream: Stream,
) -> Result<Tensor, TensorError> {
    dropout(ws, dy, rate, stream)
}

const _: () = assert!(CHUNK.is_multiple_of(GROUP));

multiversion! {
    fn mask(
        x: &[f32],
        y: &mut [f32],
        stream: &Stream,
        first_group: u64,
        threshold: u32,
        scale: f32,
    ) {
        let groups = y.chunks_mut(GROUP).zip(x.chunks(GROUP)).zip(first_group..);
        for ((y, x), group) in groups {
            let words = stream.group(group);
            for ((y, &x), &word) in y.iter_mut().zip(x).zip(&words) {
                *y = if word >= threshold { x * scale } else { 0.0 };
            }
        }
    }
}
