//! Starts the kernel for weight gradients of convolutions whose windows hold few values.

use candle_core::cuda_backend::cudarc::driver::LaunchConfig;
use candle_core::{DType, Tensor};

use super::bias::column_sums;
use super::conv::Convolution;
use super::{Gpu, Values, blocks, int, launch};
use crate::{TensorError, Workspace};

/// Cells of a window, with the one for the bias, and channels that a block handles; as SIDE in small_window.cu.
const SIDE: usize = 32;
/// Pixels that a block adds up, if there are not more for all: its warps then have to sum more than they hold sums.
const PART: usize = 256;
/// Most blocks, whatever the GPU: the order of summation depends on sizes only. The 132 multiprocessors of
/// an H100 hold three at a time, and so are filled twice.
const BLOCKS: usize = 792;
/// Parts that the pixels fall into at least, if there are so many: a sum of very many loses digits.
const PARTS: usize = 128;

/// Whether windows are small enough.
pub(crate) fn is_small(convolution: &Convolution) -> bool {
    convolution.groups == 1 && convolution.patch() < SIDE && !convolution.is_pointwise()
}

/// The gradients of weights and bias; `dy` counts where `y`, if it is given, is positive.
pub(crate) fn gradient(
    gpu: &Gpu,
    ws: &mut Workspace,
    op: &'static str,
    convolution: &Convolution,
    (x, y, dy): (&Tensor, Option<&Tensor>, &Tensor),
    dw: &Tensor,
    dbias: Option<&Tensor>,
) -> Result<(), TensorError> {
    let window = convolution.window;
    let (pixels, cells) = (
        window.images as usize * window.windows(),
        convolution.patch(),
    );
    let channels = convolution.outputs as usize;
    let tiles = channels.div_ceil(SIDE);
    let most = (BLOCKS / tiles).max(PARTS);
    let part = pixels.div_ceil(most).next_multiple_of(SIDE).max(PART);
    let parts = pixels.div_ceil(part);
    let of_weights = ws.take(&[parts, cells * channels], DType::F32)?;
    let of_bias = match dbias {
        Some(_) => Some(ws.take(&[parts, channels], DType::F32)?),
        None => None,
    };
    let values = Values::of(op, x)?;
    let threads = LaunchConfig {
        grid_dim: (tiles as u32, parts as u32, 1),
        ..blocks(1)
    };
    let (x, y, dy) = (
        values.address(gpu, op, x)?,
        values.address_or_null(gpu, op, y)?,
        values.address(gpu, op, dy)?,
    );
    let (weights, bias) = (
        gpu.address::<f32>(op, &of_weights)?,
        gpu.address_or_null::<f32>(op, of_bias.as_ref())?,
    );
    let (outputs, pixels, part) = (convolution.outputs, int(op, pixels)?, int(op, part)?);
    launch!(
        gpu,
        SMALL_WINDOW.small_window_gradient of values,
        threads,
        x,
        y,
        dy,
        weights,
        bias,
        window,
        outputs,
        pixels,
        part
    );
    let to = gpu.address::<f32>(op, dw)?;
    let size = (parts, cells * channels);
    column_sums(gpu, ws, op, Values::F32, size, (0, weights, 0), to)?;
    let to = gpu.address_or_null::<f32>(op, dbias)?;
    if to != 0 {
        column_sums(
            gpu,
            ws,
            op,
            Values::F32,
            (parts, channels),
            (0, bias, 0),
            to,
        )?;
    }
    ws.give(&of_weights);
    if let Some(of_bias) = of_bias {
        ws.give(&of_bias);
    }
    Ok(())
}
