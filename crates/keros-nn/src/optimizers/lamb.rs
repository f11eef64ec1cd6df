//! Lamb.

use super::{RuleOptimizer, UpdateRule, betas, decay_rate, numbers, positive};
use crate::error::NnError;
use keros_tensor::Workspace;
use keros_tensor::kernels::{self, Update};

/// Lamb (Y. You et al., 2019), Adam whose steps are as long as the parameter is large, for large batches.
///
/// The moments of [`Adam`](super::Adam), then `u = m̂ / (√v̂ + ε)` with `m̂ = m / (1 - β₁ᵗ)` and `v̂ = v / (1 - β₂ᵗ)`,
/// and `w -= learning_rate · |w| / |u| · u` with the norms of the whole parameter; where one of them is 0, their ratio
/// counts as 1.
///
/// Defaults: learning rate 0.001, β₁ 0.9, β₂ 0.999, ε 1e-7.
pub type Lamb = RuleOptimizer<LambRule>;

/// The update of [`Lamb`].
#[derive(Clone, Debug)]
pub struct LambRule {
    beta_1: f64,
    beta_2: f64,
    epsilon: f64,
}

impl Default for LambRule {
    fn default() -> Self {
        LambRule {
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-7,
        }
    }
}

impl Lamb {
    /// Decay rates of the first and second moment, each in `[0, 1)`.
    ///
    /// # Errors
    /// A rate out of range.
    pub fn betas(self, beta_1: f64, beta_2: f64) -> Result<Lamb, NnError> {
        let betas = betas(beta_1, beta_2)?;
        Ok(self.change(|rule| (rule.beta_1, rule.beta_2) = betas))
    }

    /// The ε that is added to √v̂.
    ///
    /// # Errors
    /// A number that is not positive and finite.
    pub fn epsilon(self, epsilon: f64) -> Result<Lamb, NnError> {
        let epsilon = positive("epsilon", epsilon)?;
        Ok(self.change(|rule| rule.epsilon = epsilon))
    }
}

/// The numbers of one update of [`Lamb`].
#[derive(Clone, Copy, Debug)]
pub struct LambStep {
    rate: f64,
    corrections: (f64, f64),
}

impl UpdateRule for LambRule {
    const NAME: &'static str = "lamb";
    type Step = LambStep;

    numbers!("beta_1" => beta_1: decay_rate, "beta_2" => beta_2: decay_rate, "epsilon" => epsilon: positive);

    fn slots(&self) -> Vec<(&'static str, f64)> {
        vec![("momentum", 0.0), ("velocity", 0.0)]
    }

    fn prepare(&self, learning_rate: f64, update: u64) -> LambStep {
        let correction = |beta: f64| 1.0 / (1.0 - beta.powf(update as f64));
        LambStep {
            rate: learning_rate,
            corrections: (correction(self.beta_1), correction(self.beta_2)),
        }
    }

    fn update(
        &self,
        ws: &mut Workspace,
        step: &LambStep,
        updates: &[Update<'_>],
    ) -> Result<(), NnError> {
        let (b1, b2, epsilon) = (self.beta_1, self.beta_2, self.epsilon);
        let (rate, corrections) = (step.rate, step.corrections);
        Ok(kernels::lamb_update(
            ws,
            updates,
            rate,
            corrections,
            b1,
            b2,
            epsilon,
        )?)
    }
}
