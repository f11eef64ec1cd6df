//! Convolutions as matrix products of the patches that output pixels see, a few images at a time.

use candle_core::{DType, Tensor};

use super::blas::{Matrix, product};
use super::conv::{Convolution, Direction};
use super::dense::Weights;
use super::window::{Window, by_4};
use super::{Gpu, Values, each, int, launch};
use crate::{TensorError, Workspace};

/// Floats of all patches that are laid out at once, if an image has fewer: 256 MiB.
const PATCHES: usize = 64 << 20;

/// Computes one of inputs, weights and outputs; there is at least one image. Images of other values than `f32` are
/// for pointwise convolutions.
pub(crate) fn convolve(
    gpu: &Gpu,
    ws: &mut Workspace,
    op: &'static str,
    convolution: &Convolution,
    direction: Direction,
    (x, w, y): (&Tensor, &Tensor, &Tensor),
) -> Result<(), TensorError> {
    let (window, groups) = (convolution.window, convolution.groups as usize);
    let (images, patch) = (window.images as usize, convolution.patch());
    let outputs = convolution.outputs as usize;
    let of_group = outputs / groups;
    let values = Values::of(op, x)?;
    // The result is `f32`, as weights are.
    let narrow = match direction {
        Direction::Weights => Weights::Given(w),
        _ => Weights::new(gpu, ws, op, w, values)?,
    };
    let type_of_w = Values::of(op, narrow.as_ref())?;
    let (x, w, y) = (
        values.address(gpu, op, x)?,
        type_of_w.address(gpu, op, narrow.as_ref())?,
        values.address(gpu, op, y)?,
    );
    let w = Matrix::new(w, outputs).of(type_of_w).of_groups(of_group);

    // The patches of a pointwise convolution are its inputs.
    let of_image = window.windows() * groups * patch;
    let (chunk, own) = match convolution.is_pointwise() {
        true => (images, None),
        false => {
            let chunk = (PATCHES / of_image).clamp(1, images);
            int(op, chunk * of_image)?;
            (chunk, Some(ws.take(&[chunk * of_image], DType::F32)?))
        }
    };
    for first in (0..images).step_by(chunk) {
        let count = chunk.min(images - first);
        let pixels = count * window.windows();
        let x = x + (first * window.image() * values.bytes()) as u64;
        let y = y + (first * window.windows() * outputs * values.bytes()) as u64;
        let laid_out = match &own {
            Some(own) => gpu.address::<f32>(op, own)?,
            None => x,
        };
        let patches = Matrix::new(laid_out, groups * patch);
        let patches = patches.of(values).of_groups(patch);
        let y = Matrix::new(y, outputs).of(values).of_groups(of_group);
        let window = Window {
            images: int(op, count)?,
            ..window
        };
        if own.is_some() && direction != Direction::Inputs {
            gather(
                gpu,
                op,
                window,
                convolution.groups,
                x,
                laid_out,
                pixels * groups * patch,
            )?;
        }
        match direction {
            Direction::Outputs => {
                product(
                    gpu,
                    op,
                    (pixels, of_group, patch),
                    groups,
                    patches,
                    w,
                    y,
                    false,
                )?;
            }
            Direction::Weights => {
                let (sizes, add) = ((patch, of_group, pixels), first > 0);
                product(gpu, op, sizes, groups, patches.transposed(), y, w, add)?;
            }
            Direction::Inputs => {
                let sizes = (pixels, patch, of_group);
                product(gpu, op, sizes, groups, y, w.transposed(), patches, false)?;
                if own.is_some() {
                    collect(gpu, op, window, convolution.groups, laid_out, x)?;
                }
            }
        }
    }
    if let Some(own) = own {
        ws.give(&own);
    }
    narrow.give(ws);
    Ok(())
}

/// Lays out patches, `n` elements.
fn gather(
    gpu: &Gpu,
    op: &'static str,
    window: Window,
    groups: i32,
    images: u64,
    patches: u64,
    n: usize,
) -> Result<(), TensorError> {
    if by_4(window.channels / groups, &[images, patches]) {
        let (window, n) = (window.in_fours(), int(op, n / 4)?);
        let threads = each(n as usize);
        launch!(
            gpu,
            PATCHES.gather_patches_by_4_f32,
            threads,
            images,
            patches,
            window,
            groups,
            n
        );
    } else {
        let (threads, n) = (each(n), int(op, n)?);
        launch!(
            gpu,
            PATCHES.gather_patches_f32,
            threads,
            images,
            patches,
            window,
            groups,
            n
        );
    }
    Ok(())
}

/// Adds up what the patches say of each input.
fn collect(
    gpu: &Gpu,
    op: &'static str,
    window: Window,
    groups: i32,
    patches: u64,
    images: u64,
) -> Result<(), TensorError> {
    let n = window.images as usize * window.image();
    if by_4(window.channels / groups, &[images, patches]) {
        let (window, n) = (window.in_fours(), int(op, n / 4)?);
        let threads = each(n as usize);
        launch!(
            gpu,
            PATCHES.collect_patches_by_4_f32,
            threads,
            patches,
            images,
            window,
            groups,
            n
        );
    } else {
        let (threads, n) = (each(n), int(op, n)?);
        launch!(
            gpu,
            PATCHES.collect_patches_f32,
            threads,
            patches,
            images,
            window,
            groups,
            n
        );
    }
    Ok(())
}
