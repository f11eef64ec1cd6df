//! Several tensors of one shape as one, element by element.

use candle_core::{DType, Tensor};

use super::activation::{Activation, finish_row};
use super::{CHUNK, expect_dims};
use crate::parallel::{chunks_mut, for_each_part};
use crate::simd::multiversion;
use crate::{TensorError, Workspace, access};

/// What becomes of the elements in one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MergeOp {
    /// Their sum.
    Add,
    /// The first less all others.
    Subtract,
    /// Their product.
    Multiply,
    /// Their sum divided by their number.
    Average,
    /// The largest; NaN if there is one. The gradient goes to the first that is largest.
    Maximum,
    /// The smallest; NaN if there is one. The gradient goes to the first that is smallest.
    Minimum,
}

/// Combines at least one tensor of one shape; the activation is done to the result.
///
/// # Errors
/// No tensor, or two shapes, or on a GPU more than 480 tensors; otherwise see [the module](super).
pub fn merge(
    ws: &mut Workspace,
    inputs: &[Tensor],
    op: MergeOp,
    activation: Activation,
) -> Result<Tensor, TensorError> {
    let shape = check("merging", inputs)?;
    on_gpu!(&inputs[0], |gpu| {
        cuda::merge::merge(gpu, ws, inputs, shape, op, activation)
    });
    let y = ws.take(shape, DType::F32)?;
    let guards = read_all(inputs)?;
    let inputs: Vec<&[f32]> = guards.iter().map(|values| &**values).collect();
    access::write(&y, |y| {
        for_each_part(chunks_mut(y, CHUNK), |i, y: &mut [f32]| {
            let mut inputs = inputs.iter().map(|input| &input[i * CHUNK..]);
            match (inputs.next(), inputs.next()) {
                (Some(first), Some(second)) => pair(first, second, y, op),
                (Some(first), None) => y.copy_from_slice(&first[..y.len()]),
                (None, _) => {}
            }
            inputs.for_each(|input| fold(y, input, op));
            if op == MergeOp::Average {
                scale(y, guards.len() as f32);
            }
            finish_row(y, None, activation);
        });
    })?;
    Ok(y)
}

/// The gradient of [`merge`] with respect to input number `index`, without an activation: `dy` is what
/// [`activation_backward`](super::activation_backward) returns for one.
///
/// # Errors
/// As [`merge`]; also if there is no such input or `dy` has another shape.
pub fn merge_backward(
    ws: &mut Workspace,
    inputs: &[Tensor],
    dy: &Tensor,
    index: usize,
    op: MergeOp,
) -> Result<Tensor, TensorError> {
    const OP: &str = "merging backward";
    let shape = check(OP, inputs)?;
    expect_dims(OP, "output gradient", dy, shape)?;
    if index >= inputs.len() {
        let expected = format!("0..{}", inputs.len());
        return Err(TensorError::argument(OP, "input", expected, index));
    }
    on_gpu!(dy, |gpu| {
        cuda::merge::merge_backward(gpu, ws, inputs, dy, index, op)
    });
    let dx = ws.take(shape, DType::F32)?;
    let dy = access::read::<f32>(dy)?;
    let dy = &*dy;
    let guards = read_all(inputs)?;
    let inputs: Vec<&[f32]> = guards.iter().map(|values| &**values).collect();
    access::write(&dx, |dx| {
        for_each_part(chunks_mut(dx, CHUNK), |i, dx: &mut [f32]| {
            let start = i * CHUNK;
            dx.copy_from_slice(&dy[start..start + dx.len()]);
            match op {
                MergeOp::Add => {}
                MergeOp::Subtract if index == 0 => {}
                MergeOp::Subtract => dx.iter_mut().for_each(|dx| *dx = -*dx),
                MergeOp::Average => scale(dx, inputs.len() as f32),
                MergeOp::Multiply => {
                    let others = inputs.iter().enumerate().filter(|(k, _)| *k != index);
                    others.for_each(|(_, other)| fold(dx, &other[start..], op));
                }
                MergeOp::Maximum | MergeOp::Minimum => {
                    for (k, dx) in dx.iter_mut().enumerate() {
                        if winner(&inputs, start + k, op) != index {
                            *dx = 0.0;
                        }
                    }
                }
            }
        });
    })?;
    Ok(dx)
}

fn check<'a>(op: &'static str, inputs: &'a [Tensor]) -> Result<&'a [usize], TensorError> {
    let Some(first) = inputs.first() else {
        return Err(TensorError::argument(op, "inputs", "at least 1", 0));
    };
    for input in inputs {
        expect_dims(op, "input", input, first.dims())?;
    }
    Ok(first.dims())
}

fn read_all(inputs: &[Tensor]) -> Result<Vec<access::Slice<'_, f32>>, TensorError> {
    inputs.iter().map(access::read::<f32>).collect()
}

/// Which input gives the element at `at`.
fn winner(inputs: &[&[f32]], at: usize, op: MergeOp) -> usize {
    let mut best = 0;
    for k in 1..inputs.len() {
        if !keeps(inputs[best][at], inputs[k][at], op) {
            best = k;
        }
    }
    best
}

/// Whether `best` stays the extreme when `next` comes.
#[inline(always)]
fn keeps(best: f32, next: f32, op: MergeOp) -> bool {
    best.is_nan()
        || match op {
            MergeOp::Maximum => best >= next,
            _ => best <= next,
        }
}

multiversion! {
    fn pair(a: &[f32], b: &[f32], y: &mut [f32], op: MergeOp) {
        let all = y.iter_mut().zip(a.iter().zip(b));
        match op {
            MergeOp::Add | MergeOp::Average => all.for_each(|(y, (a, b))| *y = a + b),
            MergeOp::Subtract => all.for_each(|(y, (a, b))| *y = a - b),
            MergeOp::Multiply => all.for_each(|(y, (a, b))| *y = a * b),
            MergeOp::Maximum | MergeOp::Minimum => {
                all.for_each(|(y, (&a, &b))| *y = if keeps(a, b, op) { a } else { b });
            }
        }
    }

    fn fold(y: &mut [f32], x: &[f32], op: MergeOp) {
        let pairs = y.iter_mut().zip(x);
        match op {
            MergeOp::Add | MergeOp::Average => pairs.for_each(|(y, x)| *y += x),
            MergeOp::Subtract => pairs.for_each(|(y, x)| *y -= x),
            MergeOp::Multiply => pairs.for_each(|(y, x)| *y *= x),
            MergeOp::Maximum | MergeOp::Minimum => {
                pairs.for_each(|(y, &x)| *y = if keeps(*y, x, op) { *y } else { x });
            }
        }
    }

    fn scale(y: &mut [f32], divisor: f32) {
        y.iter_mut().for_each(|y| *y /= divisor);
    }
}
