//! The one scheme of all losses: rows of predictions beside rows of targets.

use super::LossOutput;
use crate::activation::Activation;
use crate::error::NnError;
use crate::network::Output;
use crate::target::Target;
use keros_tensor::access::{Slice, read, write2};
use keros_tensor::kernels::{self, ElementLoss};
use keros_tensor::{DType, Tensor, Workspace};

/// How a tensor falls into rows: its last axis, `per_sample` rows for each sample.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows {
    pub(crate) samples: usize,
    pub(crate) per_sample: usize,
    pub(crate) width: usize,
}

impl Rows {
    /// The rows of outputs of shape `dims`; a shape of rank 1 has rows of one value.
    pub(crate) fn of(name: &str, dims: &[usize]) -> Result<Rows, NnError> {
        let (samples, inner, width) = match dims {
            [] => (0, &[][..], 0),
            [samples] => (*samples, &[][..], 1),
            [samples, inner @ .., width] => (*samples, inner, *width),
        };
        let per_sample = inner.iter().product();
        if samples == 0 || per_sample == 0 || width == 0 {
            let expected = "at least one sample and one value";
            return Err(NnError::shape(format!("{name}: output"), expected, dims));
        }
        Ok(Rows {
            samples,
            per_sample,
            width,
        })
    }

    /// The number of rows.
    pub(crate) fn count(self) -> usize {
        self.samples * self.per_sample
    }

    /// Checks that there is a weight for each sample.
    fn check_weights(self, name: &str, weights: Option<&Tensor>) -> Result<(), NnError> {
        match weights {
            Some(weights) if weights.dims() != [self.samples] => {
                let expected = format!("[{}]", self.samples);
                let found = weights.dims();
                Err(NnError::shape(format!("{name}: weights"), expected, found))
            }
            _ => Ok(()),
        }
    }

    /// Checks that there is a weight for each sample, and opens them.
    pub(crate) fn weights<'a>(
        self,
        name: &str,
        weights: Option<&'a Tensor>,
    ) -> Result<Option<Slice<'a, f32>>, NnError> {
        self.check_weights(name, weights)?;
        Ok(weights.map(read::<f32>).transpose()?)
    }
}

/// Whether two shapes are equal, or one is the other with a last axis of length 1: a column `[N, 1]`
/// and `[N]` hold the same numbers.
pub(crate) fn same_but_for_a_last_axis_of_one(a: &[usize], b: &[usize]) -> bool {
    a == b || matches!(a, [rest @ .., 1] if rest == b) || matches!(b, [rest @ .., 1] if rest == a)
}

/// What the values of an output mean to a cross-entropy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Logits,
    Probabilities,
}

/// The values that a loss compares, and the way back to the output's logits.
pub(super) struct Predictions {
    pub(super) form: Form,
    pub(super) values: Tensor,
    logits: Tensor,
    /// What lies between the logits and the values.
    activation: Activation,
}

impl Predictions {
    /// The values after the activation.
    pub(super) fn values(
        workspace: &mut Workspace,
        output: &Output,
    ) -> Result<Predictions, NnError> {
        Ok(Predictions {
            form: Form::Probabilities,
            values: output.values(workspace)?,
            logits: output.logits.clone(),
            activation: output.activation,
        })
    }

    /// What a cross-entropy works on whose own activation is `own`.
    pub(super) fn of_crossentropy(
        name: &str,
        workspace: &mut Workspace,
        output: &Output,
        own: Activation,
        from_logits: bool,
    ) -> Result<Predictions, NnError> {
        let found = output.activation;
        if from_logits && matches!(found, Activation::Softmax | Activation::Sigmoid) {
            let expected = "an output that is not probabilities (from_logits = true)";
            return Err(NnError::argument(name, expected, format!("{found:?}")));
        }
        if found == own {
            return Ok(Predictions {
                form: Form::Logits,
                values: output.logits.clone(),
                logits: output.logits.clone(),
                activation: Activation::Linear,
            });
        }
        let mut predictions = Predictions::values(workspace, output)?;
        if from_logits {
            predictions.form = Form::Logits;
        }
        Ok(predictions)
    }

    /// Whether the values are the output's logits themselves.
    pub(super) fn are_logits_of_output(&self) -> bool {
        self.form == Form::Logits && self.activation == Activation::Linear
    }

    /// The mean of a loss over the values of each sample, by its kernel.
    pub(super) fn element_loss(
        &self,
        name: &str,
        workspace: &mut Workspace,
        loss: ElementLoss,
        target: &Target,
        weights: Option<&Tensor>,
        scale: f32,
    ) -> Result<LossOutput, NnError> {
        let (values, dims) = (&self.values, self.values.dims());
        let targets = target_tensor(name, target, dims)?;
        Rows::of(name, dims)?.check_weights(name, weights)?;
        let (per_sample, grad) =
            kernels::element_loss(workspace, loss, values, targets, weights, scale)?;
        self.back(workspace, LossOutput { per_sample, grad })
    }

    /// Takes a gradient with respect to the values back to the logits.
    pub(super) fn back(
        &self,
        workspace: &mut Workspace,
        loss: LossOutput,
    ) -> Result<LossOutput, NnError> {
        if self.activation == Activation::Linear {
            return Ok(loss);
        }
        let kept = match self.activation.keeps_output() {
            true => &self.values,
            false => &self.logits,
        };
        let grad = self.activation.backward(workspace, kept, &loss.grad)?;
        Ok(LossOutput { grad, ..loss })
    }
}

/// The targets, one number for each value of an output of shape `dims`.
pub(super) fn target_tensor<'a>(
    name: &str,
    target: &'a Target,
    dims: &[usize],
) -> Result<&'a Tensor, NnError> {
    let Target::Values(values) = target else {
        return Err(NnError::argument(name, "values", "labels"));
    };
    if !same_but_for_a_last_axis_of_one(values.dims(), dims) {
        let expected = format!("the output's, {dims:?}");
        let found = values.dims();
        return Err(NnError::shape(format!("{name}: targets"), expected, found));
    }
    Ok(values)
}

/// [`target_tensor`], opened.
pub(super) fn target_values<'a>(
    name: &str,
    target: &'a Target,
    dims: &[usize],
) -> Result<Slice<'a, f32>, NnError> {
    Ok(read::<f32>(target_tensor(name, target, dims)?)?)
}

/// Runs `row(index, predictions, gradient)` over all rows; it returns the loss of the row and leaves
/// its gradient. Applies weights, scale and the mean over the rows of a sample.
pub(super) fn each_row(
    name: &str,
    workspace: &mut Workspace,
    predictions: &Predictions,
    weights: Option<&Tensor>,
    scale: f32,
    mut row: impl FnMut(usize, &[f32], &mut [f32]) -> f64,
) -> Result<LossOutput, NnError> {
    let dims = predictions.values.dims();
    let rows = Rows::of(name, dims)?;
    let weights = rows.weights(name, weights)?;
    let per_sample = workspace.take(&[rows.samples], DType::F32)?;
    let grad = workspace.take(dims, DType::F32)?;
    let values = read::<f32>(&predictions.values)?;
    write2(
        &per_sample,
        &grad,
        |losses: &mut [f32], grad: &mut [f32]| {
            let size = rows.per_sample * rows.width;
            for (n, loss) in losses.iter_mut().enumerate() {
                let grad = &mut grad[n * size..][..size];
                let rows_of_sample = values[n * size..][..size]
                    .chunks_exact(rows.width)
                    .zip(grad.chunks_exact_mut(rows.width));
                let mut sum = 0.0;
                for (t, (values, grad)) in rows_of_sample.enumerate() {
                    sum += row(n * rows.per_sample + t, values, grad);
                }
                let weight = weights.as_ref().map_or(1.0, |weights| weights[n]);
                let factor = scale * weight / rows.per_sample as f32;
                grad.iter_mut().for_each(|g| *g *= factor);
                *loss = (sum / rows.per_sample as f64) as f32;
            }
        },
    )?;
    drop(values);
    predictions.back(workspace, LossOutput { per_sample, grad })
}

/// [`each_row`] with the values after the activation beside targets of the same shape:
/// `row(targets, predictions, gradient)`.
pub(super) fn each_row_of_values(
    name: &str,
    workspace: &mut Workspace,
    output: &Output,
    target: &Target,
    weights: Option<&Tensor>,
    scale: f32,
    row: impl Fn(&[f32], &[f32], &mut [f32]) -> f64,
) -> Result<LossOutput, NnError> {
    let targets = target_values(name, target, output.logits.dims())?;
    let predictions = Predictions::values(workspace, output)?;
    each_row(
        name,
        workspace,
        &predictions,
        weights,
        scale,
        |r, p, grad| row(&targets[r * p.len()..][..p.len()], p, grad),
    )
}

/// The mean over a row of `point(target, prediction)`, which returns a loss and its derivative by
/// the prediction.
pub(super) fn mean(
    targets: &[f32],
    predictions: &[f32],
    grad: &mut [f32],
    point: impl Fn(f64, f64) -> (f64, f64),
) -> f64 {
    let share = 1.0 / predictions.len() as f64;
    let mut sum = 0.0;
    for ((y, p), grad) in targets.iter().zip(predictions).zip(grad) {
        let (loss, slope) = point(f64::from(*y), f64::from(*p));
        sum += loss;
        *grad = (slope * share) as f32;
    }
    sum * share
}

/// Implements [`Loss`](super::Loss) for a type with a method
/// `row(&self, targets, predictions, gradient) -> f64`.
macro_rules! loss_of_rows {
    ($($loss:ident: $name:literal;)*) => {$(
        impl $crate::losses::Loss for $loss {
            fn name(&self) -> &'static str {
                $name
            }

            fn target_kind(&self) -> $crate::TargetKind {
                $crate::TargetKind::Values
            }

            fn compute(
                &self,
                workspace: &mut keros_tensor::Workspace,
                output: &$crate::Output,
                target: &$crate::Target,
                weights: Option<&keros_tensor::Tensor>,
                scale: f32,
            ) -> Result<$crate::losses::LossOutput, $crate::NnError> {
                $crate::losses::rows::each_row_of_values(
                    $name, workspace, output, target, weights, scale,
                    |y, p, grad| self.row(y, p, grad),
                )
            }
        }
    )*};
}
pub(super) use loss_of_rows;

/// A loss without arguments.
macro_rules! plain_loss {
    ($(#[$doc:meta])* $loss:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default)]
        pub struct $loss {}

        impl $loss {
            /// The loss.
            #[must_use]
            pub fn new() -> $loss {
                $loss {}
            }
        }
    };
}
pub(super) use plain_loss;
