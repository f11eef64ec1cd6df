//! Starts what is around the matrix products of layers: bias and activation, and their gradients.

use candle_core::cuda_backend::cudarc::driver::LaunchConfig;
use candle_core::{DType, Tensor};

use super::window::by_4;
use super::{BLOCK, Gpu, Values, blocks, each, int, launch};
use crate::kernels::Activation;
use crate::{TensorError, Workspace};

/// Rows that a thread adds up, where there are so many.
const ROWS: usize = 8;
/// Blocks that sum, whatever the GPU: the order of summation depends on sizes only.
const BLOCKS: usize = 1024;

/// `y = activation(y + bias)` in one pass; `bias` is as long as the last axis.
pub(crate) fn finish(
    gpu: &Gpu,
    op: &'static str,
    y: &Tensor,
    bias: Option<&Tensor>,
    activation: Activation,
) -> Result<(), TensorError> {
    let n = int(op, y.elem_count())?;
    if n == 0 || bias.is_none() && activation == Activation::Linear {
        return Ok(());
    }
    let channels = int(op, y.dims().last().copied().unwrap_or(1))?;
    let values = Values::of(op, y)?;
    let (y, bias) = (
        values.address(gpu, op, y)?,
        gpu.address_or_null::<f32>(op, bias)?,
    );
    let relu = i32::from(activation == Activation::Relu);
    if by_4(channels, &[y, bias]) {
        let (n, channels) = (n / 4, channels / 4);
        launch!(
            gpu,
            BIAS.finish_by_4 of values,
            each(n as usize),
            y,
            bias,
            n,
            channels,
            relu
        );
    } else {
        launch!(
            gpu,
            BIAS.finish of values,
            each(n as usize),
            y,
            bias,
            n,
            channels,
            relu
        );
    }
    Ok(())
}

/// The gradient before the activation, unless it is `dy` itself, and its sums over all but the last
/// axis in `dbias`.
pub(crate) fn output_gradient(
    gpu: &Gpu,
    ws: &mut Workspace,
    op: &'static str,
    y: &Tensor,
    dy: &Tensor,
    activation: Activation,
    dbias: Option<&Tensor>,
) -> Result<Option<Tensor>, TensorError> {
    let channels = y.dims().last().copied().unwrap_or(1);
    let rows = y.elem_count().checked_div(channels).unwrap_or(0);
    let values = Values::of(op, dy)?;
    let dz = match activation {
        Activation::Linear => None,
        Activation::Relu => Some(ws.take(y.dims(), values.dtype())?),
    };
    if dz.is_some() || dbias.is_some() {
        let output = match dz {
            Some(_) => values.address(gpu, op, y)?,
            None => 0,
        };
        let dz = values.address_or_null(gpu, op, dz.as_ref())?;
        let (dy, sums) = (
            values.address(gpu, op, dy)?,
            gpu.address_or_null::<f32>(op, dbias)?,
        );
        let size = (rows, channels);
        column_sums(gpu, ws, op, values, size, (output, dy, dz), sums)?;
    }
    Ok(dz)
}

/// Columns that a block sums side by side.
pub(crate) fn columns_of_block(columns: usize) -> usize {
    columns.next_power_of_two().min(32)
}

/// How many parts some rows fall into, for blocks that each sum one part in `tiles` pieces with
/// `lanes` rows of threads, and how many rows are in each part.
pub(crate) fn parts(rows: usize, lanes: usize, tiles: usize) -> (usize, usize) {
    let most = (BLOCKS / tiles).max(1);
    let part = rows
        .div_ceil(rows.div_ceil(lanes * ROWS).clamp(1, most))
        .max(1);
    (rows.div_ceil(part).max(1), part)
}

/// The sums of the columns of `dy`, masked by `y` if that is not null; see bias.cu.
pub(crate) fn column_sums(
    gpu: &Gpu,
    ws: &mut Workspace,
    op: &'static str,
    values: Values,
    (rows, columns): (usize, usize),
    (y, dy, dz): (u64, u64, u64),
    sums: u64,
) -> Result<(), TensorError> {
    if columns == 0 {
        return Ok(());
    }
    int(op, rows * columns)?;
    let is_by_4 = by_4(int(op, columns)?, &[y, dy, dz, sums]);
    let side_by_side = if is_by_4 { columns / 4 } else { columns };
    let block = columns_of_block(side_by_side);
    let tiles = side_by_side.div_ceil(block);
    let (parts, part) = parts(rows, BLOCK / block, tiles);
    let start = |values: Values,
                 (y, dy, dz): (u64, u64, u64),
                 sums: u64,
                 (rows, parts, part): (usize, usize, usize)|
     -> Result<(), TensorError> {
        let threads = LaunchConfig {
            grid_dim: (tiles as u32, parts as u32, 1),
            ..blocks(1)
        };
        let (rows, columns) = (int(op, rows)?, int(op, side_by_side)?);
        let (block, part) = (int(op, block)?, int(op, part)?);
        if is_by_4 {
            launch!(
                gpu,
                BIAS.column_sums_by_4 of values,
                threads,
                y,
                dy,
                dz,
                sums,
                rows,
                columns,
                block,
                part
            );
        } else {
            launch!(
                gpu,
                BIAS.column_sums of values,
                threads,
                y,
                dy,
                dz,
                sums,
                rows,
                columns,
                block,
                part
            );
        }
        Ok(())
    };
    if parts == 1 || sums == 0 {
        return start(values, (y, dy, dz), sums, (rows, parts, part));
    }
    let partial = ws.take(&[parts, columns], DType::F32)?;
    let of_parts = gpu.address::<f32>(op, &partial)?;
    start(values, (y, dy, dz), of_parts, (rows, parts, part))?;
    start(Values::F32, (0, of_parts, 0), sums, (parts, 1, parts))?;
    ws.give(&partial);
    Ok(())
}
