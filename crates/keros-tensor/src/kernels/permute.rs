//! Reordering of axes.

use candle_core::{DType, Tensor};

use super::CHUNK;
use crate::parallel::{chunks_mut, for_each_part};
use crate::{TensorError, Workspace, access};

/// `y` whose axis `k` is axis `order[k]` of `x`.
///
/// # Errors
/// `order` does not name every axis of `x` once, or on a GPU takes it apart into more than 8 groups of
/// axes that stay beside each other; otherwise see [the module](super).
pub fn permute(ws: &mut Workspace, x: &Tensor, order: &[usize]) -> Result<Tensor, TensorError> {
    const OP: &str = "permuting axes";
    let rank = x.dims().len();
    let mut sorted = order.to_vec();
    sorted.sort_unstable();
    if !sorted.iter().copied().eq(0..rank) {
        let expected = format!("each of 0..{rank} once");
        let found = format!("{order:?}");
        return Err(TensorError::argument(OP, "order", expected, found));
    }
    let mut strides = vec![1; rank];
    for axis in (1..rank).rev() {
        strides[axis - 1] = strides[axis] * x.dims()[axis];
    }
    let shape: Vec<usize> = order.iter().map(|&axis| x.dims()[axis]).collect();
    on_gpu!(x, |gpu| cuda::shape::permute(gpu, ws, x, order, &shape));
    let strides: Vec<usize> = order.iter().map(|&axis| strides[axis]).collect();
    let y = ws.take(&shape, DType::F32)?;
    let x = access::read::<f32>(x)?;
    let x = &*x;
    let (Some((&row, outer)), Some((&step, outer_strides))) =
        (shape.split_last(), strides.split_last())
    else {
        access::write(&y, |y: &mut [f32]| y.copy_from_slice(x))?;
        return Ok(y);
    };
    let rows = (CHUNK / row.max(1)).max(1);
    access::write(&y, |y| {
        for_each_part(chunks_mut(y, rows * row), |i, y| {
            for (k, y) in y.chunks_exact_mut(row).enumerate() {
                let mut index = i * rows + k;
                let mut start = 0;
                for (&length, &stride) in outer.iter().zip(outer_strides).rev() {
                    start += index % length * stride;
                    index /= length;
                }
                if step == 1 {
                    y.copy_from_slice(&x[start..start + row]);
                } else {
                    for (y, &x) in y.iter_mut().zip(x[start..].iter().step_by(step)) {
                        *y = x;
                    }
                }
            }
        });
    })?;
    Ok(y)
}
