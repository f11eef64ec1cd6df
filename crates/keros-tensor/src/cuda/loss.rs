//! Starts cross-entropies of a softmax and the search for right predictions.

use candle_core::{DType, Tensor};

use super::normalize::teams;
use super::softmax::Rows;
use super::{Gpu, launch, small_size};
use crate::kernels::LossRows;
use crate::{TensorError, Workspace};

/// What the predictions are compared with.
#[derive(Clone, Copy)]
pub(crate) enum Truth<'a> {
    Labels(&'a Tensor),
    Distributions(&'a Tensor),
}

/// [`kernels::softmax_cross_entropy`](crate::kernels::softmax_cross_entropy) and
/// [`kernels::categorical_cross_entropy`](crate::kernels::categorical_cross_entropy).
#[allow(clippy::too_many_arguments)]
pub(crate) fn cross_entropy(
    gpu: &Gpu,
    ws: &mut Workspace,
    op: &'static str,
    logits: &Tensor,
    truth: Truth<'_>,
    shape: LossRows,
    weights: Option<&Tensor>,
    scale: f32,
) -> Result<(Tensor, Tensor), TensorError> {
    let losses = ws.take(&[shape.rows()], DType::F32)?;
    let grads = ws.take(logits.dims(), DType::F32)?;
    let (to_losses, to_grads) = (
        gpu.address::<f32>(op, &losses)?,
        gpu.address::<f32>(op, &grads)?,
    );
    let logits = gpu.address::<f32>(op, logits)?;
    let weights = gpu.address_or_null::<f32>(op, weights)?;
    let rows_of_sample = small_size(op, "rows of a sample", shape.per_sample)?;
    let scale = scale / shape.per_sample.max(1) as f32;
    let Rows {
        config,
        rows,
        classes,
        team,
    } = Rows::new(op, shape.rows(), shape.width)?;
    match truth {
        Truth::Labels(labels) => {
            let labels = gpu.address::<u32>(op, labels)?;
            launch!(
                gpu,
                SOFTMAX.softmax_cross_entropy_f32,
                config,
                logits,
                labels,
                weights,
                scale,
                rows_of_sample,
                rows,
                classes,
                team,
                to_losses,
                to_grads
            );
        }
        Truth::Distributions(targets) => {
            let targets = gpu.address::<f32>(op, targets)?;
            launch!(
                gpu,
                SOFTMAX.categorical_cross_entropy_f32,
                config,
                logits,
                targets,
                weights,
                scale,
                rows_of_sample,
                rows,
                classes,
                team,
                to_losses,
                to_grads
            );
        }
    }
    if shape.per_sample == 1 {
        return Ok((losses, grads));
    }
    let means = ws.take(&[shape.samples], DType::F32)?;
    let to = gpu.address::<f32>(op, &means)?;
    let (team, config) = teams(shape.samples, shape.per_sample);
    let samples = shape.samples as i64;
    launch!(
        gpu,
        SOFTMAX.row_means_f32,
        config,
        to_losses,
        rows_of_sample,
        team,
        samples,
        to
    );
    ws.give(&losses);
    Ok((means, grads))
}

/// [`kernels::correct`](crate::kernels::correct).
pub(crate) fn correct(
    gpu: &Gpu,
    ws: &mut Workspace,
    logits: &Tensor,
    labels: &Tensor,
    classes: usize,
) -> Result<Tensor, TensorError> {
    const OP: &str = "finding correct predictions";
    let hits = ws.take(labels.dims(), DType::F32)?;
    let to = gpu.address::<f32>(OP, &hits)?;
    let (logits, labels) = (
        gpu.address::<f32>(OP, logits)?,
        gpu.address::<u32>(OP, labels)?,
    );
    let Rows {
        config,
        rows,
        classes,
        team,
    } = Rows::new(OP, hits.elem_count(), classes)?;
    launch!(
        gpu,
        SOFTMAX.correct_f32,
        config,
        logits,
        labels,
        rows,
        classes,
        team,
        to
    );
    Ok(hits)
}
