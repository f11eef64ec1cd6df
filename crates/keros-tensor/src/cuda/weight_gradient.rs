//! Starts the kernel for weight gradients of convolutions with few channels.

use candle_core::cuda_backend::cudarc::driver::LaunchConfig;
use candle_core::{DType, Tensor};

use super::bias::column_sums;
use super::conv::Convolution;
use super::window::by_4;
use super::{Gpu, Values, int, launch};
use crate::{TensorError, Workspace};

/// Channels of inputs and of outputs that a block handles, cells of a window, and its threads; as in weight_gradient.cu.
const SIDE: usize = 32;
const CELLS: usize = 9;
const THREADS: u32 = 384;
/// Pixels that all warps of a block take at once.
const STEP: usize = 32;
/// Most blocks for the pixels, whatever the GPU: the order of summation depends on sizes only. An H100 has so many
/// multiprocessors.
const BLOCKS: usize = 132;
/// Most floats of the sums of all parts: 64 MiB. With 32 inputs and outputs they are enough for windows of 124 cells.
const SUMS: usize = 16 << 20;
/// With more blocks of channels cuDNN is as fast: on an H100 at 1024 images of 32×32 pixels it takes 640 µs for 32 inputs
/// and outputs, this kernel 225 µs; for 64 and 64 at 15×15 pixels they take 138 and 172 µs.
const TILES: usize = 2;

/// Computes the gradient of the weights, or answers `false` where that is for others.
pub(crate) fn try_gradient(
    gpu: &Gpu,
    ws: &mut Workspace,
    op: &'static str,
    convolution: &Convolution,
    (x, dw, dy): (&Tensor, &Tensor, &Tensor),
) -> Result<bool, TensorError> {
    let window = convolution.window;
    let (inputs, outputs) = (window.channels as usize, convolution.outputs as usize);
    let tiles = inputs / SIDE * (outputs / SIDE);
    if Values::of(op, x)? != Values::F32
        || convolution.groups > 1
        || convolution.is_pointwise()
        || inputs % SIDE != 0
        || outputs % SIDE != 0
        || tiles > TILES
        || !gpu.has_tensor_cores_for(Values::F32)
    {
        return Ok(false);
    }
    let (from, dy) = (gpu.address::<f32>(op, x)?, gpu.address::<f32>(op, dy)?);
    if !by_4(window.channels, &[from, dy]) {
        return Ok(false);
    }
    let (pixels, cells) = (window.images as usize * window.windows(), window.cells());
    let part = pixels.div_ceil(BLOCKS / tiles).next_multiple_of(STEP);
    let parts = pixels.div_ceil(part);
    if parts * cells * inputs * outputs > SUMS {
        return Ok(false);
    }
    let of_parts = ws.take(&[parts, cells * inputs * outputs], DType::F32)?;
    let threads = LaunchConfig {
        grid_dim: (tiles as u32, parts as u32, cells.div_ceil(CELLS) as u32),
        block_dim: (THREADS, 1, 1),
        shared_mem_bytes: 0,
    };
    let sums = gpu.address::<f32>(op, &of_parts)?;
    let (channels, pixels, part) = (convolution.outputs, int(op, pixels)?, int(op, part)?);
    launch!(
        gpu,
        WEIGHT_GRADIENT.weight_gradient,
        threads,
        from,
        dy,
        sums,
        window,
        channels,
        pixels,
        part
    );
    let to = gpu.address::<f32>(op, dw)?;
    let size = (parts, cells * inputs * outputs);
    column_sums(gpu, ws, op, Values::F32, size, (0, sums, 0), to)?;
    ws.give(&of_parts);
    Ok(true)
}
