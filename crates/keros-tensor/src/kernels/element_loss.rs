//! Losses that are a function of each target and its prediction, with their gradients in one pass.

use candle_core::Tensor;

use super::elementwise::map;
use super::loss::LossRows;
use super::math::at_least;
use crate::{TensorError, Workspace, access};

/// Keras's fuzz factor, the f32 nearest to 1e-7.
const EPSILON: f64 = 1e-7_f32 as f64;

/// A loss of a target `y` and a prediction `p`, with Keras's definitions.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum ElementLoss {
    /// `(p - y)²`.
    SquaredError,
    /// `|p - y|`; where both are equal the gradient is 0.
    AbsoluteError,
    /// `100 · |y - p| / max(|y|, 1e-7)`.
    AbsolutePercentageError,
    /// `(log(max(p, 1e-7) + 1) - log(max(y, 1e-7) + 1))²`.
    SquaredLogarithmicError,
    /// `e² / 2` for an error `|e| ≤ delta`, `delta · |e| - delta² / 2` for a larger one.
    Huber {
        /// Where the square becomes a line, at least 0.
        delta: f64,
    },
    /// `log cosh(p - y)`.
    LogCosh,
    /// `p - y · log(p + 1e-7)`.
    Poisson,
    /// `max(1 - y · p, 0)`, for targets as [`hinge_targets`] makes them.
    Hinge,
    /// `max(1 - y · p, 0)²`, for the same targets.
    SquaredHinge,
    /// `-(y · log p + (1 - y) · log(1 - p))`.
    BinaryCrossentropy {
        /// Whether the predictions are logits; otherwise they are probabilities, which are clipped
        /// to [1e-7, 1 - 1e-7].
        logits: bool,
        /// `s` in `y · (1 - s) + s / 2`, which is used for `y`.
        label_smoothing: f64,
    },
    /// `(1 - p_t)^gamma` times the binary cross-entropy, where `p_t` is the probability of the true
    /// class, `y · p + (1 - y) · (1 - p)` (Lin et al. 2018, arXiv:1708.02002).
    BinaryFocalCrossentropy {
        /// As for the cross-entropy.
        logits: bool,
        /// As for the cross-entropy.
        label_smoothing: f64,
        /// At least 0.
        gamma: f64,
        /// Multiplies by `y · alpha + (1 - y) · (1 - alpha)`; from 0 to 1, or none.
        alpha: Option<f64>,
    },
}

/// The loss of each sample, a mean over its elements, and the gradient.
///
/// `predictions`: `[N, …]`, at least one element for each sample; `targets`: as many elements, in any
/// shape; `weights`: `[N]`.
///
/// Returns the losses `[N]`, neither weighted nor scaled, and the gradient of
/// `scale * Σ_n weight_n loss_n`, as `predictions`.
/// All is calculated in double precision.
///
/// # Errors
/// See [the module](super).
pub fn element_loss(
    ws: &mut Workspace,
    loss: ElementLoss,
    predictions: &Tensor,
    targets: &Tensor,
    weights: Option<&Tensor>,
    scale: f32,
) -> Result<(Tensor, Tensor), TensorError> {
    const OP: &str = "loss of elements";
    let shape = LossRows::beside(OP, predictions, targets, weights)?;
    on_gpu!(predictions, |gpu| cuda::element_loss::element_loss(
        gpu,
        ws,
        loss,
        predictions,
        targets,
        shape,
        weights,
        scale
    ));
    let y = access::read::<f32>(targets)?;
    let y = &*y;
    shape.each_sample(ws, predictions, weights, scale, |n, p, grads| {
        loss.rows(shape.width, &y[n * p.len()..][..p.len()], p, grads)
    })
}

/// Targets of a hinge: -1 and 1 for those that are all 0 or 1, and others as they are; it is decided
/// for all of them together.
///
/// # Errors
/// See [the module](super).
pub fn hinge_targets(ws: &mut Workspace, targets: &Tensor) -> Result<Tensor, TensorError> {
    on_gpu!(targets, |gpu| cuda::element_loss::hinge_targets(
        gpu, ws, targets
    ));
    let binary = access::read::<f32>(targets)?
        .iter()
        .all(|y| *y == 0.0 || *y == 1.0);
    match binary {
        true => map(ws, targets, |y| 2.0 * y - 1.0),
        false => Ok(targets.clone()),
    }
}

impl ElementLoss {
    /// The sum over rows of `width` elements of each row's mean; leaves the gradients of the means.
    fn rows(self, width: usize, y: &[f32], p: &[f32], grads: &mut [f32]) -> f64 {
        // Each formula has a loop of its own.
        match self {
            ElementLoss::SquaredError => rows(width, y, p, grads, |y, p| {
                let error = p - y;
                (error * error, 2.0 * error)
            }),
            ElementLoss::AbsoluteError => {
                rows(width, y, p, grads, |y, p| ((p - y).abs(), sign(p - y)))
            }
            ElementLoss::AbsolutePercentageError => rows(width, y, p, grads, |y, p| {
                let percent = 100.0 / y.abs().max(EPSILON);
                (percent * (p - y).abs(), percent * sign(p - y))
            }),
            ElementLoss::SquaredLogarithmicError => rows(width, y, p, grads, |y, p| {
                let (y, floor) = (at_least(y, EPSILON), at_least(p, EPSILON));
                let error = floor.ln_1p() - y.ln_1p();
                let slope = match p < EPSILON {
                    true => 0.0,
                    false => 2.0 * error / (floor + 1.0),
                };
                (error * error, slope)
            }),
            ElementLoss::Huber { delta } => rows(width, y, p, grads, |y, p| {
                let error = p - y;
                match error.abs() <= delta {
                    true => (0.5 * error * error, error),
                    false => (
                        delta * error.abs() - 0.5 * delta * delta,
                        delta * sign(error),
                    ),
                }
            }),
            ElementLoss::LogCosh => rows(width, y, p, grads, |y, p| {
                let error = p - y;
                // The same as `log cosh`, without an exponential that overflows.
                let far = error.abs();
                let loss = far + (-2.0 * far).exp().ln_1p() - std::f64::consts::LN_2;
                (loss, error.tanh())
            }),
            ElementLoss::Poisson => rows(width, y, p, grads, |y, p| {
                (p - y * (p + EPSILON).ln(), 1.0 - y / (p + EPSILON))
            }),
            ElementLoss::Hinge => rows(width, y, p, grads, |y, p| {
                let margin = 1.0 - y * p;
                match margin <= 0.0 {
                    true => (0.0, 0.0),
                    false => (margin, -y),
                }
            }),
            ElementLoss::SquaredHinge => rows(width, y, p, grads, |y, p| {
                let margin = at_least(1.0 - y * p, 0.0);
                (margin * margin, -2.0 * y * margin)
            }),
            ElementLoss::BinaryCrossentropy {
                logits,
                label_smoothing,
            } => rows(width, y, p, grads, |y, p| {
                Binary::new(logits, smooth(y, label_smoothing), p).crossentropy
            }),
            ElementLoss::BinaryFocalCrossentropy {
                logits,
                label_smoothing,
                gamma,
                alpha,
            } => rows(width, y, p, grads, |y, p| {
                let y = smooth(y, label_smoothing);
                Binary::new(logits, y, p).focal(y, gamma, alpha)
            }),
        }
    }
}

/// The sum of the means over rows of `point(target, prediction)`, which returns a loss and its
/// derivative by the prediction.
fn rows(
    width: usize,
    y: &[f32],
    p: &[f32],
    grads: &mut [f32],
    point: impl Fn(f64, f64) -> (f64, f64),
) -> f64 {
    let share = 1.0 / width as f64;
    let rows = y.chunks_exact(width).zip(p.chunks_exact(width));
    rows.zip(grads.chunks_exact_mut(width))
        .map(|((y, p), grads)| {
            let mut sum = 0.0;
            for ((y, p), grad) in y.iter().zip(p).zip(grads) {
                let (loss, slope) = point(f64::from(*y), f64::from(*p));
                sum += loss;
                *grad = (slope * share) as f32;
            }
            sum * share
        })
        .sum()
}

/// What one prediction is for a target.
struct Binary {
    /// The probability, and its derivative by the prediction.
    probability: (f64, f64),
    /// The cross-entropy, and its derivative by the prediction.
    crossentropy: (f64, f64),
}

impl Binary {
    fn new(logits: bool, y: f64, p: f64) -> Binary {
        if logits {
            let probability = 1.0 / (1.0 + (-p).exp());
            let loss = p.max(0.0) - p * y + (-p.abs()).exp().ln_1p();
            return Binary {
                probability: (probability, probability * (1.0 - probability)),
                crossentropy: (loss, probability - y),
            };
        }
        // The upper bound as f32 rounds it.
        let clipped = p.clamp(EPSILON, f64::from(1.0 - 1e-7_f32));
        let loss = -(y * clipped.ln() + (1.0 - y) * (1.0 - clipped).ln());
        let inside = p == clipped;
        let slope = if inside {
            (p - y) / (p * (1.0 - p))
        } else {
            0.0
        };
        Binary {
            probability: (p, 1.0),
            crossentropy: (loss, slope),
        }
    }

    fn focal(&self, y: f64, gamma: f64, alpha: Option<f64>) -> (f64, f64) {
        let (probability, slope) = self.probability;
        let (loss, loss_slope) = self.crossentropy;
        let of_truth = y * probability + (1.0 - y) * (1.0 - probability);
        let base = (1.0 - of_truth).max(0.0);
        let focus = base.powf(gamma);
        // At 0 an infinite slope counts as 0, because the cross-entropy beside it is 0.
        let focus_slope = match base == 0.0 && gamma < 1.0 {
            true => 0.0,
            false => gamma * base.powf(gamma - 1.0),
        };
        let balance = alpha.map_or(1.0, |alpha| y * alpha + (1.0 - y) * (1.0 - alpha));
        let focus_slope = -focus_slope * (2.0 * y - 1.0) * slope;
        (
            balance * focus * loss,
            balance * (focus_slope * loss + focus * loss_slope),
        )
    }
}

fn smooth(y: f64, label_smoothing: f64) -> f64 {
    y * (1.0 - label_smoothing) + label_smoothing / 2.0
}

/// -1, 0 or 1; `f64::signum` has no 0.
fn sign(x: f64) -> f64 {
    if x == 0.0 { 0.0 } else { x.signum() }
}
