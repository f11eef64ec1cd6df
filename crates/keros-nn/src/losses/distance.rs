//! Losses of whole rows: margins, divergence and angle.

use super::rows::{each_row_of_values, loss_of_rows, mean, plain_loss, target_values};
use super::{EPSILON, Loss, LossOutput};
use crate::error::NnError;
use crate::network::Output;
use crate::target::{Target, TargetKind};
use keros_tensor::{Tensor, Workspace};

plain_loss! {
    /// `max(1 - y · p, 0)`, averaged over the last axis, for `y` of -1 and 1.
    ///
    /// Targets that are all 0 or 1 count as -1 and 1; it is decided for the batch as a whole.
    Hinge
}
plain_loss! {
    /// `max(1 - y · p, 0)²`, averaged over the last axis; targets as for [`Hinge`].
    SquaredHinge
}
plain_loss! {
    /// `max(max((1 - y) · p) - Σ y · p + 1, 0)` over the last axis, for one-hot rows `y`.
    CategoricalHinge
}
plain_loss! {
    /// `Σ y · log(y / p)` over the last axis; both are clipped to [1e-7, 1].
    KLDivergence
}
plain_loss! {
    /// `-Σ y · p / (|y| · |p|)` over the last axis: -1 for one direction, 1 for opposite ones. A
    /// length below 1e-7 counts as 1e-7. The metric of this name has the other sign.
    CosineSimilarity
}

impl CategoricalHinge {
    fn row(&self, y: &[f32], p: &[f32], grad: &mut [f32]) -> f64 {
        let pairs = || y.iter().zip(p).map(|(y, p)| (f64::from(*y), f64::from(*p)));
        let right: f64 = pairs().map(|(y, p)| y * p).sum();
        let wrong = |(y, p): (f64, f64)| (1.0 - y) * p;
        let highest = pairs().map(wrong).fold(f64::NEG_INFINITY, f64::max);
        let loss = highest - right + 1.0;
        if loss <= 0.0 {
            grad.fill(0.0);
            return 0.0;
        }
        // Equals share the gradient of the maximum.
        let equals = pairs().filter(|pair| wrong(*pair) == highest).count() as f64;
        for (grad, pair) in grad.iter_mut().zip(pairs()) {
            let y = pair.0;
            let of_highest = if wrong(pair) == highest {
                (1.0 - y) / equals
            } else {
                0.0
            };
            *grad = (of_highest - y) as f32;
        }
        loss
    }
}

impl KLDivergence {
    fn row(&self, y: &[f32], p: &[f32], grad: &mut [f32]) -> f64 {
        let mut loss = 0.0;
        for ((y, p), grad) in y.iter().zip(p).zip(grad) {
            let (y, p) = (f64::from(*y).clamp(EPSILON, 1.0), f64::from(*p));
            let clipped = p.clamp(EPSILON, 1.0);
            loss += y * (y / clipped).ln();
            *grad = if p == clipped { (-y / p) as f32 } else { 0.0 };
        }
        loss
    }
}

impl CosineSimilarity {
    fn row(&self, y: &[f32], p: &[f32], grad: &mut [f32]) -> f64 {
        let dot = |a: &[f32], b: &[f32]| -> f64 {
            let pairs = a.iter().zip(b);
            pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
        };
        let length = dot(p, p).sqrt();
        let (of_y, of_p) = (dot(y, y).sqrt().max(EPSILON), length.max(EPSILON));
        let cosine = dot(y, p) / (of_y * of_p);
        let shrink = if length >= EPSILON { cosine } else { 0.0 };
        for ((y, p), grad) in y.iter().zip(p).zip(grad) {
            let direction = f64::from(*y) / of_y - shrink * f64::from(*p) / of_p;
            *grad = (-direction / of_p) as f32;
        }
        -cosine
    }
}

loss_of_rows! {
    CategoricalHinge: "categorical_hinge";
    KLDivergence: "kl_divergence";
    CosineSimilarity: "cosine_similarity";
}

/// Both hinges look at all targets of the batch before the first row.
macro_rules! hinge {
    ($($loss:ident: $name:literal, $point:expr;)*) => {$(
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
                let targets = target_values($name, target, output.logits.dims())?;
                let binary = targets.iter().all(|y| *y == 0.0 || *y == 1.0);
                drop(targets);
                each_row_of_values(
                    $name, workspace, output, target, weights, scale,
                    |y, p, grad| mean(y, p, grad, |y, p| {
                        let y = if binary { 2.0 * y - 1.0 } else { y };
                        let margin = 1.0 - y * p;
                        if margin > 0.0 { $point(margin, y) } else { (0.0, 0.0) }
                    }),
                )
            }
        }
    )*};
}

hinge! {
    Hinge: "hinge", |margin: f64, y: f64| (margin, -y);
    SquaredHinge: "squared_hinge", |margin: f64, y: f64| (margin * margin, -2.0 * y * margin);
}
