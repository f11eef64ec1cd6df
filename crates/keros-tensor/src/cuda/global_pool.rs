//! Starts the kernels of global pools. Sizes are `(samples, positions, channels)`.

use candle_core::Tensor;
use candle_core::cuda_backend::cudarc::driver::LaunchConfig;

use super::bias::columns_of_block;
use super::{Gpu, Values, blocks, each, int, launch};
use crate::{TensorError, Workspace};

type Sizes = (usize, usize, usize);

/// Sizes as the kernels take them, the channels of a block, and a block for each sample and so many
/// channels.
fn prepare(
    op: &'static str,
    (samples, positions, channels): Sizes,
) -> Result<([i32; 3], LaunchConfig), TensorError> {
    int(op, samples * positions * channels)?;
    let block = columns_of_block(channels);
    let threads = LaunchConfig {
        grid_dim: (int(op, samples)? as u32, channels.div_ceil(block) as u32, 1),
        ..blocks(1)
    };
    Ok((
        [int(op, positions)?, int(op, channels)?, int(op, block)?],
        threads,
    ))
}

/// [`kernels::global_average_pool`](crate::kernels::global_average_pool).
pub(crate) fn average(
    gpu: &Gpu,
    ws: &mut Workspace,
    op: &'static str,
    sizes: Sizes,
    x: &Tensor,
) -> Result<Tensor, TensorError> {
    let values = Values::of(op, x)?;
    let y = ws.take(&[sizes.0, sizes.2], values.dtype())?;
    let ([positions, channels, block], threads) = prepare(op, sizes)?;
    let (x, to) = (values.address(gpu, op, x)?, values.address(gpu, op, &y)?);
    if sizes.0 > 0 {
        launch!(
            gpu,
            GLOBAL_POOL.global_average_pool of values,
            threads,
            x,
            to,
            positions,
            channels,
            block
        );
    }
    Ok(y)
}

/// [`kernels::global_average_pool_backward`](crate::kernels::global_average_pool_backward).
pub(crate) fn average_backward(
    gpu: &Gpu,
    ws: &mut Workspace,
    op: &'static str,
    (_, positions, channels): Sizes,
    dy: &Tensor,
    x_shape: &[usize],
) -> Result<Tensor, TensorError> {
    let values = Values::of(op, dy)?;
    let dx = ws.take(x_shape, values.dtype())?;
    let (threads, n) = (each(dx.elem_count()), int(op, dx.elem_count())?);
    let (positions, channels) = (int(op, positions)?, int(op, channels)?);
    let (dy, to) = (values.address(gpu, op, dy)?, values.address(gpu, op, &dx)?);
    launch!(
        gpu,
        GLOBAL_POOL.global_average_pool_gradient of values,
        threads,
        dy,
        to,
        n,
        positions,
        channels
    );
    Ok(dx)
}

/// [`kernels::global_max_pool`](crate::kernels::global_max_pool).
pub(crate) fn maximum(
    gpu: &Gpu,
    ws: &mut Workspace,
    op: &'static str,
    sizes: Sizes,
    x: &Tensor,
) -> Result<Tensor, TensorError> {
    let values = Values::of(op, x)?;
    let y = ws.take(&[sizes.0, sizes.2], values.dtype())?;
    let ([positions, channels, block], threads) = prepare(op, sizes)?;
    let (x, to) = (values.address(gpu, op, x)?, values.address(gpu, op, &y)?);
    if sizes.0 > 0 {
        launch!(
            gpu,
            GLOBAL_POOL.global_max_pool of values,
            threads,
            x,
            to,
            positions,
            channels,
            block
        );
    }
    Ok(y)
}

/// [`kernels::global_max_pool_backward`](crate::kernels::global_max_pool_backward).
pub(crate) fn maximum_backward(
    gpu: &Gpu,
    ws: &mut Workspace,
    op: &'static str,
    sizes: Sizes,
    x: &Tensor,
    y: &Tensor,
    dy: &Tensor,
) -> Result<Tensor, TensorError> {
    let values = Values::of(op, x)?;
    let dx = ws.take(x.dims(), values.dtype())?;
    let ([positions, channels, block], threads) = prepare(op, sizes)?;
    let (x, y) = (values.address(gpu, op, x)?, values.address(gpu, op, y)?);
    let (dy, to) = (values.address(gpu, op, dy)?, values.address(gpu, op, &dx)?);
    if sizes.0 > 0 {
        launch!(
            gpu,
            GLOBAL_POOL.global_max_pool_gradient of values,
            threads,
            x,
            y,
            dy,
            to,
            positions,
            channels,
            block
        );
    }
    Ok(dx)
}
