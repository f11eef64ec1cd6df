//! Starts the loss of sequences whose labels are known, but not when each begins.

use candle_core::{DType, Tensor};

use super::{Gpu, blocks, launch, small_size};
use crate::{TensorError, Workspace};

/// [`kernels::ctc_loss`](crate::kernels::ctc_loss) for so many samples, steps, classes and labels.
#[allow(clippy::too_many_arguments)]
pub(crate) fn ctc_loss(
    gpu: &Gpu,
    ws: &mut Workspace,
    op: &'static str,
    logits: &Tensor,
    labels: &Tensor,
    (samples, steps, classes, length): (usize, usize, usize, usize),
    weights: Option<&Tensor>,
    scale: f32,
) -> Result<(Tensor, Tensor), TensorError> {
    let losses = ws.take(&[samples], DType::F32)?;
    let grads = ws.take(logits.dims(), DType::F32)?;
    if samples == 0 {
        return Ok((losses, grads));
    }
    let states = 2 * length + 1;
    let totals = ws.take(&[samples, steps], DType::F64)?;
    let before = ws.take(&[samples, steps, states], DType::F64)?;
    let after = ws.take(&[samples, 2, states], DType::F64)?;
    let (z, truth) = (
        gpu.address::<f32>(op, logits)?,
        gpu.address::<u32>(op, labels)?,
    );
    let weights = gpu.address_or_null::<f32>(op, weights)?;
    let (to_losses, to_grads) = (
        gpu.address::<f32>(op, &losses)?,
        gpu.address::<f32>(op, &grads)?,
    );
    let (to_totals, to_before, to_after) = (
        gpu.address::<f64>(op, &totals)?,
        gpu.address::<f64>(op, &before)?,
        gpu.address::<f64>(op, &after)?,
    );
    let threads = blocks(small_size(op, "number of samples", samples)? as usize);
    let steps = small_size(op, "number of steps", steps)?;
    let classes = small_size(op, "number of classes", classes)?;
    let length = small_size(op, "number of labels", length)?;
    launch!(
        gpu,
        CTC_LOSS.ctc_loss,
        threads,
        z,
        truth,
        weights,
        scale,
        steps,
        classes,
        length,
        to_totals,
        to_before,
        to_after,
        to_losses,
        to_grads
    );
    ws.give(&totals);
    ws.give(&before);
    ws.give(&after);
    Ok((losses, grads))
}
