//! Starts the loss of overlapping masks.

use candle_core::{DType, Tensor};

use super::{BLOCK, Gpu, blocks, each, launch, small_size};
use crate::kernels::Overlap;
use crate::{TensorError, Workspace};

/// Values that a block sums up, unless there would be more parts than one block adds up at once.
const PART: usize = 32 * BLOCK;
const MOST_PARTS: usize = 4 * BLOCK;

/// [`kernels::overlap_loss`](crate::kernels::overlap_loss), for so many samples in groups of so many.
#[allow(clippy::too_many_arguments)]
pub(crate) fn overlap_loss(
    gpu: &Gpu,
    ws: &mut Workspace,
    overlap: Overlap,
    predictions: &Tensor,
    targets: &Tensor,
    (samples, in_group): (usize, usize),
    weights: Option<&Tensor>,
    scale: f32,
) -> Result<(Tensor, Tensor), TensorError> {
    const OP: &str = "loss of overlap";
    let losses = ws.take(&[samples], DType::F32)?;
    let grads = ws.take(predictions.dims(), DType::F32)?;
    let groups = samples / in_group;
    if groups == 0 {
        return Ok((losses, grads));
    }
    let size = predictions.elem_count() / groups;
    let parts = size.div_ceil(PART).clamp(1, MOST_PARTS);
    let sums = ws.take(&[groups, parts, 3], DType::F64)?;
    let terms = ws.take(&[groups, 3], DType::F64)?;
    let (p, y) = (
        gpu.address::<f32>(OP, predictions)?,
        gpu.address::<f32>(OP, targets)?,
    );
    let weights = gpu.address_or_null::<f32>(OP, weights)?;
    let (to_losses, to_grads) = (
        gpu.address::<f32>(OP, &losses)?,
        gpu.address::<f32>(OP, &grads)?,
    );
    let (to_sums, to_terms) = (
        gpu.address::<f64>(OP, &sums)?,
        gpu.address::<f64>(OP, &terms)?,
    );
    let threads = blocks(small_size(OP, "number of groups", groups * parts)? as usize);
    let (size, in_group, parts) = (size as i64, in_group as i64, parts as u32);
    let Overlap {
        missed,
        excess,
        fuzz,
        ..
    } = overlap;
    launch!(
        gpu,
        OVERLAP_LOSS.overlap_sums,
        threads,
        y,
        p,
        size,
        parts,
        to_sums
    );
    launch!(
        gpu,
        OVERLAP_LOSS.overlap_losses,
        blocks(groups),
        to_sums,
        parts,
        weights,
        scale,
        in_group,
        missed,
        excess,
        fuzz,
        to_losses,
        to_terms
    );
    let n = predictions.elem_count() as i64;
    launch!(
        gpu,
        OVERLAP_LOSS.overlap_gradients,
        each(n as usize),
        y,
        to_terms,
        size,
        n,
        missed,
        excess,
        to_grads
    );
    ws.give(&sums);
    ws.give(&terms);
    Ok((losses, grads))
}
