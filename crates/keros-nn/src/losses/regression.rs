//! Losses of single numbers, averaged over the last axis.

use super::rows::{Predictions, plain_loss};
use super::{Loss, LossOutput};
use crate::error::NnError;
use crate::network::Output;
use crate::setter::setter;
use crate::target::{Target, TargetKind};
use keros_tensor::kernels::ElementLoss;
use keros_tensor::{Tensor, Workspace};

plain_loss! {
    /// `(p - y)²`, averaged over the last axis.
    MeanSquaredError
}
plain_loss! {
    /// `|p - y|`, averaged over the last axis; where both are equal the gradient is 0.
    MeanAbsoluteError
}
plain_loss! {
    /// `100 · |y - p| / max(|y|, 1e-7)`, averaged over the last axis.
    MeanAbsolutePercentageError
}
plain_loss! {
    /// `(log(max(p, 1e-7) + 1) - log(max(y, 1e-7) + 1))²`, averaged over the last axis.
    MeanSquaredLogarithmicError
}
plain_loss! {
    /// `log cosh(p - y)`, averaged over the last axis: a square near 0, a distance far away.
    LogCosh
}
plain_loss! {
    /// `p - y · log(p + 1e-7)`, averaged over the last axis, for counts `y` and rates `p ≥ 0`.
    Poisson
}

/// `e² / 2` for an error `|e| ≤ delta`, `delta · |e| - delta² / 2` for a larger one, averaged over
/// the last axis.
#[derive(Clone, Copy, Debug)]
pub struct Huber {
    delta: f64,
}

impl Default for Huber {
    fn default() -> Self {
        Huber { delta: 1.0 }
    }
}

impl Huber {
    /// With `delta` 1.
    #[must_use]
    pub fn new() -> Huber {
        Huber::default()
    }

    setter! {
        /// Where the square becomes a line, at least 0.
        delta: 0.0..=f64::MAX
    }
}

macro_rules! regression {
    ($($loss:ident: $name:literal, $element:expr;)*) => {$(
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
                let loss = $element(self);
                predictions.element_loss($name, workspace, loss, target, weights, scale)
            }
        }
    )*};
}

regression! {
    MeanSquaredError: "mean_squared_error", |_| ElementLoss::SquaredError;
    MeanAbsoluteError: "mean_absolute_error", |_| ElementLoss::AbsoluteError;
    MeanAbsolutePercentageError: "mean_absolute_percentage_error",
        |_| ElementLoss::AbsolutePercentageError;
    MeanSquaredLogarithmicError: "mean_squared_logarithmic_error",
        |_| ElementLoss::SquaredLogarithmicError;
    Huber: "huber", |loss: &Huber| ElementLoss::Huber { delta: loss.delta };
    LogCosh: "log_cosh", |_| ElementLoss::LogCosh;
    Poisson: "poisson", |_| ElementLoss::Poisson;
}
