//! Losses of single numbers, averaged over the last axis.

use super::rows::{loss_of_values, plain_loss};
use crate::setter::setter;
use keros_tensor::kernels::ElementLoss;

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

loss_of_values! {
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
