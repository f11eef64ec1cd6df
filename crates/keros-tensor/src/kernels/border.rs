//! Zeros around images, and images without their border; each is the other's gradient.

use candle_core::{DType, Tensor};

use super::dims;
use crate::parallel::{chunks_mut, for_each_part};
use crate::{TensorError, Workspace, access};

/// Rows and columns at the border: `((top, bottom), (left, right))`.
pub type Border = ((usize, usize), (usize, usize));

/// `x` with that many zeros around height and width.
///
/// `x`: `[N, H, W, C]`; `y`: `[N, top + H + bottom, left + W + right, C]`.
///
/// # Errors
/// See [the module](super).
pub fn zero_pad2d(
    ws: &mut Workspace,
    x: &Tensor,
    ((top, bottom), (left, right)): Border,
) -> Result<Tensor, TensorError> {
    let [n, height, width, channels] = dims("zero padding", "input", x, "[N, H, W, C]")?;
    let shape = [n, top + height + bottom, left + width + right, channels];
    on_gpu!(x, |gpu| cuda::shape::zero_pad2d(
        gpu,
        ws,
        x,
        (top, left),
        shape
    ));
    let y = ws.take(&shape, DType::F32)?;
    let x = access::read::<f32>(x)?;
    let x = &*x;
    let (before, row) = (left * channels, width * channels);
    access::write(&y, |y| {
        for_each_part(chunks_mut(y, shape[2] * channels), |i, y: &mut [f32]| {
            let (image, line) = (i / shape[1], i % shape[1]);
            if line < top || line >= top + height {
                y.fill(0.0);
            } else {
                let start = (image * height + line - top) * row;
                y[..before].fill(0.0);
                y[before..before + row].copy_from_slice(&x[start..start + row]);
                y[before + row..].fill(0.0);
            }
        });
    })?;
    Ok(y)
}

/// `x` without that many rows and columns.
///
/// `x`: `[N, H, W, C]`; `y`: `[N, H - top - bottom, W - left - right, C]`.
///
/// # Errors
/// More is cut off than there is; otherwise see [the module](super).
pub fn crop2d(
    ws: &mut Workspace,
    x: &Tensor,
    ((top, bottom), (left, right)): Border,
) -> Result<Tensor, TensorError> {
    const OP: &str = "cropping";
    let [n, height, width, channels] = dims(OP, "input", x, "[N, H, W, C]")?;
    let (Some(out_height), Some(out_width)) = (
        height.checked_sub(top + bottom),
        width.checked_sub(left + right),
    ) else {
        let expected = format!(
            "at least {} rows and {} columns",
            top + bottom,
            left + right
        );
        return Err(TensorError::shape(OP, "input", expected, x.dims()));
    };
    let shape = [n, out_height, out_width, channels];
    on_gpu!(x, |gpu| cuda::shape::crop2d(gpu, ws, x, (top, left), shape));
    let y = ws.take(&shape, DType::F32)?;
    let x = access::read::<f32>(x)?;
    let x = &*x;
    let row = out_width * channels;
    access::write(&y, |y| {
        for_each_part(chunks_mut(y, row), |i, y: &mut [f32]| {
            let line = i / out_height * height + top + i % out_height;
            let start = (line * width + left) * channels;
            y.copy_from_slice(&x[start..start + row]);
        });
    })?;
    Ok(y)
}
