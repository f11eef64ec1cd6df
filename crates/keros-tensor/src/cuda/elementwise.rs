//! Starts what is done to each element by itself.

use candle_core::cuda_backend::cudarc::driver::DeviceRepr;
use candle_core::{DType, Tensor};

use super::{Gpu, Values, each, launch, small};
use crate::rng::Stream;
use crate::{TensorError, Workspace};

/// Threads for `n` elements, of which each takes four.
fn fours(n: usize) -> super::LaunchConfig {
    each(n.div_ceil(4))
}

/// Copies between tensors of one size.
pub(crate) fn copy(
    gpu: &Gpu,
    op: &'static str,
    from: &Tensor,
    to: &Tensor,
) -> Result<(), TensorError> {
    let (values, n) = (Values::of(op, from)?, from.elem_count() as i64);
    let threads = fours(from.elem_count());
    let (from, to) = (values.address(gpu, op, from)?, values.address(gpu, op, to)?);
    launch!(gpu, ELEMENTWISE.copy of values, threads, from, to, n);
    Ok(())
}

/// A copy of `x` of this type.
pub(crate) fn cast(
    gpu: &Gpu,
    op: &'static str,
    ws: &mut Workspace,
    x: &Tensor,
    to: Values,
) -> Result<Tensor, TensorError> {
    let y = ws.take(x.dims(), to.dtype())?;
    cast_into(gpu, op, x, &y)?;
    Ok(y)
}

/// Copies between tensors of one size and of one type, or to `f32` or from it.
pub(crate) fn cast_into(
    gpu: &Gpu,
    op: &'static str,
    from: &Tensor,
    to: &Tensor,
) -> Result<(), TensorError> {
    let types = (Values::of(op, from)?, Values::of(op, to)?);
    let (threads, n) = (fours(from.elem_count()), from.elem_count() as i64);
    let (x, y) = (
        types.0.address(gpu, op, from)?,
        types.1.address(gpu, op, to)?,
    );
    match types {
        (from, to) if from == to => launch!(gpu, ELEMENTWISE.copy of to, threads, x, y, n),
        (Values::F32, to) => launch!(gpu, ELEMENTWISE.narrow of to, threads, x, y, n),
        (from, Values::F32) => launch!(gpu, ELEMENTWISE.widen of from, threads, x, y, n),
        (_, to) => {
            let found = from.dtype();
            let expected = to.dtype();
            return Err(TensorError::DType {
                op,
                expected,
                found,
            });
        }
    }
    Ok(())
}

/// A copy of `x` from the workspace.
pub(crate) fn copied(
    gpu: &Gpu,
    op: &'static str,
    ws: &mut Workspace,
    x: &Tensor,
) -> Result<Tensor, TensorError> {
    let y = ws.take(x.dims(), x.dtype())?;
    copy(gpu, op, x, &y)?;
    Ok(y)
}

/// [`kernels::fill`](crate::kernels::fill).
pub(crate) fn fill(gpu: &Gpu, op: &'static str, x: &Tensor, value: f32) -> Result<(), TensorError> {
    let (threads, n) = (fours(x.elem_count()), x.elem_count() as i64);
    let x = gpu.address::<f32>(op, x)?;
    launch!(gpu, ELEMENTWISE.fill_f32, threads, x, n, value);
    Ok(())
}

/// [`kernels::activation`](crate::kernels::activation) for ReLU.
pub(crate) fn relu(gpu: &Gpu, ws: &mut Workspace, x: &Tensor) -> Result<Tensor, TensorError> {
    const OP: &str = "activation";
    let values = Values::of(OP, x)?;
    let y = ws.take(x.dims(), values.dtype())?;
    let (threads, n) = (fours(x.elem_count()), x.elem_count() as i64);
    let (x, to) = (values.address(gpu, OP, x)?, values.address(gpu, OP, &y)?);
    launch!(gpu, ELEMENTWISE.apply_relu of values, threads, x, to, n);
    Ok(y)
}

/// [`kernels::activation_backward`](crate::kernels::activation_backward) for ReLU.
pub(crate) fn relu_backward(
    gpu: &Gpu,
    ws: &mut Workspace,
    y: &Tensor,
    dy: &Tensor,
) -> Result<Tensor, TensorError> {
    const OP: &str = "activation backward";
    let values = Values::of(OP, y)?;
    let dx = ws.take(y.dims(), values.dtype())?;
    let (threads, n) = (fours(y.elem_count()), y.elem_count() as i64);
    let (y, dy) = (values.address(gpu, OP, y)?, values.address(gpu, OP, dy)?);
    let to = values.address(gpu, OP, &dx)?;
    launch!(gpu, ELEMENTWISE.unapply_relu of values, threads, y, dy, to, n);
    Ok(dx)
}

/// [`kernels::u8_to_f32`](crate::kernels::u8_to_f32).
pub(crate) fn u8_to_f32(
    gpu: &Gpu,
    ws: &mut Workspace,
    x: &Tensor,
    scale: f32,
) -> Result<Tensor, TensorError> {
    const OP: &str = "converting bytes";
    let y = ws.take(x.dims(), DType::F32)?;
    let (threads, n) = (fours(x.elem_count()), x.elem_count() as i64);
    let (x, to) = (gpu.address::<u8>(OP, x)?, gpu.address::<f32>(OP, &y)?);
    launch!(gpu, ELEMENTWISE.u8_to_f32, threads, x, to, n, scale);
    Ok(y)
}

/// As many numbers as fit into the parameters of a kernel, NUMBERS in elementwise.cu.
const NUMBERS: usize = 960;

#[repr(C)]
struct HostNumbers([f32; NUMBERS]);

// SAFETY: the struct HostNumbers of elementwise.cu.
unsafe impl DeviceRepr for HostNumbers {}

/// Numbers of the host as a tensor.
pub(crate) fn numbers(
    gpu: &Gpu,
    ws: &mut Workspace,
    values: &[f32],
) -> Result<Tensor, TensorError> {
    let tensor = ws.take(&[values.len()], DType::F32)?;
    let start = gpu.address::<f32>("handing numbers to the GPU", &tensor)?;
    for (i, part) in values.chunks(NUMBERS).enumerate() {
        let mut numbers = HostNumbers([0.0; NUMBERS]);
        numbers.0[..part.len()].copy_from_slice(part);
        let to = start + (i * NUMBERS * size_of::<f32>()) as u64;
        let (threads, n) = (each(part.len()), part.len() as i32);
        launch!(gpu, ELEMENTWISE.numbers_f32, threads, numbers, to, n);
    }
    Ok(tensor)
}

/// [`kernels::affine`](crate::kernels::affine); both have one number, or both one for each channel.
pub(crate) fn affine(
    gpu: &Gpu,
    ws: &mut Workspace,
    x: &Tensor,
    scales: &[f32],
    offsets: &[f32],
) -> Result<Tensor, TensorError> {
    const OP: &str = "scaling";
    let y = ws.take(x.dims(), DType::F32)?;
    let (from, to) = (gpu.address::<f32>(OP, x)?, gpu.address::<f32>(OP, &y)?);
    if let (&[scale], &[offset]) = (scales, offsets) {
        let (threads, n) = (fours(x.elem_count()), x.elem_count() as i64);
        launch!(
            gpu,
            ELEMENTWISE.scale_and_offset_f32,
            threads,
            from,
            to,
            n,
            scale,
            offset
        );
        return Ok(y);
    }
    let (n, channels) = (small(OP, x)?, scales.len() as u32);
    let tensors = (numbers(gpu, ws, scales)?, numbers(gpu, ws, offsets)?);
    let scales = gpu.address::<f32>(OP, &tensors.0)?;
    let offsets = gpu.address::<f32>(OP, &tensors.1)?;
    let threads = each(x.elem_count());
    launch!(
        gpu,
        ELEMENTWISE.scale_and_offset_channels_f32,
        threads,
        from,
        scales,
        offsets,
        to,
        n,
        channels
    );
    ws.give(&tensors.0);
    ws.give(&tensors.1);
    Ok(y)
}

/// [`kernels::dropout`](crate::kernels::dropout).
pub(crate) fn dropout(
    gpu: &Gpu,
    ws: &mut Workspace,
    x: &Tensor,
    stream: Stream,
    threshold: u32,
    scale: f32,
) -> Result<Tensor, TensorError> {
    const OP: &str = "dropout";
    let values = Values::of(OP, x)?;
    let y = ws.take(x.dims(), values.dtype())?;
    let threads = fours(x.elem_count());
    let n = x.elem_count() as i64;
    let (x, to) = (values.address(gpu, OP, x)?, values.address(gpu, OP, &y)?);
    let (seed, stream) = stream.key();
    launch!(
        gpu,
        ELEMENTWISE.dropout of values,
        threads,
        x,
        to,
        n,
        seed,
        stream,
        threshold,
        scale
    );
    Ok(y)
}

/// [`kernels::gaussian_noise`](crate::kernels::gaussian_noise), or where the noise `is_factor`
/// [`kernels::gaussian_dropout`](crate::kernels::gaussian_dropout).
pub(crate) fn noise(
    gpu: &Gpu,
    op: &'static str,
    ws: &mut Workspace,
    x: &Tensor,
    stddev: f32,
    stream: Stream,
    is_factor: bool,
) -> Result<Tensor, TensorError> {
    let values = Values::of(op, x)?;
    let y = ws.take(x.dims(), values.dtype())?;
    let (threads, n) = (fours(x.elem_count()), x.elem_count() as i64);
    let (x, to) = (values.address(gpu, op, x)?, values.address(gpu, op, &y)?);
    let (seed, stream) = stream.key();
    if is_factor {
        launch!(gpu, ELEMENTWISE.multiply_noise of values, threads, x, to, n, seed, stream, stddev);
    } else {
        launch!(gpu, ELEMENTWISE.add_noise of values, threads, x, to, n, seed, stream, stddev);
    }
    Ok(y)
}
