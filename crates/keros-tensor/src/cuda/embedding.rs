//! Starts the look-up of rows in a table, and its gradient.

use candle_core::{DType, Tensor};

use super::elementwise::fill;
use super::{Gpu, blocks, each, launch, small};
use crate::{TensorError, Workspace};

/// As in embedding.cu.
const COLUMNS: u32 = 128;

/// [`kernels::embedding`](crate::kernels::embedding).
pub(crate) fn embedding(
    gpu: &Gpu,
    ws: &mut Workspace,
    x: &Tensor,
    table: &Tensor,
    shape: &[usize],
) -> Result<(Tensor, Tensor), TensorError> {
    const OP: &str = "embedding";
    let (n, table_rows) = (small(OP, x)?, table.dims()[0]);
    let indices = ws.take(x.dims(), DType::U32)?;
    let y = ws.take(shape, DType::F32)?;
    let values = small(OP, &y)?;
    let rows = u32::try_from(table_rows).unwrap_or(u32::MAX);
    let (x, to) = (
        gpu.address::<f32>(OP, x)?,
        gpu.address::<u32>(OP, &indices)?,
    );
    let threads = each(n as usize);
    launch!(gpu, EMBEDDING.embedding_indices, threads, x, to, n, rows);
    let (table, y_to) = (gpu.address::<f32>(OP, table)?, gpu.address::<f32>(OP, &y)?);
    if values > 0 {
        let (threads, width) = (each(values as usize), values / n);
        launch!(
            gpu,
            EMBEDDING.embedding_rows,
            threads,
            to,
            table,
            y_to,
            values,
            width
        );
    }
    Ok((y, indices))
}

/// `n` numbers that are larger than every place.
fn no_places(gpu: &Gpu, ws: &mut Workspace, n: u32) -> Result<(Tensor, u64), TensorError> {
    let places = ws.take(&[n as usize], DType::U32)?;
    let to = gpu.address::<u32>("embedding", &places)?;
    let (threads, value) = (each(n as usize), u32::MAX);
    launch!(gpu, EMBEDDING.embedding_fill, threads, to, n, value);
    Ok((places, to))
}

/// [`kernels::embedding_backward`](crate::kernels::embedding_backward).
pub(crate) fn embedding_backward(
    gpu: &Gpu,
    ws: &mut Workspace,
    indices: &Tensor,
    dy: &Tensor,
    dtable: &Tensor,
) -> Result<(), TensorError> {
    const OP: &str = "embedding backward";
    small(OP, dy)?;
    let (n, width) = (small(OP, indices)?, dtable.dims()[1] as u32);
    fill(gpu, OP, dtable, 0.0)?;
    if n == 0 || dtable.elem_count() == 0 {
        return Ok(());
    }
    let (indices, dy) = (
        gpu.address::<u32>(OP, indices)?,
        gpu.address::<f32>(OP, dy)?,
    );
    let to = gpu.address::<f32>(OP, dtable)?;
    let (tensor, first) = no_places(gpu, ws, dtable.dims()[0] as u32)?;
    let threads = each(n as usize);
    launch!(gpu, EMBEDDING.embedding_firsts, threads, indices, n, first);
    let threads = blocks(n as usize * width.div_ceil(COLUMNS) as usize);
    launch!(
        gpu,
        EMBEDDING.embedding_gradient,
        threads,
        indices,
        first,
        dy,
        to,
        n,
        width
    );
    ws.give(&tensor);
    Ok(())
}
