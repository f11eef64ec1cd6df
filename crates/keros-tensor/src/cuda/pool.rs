//! Starts the kernels of max and average pools.

use candle_core::{DType, Tensor};

use super::window::{Window, by_4};
use super::{Gpu, Values, each, int, launch};
use crate::kernels::PoolGeometry;
use crate::{TensorError, Workspace};

/// [`kernels::max_pool2d`](crate::kernels::max_pool2d) with window cells of type `index`.
pub(crate) fn max_pool2d(
    gpu: &Gpu,
    ws: &mut Workspace,
    g: &PoolGeometry,
    x: &Tensor,
    index: DType,
) -> Result<(Tensor, Tensor), TensorError> {
    const OP: &str = "max_pool2d";
    let window = Window::of_pool(OP, g)?;
    let (values, shape) = (Values::of(OP, x)?, [g.n, g.oh, g.ow, g.c]);
    let (y, argmax) = (ws.take(&shape, values.dtype())?, ws.take(&shape, index)?);
    let (x, to) = (values.address(gpu, OP, x)?, values.address(gpu, OP, &y)?);
    let cells = address_of_cells(gpu, OP, &argmax)?;
    let by_4 = index == DType::U8 && by_4(window.channels, &[x, to]);
    let window = if by_4 { window.in_fours() } else { window };
    let n = int(OP, y.elem_count())? / if by_4 { 4 } else { 1 };
    let threads = each(n as usize);
    match index {
        DType::U8 if by_4 => {
            launch!(gpu, POOL.max_pool_u8_by_4 of values, threads, x, to, cells, window, n);
        }
        DType::U8 => launch!(gpu, POOL.max_pool_u8 of values, threads, x, to, cells, window, n),
        _ => launch!(gpu, POOL.max_pool_u32 of values, threads, x, to, cells, window, n),
    }
    Ok((y, argmax))
}

/// [`kernels::max_pool2d_backward`](crate::kernels::max_pool2d_backward).
pub(crate) fn max_pool2d_backward(
    gpu: &Gpu,
    ws: &mut Workspace,
    g: &PoolGeometry,
    dy: &Tensor,
    argmax: &Tensor,
    index: DType,
) -> Result<Tensor, TensorError> {
    const OP: &str = "max_pool2d backward";
    let (values, window) = (Values::of(OP, dy)?, Window::of_pool(OP, g)?);
    let dx = ws.take(&[g.n, g.h, g.w, g.c], values.dtype())?;
    let (dy, to) = (values.address(gpu, OP, dy)?, values.address(gpu, OP, &dx)?);
    let cells = address_of_cells(gpu, OP, argmax)?;
    let by_4 = index == DType::U8 && by_4(window.channels, &[dy, to]);
    let window = if by_4 { window.in_fours() } else { window };
    let n = int(OP, dx.elem_count())? / if by_4 { 4 } else { 1 };
    let threads = each(n as usize);
    match index {
        DType::U8 if by_4 => {
            launch!(gpu, POOL.max_pool_gradient_u8_by_4 of values, threads, dy, cells, to, window, n);
        }
        DType::U8 => {
            launch!(gpu, POOL.max_pool_gradient_u8 of values, threads, dy, cells, to, window, n);
        }
        _ => launch!(gpu, POOL.max_pool_gradient_u32 of values, threads, dy, cells, to, window, n),
    }
    Ok(dx)
}

fn address_of_cells(gpu: &Gpu, op: &'static str, argmax: &Tensor) -> Result<u64, TensorError> {
    match argmax.dtype() {
        DType::U8 => gpu.address::<u8>(op, argmax),
        _ => gpu.address::<u32>(op, argmax),
    }
}

/// [`kernels::average_pool2d`](crate::kernels::average_pool2d).
pub(crate) fn average_pool2d(
    gpu: &Gpu,
    ws: &mut Workspace,
    g: &PoolGeometry,
    x: &Tensor,
) -> Result<Tensor, TensorError> {
    const OP: &str = "average_pool2d";
    let (values, window) = (Values::of(OP, x)?, Window::of_pool(OP, g)?);
    let y = ws.take(&[g.n, g.oh, g.ow, g.c], values.dtype())?;
    let (threads, n) = (each(y.elem_count()), int(OP, y.elem_count())?);
    let (x, to) = (values.address(gpu, OP, x)?, values.address(gpu, OP, &y)?);
    launch!(gpu, POOL.average_pool of values, threads, x, to, window, n);
    Ok(y)
}

/// [`kernels::average_pool2d_backward`](crate::kernels::average_pool2d_backward).
pub(crate) fn average_pool2d_backward(
    gpu: &Gpu,
    ws: &mut Workspace,
    g: &PoolGeometry,
    dy: &Tensor,
) -> Result<Tensor, TensorError> {
    const OP: &str = "average_pool2d backward";
    let (values, window) = (Values::of(OP, dy)?, Window::of_pool(OP, g)?);
    let dx = ws.take(&[g.n, g.h, g.w, g.c], values.dtype())?;
    let (threads, n) = (each(dx.elem_count()), int(OP, dx.elem_count())?);
    let (dy, to) = (values.address(gpu, OP, dy)?, values.address(gpu, OP, &dx)?);
    launch!(
        gpu,
        POOL.average_pool_gradient of values,
        threads,
        dy,
        to,
        window,
        n
    );
    Ok(dx)
}
