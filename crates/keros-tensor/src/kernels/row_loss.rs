//! Losses of whole rows with their gradients: what is not a mean over single values.

use candle_core::Tensor;

use super::loss::LossRows;
use crate::{TensorError, Workspace, access};

/// Keras's fuzz factor, the f32 nearest to 1e-7.
const EPSILON: f64 = 1e-7_f32 as f64;

/// A loss of a row of targets `y` and one of predictions `p`, with Keras's definitions.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum RowLoss {
    /// `max(max((1 - y) · p) - Σ y · p + 1, 0)`; equals share the gradient of the inner maximum.
    CategoricalHinge,
    /// `Σ y · log(y / p)`, both clipped to [1e-7, 1].
    KlDivergence,
    /// `-Σ y · p / (|y| · |p|)`, where a length below 1e-7 counts as 1e-7.
    CosineSimilarity,
    /// `-Σ y · log p`.
    CategoricalCrossentropy {
        /// Whether the predictions are logits of a softmax; otherwise they are divided by their sum and
        /// clipped to [1e-7, 1 - 1e-7].
        logits: bool,
        /// `s` in `y · (1 - s) + s / width`, which is used for `y`.
        label_smoothing: f64,
    },
    /// `-Σ alpha · (1 - p)^gamma · y · log p` (Lin et al. 2018, arXiv:1708.02002), where the `p` of logits
    /// are clipped to [1e-7, 1 - 1e-7] too.
    CategoricalFocalCrossentropy {
        /// As for the cross-entropy.
        logits: bool,
        /// As for the cross-entropy.
        label_smoothing: f64,
        /// At least 0.
        alpha: f64,
        /// At least 0.
        gamma: f64,
    },
}

/// The loss of each sample, a mean over its rows, and the gradient.
///
/// `predictions`: `[N, …, width]`, at least one element for each sample, where `[N]` has rows of one;
/// `targets`: as many elements, in any shape; `weights`: `[N]`.
///
/// Returns the losses `[N]`, neither weighted nor scaled, and the gradient of
/// `scale * Σ_n weight_n loss_n`, as `predictions`.
/// All is calculated in double precision.
///
/// # Errors
/// See [the module](super).
pub fn row_loss(
    ws: &mut Workspace,
    loss: RowLoss,
    predictions: &Tensor,
    targets: &Tensor,
    weights: Option<&Tensor>,
    scale: f32,
) -> Result<(Tensor, Tensor), TensorError> {
    const OP: &str = "loss of rows";
    let shape = LossRows::beside(OP, predictions, targets, weights)?;
    on_gpu!(predictions, |gpu| cuda::row_loss::row_loss(
        gpu,
        ws,
        loss,
        predictions,
        targets,
        shape,
        weights,
        scale
    ));
    let targets = access::read::<f32>(targets)?;
    let targets = &*targets;
    shape.each_row(ws, predictions, weights, scale, |row, p, grads| {
        loss.row(&targets[row * p.len()..][..p.len()], p, grads)
    })
}

impl LossRows {
    /// [`each_sample`](Self::each_sample) by `row(number, predictions, gradient)`, which returns the loss of
    /// a row and leaves its gradient.
    pub(super) fn each_row(
        &self,
        ws: &mut Workspace,
        predictions: &Tensor,
        weights: Option<&Tensor>,
        scale: f32,
        row: impl Fn(usize, &[f32], &mut [f32]) -> f64 + Sync,
    ) -> Result<(Tensor, Tensor), TensorError> {
        self.each_sample(ws, predictions, weights, scale, |n, p, grads| {
            let rows = p.chunks_exact(self.width);
            let rows = rows.zip(grads.chunks_exact_mut(self.width));
            let numbered = (n * self.per_sample..).zip(rows);
            numbered.map(|(at, (p, grads))| row(at, p, grads)).sum()
        })
    }
}

impl RowLoss {
    fn row(self, y: &[f32], p: &[f32], grads: &mut [f32]) -> f64 {
        match self {
            RowLoss::CategoricalHinge => categorical_hinge(y, p, grads),
            RowLoss::KlDivergence => kl_divergence(y, p, grads),
            RowLoss::CosineSimilarity => cosine_similarity(y, p, grads),
            RowLoss::CategoricalCrossentropy {
                logits,
                label_smoothing,
            } => {
                let y = smooth(y, label_smoothing);
                // A class without weight is not asked for its logarithm, which may be infinite.
                over_classes(logits, y, p, grads, |y, log| match y == 0.0 {
                    true => (0.0, 0.0),
                    false => (-y * log, -y),
                })
            }
            RowLoss::CategoricalFocalCrossentropy {
                logits,
                label_smoothing,
                alpha,
                gamma,
            } => {
                let y = smooth(y, label_smoothing);
                over_classes(logits, y, p, grads, |y, log| {
                    if y == 0.0 {
                        return (0.0, 0.0);
                    }
                    let given = log.exp();
                    let p = clip(given);
                    let log = if p == given { log } else { p.ln() };
                    let (focus, slope) = power(1.0 - p, gamma);
                    let factor = alpha * y;
                    let slope = match p == given {
                        true => factor * (slope * p * log - focus),
                        false => 0.0,
                    };
                    (-factor * focus * log, slope)
                })
            }
        }
    }
}

fn pairs<'a>(y: &'a [f32], p: &'a [f32]) -> impl Iterator<Item = (f64, f64)> + 'a {
    y.iter().zip(p).map(|(y, p)| (f64::from(*y), f64::from(*p)))
}

fn categorical_hinge(y: &[f32], p: &[f32], grads: &mut [f32]) -> f64 {
    let wrong = |(y, p): (f64, f64)| (1.0 - y) * p;
    let right: f64 = pairs(y, p).map(|(y, p)| y * p).sum();
    let highest = pairs(y, p).map(wrong).fold(f64::NEG_INFINITY, f64::max);
    let loss = highest - right + 1.0;
    if loss <= 0.0 {
        grads.fill(0.0);
        return 0.0;
    }
    let equals = pairs(y, p).filter(|&pair| wrong(pair) == highest).count() as f64;
    for (grad, pair) in grads.iter_mut().zip(pairs(y, p)) {
        let of_highest = match wrong(pair) == highest {
            true => (1.0 - pair.0) / equals,
            false => 0.0,
        };
        *grad = (of_highest - pair.0) as f32;
    }
    loss
}

fn kl_divergence(y: &[f32], p: &[f32], grads: &mut [f32]) -> f64 {
    let mut loss = 0.0;
    for ((y, p), grad) in pairs(y, p).zip(grads) {
        let (y, clipped) = (y.clamp(EPSILON, 1.0), p.clamp(EPSILON, 1.0));
        loss += y * (y / clipped).ln();
        *grad = if p == clipped { (-y / p) as f32 } else { 0.0 };
    }
    loss
}

fn cosine_similarity(y: &[f32], p: &[f32], grads: &mut [f32]) -> f64 {
    let dot = |a, b| pairs(a, b).map(|(a, b)| a * b).sum::<f64>();
    let length = dot(p, p).sqrt();
    let (of_y, of_p) = (dot(y, y).sqrt().max(EPSILON), length.max(EPSILON));
    let cosine = dot(y, p) / (of_y * of_p);
    let shrink = if length >= EPSILON { cosine } else { 0.0 };
    for ((y, p), grad) in pairs(y, p).zip(grads) {
        *grad = (-(y / of_y - shrink * p / of_p) / of_p) as f32;
    }
    -cosine
}

fn smooth(y: &[f32], label_smoothing: f64) -> impl Fn(usize) -> f64 {
    let share = label_smoothing / y.len() as f64;
    move |class| f64::from(y[class]) * (1.0 - label_smoothing) + share
}

/// To [1e-7, 1 - 1e-7], the latter as f32 rounds it.
pub(super) fn clip(p: f64) -> f64 {
    p.clamp(EPSILON, f64::from(1.0 - 1e-7_f32))
}

/// `base^gamma` and its derivative by the base, for a base of at least 0; at 0 an infinite slope
/// counts as 0, because the cross-entropy beside it is 0.
fn power(base: f64, gamma: f64) -> (f64, f64) {
    let base = base.max(0.0);
    let slope = match base == 0.0 && gamma < 1.0 {
        true => 0.0,
        false => gamma * base.powf(gamma - 1.0),
    };
    (base.powf(gamma), slope)
}

/// `log Σ exp(x)`
pub(super) fn log_sum_exp(row: &[f32]) -> f64 {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let max = f64::from(max);
    let sum: f64 = row.iter().map(|x| (f64::from(*x) - max).exp()).sum();
    max + sum.ln()
}

/// The loss of a row that is a sum over classes: `term(y, log p)` returns the part of a class and its
/// derivative by `log p`.
fn over_classes(
    logits: bool,
    y: impl Fn(usize) -> f64,
    p: &[f32],
    grads: &mut [f32],
    term: impl Fn(f64, f64) -> (f64, f64),
) -> f64 {
    let mut loss = 0.0;
    if logits {
        let total = log_sum_exp(p);
        let mut slopes = 0.0;
        for (class, z) in p.iter().enumerate() {
            let (part, slope) = term(y(class), f64::from(*z) - total);
            loss += part;
            slopes += slope;
        }
        for (class, (grad, z)) in grads.iter_mut().zip(p).enumerate() {
            let log = f64::from(*z) - total;
            *grad = (term(y(class), log).1 - log.exp() * slopes) as f32;
        }
        return loss;
    }
    let total: f64 = p.iter().map(|p| f64::from(*p)).sum();
    let at = |class: usize, p: f32| {
        let share = f64::from(p) / total;
        let clipped = clip(share);
        let (part, slope) = term(y(class), clipped.ln());
        let slope = if share == clipped { slope / share } else { 0.0 };
        (part, slope, share)
    };
    let mut common = 0.0;
    for (class, p) in p.iter().enumerate() {
        let (part, slope, share) = at(class, *p);
        loss += part;
        common += slope * share;
    }
    for (class, (grad, p)) in grads.iter_mut().zip(p).enumerate() {
        *grad = ((at(class, *p).1 - common) / total) as f32;
    }
    loss
}
