//! A loss of embeddings: samples of one class shall lie near each other, those of others far away.

use super::rows::{Predictions, labels_of};
use super::{Loss, LossOutput};
use crate::error::NnError;
use crate::network::Output;
use crate::setter::setter;
use crate::target::{Target, TargetKind};
use keros_tensor::access::read;
use keros_tensor::kernels::{self, Activation};
use keros_tensor::{Tensor, Workspace};
use std::collections::HashMap;

/// The circle loss of embeddings of length 1, such as a [`UnitNormalization`](crate::layers::UnitNormalization) makes,
/// with integer labels; each sample is compared with all others of its batch.
///
/// Source: Sun et al. 2020, arXiv:2002.10857; the formula is that of
/// [`circle_loss`](keros_tensor::kernels::circle_loss). As in Keras the loss of a batch is the mean over the samples that
/// have another one of their class and one of another class. (Keras also leaves out those whose loss is too small for
/// an `f32`.)
#[derive(Clone, Copy, Debug)]
pub struct Circle {
    gamma: f64,
    margin: f64,
    remove_diagonal: bool,
}

impl Default for Circle {
    fn default() -> Self {
        Circle {
            gamma: 80.0,
            margin: 0.4,
            remove_diagonal: true,
        }
    }
}

impl Circle {
    /// With `gamma` 80 and `margin` 0.4.
    #[must_use]
    pub fn new() -> Circle {
        Circle::default()
    }

    setter! {
        /// Scale of the distances, at least 0. Default 80.
        gamma: 0.0..=f64::MAX
    }
    setter! {
        /// The distance from which on those of one class count more, and those of others less; at least 0. Default 0.4.
        margin: 0.0..=f64::MAX
    }
    setter! {
        /// Whether a sample is not compared with itself. Default true.
        remove_diagonal: bool
    }
}

impl Loss for Circle {
    fn name(&self) -> &'static str {
        "circle"
    }

    fn target_kind(&self) -> TargetKind {
        TargetKind::Labels
    }

    fn compute(
        &self,
        workspace: &mut Workspace,
        output: &Output,
        target: &Target,
        weights: Option<&Tensor>,
        scale: f32,
    ) -> Result<LossOutput, NnError> {
        let (name, dims) = (self.name(), output.logits.dims());
        let [samples, _] = *dims else {
            let expected = "[samples, features]";
            return Err(NnError::shape(format!("{name}: output"), expected, dims));
        };
        let labels = labels_of(name, target)?;
        if labels.dims() != [samples] {
            let (expected, found) = (format!("[{samples}]"), labels.dims());
            return Err(NnError::shape(format!("{name}: labels"), expected, found));
        }
        let circle = kernels::Circle {
            gamma: self.gamma,
            margin: self.margin,
            remove_diagonal: self.remove_diagonal,
        };
        let predictions = Predictions::values(workspace, output)?;
        let embeddings = &predictions.values;
        let turned = kernels::permute(workspace, embeddings, &[1, 0])?;
        let similarities = product(workspace, embeddings, &turned)?;
        let (per_sample, of_pairs) =
            kernels::circle_loss(workspace, circle, &similarities, labels, weights, scale)?;
        // Each embedding stands on both sides of a pair.
        let of_others = kernels::permute(workspace, &of_pairs, &[1, 0])?;
        kernels::accumulate(&[(&of_pairs, &of_others)], 1.0)?;
        let grad = product(workspace, &of_pairs, embeddings)?;
        for done in [&turned, &similarities, &of_pairs, &of_others] {
            workspace.give(done);
        }
        predictions.back(workspace, LossOutput { per_sample, grad })
    }

    fn mask(&self, target: &Target) -> Result<Option<Vec<bool>>, NnError> {
        let labels = read::<u32>(labels_of(self.name(), target)?)?;
        let mut counts: HashMap<u32, usize> = HashMap::new();
        for label in labels.iter() {
            *counts.entry(*label).or_default() += 1;
        }
        let own = usize::from(self.remove_diagonal);
        let has_pairs = |label: &u32| {
            let same = counts.get(label).copied().unwrap_or_default();
            same > own && same < labels.len()
        };
        Ok(Some(labels.iter().map(has_pairs).collect()))
    }
}

fn product(workspace: &mut Workspace, a: &Tensor, b: &Tensor) -> Result<Tensor, NnError> {
    Ok(kernels::dense(workspace, a, b, None, Activation::Linear)?)
}
