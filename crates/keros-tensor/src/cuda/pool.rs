//! Starts the kernels of max and average pools.

use candle_core::{DType, Tensor};

use super::window::Window;
use super::{Gpu, address, each, int, launch};
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
    let shape = [g.n, g.oh, g.ow, g.c];
    let (y, argmax) = (ws.take(&shape, DType::F32)?, ws.take(&shape, index)?);
    let (threads, n) = (each(y.elem_count()), int(OP, y.elem_count())?);
    let (x, to) = (address::<f32>(OP, x)?, address::<f32>(OP, &y)?);
    if index == DType::U8 {
        let cells = address::<u8>(OP, &argmax)?;
        launch!(gpu, POOL.max_pool_u8, threads, x, to, cells, window, n);
    } else {
        let cells = address::<u32>(OP, &argmax)?;
        launch!(gpu, POOL.max_pool_u32, threads, x, to, cells, window, n);
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
    let window = Window::of_pool(OP, g)?;
    let dx = ws.take(&[g.n, g.h, g.w, g.c], DType::F32)?;
    let (threads, n) = (each(dx.elem_count()), int(OP, dx.elem_count())?);
    let (dy, to) = (address::<f32>(OP, dy)?, address::<f32>(OP, &dx)?);
    if index == DType::U8 {
        let cells = address::<u8>(OP, argmax)?;
        launch!(
            gpu,
            POOL.max_pool_gradient_u8,
            threads,
            dy,
            cells,
            to,
            window,
            n
        );
    } else {
        let cells = address::<u32>(OP, argmax)?;
        launch!(
            gpu,
            POOL.max_pool_gradient_u32,
            threads,
            dy,
            cells,
            to,
            window,
            n
        );
    }
    Ok(dx)
}

/// [`kernels::average_pool2d`](crate::kernels::average_pool2d).
pub(crate) fn average_pool2d(
    gpu: &Gpu,
    ws: &mut Workspace,
    g: &PoolGeometry,
    x: &Tensor,
) -> Result<Tensor, TensorError> {
    const OP: &str = "average_pool2d";
    let window = Window::of_pool(OP, g)?;
    let y = ws.take(&[g.n, g.oh, g.ow, g.c], DType::F32)?;
    let (threads, n) = (each(y.elem_count()), int(OP, y.elem_count())?);
    let (x, to) = (address::<f32>(OP, x)?, address::<f32>(OP, &y)?);
    launch!(gpu, POOL.average_pool_f32, threads, x, to, window, n);
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
    let window = Window::of_pool(OP, g)?;
    let dx = ws.take(&[g.n, g.h, g.w, g.c], DType::F32)?;
    let (threads, n) = (each(dx.elem_count()), int(OP, dx.elem_count())?);
    let (dy, to) = (address::<f32>(OP, dy)?, address::<f32>(OP, &dx)?);
    launch!(
        gpu,
        POOL.average_pool_gradient_f32,
        threads,
        dy,
        to,
        window,
        n
    );
    Ok(dx)
}
