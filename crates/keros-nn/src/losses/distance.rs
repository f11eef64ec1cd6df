//! Losses of whole rows: margins, divergence and angle.

use super::rows::{Predictions, loss_of_values, plain_loss, target_tensor};
use super::{Loss, LossOutput};
use crate::error::NnError;
use crate::network::Output;
use crate::target::{Target, TargetKind};
use keros_tensor::kernels::{self, ElementLoss, RowLoss};
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

loss_of_values! {
    CategoricalHinge: "categorical_hinge", |_| RowLoss::CategoricalHinge;
    KLDivergence: "kl_divergence", |_| RowLoss::KlDivergence;
    CosineSimilarity: "cosine_similarity", |_| RowLoss::CosineSimilarity;
}

/// Both hinges look at all targets of the batch first.
macro_rules! hinge {
    ($($loss:ident: $name:literal, $kernel:expr;)*) => {$(
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
                let targets = target_tensor($name, target, output.logits.dims())?;
                let target = Target::Values(kernels::hinge_targets(workspace, targets)?);
                let predictions = Predictions::values(workspace, output)?;
                predictions.compare($name, workspace, $kernel, &target, weights, scale)
            }
        }
    )*};
}

hinge! {
    Hinge: "hinge", ElementLoss::Hinge;
    SquaredHinge: "squared_hinge", ElementLoss::SquaredHinge;
}
