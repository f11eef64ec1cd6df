//! Losses: a number per sample and the gradient of the batch's loss.
//!
//! All losses of Keras with their arguments and defaults. A loss is computed in f64 from f32 values,
//! and its gradient is written out. Only the categorical cross-entropies of logits, which
//! [`kernels`](keros_tensor::kernels) compute, are in f32 throughout.
//!
//! A GPU computes all of them, and a step with them waits for nothing. Masks of
//! [`ignore_class`](SparseCategoricalCrossentropy::ignore_class) and the sum of weights of
//! [`Reduction::MeanWithSampleWeight`] are those of the host.
//!
//! **Which values a loss sees.** An [`Output`] carries the values before the network's last
//! activation. A cross-entropy whose activation that is (softmax for the categorical ones, sigmoid
//! for the binary ones) works on those logits, and nothing is clipped, as Keras does on TensorFlow; but
//! [`CategoricalFocalCrossentropy`] clips the probabilities that logits stand for.
//! Every other combination works on the values after the activation, clipped where Keras clips, and
//! its gradient is taken back through the activation; with `from_logits` they are taken for logits.
//! NaN of a prediction that counts is NaN of its sample's loss, whatever is clipped.
//!
//! **Shapes.** A loss is a mean (or sum, as its formula says) over the last axis; axes between the
//! batch axis and the last one are averaged, so that an output `[B, T, C]` is divided by `B · T`.
//! An output of rank 1 counts as `[B, 1]`, and one `[B, T, 1]` beside targets `[B, T]` as `[B, T]`.
//! [`Ctc`] has a loss for each sequence, and [`Circle`] compares the samples of a batch with each other.

mod binary;
mod categorical;
mod circle;
mod ctc;
mod distance;
mod overlap;
mod regression;
mod rows;

pub use binary::{BinaryCrossentropy, BinaryFocalCrossentropy};
pub use categorical::{
    CategoricalCrossentropy, CategoricalFocalCrossentropy, CategoricalGeneralizedCrossEntropy,
    SparseCategoricalCrossentropy,
};
pub use circle::Circle;
pub use ctc::Ctc;
pub use distance::{CategoricalHinge, CosineSimilarity, Hinge, KLDivergence, SquaredHinge};
pub use overlap::{Dice, Tversky};
pub use regression::{
    Huber, LogCosh, MeanAbsoluteError, MeanAbsolutePercentageError, MeanSquaredError,
    MeanSquaredLogarithmicError, Poisson,
};

pub(crate) use rows::{Rows, same_but_for_a_last_axis_of_one, squeezed};

use crate::error::NnError;
use crate::network::Output;
use crate::target::{Target, TargetKind};
use keros_tensor::access::read;
use keros_tensor::{Tensor, Workspace};
use std::str::FromStr;

/// Keras's fuzz factor, the f32 nearest to 1e-7.
pub(crate) const EPSILON: f64 = 1e-7_f32 as f64;

/// What a loss makes of a batch.
pub struct LossOutput {
    /// `[N]` f32: the loss of each sample, unweighted. Keras's reduction `none`.
    pub per_sample: Tensor,
    /// Gradient of `scale · Σ weight · loss` with respect to the output's logits.
    pub grad: Tensor,
}

/// How the losses of a batch become one number.
///
/// Keras's reduction `none` is [`LossOutput::per_sample`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reduction {
    /// `Σ weight · loss / N`: the divisor is the number of losses, not the sum of the weights.
    #[default]
    SumOverBatchSize,
    /// `Σ weight · loss`
    Sum,
    /// `Σ weight · loss / Σ weight`, and 0 if all weights are 0.
    MeanWithSampleWeight,
}

impl FromStr for Reduction {
    type Err = NnError;

    /// Keras's names: `sum_over_batch_size` and its synonym `mean`, `sum`,
    /// `mean_with_sample_weight`.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "sum_over_batch_size" | "mean" => Ok(Reduction::SumOverBatchSize),
            "sum" => Ok(Reduction::Sum),
            "mean_with_sample_weight" => Ok(Reduction::MeanWithSampleWeight),
            _ => Err(NnError::UnknownName {
                kind: "reduction",
                name: name.to_owned(),
                known: &[
                    "sum_over_batch_size",
                    "mean",
                    "sum",
                    "mean_with_sample_weight",
                ],
            }),
        }
    }
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
    /// which is [`Loss::scale`] for the gradient of the batch's loss.
    ///
    /// # Errors
    /// Targets of another form or shape, a label that names no class (on a GPU it makes NaN of the loss
    /// and of its gradient instead), `from_logits` with an output that a softmax or sigmoid has made.
    fn compute(
        &self,
        workspace: &mut Workspace,
        output: &Output,
        target: &Target,
        weights: Option<&Tensor>,
        scale: f32,
    ) -> Result<LossOutput, NnError>;

    /// Whether the targets can be compared with the output, as far as only their values tell, such
    /// as labels that name no class. The trainer asks with targets on the host where a GPU computes
    /// the loss, which cannot refuse a value without being waited for. Default: they can.
    ///
    /// # Errors
    /// As [`Loss::compute`].
    fn check_target(&self, output: &Output, target: &Target) -> Result<(), NnError> {
        let _ = (output, target);
        Ok(())
    }

    /// How the losses become one number. Default: [`Reduction::SumOverBatchSize`].
    fn reduction(&self) -> Reduction {
        Reduction::default()
    }

    /// How many numbers Keras's function returns for outputs of shape `dims`: one for each row of
    /// the last axis, unless the loss overrides it. The reduction `sum` adds them all.
    fn values(&self, dims: &[usize]) -> usize {
        match dims {
            [samples] => *samples,
            [leading @ .., _] => leading.iter().product(),
            [] => 1,
        }
    }

    /// For each of these numbers whether it counts; `None` if all do.
    ///
    /// # Errors
    /// Targets of another form.
    fn mask(&self, target: &Target) -> Result<Option<Vec<bool>>, NnError> {
        let _ = target;
        Ok(None)
    }

    /// The factor `s` for which the batch's loss is `s · Σ weight · loss`.
    ///
    /// It is what the [reduction](Loss::reduction) says: `1/N` for N samples by default. A loss
    /// that leaves values out divides by the number of those that count.
    ///
    /// # Errors
    /// Targets of another form, weights that cannot be read.
    fn scale(
        &self,
        output: &Output,
        target: &Target,
        weights: Option<&Tensor>,
    ) -> Result<f64, NnError> {
        let dims = match target {
            Target::Values(values) => squeezed(output.logits.dims(), values.dims()),
            Target::Labels(_) => output.logits.dims(),
        };
        let samples = dims.first().copied().unwrap_or(1).max(1);
        let mask = self.mask(target)?;
        let divisor = match self.reduction() {
            Reduction::Sum => match self.values(dims).max(1) {
                // The one number of a whole batch is multiplied by each of the weights.
                1 if weights.is_some() => 1.0,
                values => samples as f64 / values as f64,
            },
            Reduction::SumOverBatchSize => match mask {
                None => samples as f64,
                Some(mask) => {
                    let counted = mask.iter().filter(|counts| **counts).count();
                    (samples * counted) as f64 / mask.len().max(1) as f64
                }
            },
            Reduction::MeanWithSampleWeight => {
                let per_sample = mask.as_ref().map_or(1, |mask| mask.len() / samples).max(1);
                let weights = weights.map(read::<f32>).transpose()?;
                let mut sum = 0.0;
                for row in 0..samples * per_sample {
                    if mask.as_ref().is_none_or(|mask| mask[row]) {
                        let sample = row / per_sample;
                        let weight = |weights: &[f32]| weights.get(sample).copied();
                        let weight = weights.as_deref().map_or(Some(1.0), weight);
                        sum += f64::from(weight.unwrap_or_default());
                    }
                }
                sum / per_sample as f64
            }
        };
        Ok(if divisor == 0.0 { 0.0 } else { 1.0 / divisor })
    }

    /// This loss with another reduction.
    fn with_reduction(self, reduction: Reduction) -> Reduced<Self>
    where
        Self: Sized,
    {
        Reduced {
            loss: self,
            reduction,
        }
    }
}

/// A loss with a reduction of its own, from [`Loss::with_reduction`].
#[derive(Clone, Copy, Debug)]
pub struct Reduced<L> {
    loss: L,
    reduction: Reduction,
}

impl<L: Loss> Loss for Reduced<L> {
    fn name(&self) -> &'static str {
        self.loss.name()
    }

    fn target_kind(&self) -> TargetKind {
        self.loss.target_kind()
    }

    fn compute(
        &self,
        workspace: &mut Workspace,
        output: &Output,
        target: &Target,
        weights: Option<&Tensor>,
        scale: f32,
    ) -> Result<LossOutput, NnError> {
        self.loss.compute(workspace, output, target, weights, scale)
    }

    fn check_target(&self, output: &Output, target: &Target) -> Result<(), NnError> {
        self.loss.check_target(output, target)
    }

    fn reduction(&self) -> Reduction {
        self.reduction
    }

    fn values(&self, dims: &[usize]) -> usize {
        self.loss.values(dims)
    }

    fn mask(&self, target: &Target) -> Result<Option<Vec<bool>>, NnError> {
        self.loss.mask(target)
    }
}

/// The names of a list of losses, and the list by name.
macro_rules! named {
    ($($loss:ident: $name:literal $(| $alias:literal)*;)*) => {
        impl FromStr for Box<dyn Loss> {
            type Err = NnError;

            /// Keras's names, for the default arguments: the class in snake case, such as
            /// `sparse_categorical_crossentropy`, and the short ones: `bce`, `mse`, `mae`, `mape`,
            /// `msle`, `kld`.
            fn from_str(name: &str) -> Result<Self, Self::Err> {
                match name {
                    $($name $(| $alias)* => Ok(Box::new($loss::new())),)*
                    _ => Err(NnError::UnknownName {
                        kind: "loss",
                        name: name.to_owned(),
                        known: &[$($name $(, $alias)*),*],
                    }),
                }
            }
        }
    };
}

named! {
    SparseCategoricalCrossentropy: "sparse_categorical_crossentropy";
    CategoricalCrossentropy: "categorical_crossentropy";
    CategoricalFocalCrossentropy: "categorical_focal_crossentropy";
    CategoricalGeneralizedCrossEntropy: "categorical_generalized_cross_entropy";
    BinaryCrossentropy: "binary_crossentropy" | "bce";
    BinaryFocalCrossentropy: "binary_focal_crossentropy";
    MeanSquaredError: "mean_squared_error" | "mse";
    MeanAbsoluteError: "mean_absolute_error" | "mae";
    MeanAbsolutePercentageError: "mean_absolute_percentage_error" | "mape";
    MeanSquaredLogarithmicError: "mean_squared_logarithmic_error" | "msle";
    Huber: "huber";
    LogCosh: "log_cosh" | "logcosh";
    KLDivergence: "kl_divergence" | "kullback_leibler_divergence" | "kld";
    Poisson: "poisson";
    Hinge: "hinge";
    SquaredHinge: "squared_hinge";
    CategoricalHinge: "categorical_hinge";
    CosineSimilarity: "cosine_similarity";
    Dice: "dice";
    Tversky: "tversky";
    Circle: "circle";
    Ctc: "ctc";
}
