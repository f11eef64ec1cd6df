//! Starts the kernels of ReLU with learned slopes.

use candle_core::{DType, Tensor};

use super::{Gpu, blocks, each, launch, small};
use crate::{TensorError, Workspace};

/// [`kernels::prelu`](crate::kernels::prelu).
pub(crate) fn prelu(
    gpu: &Gpu,
    ws: &mut Workspace,
    x: &Tensor,
    alpha: &Tensor,
) -> Result<Tensor, TensorError> {
    const OP: &str = "prelu";
    let (n, sample) = (small(OP, x)?, small(OP, alpha)?);
    let y = ws.take(x.dims(), DType::F32)?;
    let threads = each(x.elem_count());
    let (x, alpha) = (gpu.address::<f32>(OP, x)?, gpu.address::<f32>(OP, alpha)?);
    let to = gpu.address::<f32>(OP, &y)?;
    launch!(gpu, PRELU.prelu_f32, threads, x, alpha, to, n, sample);
    Ok(y)
}

/// [`kernels::prelu_backward`](crate::kernels::prelu_backward).
pub(crate) fn prelu_backward(
    gpu: &Gpu,
    ws: &mut Workspace,
    x: &Tensor,
    alpha: &Tensor,
    dy: &Tensor,
    dalpha: &Tensor,
) -> Result<Tensor, TensorError> {
    const OP: &str = "prelu backward";
    let (n, sample) = (small(OP, x)?, small(OP, alpha)?);
    let samples = x.dims().first().map_or(0, |&samples| samples as u32);
    let dx = ws.take(x.dims(), DType::F32)?;
    let threads = each(x.elem_count());
    let columns = blocks(alpha.elem_count().div_ceil(32).max(1));
    let (x, alpha, dy) = (
        gpu.address::<f32>(OP, x)?,
        gpu.address::<f32>(OP, alpha)?,
        gpu.address::<f32>(OP, dy)?,
    );
    let (to, dalpha) = (
        gpu.address::<f32>(OP, &dx)?,
        gpu.address::<f32>(OP, dalpha)?,
    );
    launch!(
        gpu,
        PRELU.prelu_dx_f32,
        threads,
        x,
        alpha,
        dy,
        to,
        n,
        sample
    );
    launch!(
        gpu,
        PRELU.prelu_dalpha_f32,
        columns,
        x,
        dy,
        dalpha,
        samples,
        sample
    );
    Ok(dx)
}
