//! Starts losses of whole rows.

use candle_core::{DType, Tensor};

use super::normalize::teams;
use super::softmax::Rows;
use super::{Gpu, address, address_or_null, launch, small_size};
use crate::kernels::{LossRows, RowLoss};
use crate::{TensorError, Workspace};

/// What all of these kernels take, and what they return.
struct Row {
    losses: Tensor,
    of_rows: Tensor,
    grads: Tensor,
    rows_of_sample: u32,
    scale: f32,
}

impl Row {
    fn new(
        op: &'static str,
        ws: &mut Workspace,
        predictions: &Tensor,
        shape: LossRows,
        scale: f32,
    ) -> Result<Self, TensorError> {
        Ok(Self {
            losses: ws.take(&[shape.samples], DType::F32)?,
            of_rows: ws.take(&[shape.rows()], DType::F64)?,
            grads: ws.take(predictions.dims(), DType::F32)?,
            rows_of_sample: small_size(op, "rows of a sample", shape.per_sample)?,
            scale,
        })
    }

    /// The losses of samples from those of rows.
    fn finish(
        self,
        op: &'static str,
        gpu: &Gpu,
        ws: &mut Workspace,
        shape: LossRows,
    ) -> Result<(Tensor, Tensor), TensorError> {
        let (team, config) = teams(shape.samples, shape.per_sample);
        let from = address::<f64>(op, &self.of_rows)?;
        let to = address::<f32>(op, &self.losses)?;
        let (rows_of_sample, samples) = (self.rows_of_sample, shape.samples as i64);
        launch!(
            gpu,
            ROW_LOSS.means_of_rows,
            config,
            from,
            rows_of_sample,
            team,
            samples,
            to
        );
        ws.give(&self.of_rows);
        Ok((self.losses, self.grads))
    }
}

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
    let row = Row::new(OP, ws, predictions, shape, scale)?;
    let (p, y) = (
        address::<f32>(OP, predictions)?,
        address::<f32>(OP, targets)?,
    );
    let weights = address_or_null::<f32>(OP, weights)?;
    let to_losses = address::<f64>(OP, &row.of_rows)?;
    let to_grads = address::<f32>(OP, &row.grads)?;
    let (rows_of_sample, scale) = (row.rows_of_sample, row.scale);
    let Rows {
        config,
        rows,
        classes: width,
        team,
    } = Rows::new(OP, shape.rows(), shape.width)?;
    macro_rules! start {
        ($kernel:ident, $($number:expr),*) => {{
            let [a, b, c]: [f64; 3] = [$($number),*];
            launch!(
                gpu, ROW_LOSS.$kernel, config, y, p, weights, scale, rows, rows_of_sample, width, team,
                to_losses, to_grads, a, b, c
            );
        }};
    }
    match loss {
        RowLoss::CategoricalHinge => start!(categorical_hinge, 0.0, 0.0, 0.0),
        RowLoss::KlDivergence => start!(kl_divergence, 0.0, 0.0, 0.0),
        RowLoss::CosineSimilarity => start!(cosine_similarity, 0.0, 0.0, 0.0),
        RowLoss::CategoricalCrossentropy {
            logits,
            label_smoothing: s,
        } => match logits {
            false => start!(categorical_crossentropy, s, 0.0, 0.0),
            true => start!(categorical_crossentropy_of_logits, s, 0.0, 0.0),
        },
        RowLoss::CategoricalFocalCrossentropy {
            logits,
            label_smoothing: s,
            alpha,
            gamma,
        } => match logits {
            false => start!(categorical_focal_crossentropy, s, alpha, gamma),
            true => start!(categorical_focal_crossentropy_of_logits, s, alpha, gamma),
        },
    }
    row.finish(OP, gpu, ws, shape)
}

/// [`kernels::sparse_cross_entropy`](crate::kernels::sparse_cross_entropy).
#[allow(clippy::too_many_arguments)]
pub(crate) fn sparse_cross_entropy(
    gpu: &Gpu,
    ws: &mut Workspace,
    logits: bool,
    predictions: &Tensor,
    labels: &Tensor,
    ignored: Option<u32>,
    shape: LossRows,
    weights: Option<&Tensor>,
    scale: f32,
) -> Result<(Tensor, Tensor), TensorError> {
    const OP: &str = "sparse_categorical_crossentropy";
    let row = Row::new(OP, ws, predictions, shape, scale)?;
    let (p, labels) = (
        address::<f32>(OP, predictions)?,
        address::<u32>(OP, labels)?,
    );
    let weights = address_or_null::<f32>(OP, weights)?;
    let to_losses = address::<f64>(OP, &row.of_rows)?;
    let to_grads = address::<f32>(OP, &row.grads)?;
    let (rows_of_sample, scale) = (row.rows_of_sample, row.scale);
    let (logits, ignored) = (i32::from(logits), ignored.map_or(-1, i64::from));
    let Rows {
        config,
        rows,
        classes: width,
        team,
    } = Rows::new(OP, shape.rows(), shape.width)?;
    launch!(
        gpu,
        ROW_LOSS.sparse_crossentropy,
        config,
        labels,
        p,
        weights,
        scale,
        rows,
        rows_of_sample,
        width,
        team,
        to_losses,
        to_grads,
        logits,
        ignored
    );
    row.finish(OP, gpu, ws, shape)
}
