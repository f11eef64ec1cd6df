//! Adamax.

use super::{RuleOptimizer, UpdateRule, betas, decay_rate, numbers, positive};
use crate::error::NnError;
use keros_tensor::Workspace;
use keros_tensor::kernels::{self, Update};

/// Adamax (D. Kingma, J. Ba, 2015), Adam with the largest gradient in the place of the root:
/// `m += (1 - β₁)(g - m)`, `u = max(β₂ u, |g|)`, `w -= learning_rate · m / ((1 - β₁ᵗ)(u + ε))`.
///
/// Defaults: learning rate 0.001, β₁ 0.9, β₂ 0.999, ε 1e-7.
pub type Adamax = RuleOptimizer<AdamaxRule>;

/// The update of [`Adamax`].
#[derive(Clone, Debug)]
pub struct AdamaxRule {
    beta_1: f64,
    beta_2: f64,
    epsilon: f64,
}

impl Default for AdamaxRule {
    fn default() -> Self {
        AdamaxRule {
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-7,
        }
    }
}

impl Adamax {
    /// Decay rates of the moment and of the largest gradient, each in `[0, 1)`.
    ///
    /// # Errors
    /// A rate out of range.
    pub fn betas(self, beta_1: f64, beta_2: f64) -> Result<Adamax, NnError> {
        let betas = betas(beta_1, beta_2)?;
        Ok(self.change(|rule| (rule.beta_1, rule.beta_2) = betas))
    }

    /// The ε that is added to u.
    ///
    /// # Errors
    /// A number that is not positive and finite.
    pub fn epsilon(self, epsilon: f64) -> Result<Adamax, NnError> {
        let epsilon = positive("epsilon", epsilon)?;
        Ok(self.change(|rule| rule.epsilon = epsilon))
    }
}

impl UpdateRule for AdamaxRule {
    const NAME: &'static str = "adamax";
    /// `learning_rate / (1 - β₁ᵗ)`.
    type Step = f64;

    numbers!("beta_1" => beta_1: decay_rate, "beta_2" => beta_2: decay_rate, "epsilon" => epsilon: positive);

    fn slots(&self) -> Vec<(&'static str, f64)> {
        vec![("momentum", 0.0), ("norm", 0.0)]
    }

    fn prepare(&self, learning_rate: f64, update: u64) -> f64 {
        learning_rate / (1.0 - self.beta_1.powf(update as f64))
    }

    fn update(
        &self,
        _: &mut Workspace,
        alpha: &f64,
        updates: &[Update<'_>],
    ) -> Result<(), NnError> {
        let (b1, b2, epsilon) = (self.beta_1, self.beta_2, self.epsilon);
        Ok(kernels::adamax_update(updates, *alpha, b1, b2, epsilon)?)
    }
}
