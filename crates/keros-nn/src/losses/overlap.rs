//! Losses of how far two masks overlap, over the whole batch or each sample.

use super::rows::Predictions;
use super::{EPSILON, Loss, LossOutput};
use crate::error::NnError;
use crate::network::Output;
use crate::setter::setter;
use crate::target::{Target, TargetKind};
use keros_tensor::kernels::Overlap;
use keros_tensor::{Tensor, Workspace};

/// `1 - 2 Σ y·p / (Σ y + Σ p + 1e-7)` over all values of the batch, for masks `y` and `p` in [0, 1].
///
/// The loss of the batch is one number: every sample has it as its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dice {
    each_sample: bool,
}

impl Dice {
    /// Over the whole batch, as in Keras.
    #[must_use]
    pub fn new() -> Dice {
        Dice::default()
    }

    setter! {
        /// Whether each sample has a loss of its own: Keras's `axis` with all but the batch axis.
        /// Default false.
        each_sample: bool
    }
}

/// `1 - I / (I + alpha · Σ y·(1-p) + beta · Σ p·(1-y) + 1e-7)` with `I = Σ y·p`, over all values of
/// the batch; [`Dice`] for `alpha = beta = 0.5`.
///
/// Source: Salehi et al. 2017, arXiv:1706.05721; which sum `alpha` weighs is as in Keras.
#[derive(Clone, Copy, Debug)]
pub struct Tversky {
    alpha: f64,
    beta: f64,
    each_sample: bool,
}

impl Default for Tversky {
    fn default() -> Self {
        Tversky {
            alpha: 0.5,
            beta: 0.5,
            each_sample: false,
        }
    }
}

impl Tversky {
    /// Over the whole batch, with `alpha` and `beta` 0.5, as in Keras.
    #[must_use]
    pub fn new() -> Tversky {
        Tversky::default()
    }

    setter! {
        /// Weight of what is in the target and not in the prediction, at least 0.
        alpha: 0.0..=f64::MAX
    }
    setter! {
        /// Weight of what is in the prediction and not in the target, at least 0.
        beta: 0.0..=f64::MAX
    }
    setter! {
        /// Whether each sample has a loss of its own. Default false.
        each_sample: bool
    }
}

macro_rules! overlap {
    ($($loss:ident: $name:literal, $overlap:expr;)*) => {$(
        impl Loss for $loss {
            fn name(&self) -> &'static str {
                $name
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
                let predictions = Predictions::values(workspace, output)?;
                predictions.compare($name, workspace, $overlap(self), target, weights, scale)
            }

            fn values(&self, dims: &[usize]) -> usize {
                match self.each_sample {
                    true => dims.first().copied().unwrap_or(1),
                    false => 1,
                }
            }
        }
    )*};
}

overlap! {
    // Numerator and denominator are half of Dice's.
    Dice: "dice", |loss: &Dice| Overlap {
        missed: 0.5,
        excess: 0.5,
        fuzz: EPSILON / 2.0,
        each_sample: loss.each_sample,
    };
    Tversky: "tversky", |loss: &Tversky| Overlap {
        missed: loss.alpha,
        excess: loss.beta,
        fuzz: EPSILON,
        each_sample: loss.each_sample,
    };
}
