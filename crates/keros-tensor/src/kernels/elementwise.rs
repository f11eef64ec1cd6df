//! Functions of one or two tensors applied element by element.

use candle_core::{DType, Tensor};

use super::{CHUNK, expect_dims};
use crate::parallel::{chunks_mut, for_each_part};
use crate::simd::multiversion;
use crate::{TensorError, Workspace, access};

/// `y[i] = f(x[i])` for a tensor of any shape.
///
/// # Errors
/// See [the module](super).
pub fn map(
    ws: &mut Workspace,
    x: &Tensor,
    f: impl Fn(f32) -> f32 + Sync,
) -> Result<Tensor, TensorError> {
    let y = ws.take(x.dims(), DType::F32)?;
    let input = access::read::<f32>(x)?;
    let input = &*input;
    access::write(&y, |y| {
        for_each_part(chunks_mut(y, CHUNK), |i, y| {
            map_slice(&input[i * CHUNK..], y, &f);
        });
    })?;
    Ok(y)
}

/// `y[i] = f(a[i], b[i])` for two tensors of one shape.
///
/// # Errors
/// See [the module](super).
pub fn zip_map(
    ws: &mut Workspace,
    a: &Tensor,
    b: &Tensor,
    f: impl Fn(f32, f32) -> f32 + Sync,
) -> Result<Tensor, TensorError> {
    expect_dims("mapping two tensors", "second tensor", b, a.dims())?;
    let y = ws.take(a.dims(), DType::F32)?;
    let (a, b) = (access::read::<f32>(a)?, access::read::<f32>(b)?);
    let (a, b) = (&*a, &*b);
    access::write(&y, |y| {
        for_each_part(chunks_mut(y, CHUNK), |i, y| {
            zip_map_slice(&a[i * CHUNK..], &b[i * CHUNK..], y, &f);
        });
    })?;
    Ok(y)
}

/// Sets every element of a tensor of any shape to `value`.
///
/// # Errors
/// See [the module](super).
pub fn fill(x: &Tensor, value: f32) -> Result<(), TensorError> {
    on_gpu!(x, |gpu| cuda::elementwise::fill(gpu, "filling", x, value));
    access::write(x, |x: &mut [f32]| {
        for_each_part(chunks_mut(x, CHUNK), |_, x: &mut [f32]| x.fill(value));
    })
}

/// Copies the elements of `from` to `to`, a tensor of the same shape.
///
/// # Errors
/// See [the module](super).
pub fn copy(from: &Tensor, to: &Tensor) -> Result<(), TensorError> {
    const OP: &str = "copying";
    expect_dims(OP, "tensor to copy to", to, from.dims())?;
    on_gpu!(from, |gpu| {
        crate::access::check_apart(OP, [to], &[from])?;
        cuda::elementwise::copy(gpu, OP, from, to)
    });
    let from = access::read::<f32>(from)?;
    let from = &*from;
    access::write(to, |to| {
        for_each_part(chunks_mut(to, CHUNK), |i, to: &mut [f32]| {
            to.copy_from_slice(&from[i * CHUNK..][..to.len()]);
        });
    })
}

/// `y = scale * x`: bytes (pixels, mostly) to floats.
///
/// # Errors
/// `x` is not of type `u8`; otherwise see [the module](super).
pub fn u8_to_f32(ws: &mut Workspace, x: &Tensor, scale: f32) -> Result<Tensor, TensorError> {
    on_gpu!(x, |gpu| cuda::elementwise::u8_to_f32(gpu, ws, x, scale));
    let y = ws.take(x.dims(), DType::F32)?;
    let input = access::read::<u8>(x)?;
    let input = &*input;
    access::write(&y, |y| {
        for_each_part(chunks_mut(y, CHUNK), |i, y| {
            map_slice(&input[i * CHUNK..], y, |v: u8| scale * f32::from(v));
        });
    })?;
    Ok(y)
}

multiversion! {
    fn map_slice<T: Copy, F: Fn(T) -> f32>(x: &[T], y: &mut [f32], f: F) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = f(x);
        }
    }

    fn zip_map_slice<F: Fn(f32, f32) -> f32>(a: &[f32], b: &[f32], y: &mut [f32], f: F) {
        for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
            *y = f(a, b);
        }
    }
}
