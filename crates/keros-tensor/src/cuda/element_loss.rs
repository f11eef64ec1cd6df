//! Starts losses that are a function of target and prediction.

use candle_core::{DType, Tensor};

use super::normalize::teams;
use super::{BLOCK, Gpu, blocks, each, launch, small_size, zero};
use crate::kernels::{ElementLoss, LossRows};
use crate::{TensorError, Workspace};

/// Values of a sample for which one block is enough.
const PART: usize = 32 * BLOCK;

/// [`kernels::element_loss`](crate::kernels::element_loss).
#[allow(clippy::too_many_arguments)]
pub(crate) fn element_loss(
    gpu: &Gpu,
    ws: &mut Workspace,
    loss: ElementLoss,
    predictions: &Tensor,
    targets: &Tensor,
    shape: LossRows,
    weights: Option<&Tensor>,
    scale: f32,
) -> Result<(Tensor, Tensor), TensorError> {
    const OP: &str = "loss of elements";
    let losses = ws.take(&[shape.samples], DType::F32)?;
    let grads = ws.take(predictions.dims(), DType::F32)?;
    let values = shape.per_sample * shape.width;
    let parts = values.div_ceil(PART).max(1);
    let (team, config) = match parts {
        1 => teams(shape.samples, values),
        _ => (BLOCK as u32, blocks((shape.samples * parts).max(1))),
    };
    let partials = match parts {
        1 => None,
        _ => Some(ws.take(&[shape.samples, parts], DType::F64)?),
    };
    let p = gpu.address::<f32>(OP, predictions)?;
    let y = gpu.address::<f32>(OP, targets)?;
    let weights = gpu.address_or_null::<f32>(OP, weights)?;
    let (to_losses, to_grads) = (
        gpu.address::<f32>(OP, &losses)?,
        gpu.address::<f32>(OP, &grads)?,
    );
    let to_partials = gpu.address_or_null::<f64>(OP, partials.as_ref())?;
    let samples = shape.samples as i64;
    let size = small_size(OP, "values of a sample", values)?;
    let parts = small_size(OP, "values of a sample", parts)?;
    macro_rules! start {
        ($kernel:ident, $($number:expr),*) => {{
            let [a, b, c]: [f64; 3] = [$($number),*];
            launch!(
                gpu, ELEMENT_LOSS.$kernel, config, y, p, weights, scale, samples, size, parts, team,
                to_losses, to_partials, to_grads, a, b, c
            );
        }};
    }
    match loss {
        ElementLoss::SquaredError => start!(squared_error_f32, 0.0, 0.0, 0.0),
        ElementLoss::AbsoluteError => start!(absolute_error_f32, 0.0, 0.0, 0.0),
        ElementLoss::AbsolutePercentageError => {
            start!(absolute_percentage_error_f32, 0.0, 0.0, 0.0);
        }
        ElementLoss::SquaredLogarithmicError => {
            start!(squared_logarithmic_error_f32, 0.0, 0.0, 0.0);
        }
        ElementLoss::Huber { delta } => start!(huber_f32, delta, 0.0, 0.0),
        ElementLoss::LogCosh => start!(log_cosh_f32, 0.0, 0.0, 0.0),
        ElementLoss::Poisson => start!(poisson_f32, 0.0, 0.0, 0.0),
        ElementLoss::Hinge => start!(hinge_f32, 0.0, 0.0, 0.0),
        ElementLoss::SquaredHinge => start!(squared_hinge_f32, 0.0, 0.0, 0.0),
        ElementLoss::BinaryCrossentropy {
            logits,
            label_smoothing: s,
        } => match logits {
            false => start!(binary_crossentropy_f32, s, 0.0, 0.0),
            true => start!(binary_crossentropy_of_logits_f32, s, 0.0, 0.0),
        },
        ElementLoss::BinaryFocalCrossentropy {
            logits,
            label_smoothing: s,
            gamma,
            alpha,
        } => {
            let alpha = alpha.unwrap_or(-1.0);
            match logits {
                false => start!(binary_focal_crossentropy_f32, s, gamma, alpha),
                true => start!(binary_focal_crossentropy_of_logits_f32, s, gamma, alpha),
            }
        }
    }
    if let Some(partials) = partials {
        means_of_parts(gpu, OP, &partials, size, &losses)?;
        ws.give(&partials);
    }
    Ok((losses, grads))
}

/// The loss of each sample from the sums over its parts (`[samples, parts]` f64), as a mean over `size` values.
pub(super) fn means_of_parts(
    gpu: &Gpu,
    op: &'static str,
    partials: &Tensor,
    size: u32,
    losses: &Tensor,
) -> Result<(), TensorError> {
    let samples = losses.elem_count();
    let of_sample = partials.elem_count() / samples.max(1);
    let (team, config) = teams(samples, of_sample);
    let (from, to) = (
        gpu.address::<f64>(op, partials)?,
        gpu.address::<f32>(op, losses)?,
    );
    let (parts, samples) = (
        small_size(op, "parts of a sample", of_sample)?,
        samples as i64,
    );
    launch!(
        gpu,
        ELEMENT_LOSS.element_losses_f32,
        config,
        from,
        parts,
        size,
        team,
        samples,
        to
    );
    Ok(())
}

/// [`kernels::hinge_targets`](crate::kernels::hinge_targets).
pub(crate) fn hinge_targets(
    gpu: &Gpu,
    ws: &mut Workspace,
    targets: &Tensor,
) -> Result<Tensor, TensorError> {
    const OP: &str = "targets of a hinge";
    let found = ws.take(targets.dims(), DType::F32)?;
    let other = ws.take(&[1], DType::F32)?;
    zero(gpu, OP, &other)?;
    let (y, to) = (
        gpu.address::<f32>(OP, targets)?,
        gpu.address::<f32>(OP, &found)?,
    );
    let flag = gpu.address::<f32>(OP, &other)?;
    let (threads, n) = (each(targets.elem_count()), targets.elem_count() as i64);
    launch!(
        gpu,
        ELEMENT_LOSS.find_other_targets_f32,
        threads,
        y,
        n,
        flag
    );
    launch!(gpu, ELEMENT_LOSS.hinge_targets_f32, threads, y, flag, n, to);
    ws.give(&other);
    Ok(found)
}
