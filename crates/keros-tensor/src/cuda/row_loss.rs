//! Starts losses of whole rows, and of rows with labels.

use candle_core::{DType, Tensor};

use super::element_loss::means_of_parts;
use super::softmax::Rows;
use super::{Gpu, launch, small_size};
use crate::kernels::{Circle, LabelLoss, LossRows, RowLoss};
use crate::{TensorError, Workspace};

/// [`kernels::row_loss`](crate::kernels::row_loss).
#[allow(clippy::too_many_arguments)]
pub(crate) fn row_loss(
    gpu: &Gpu,
    ws: &mut Workspace,
    loss: RowLoss,
    predictions: &Tensor,
    targets: &Tensor,
    shape: LossRows,
    weights: Option<&Tensor>,
    scale: f32,
) -> Result<(Tensor, Tensor), TensorError> {
    const OP: &str = "loss of rows";
    let of_logits = |is, of_logits, of_probabilities| if is { of_logits } else { of_probabilities };
    let kernel = match loss {
        RowLoss::CategoricalHinge => ("categorical_hinge", [0.0; 3]),
        RowLoss::KlDivergence => ("kl_divergence", [0.0; 3]),
        RowLoss::CosineSimilarity => ("cosine_similarity", [0.0; 3]),
        RowLoss::CategoricalCrossentropy {
            logits,
            label_smoothing: s,
        } => {
            let name = "categorical_crossentropy";
            let name = of_logits(logits, "categorical_crossentropy_of_logits", name);
            (name, [s, 0.0, 0.0])
        }
        RowLoss::CategoricalFocalCrossentropy {
            logits,
            label_smoothing: s,
            alpha,
            gamma,
        } => {
            let name = "categorical_focal_crossentropy";
            let name = of_logits(logits, "categorical_focal_crossentropy_of_logits", name);
            (name, [s, alpha, gamma])
        }
    };
    let truth = gpu.address::<f32>(OP, targets)?;
    start(
        gpu,
        ws,
        OP,
        kernel,
        truth,
        predictions,
        shape,
        weights,
        scale,
    )
}

/// [`kernels::label_loss`](crate::kernels::label_loss).
#[allow(clippy::too_many_arguments)]
pub(crate) fn label_loss(
    gpu: &Gpu,
    ws: &mut Workspace,
    op: &'static str,
    loss: LabelLoss,
    predictions: &Tensor,
    labels: &Tensor,
    shape: LossRows,
    weights: Option<&Tensor>,
    scale: f32,
) -> Result<(Tensor, Tensor), TensorError> {
    let flag = |flag| f64::from(u8::from(flag));
    let kernel = match loss {
        LabelLoss::Crossentropy { logits, ignored } => {
            let ignored = ignored.map_or(-1.0, f64::from);
            ("sparse_crossentropy", [flag(logits), ignored, 0.0])
        }
        LabelLoss::GeneralizedCrossentropy { logits, q } => {
            ("generalized_crossentropy", [flag(logits), q, 0.0])
        }
    };
    let truth = gpu.address::<u32>(op, labels)?;
    start(
        gpu,
        ws,
        op,
        kernel,
        truth,
        predictions,
        shape,
        weights,
        scale,
    )
}

/// [`kernels::circle_loss`](crate::kernels::circle_loss).
#[allow(clippy::too_many_arguments)]
pub(crate) fn circle_loss(
    gpu: &Gpu,
    ws: &mut Workspace,
    op: &'static str,
    circle: Circle,
    similarities: &Tensor,
    labels: &Tensor,
    shape: LossRows,
    weights: Option<&Tensor>,
    scale: f32,
) -> Result<(Tensor, Tensor), TensorError> {
    let Circle {
        gamma,
        margin,
        remove_diagonal,
    } = circle;
    let numbers = [gamma, margin, f64::from(u8::from(remove_diagonal))];
    let (kernel, truth) = (("circle", numbers), gpu.address::<u32>(op, labels)?);
    start(
        gpu,
        ws,
        op,
        kernel,
        truth,
        similarities,
        shape,
        weights,
        scale,
    )
}

/// Starts the kernel of this name, which takes these numbers, and takes the means of the rows.
#[allow(clippy::too_many_arguments)]
fn start(
    gpu: &Gpu,
    ws: &mut Workspace,
    op: &'static str,
    (name, [a, b, c]): (&'static str, [f64; 3]),
    truth: u64,
    predictions: &Tensor,
    shape: LossRows,
    weights: Option<&Tensor>,
    scale: f32,
) -> Result<(Tensor, Tensor), TensorError> {
    let losses = ws.take(&[shape.samples], DType::F32)?;
    let of_rows = ws.take(&[shape.rows()], DType::F64)?;
    let grads = ws.take(predictions.dims(), DType::F32)?;
    let rows_of_sample = small_size(op, "rows of a sample", shape.per_sample)?;
    let p = gpu.address::<f32>(op, predictions)?;
    let weights = gpu.address_or_null::<f32>(op, weights)?;
    let (to_rows, to_grads) = (
        gpu.address::<f64>(op, &of_rows)?,
        gpu.address::<f32>(op, &grads)?,
    );
    let Rows {
        config,
        rows,
        classes: width,
        team,
    } = Rows::new(op, shape.rows(), shape.width)?;
    launch!(
        @start gpu,
        ROW_LOSS,
        name,
        config,
        truth,
        p,
        weights,
        scale,
        rows,
        rows_of_sample,
        width,
        team,
        to_rows,
        to_grads,
        a,
        b,
        c
    );
    means_of_parts(gpu, op, &of_rows, rows_of_sample, &losses)?;
    ws.give(&of_rows);
    Ok((losses, grads))
}
