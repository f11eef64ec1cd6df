//! The loss of sequences whose labels are known, but not when each begins.

use super::rows::{Predictions, labels_of};
use super::{Loss, LossOutput};
use crate::activation::Activation;
use crate::error::NnError;
use crate::network::Output;
use crate::target::{Target, TargetKind};
use keros_tensor::access::read;
use keros_tensor::{Tensor, TensorError, Workspace, kernels};

/// Connectionist temporal classification, of outputs `[N, T, classes]` that are logits and labels `[N, L]`.
///
/// Class 0 is the blank: labels are from 1 on, and zeros fill the end of shorter sequences. An output needs a step for
/// each label and one more between two equal ones; Keras's loss is infinite where it has fewer, here that is an error.
///
/// Source: Graves et al. 2006; the formula is that of [`ctc_loss`](keros_tensor::kernels::ctc_loss).
#[doc(alias = "CTC")]
#[derive(Clone, Copy, Debug, Default)]
pub struct Ctc {}

impl Ctc {
    /// The loss.
    #[must_use]
    pub fn new() -> Ctc {
        Ctc {}
    }

    /// The labels as `[N, L]`, for an output `[N, T, classes]`.
    fn labels(self, output: &Output, target: &Target) -> Result<Tensor, NnError> {
        let (name, dims) = (self.name(), output.logits.dims());
        if matches!(output.activation, Activation::Softmax | Activation::Sigmoid) {
            let expected = "an output of logits, without a softmax";
            let found = format!("{:?}", output.activation);
            return Err(NnError::argument(name, expected, found));
        }
        let [samples, _, _] = *dims else {
            let expected = "[samples, steps, classes]";
            return Err(NnError::shape(format!("{name}: output"), expected, dims));
        };
        let labels = labels_of(name, target)?;
        match *labels.dims() {
            [found, _] if found == samples => Ok(labels.clone()),
            // One label each.
            [found] if found == samples => {
                Ok(labels.reshape((samples, 1)).map_err(TensorError::from)?)
            }
            _ => {
                let expected = format!("[{samples}, labels]");
                let found = labels.dims();
                Err(NnError::shape(format!("{name}: labels"), expected, found))
            }
        }
    }
}

impl Loss for Ctc {
    fn name(&self) -> &'static str {
        "ctc"
    }

    fn target_kind(&self) -> TargetKind {
        TargetKind::Labels
    }

    fn compute(
        &self,
        workspace: &mut Workspace,
        output: &Output,
        target: &Target,
        weights: Option<&Tensor>,
        scale: f32,
    ) -> Result<LossOutput, NnError> {
        let labels = self.labels(output, target)?;
        let predictions = Predictions::values(workspace, output)?;
        let (per_sample, grad) =
            kernels::ctc_loss(workspace, &predictions.values, &labels, weights, scale)?;
        predictions.back(workspace, LossOutput { per_sample, grad })
    }

    fn check_target(&self, output: &Output, target: &Target) -> Result<(), NnError> {
        let labels = self.labels(output, target)?;
        let (length, dims) = (labels.dims()[1], output.logits.dims());
        let labels = read::<u32>(&labels)?;
        Ok(kernels::check_ctc_labels(
            self.name(),
            &labels,
            length,
            dims[1],
            dims[2],
        )?)
    }

    /// One for each sample.
    fn values(&self, dims: &[usize]) -> usize {
        dims.first().copied().unwrap_or(1)
    }
}
