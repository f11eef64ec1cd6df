//! The one scheme of all losses: rows of predictions beside rows of targets.

use super::LossOutput;
use crate::activation::Activation;
use crate::error::NnError;
use crate::network::Output;
use crate::target::Target;
use keros_tensor::access::{Slice, read};
use keros_tensor::kernels::{self, ElementLoss, LabelLoss, Overlap, RowLoss};
use keros_tensor::{Tensor, Workspace};

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
    pub(super) fn check_weights(self, name: &str, weights: Option<&Tensor>) -> Result<(), NnError> {
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

/// The shape in which an output of shape `dims` meets a target: as Keras squeezes it, without a last axis
/// of length 1 that a target of at least two axes lacks. The rows are then those of the target.
pub(crate) fn squeezed<'a>(dims: &'a [usize], target: &[usize]) -> &'a [usize] {
    match dims {
        [rest @ .., 1] if rest.len() >= 2 && rest == target => rest,
        _ => dims,
    }
}

/// What the values of an output mean to a cross-entropy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Logits,
    Probabilities,
}

/// What computes a loss of targets and predictions of one shape.
pub(super) enum LossKernel {
    Element(ElementLoss),
    Row(RowLoss),
    Overlap(Overlap),
}

impl From<ElementLoss> for LossKernel {
    fn from(loss: ElementLoss) -> LossKernel {
        LossKernel::Element(loss)
    }
}

impl From<RowLoss> for LossKernel {
    fn from(loss: RowLoss) -> LossKernel {
        LossKernel::Row(loss)
    }
}

impl From<Overlap> for LossKernel {
    fn from(overlap: Overlap) -> LossKernel {
        LossKernel::Overlap(overlap)
    }
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

    /// A loss of these values and targets of their shape, by its kernel.
    pub(super) fn compare(
        &self,
        name: &str,
        workspace: &mut Workspace,
        loss: impl Into<LossKernel>,
        target: &Target,
        weights: Option<&Tensor>,
        scale: f32,
    ) -> Result<LossOutput, NnError> {
        let targets = target_tensor(name, target, self.values.dims())?;
        let dims = squeezed(self.values.dims(), targets.dims());
        Rows::of(name, dims)?.check_weights(name, weights)?;
        let values = &self.values.reshape(dims)?;
        let (per_sample, grad) = match loss.into() {
            LossKernel::Element(loss) => {
                kernels::element_loss(workspace, loss, values, targets, weights, scale)?
            }
            LossKernel::Row(loss) => {
                kernels::row_loss(workspace, loss, values, targets, weights, scale)?
            }
            LossKernel::Overlap(overlap) => {
                kernels::overlap_loss(workspace, overlap, values, targets, weights, scale)?
            }
        };
        let grad = grad.reshape(self.values.dims())?;
        self.back(workspace, LossOutput { per_sample, grad })
    }

    /// A loss of these values and a label for each of their rows, by its kernel.
    pub(super) fn compare_labels(
        &self,
        workspace: &mut Workspace,
        loss: LabelLoss,
        labels: &Tensor,
        weights: Option<&Tensor>,
        scale: f32,
    ) -> Result<LossOutput, NnError> {
        let (per_sample, grad) =
            kernels::label_loss(workspace, loss, &self.values, labels, weights, scale)?;
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

/// The targets as labels.
pub(super) fn labels_of<'a>(name: &str, target: &'a Target) -> Result<&'a Tensor, NnError> {
    match target {
        Target::Labels(labels) => Ok(labels),
        Target::Values(_) => Err(NnError::argument(name, "labels", "values")),
    }
}

/// The labels, one for each row of an output of shape `dims`.
pub(super) fn label_of_each_row<'a>(
    name: &str,
    target: &'a Target,
    dims: &[usize],
) -> Result<&'a Tensor, NnError> {
    let (labels, rows) = (labels_of(name, target)?, Rows::of(name, dims)?);
    let found = labels.dims();
    if labels.elem_count() == rows.count() && found.first() == Some(&rows.samples) {
        return Ok(labels);
    }
    let shape = &dims[..dims.len().max(2) - 1];
    let expected = format!("{shape:?}, one for each row of the output");
    Err(NnError::shape(format!("{name}: labels"), expected, found))
}

/// Implements [`Loss`](super::Loss) for a loss of values after the activation, by the kernel that an
/// expression makes of it.
macro_rules! loss_of_values {
    ($($loss:ident: $name:literal, $kernel:expr;)*) => {$(
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
                let predictions = $crate::losses::rows::Predictions::values(workspace, output)?;
                predictions.compare($name, workspace, $kernel(self), target, weights, scale)
            }
        }
    )*};
}
pub(super) use loss_of_values;

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
