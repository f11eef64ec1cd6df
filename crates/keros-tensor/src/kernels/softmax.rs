//! Softmax over the last axis.

use candle_core::{DType, Tensor};

use super::{CHUNK, expect_dims, math, rows};
use crate::parallel::{chunks_mut, for_each_part};
use crate::simd::multiversion;
use crate::{TensorError, Workspace, access};

/// `y = exp(x) / Σ exp(x)` over the last axis; rows do not overflow.
///
/// `logits`: `[…, C]`, `C` at least 1.
///
/// # Errors
/// See [the module](super).
pub fn softmax(ws: &mut Workspace, logits: &Tensor) -> Result<Tensor, TensorError> {
    let (_, classes) = rows("softmax", "logits", logits)?;
    on_gpu!(logits, |gpu| cuda::softmax::softmax(gpu, ws, logits));
    let y = ws.take(logits.dims(), DType::F32)?;
    let logits = access::read::<f32>(logits)?;
    let logits = &*logits;
    let chunk = rows_chunk(classes) * classes;
    access::write(&y, |y| {
        for_each_part(chunks_mut(y, chunk), |i, y| {
            forward(&logits[i * chunk..], classes, y);
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
    on_gpu!(y, |gpu| cuda::softmax::softmax_backward(gpu, ws, y, dy));
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

/// Rows of `columns` elements that one task handles.
pub(super) fn rows_chunk(columns: usize) -> usize {
    // An exponential costs some four times what other elements cost.
    (CHUNK / 4 / columns).max(1)
}

/// Elements of a row that are handled side by side, whatever the vectors of the processor hold.
const LANES: usize = 16;

/// One value of all lanes, half of them with the other half at a time.
#[inline(always)]
fn folded(lanes: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> f32 {
    let (mut eight, mut four) = ([0.0; 8], [0.0; 4]);
    for (k, value) in eight.iter_mut().enumerate() {
        *value = f(lanes[k], lanes[k + 8]);
    }
    for (k, value) in four.iter_mut().enumerate() {
        *value = f(eight[k], eight[k + 4]);
    }
    f(f(four[0], four[2]), f(four[1], four[3]))
}

/// The largest logit; NaN is none.
#[inline(always)]
pub(super) fn maximum(logits: &[f32]) -> f32 {
    let (blocks, rest) = logits.as_chunks::<LANES>();
    let larger = |a, b| if b > a { b } else { a };
    let mut max = f32::NEG_INFINITY;
    if let Some((first, blocks)) = blocks.split_first() {
        let mut lanes = first.map(|logit| larger(max, logit));
        for block in blocks {
            for (lane, &logit) in lanes.iter_mut().zip(block) {
                *lane = larger(*lane, logit);
            }
        }
        max = folded(lanes, larger);
    }
    rest.iter().fold(max, |max, &logit| larger(max, logit))
}

/// `out = exp(logits - max)` for each row of `classes`; tells `of_row` its number and maximum.
///
/// The exponentials of all rows are taken together, since a row may be shorter than a vector.
#[inline(always)]
pub(super) fn exponentials(
    logits: &[f32],
    classes: usize,
    out: &mut [f32],
    mut of_row: impl FnMut(usize, f32),
) {
    let rows = out
        .chunks_exact_mut(classes)
        .zip(logits.chunks_exact(classes));
    for (n, (out, logits)) in rows.enumerate() {
        let max = maximum(logits);
        of_row(n, max);
        for (out, logit) in out.iter_mut().zip(logits) {
            *out = logit - max;
        }
    }
    out.iter_mut().for_each(|out| *out = math::exp(*out));
}

/// `Σ f(a, b)`.
#[inline(always)]
pub(super) fn sum_of_pairs(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    let mut sum = 0.0;
    if !a.is_empty() {
        let mut lanes = [0.0; LANES];
        for (a, b) in a.iter().zip(b) {
            for ((lane, &a), &b) in lanes.iter_mut().zip(a).zip(b) {
                *lane += f(a, b);
            }
        }
        sum = folded(lanes, |a, b| a + b);
    }
    for (&a, &b) in a_rest.iter().zip(b_rest) {
        sum += f(a, b);
    }
    sum
}

/// `Σ values`.
#[inline(always)]
pub(super) fn sum(values: &[f32]) -> f32 {
    sum_of_pairs(values, values, |value, _| value)
}

multiversion! {
    fn forward(logits: &[f32], classes: usize, y: &mut [f32]) {
        exponentials(logits, classes, y, |_, _| {});
        for y in y.chunks_exact_mut(classes) {
            let sum = sum(y);
            y.iter_mut().for_each(|y| *y /= sum);
        }
    }

    fn backward(y: &[f32], dy: &[f32], classes: usize, dx: &mut [f32]) {
        let inputs = y.chunks_exact(classes).zip(dy.chunks_exact(classes));
        for (dx, (y, dy)) in dx.chunks_exact_mut(classes).zip(inputs) {
            let dot = sum_of_pairs(y, dy, |y, dy| y * dy);
            for ((dx, y), dy) in dx.iter_mut().zip(y).zip(dy) {
                *dx = y * (dy - dot);
            }
        }
    }
}
