//! Losses of single numbers, averaged over the last axis.

use super::EPSILON;
use super::rows::{loss_of_rows, mean, plain_loss};
use crate::setter::setter;

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

    fn row(&self, y: &[f32], p: &[f32], grad: &mut [f32]) -> f64 {
        let delta = self.delta;
        mean(y, p, grad, |y, p| {
            let error = p - y;
            match error.abs() <= delta {
                true => (0.5 * error * error, error),
                false => (
                    delta * error.abs() - 0.5 * delta * delta,
                    delta * sign(error),
                ),
            }
        })
    }
}

impl MeanSquaredError {
    fn row(&self, y: &[f32], p: &[f32], grad: &mut [f32]) -> f64 {
        mean(y, p, grad, |y, p| ((p - y) * (p - y), 2.0 * (p - y)))
    }
}

impl MeanAbsoluteError {
    fn row(&self, y: &[f32], p: &[f32], grad: &mut [f32]) -> f64 {
        mean(y, p, grad, |y, p| ((p - y).abs(), sign(p - y)))
    }
}

impl MeanAbsolutePercentageError {
    fn row(&self, y: &[f32], p: &[f32], grad: &mut [f32]) -> f64 {
        mean(y, p, grad, |y, p| {
            let percent = 100.0 / y.abs().max(EPSILON);
            (percent * (p - y).abs(), percent * sign(p - y))
        })
    }
}

impl MeanSquaredLogarithmicError {
    fn row(&self, y: &[f32], p: &[f32], grad: &mut [f32]) -> f64 {
        mean(y, p, grad, |y, p| {
            let (y, floor) = (y.max(EPSILON), p.max(EPSILON));
            let error = floor.ln_1p() - y.ln_1p();
            let slope = if p >= EPSILON {
                2.0 * error / (floor + 1.0)
            } else {
                0.0
            };
            (error * error, slope)
        })
    }
}

impl LogCosh {
    fn row(&self, y: &[f32], p: &[f32], grad: &mut [f32]) -> f64 {
        mean(y, p, grad, |y, p| {
            let error = p - y;
            // The same as `log cosh`, without an exponential that overflows.
            let far = error.abs();
            let loss = far + (-2.0 * far).exp().ln_1p() - std::f64::consts::LN_2;
            (loss, error.tanh())
        })
    }
}

impl Poisson {
    fn row(&self, y: &[f32], p: &[f32], grad: &mut [f32]) -> f64 {
        mean(y, p, grad, |y, p| {
            (p - y * (p + EPSILON).ln(), 1.0 - y / (p + EPSILON))
        })
    }
}

loss_of_rows! {
    MeanSquaredError: "mean_squared_error";
    MeanAbsoluteError: "mean_absolute_error";
    MeanAbsolutePercentageError: "mean_absolute_percentage_error";
    MeanSquaredLogarithmicError: "mean_squared_logarithmic_error";
    Huber: "huber";
    LogCosh: "log_cosh";
    Poisson: "poisson";
}

/// -1, 0 or 1; `f64::signum` has no 0.
fn sign(x: f64) -> f64 {
    if x == 0.0 { 0.0 } else { x.signum() }
}
