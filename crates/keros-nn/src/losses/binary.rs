//! Cross-entropy of independent probabilities, with and without focus on hard values.

use super::rows::{Form, Predictions, each_row, mean, target_values};
use super::{EPSILON, Loss, LossOutput};
use crate::activation::Activation;
use crate::error::NnError;
use crate::network::Output;
use crate::setter::setter;
use crate::target::{Target, TargetKind};
use keros_tensor::{Tensor, Workspace};

/// `-(y · log p + (1 - y) · log(1 - p))`, averaged over the last axis, for `y` in [0, 1].
///
/// For a network that ends in a sigmoid it is computed from the logits. Other outputs are clipped
/// to [1e-7, 1 - 1e-7], or taken for logits with `from_logits`.
#[derive(Clone, Copy, Debug, Default)]
pub struct BinaryCrossentropy {
    from_logits: bool,
    label_smoothing: f64,
}

impl BinaryCrossentropy {
    /// For probabilities, without smoothing.
    #[must_use]
    pub fn new() -> BinaryCrossentropy {
        BinaryCrossentropy::default()
    }

    setter! {
        /// Whether the outputs are logits. Default false.
        from_logits: bool
    }
    setter! {
        /// `s` in `y · (1 - s) + s / 2`, which is used for `y`; from 0 to 1. Default 0.
        label_smoothing: 0.0..=1.0
    }
}

/// `(1 - p_t)^gamma` times the binary cross-entropy, averaged over the last axis, where `p_t` is the
/// probability of the true class, `y · p + (1 - y) · (1 - p)`.
///
/// With class balancing it is further multiplied by `y · alpha + (1 - y) · (1 - alpha)`. Source:
/// Lin et al. 2018, arXiv:1708.02002. Outputs are read as for [`BinaryCrossentropy`].
#[derive(Clone, Copy, Debug)]
pub struct BinaryFocalCrossentropy {
    apply_class_balancing: bool,
    alpha: f64,
    gamma: f64,
    from_logits: bool,
    label_smoothing: f64,
}

impl Default for BinaryFocalCrossentropy {
    fn default() -> Self {
        BinaryFocalCrossentropy {
            apply_class_balancing: false,
            alpha: 0.25,
            gamma: 2.0,
            from_logits: false,
            label_smoothing: 0.0,
        }
    }
}

impl BinaryFocalCrossentropy {
    /// With `alpha` 0.25 and `gamma` 2, without class balancing.
    #[must_use]
    pub fn new() -> BinaryFocalCrossentropy {
        BinaryFocalCrossentropy::default()
    }

    setter! {
        /// Whether classes are weighted by `alpha`. Default false.
        apply_class_balancing: bool
    }
    setter! {
        /// Weight of class 1, from 0 to 1. Default 0.25.
        alpha: 0.0..=1.0
    }
    setter! {
        /// How strongly easy values are faded out, at least 0. Default 2.
        gamma: 0.0..=f64::MAX
    }
    setter! {
        /// Whether the outputs are logits. Default false.
        from_logits: bool
    }
    setter! {
        /// `s` in `y · (1 - s) + s / 2`, which is used for `y`; from 0 to 1. Default 0.
        label_smoothing: 0.0..=1.0
    }
}

/// What one prediction is for a target.
struct Point {
    /// The probability, and its derivative by the prediction.
    probability: (f64, f64),
    /// The cross-entropy, and its derivative by the prediction.
    crossentropy: (f64, f64),
}

impl Point {
    fn new(form: Form, y: f64, p: f64) -> Point {
        match form {
            Form::Logits => {
                let probability = 1.0 / (1.0 + (-p).exp());
                let loss = p.max(0.0) - p * y + (-p.abs()).exp().ln_1p();
                Point {
                    probability: (probability, probability * (1.0 - probability)),
                    crossentropy: (loss, probability - y),
                }
            }
            Form::Probabilities => {
                let clipped = clip(p);
                let loss = -(y * clipped.ln() + (1.0 - y) * (1.0 - clipped).ln());
                let slope = if p == clipped {
                    (p - y) / (p * (1.0 - p))
                } else {
                    0.0
                };
                Point {
                    probability: (p, 1.0),
                    crossentropy: (loss, slope),
                }
            }
        }
    }
}

/// To [1e-7, 1 - 1e-7], the latter as f32 rounds it.
pub(super) fn clip(p: f64) -> f64 {
    p.clamp(EPSILON, f64::from(1.0 - 1e-7_f32))
}

/// `base^gamma` and its derivative by the base, for a base of at least 0; at 0 an infinite slope
/// counts as 0, because the cross-entropy beside it is 0.
pub(super) fn power(base: f64, gamma: f64) -> (f64, f64) {
    let base = base.max(0.0);
    let slope = match base == 0.0 && gamma < 1.0 {
        true => 0.0,
        false => gamma * base.powf(gamma - 1.0),
    };
    (base.powf(gamma), slope)
}

impl BinaryCrossentropy {
    fn point(&self, _: f64, point: &Point) -> (f64, f64) {
        point.crossentropy
    }
}

impl BinaryFocalCrossentropy {
    fn point(&self, y: f64, point: &Point) -> (f64, f64) {
        let (probability, slope) = point.probability;
        let (loss, loss_slope) = point.crossentropy;
        let of_truth = y * probability + (1.0 - y) * (1.0 - probability);
        let (focus, focus_slope) = power(1.0 - of_truth, self.gamma);
        let balance = match self.apply_class_balancing {
            true => y * self.alpha + (1.0 - y) * (1.0 - self.alpha),
            false => 1.0,
        };
        let focus_slope = -focus_slope * (2.0 * y - 1.0) * slope;
        (
            balance * focus * loss,
            balance * (focus_slope * loss + focus * loss_slope),
        )
    }
}

macro_rules! binary {
    ($($loss:ident: $name:literal;)*) => {$(
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
                let own = Activation::Sigmoid;
                let predictions =
                    Predictions::of_crossentropy($name, workspace, output, own, self.from_logits)?;
                let (form, smoothing) = (predictions.form, self.label_smoothing);
                each_row($name, workspace, &predictions, weights, scale, |r, p, grad| {
                    mean(&targets[r * p.len()..][..p.len()], p, grad, |y, p| {
                        let y = y * (1.0 - smoothing) + smoothing / 2.0;
                        self.point(y, &Point::new(form, y, p))
                    })
                })
            }
        }
    )*};
}

binary! {
    BinaryCrossentropy: "binary_crossentropy";
    BinaryFocalCrossentropy: "binary_focal_crossentropy";
}
