//! Losses of rows that are told the class of each by its number.

use candle_core::Tensor;

use super::loss::LossRows;
use super::math::at_least;
use super::row_loss::{clip, log_sum_exp};
use super::{check_labels, expect_dims};
use crate::{TensorError, Workspace, access};

/// A loss of a row of predictions `p`, one for each class, and a label, with Keras's definitions.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum LabelLoss {
    /// `-log p[label]`.
    Crossentropy {
        /// Whether the predictions are logits of a softmax; otherwise they are clipped to [1e-7, 1 - 1e-7] and
        /// divided by their sum.
        logits: bool,
        /// A label whose rows have no loss and no gradient.
        ignored: Option<u32>,
    },
    /// `(1 - p[label]^q) / q` (Zhang and Sabuncu 2018, arXiv:1805.07836).
    GeneralizedCrossentropy {
        /// Whether the predictions are logits of a softmax; otherwise they are taken as they are, and have no slope
        /// from 0 down.
        logits: bool,
        /// Above 0.
        q: f64,
    },
}

impl LabelLoss {
    fn name(self) -> &'static str {
        match self {
            Self::Crossentropy { .. } => "sparse_categorical_crossentropy",
            Self::GeneralizedCrossentropy { .. } => "categorical_generalized_cross_entropy",
        }
    }

    fn ignored(self) -> Option<u32> {
        match self {
            Self::Crossentropy { ignored, .. } => ignored,
            Self::GeneralizedCrossentropy { .. } => None,
        }
    }

    fn row(self, label: u32, p: &[f32], grads: &mut [f32]) -> f64 {
        if self.ignored() == Some(label) {
            grads.fill(0.0);
            return 0.0;
        }
        let label = label as usize;
        match self {
            Self::Crossentropy { logits: true, .. } => {
                let total = log_sum_exp(p);
                of_logits(total, label, p, grads, 1.0);
                total - f64::from(p[label])
            }
            Self::Crossentropy { logits: false, .. } => of_probabilities(label, p, grads),
            Self::GeneralizedCrossentropy { logits: true, q } => {
                let total = log_sum_exp(p);
                let power = (q * (f64::from(p[label]) - total)).exp();
                of_logits(total, label, p, grads, power);
                (1.0 - power) / q
            }
            Self::GeneralizedCrossentropy { logits: false, q } => {
                // A sum as in Keras, so that NaN of any class is NaN of the row.
                let truth = |class: usize| f64::from(u8::from(class == label));
                let all = p.iter().enumerate();
                let p: f64 = all.map(|(class, p)| truth(class) * f64::from(*p)).sum();
                let p = at_least(p, 0.0);
                grads.fill(0.0);
                if p != 0.0 {
                    grads[label] = -p.powf(q - 1.0) as f32;
                }
                (1.0 - p.powf(q)) / q
            }
        }
    }
}

/// The loss of each sample, a mean over its rows, and the gradient.
///
/// `predictions`: `[N, …, classes]`, at least one element for each sample; `labels`: of type `u32`, one for each
/// row and below its width, in any shape; `weights`: `[N]`.
///
/// Returns the losses `[N]`, neither weighted nor scaled, and the gradient of
/// `scale * Σ_n weight_n loss_n`, as `predictions`.
/// All is calculated in double precision.
///
/// On a GPU nobody looks at the labels before the kernel runs: one that is out of range makes the loss
/// of its sample and the gradient of its row NaN. [`check_labels`] finds it while the labels are on
/// the host.
///
/// # Errors
/// [`TensorError::Label`] for the first label out of range, on the CPU; otherwise see
/// [the module](super).
pub fn label_loss(
    ws: &mut Workspace,
    loss: LabelLoss,
    predictions: &Tensor,
    labels: &Tensor,
    weights: Option<&Tensor>,
    scale: f32,
) -> Result<(Tensor, Tensor), TensorError> {
    let op = loss.name();
    let shape = LossRows::of(op, "predictions", predictions)?;
    if labels.elem_count() != shape.rows() {
        let expected = format!("a label for each of {} rows", shape.rows());
        return Err(TensorError::shape(op, "labels", expected, labels.dims()));
    }
    shape.check_weights(op, weights)?;
    on_gpu!(predictions, |gpu| cuda::row_loss::label_loss(
        gpu,
        ws,
        op,
        loss,
        predictions,
        labels,
        shape,
        weights,
        scale
    ));
    let labels = access::read::<u32>(labels)?;
    let labels = &*labels;
    check_labels(op, labels, shape.per_sample, shape.width, loss.ignored())?;
    shape.each_row(ws, predictions, weights, scale, |row, p, grads| {
        loss.row(labels[row], p, grads)
    })
}

/// `factor · (softmax - onehot)`
fn of_logits(total: f64, label: usize, p: &[f32], grads: &mut [f32], factor: f64) {
    for (class, (grad, z)) in grads.iter_mut().zip(p).enumerate() {
        let truth = f64::from(u8::from(class == label));
        *grad = (factor * ((f64::from(*z) - total).exp() - truth)) as f32;
    }
}

fn of_probabilities(label: usize, p: &[f32], grads: &mut [f32]) -> f64 {
    let total: f64 = p.iter().map(|p| clip(f64::from(*p))).sum();
    for (class, (grad, p)) in grads.iter_mut().zip(p).enumerate() {
        let (p, clipped) = (f64::from(*p), clip(f64::from(*p)));
        let truth = if class == label { 1.0 / clipped } else { 0.0 };
        *grad = match p == clipped {
            true => (1.0 / total - truth) as f32,
            false => 0.0,
        };
    }
    total.ln() - clip(f64::from(p[label])).ln()
}

/// What [`circle_loss`] takes besides tensors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Circle {
    /// Scale of the distances.
    pub gamma: f64,
    /// From where on distances count more, within a class, or less.
    pub margin: f64,
    /// Whether no sample is of the same class as itself.
    pub remove_diagonal: bool,
}

/// The circle loss (Sun et al. 2020, arXiv:2002.10857) of samples that are compared with each other.
///
/// `similarities`: `[N, N]`, the cosine of each two samples; `labels`: `[N]` of type `u32`; `weights`: `[N]`.
/// With the distance `d = max(1 - similarity, 0)` and `m` the margin, the loss of a sample is
/// `log(1 + Σ exp(γ (d² - m²)) · Σ exp(γ max(1 + m - d, 0) (1 - m - d)))`, where the first sum is over the samples of
/// its class and the second over the others. It is 0 where there are none of one of these.
///
/// Returns the losses `[N]`, neither weighted nor scaled, and the gradient of
/// `scale * Σ_n weight_n loss_n`, as `similarities`.
/// All is calculated in double precision.
///
/// # Errors
/// See [the module](super).
pub fn circle_loss(
    ws: &mut Workspace,
    circle: Circle,
    similarities: &Tensor,
    labels: &Tensor,
    weights: Option<&Tensor>,
    scale: f32,
) -> Result<(Tensor, Tensor), TensorError> {
    const OP: &str = "circle loss";
    let shape = LossRows::of(OP, "similarities", similarities)?;
    expect_dims(OP, "similarities", similarities, &[shape.samples; 2])?;
    expect_dims(OP, "labels", labels, &[shape.samples])?;
    shape.check_weights(OP, weights)?;
    on_gpu!(similarities, |gpu| cuda::row_loss::circle_loss(
        gpu,
        ws,
        OP,
        circle,
        similarities,
        labels,
        shape,
        weights,
        scale
    ));
    let labels = access::read::<u32>(labels)?;
    let labels = &*labels;
    shape.each_row(ws, similarities, weights, scale, |row, s, grads| {
        circle.row(row, labels, s, grads)
    })
}

impl Circle {
    /// The exponent of a pair and its derivative by the distance.
    fn exponent(self, same: bool, distance: f64) -> (f64, f64) {
        let Self { gamma, margin, .. } = self;
        match same {
            true => {
                let exponent = gamma * (distance * distance - margin * margin);
                (exponent, 2.0 * gamma * distance)
            }
            false => {
                let weight = 1.0 + margin - distance;
                let inside = f64::from(u8::from(weight > 0.0));
                let exponent = gamma * weight.max(0.0) * (1.0 - margin - distance);
                (exponent, inside * 2.0 * gamma * (distance - 1.0))
            }
        }
    }

    fn row(self, row: usize, labels: &[u32], similarities: &[f32], grads: &mut [f32]) -> f64 {
        let counts = |other: usize, same: bool| {
            (labels[other] == labels[row]) == same
                && !(same && self.remove_diagonal && other == row)
        };
        let at = |other: usize, same: bool| {
            let distance = at_least(1.0 - f64::from(similarities[other]), 0.0);
            self.exponent(same, distance)
        };
        // The logarithm of a sum of exponentials, or none without pairs.
        let total = |same: bool| {
            let exponents = || {
                (0..labels.len())
                    .filter(|&k| counts(k, same))
                    .map(|k| at(k, same).0)
            };
            let most = exponents().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = exponents().map(|exponent| (exponent - most).exp()).sum();
            (sum != 0.0).then(|| most + sum.ln())
        };
        grads.fill(0.0);
        let (Some(of_same), Some(of_others)) = (total(true), total(false)) else {
            return 0.0;
        };
        let sum = of_same + of_others;
        let slope = 1.0 / (1.0 + (-sum).exp());
        for (other, (grad, similarity)) in grads.iter_mut().zip(similarities).enumerate() {
            // At a distance of 0 and below, more similarity changes nothing.
            for (same, total) in [(true, of_same), (false, of_others)] {
                if !counts(other, same) || *similarity > 1.0 {
                    continue;
                }
                let (exponent, by_distance) = at(other, same);
                *grad = (-slope * (exponent - total).exp() * by_distance) as f32;
            }
        }
        sum.max(0.0) + (-sum.abs()).exp().ln_1p()
    }
}
