//! Cross-entropy of independent probabilities, with and without focus on hard values.

use super::rows::{Form, Predictions};
use super::{Loss, LossOutput};
use crate::activation::Activation;
use crate::error::NnError;
use crate::network::Output;
use crate::setter::setter;
use crate::target::{Target, TargetKind};
use keros_tensor::kernels::ElementLoss;
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

impl BinaryCrossentropy {
    fn element(&self, logits: bool) -> ElementLoss {
        ElementLoss::BinaryCrossentropy {
            logits,
            label_smoothing: self.label_smoothing,
        }
    }
}

impl BinaryFocalCrossentropy {
    fn element(&self, logits: bool) -> ElementLoss {
        ElementLoss::BinaryFocalCrossentropy {
            logits,
            label_smoothing: self.label_smoothing,
            gamma: self.gamma,
            alpha: self.apply_class_balancing.then_some(self.alpha),
        }
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
                let own = Activation::Sigmoid;
                let predictions =
                    Predictions::of_crossentropy($name, workspace, output, own, self.from_logits)?;
                let loss = self.element(predictions.form == Form::Logits);
                predictions.compare($name, workspace, loss, target, weights, scale)
            }
        }
    )*};
}

binary! {
    BinaryCrossentropy: "binary_crossentropy";
    BinaryFocalCrossentropy: "binary_focal_crossentropy";
}
