//! Losses: a number per sample and the gradient of the batch's mean.

use crate::activation::Activation;
use crate::error::NnError;
use crate::network::Output;
use crate::target::{Target, TargetKind};
use keros_tensor::access::{read, write2};
use keros_tensor::{DType, Tensor, Workspace, kernels};
use std::str::FromStr;

/// What a loss makes of a batch.
pub struct LossOutput {
    /// `[N]` f32: the loss of each sample, unweighted.
    pub per_sample: Tensor,
    /// Gradient of `scale · Σ weight · loss` with respect to the output's logits.
    pub grad: Tensor,
}

/// A measure of how far outputs are from targets, to be minimized.
pub trait Loss {
    /// Keras's name, such as `sparse_categorical_crossentropy`.
    fn name(&self) -> &'static str;

    /// The form of the targets.
    fn target_kind(&self) -> TargetKind;

    /// The loss of each sample and the gradient.
    ///
    /// `weights` (`[N]` f32) multiply the samples; the gradient is further multiplied by `scale`,
    /// 1/N for the mean over a batch. Keras's rule: the divisor is the number of samples, not the
    /// sum of the weights.
    ///
    /// # Errors
    /// Targets of another form or shape, a label that names no class, an output without the
    /// activation this loss needs.
    fn compute(
        &self,
        workspace: &mut Workspace,
        output: &Output,
        target: &Target,
        weights: Option<&Tensor>,
        scale: f32,
    ) -> Result<LossOutput, NnError>;
}

impl FromStr for Box<dyn Loss> {
    type Err = NnError;

    /// Keras's names: `sparse_categorical_crossentropy`, `categorical_crossentropy`,
    /// `mean_squared_error` and `mse`.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "sparse_categorical_crossentropy" => Ok(Box::new(SparseCategoricalCrossentropy::new())),
            "categorical_crossentropy" => Ok(Box::new(CategoricalCrossentropy::new())),
            "mean_squared_error" | "mse" => Ok(Box::new(MeanSquaredError::new())),
            _ => Err(NnError::UnknownName {
                kind: "loss",
                name: name.to_owned(),
                known: &[
                    "sparse_categorical_crossentropy",
                    "categorical_crossentropy",
                    "mean_squared_error",
                    "mse",
                ],
            }),
        }
    }
}

/// Both crossentropies take a softmax output, or logits from a linear one if told so.
fn check_logits(name: &str, output: &Output, from_logits: bool) -> Result<(), NnError> {
    let needed = match from_logits {
        true => Activation::Linear,
        false => Activation::Softmax,
    };
    if output.activation != needed {
        let expected =
            format!("an output with activation {needed:?} (from_logits = {from_logits})");
        return Err(NnError::argument(
            name,
            expected,
            format!("{:?}", output.activation),
        ));
    }
    Ok(())
}

macro_rules! crossentropy {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default)]
        pub struct $name {
            from_logits: bool,
        }

        impl $name {
            /// For a network that ends in a softmax.
            #[must_use]
            pub fn new() -> Self {
                Self::default()
            }

            /// Whether the network ends in plain logits instead of a softmax.
            #[must_use]
            pub fn from_logits(mut self, from_logits: bool) -> Self {
                self.from_logits = from_logits;
                self
            }
        }
    };
}

crossentropy! {
    /// `-log softmax(logits)[label]` for integer labels, computed from the logits without clipping.
    SparseCategoricalCrossentropy
}
crossentropy! {
    /// `-Σ target · log softmax(logits)` for targets of the output's shape, such as one-hot rows.
    CategoricalCrossentropy
}

impl Loss for SparseCategoricalCrossentropy {
    fn name(&self) -> &'static str {
        "sparse_categorical_crossentropy"
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
        check_logits(self.name(), output, self.from_logits)?;
        let Target::Labels(labels) = target else {
            return Err(NnError::argument(self.name(), "labels", "values"));
        };
        let logits = &output.logits;
        let (per_sample, grad) =
            kernels::softmax_cross_entropy(workspace, logits, labels, weights, scale)?;
        Ok(LossOutput { per_sample, grad })
    }
}

impl Loss for CategoricalCrossentropy {
    fn name(&self) -> &'static str {
        "categorical_crossentropy"
    }

    fn target_kind(&self) -> TargetKind {
        TargetKind::Values
    }

    fn compute(
        &self,
        workspace: &mut Workspace,
        output: &Output,
        target: &Target,
        weights: Option<&Tensor>,
        scale: f32,
    ) -> Result<LossOutput, NnError> {
        check_logits(self.name(), output, self.from_logits)?;
        let Target::Values(values) = target else {
            return Err(NnError::argument(self.name(), "values", "labels"));
        };
        let logits = &output.logits;
        let (per_sample, grad) =
            kernels::categorical_cross_entropy(workspace, logits, values, weights, scale)?;
        Ok(LossOutput { per_sample, grad })
    }
}

/// Mean of `(output - target)²` over all values of a sample.
#[derive(Clone, Copy, Debug, Default)]
pub struct MeanSquaredError {}

impl MeanSquaredError {
    /// The loss.
    #[must_use]
    pub fn new() -> MeanSquaredError {
        MeanSquaredError {}
    }
}

impl Loss for MeanSquaredError {
    fn name(&self) -> &'static str {
        "mean_squared_error"
    }

    fn target_kind(&self) -> TargetKind {
        TargetKind::Values
    }

    fn compute(
        &self,
        workspace: &mut Workspace,
        output: &Output,
        target: &Target,
        weights: Option<&Tensor>,
        scale: f32,
    ) -> Result<LossOutput, NnError> {
        if output.activation != Activation::Linear {
            let found = format!("{:?}", output.activation);
            return Err(NnError::argument(self.name(), "a linear output", found));
        }
        let Target::Values(values) = target else {
            return Err(NnError::argument(self.name(), "values", "labels"));
        };
        squared_errors(workspace, &output.logits, values, weights, scale)
    }
}

fn squared_errors(
    workspace: &mut Workspace,
    outputs: &Tensor,
    targets: &Tensor,
    weights: Option<&Tensor>,
    scale: f32,
) -> Result<LossOutput, NnError> {
    let dims = outputs.dims();
    if targets.dims() != dims || dims.contains(&0) {
        let expected = format!("the output's, {dims:?}");
        return Err(NnError::shape(
            "mean_squared_error: targets",
            expected,
            targets.dims(),
        ));
    }
    let samples = dims.first().copied().unwrap_or(1);
    let size = outputs.elem_count() / samples;
    let per_sample = workspace.take(&[samples], DType::F32)?;
    let grad = workspace.take(dims, DType::F32)?;
    let (outputs, targets) = (read::<f32>(outputs)?, read::<f32>(targets)?);
    let weights = weights.map(read::<f32>).transpose()?;
    write2(
        &per_sample,
        &grad,
        |losses: &mut [f32], grad: &mut [f32]| {
            for (n, loss) in losses.iter_mut().enumerate() {
                let weight = weights.as_ref().map_or(1.0, |weights| weights[n]);
                let factor = 2.0 * scale * weight / size as f32;
                let range = n * size..(n + 1) * size;
                let mut sum = 0.0;
                for i in range {
                    let error = outputs[i] - targets[i];
                    sum += error * error;
                    grad[i] = factor * error;
                }
                *loss = sum / size as f32;
            }
        },
    )?;
    Ok(LossOutput { per_sample, grad })
}
