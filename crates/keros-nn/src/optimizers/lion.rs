//! Lion.

use super::{RuleOptimizer, UpdateRule, decay_rate, numbers, positive_share};
use crate::error::NnError;
use keros_tensor::Workspace;
use keros_tensor::kernels::{self, Update};

/// Lion (X. Chen et al., 2023): `w -= learning_rate · sign(β₁ m + (1 - β₁) g)`, then
/// `m = β₂ m + (1 - β₂) g`.
///
/// Defaults: learning rate 0.001, β₁ 0.9, β₂ 0.99.
pub type Lion = RuleOptimizer<LionRule>;

/// The update of [`Lion`].
#[derive(Clone, Debug)]
pub struct LionRule {
    beta_1: f64,
    beta_2: f64,
}

impl Default for LionRule {
    fn default() -> Self {
        LionRule {
            beta_1: 0.9,
            beta_2: 0.99,
        }
    }
}

impl Lion {
    /// The share of the momentum in the direction, in `(0, 1]`, and its decay rate, in `[0, 1)`.
    ///
    /// # Errors
    /// A number out of range.
    pub fn betas(self, beta_1: f64, beta_2: f64) -> Result<Lion, NnError> {
        let beta_1 = positive_share("beta_1", beta_1)?;
        let beta_2 = decay_rate("beta_2", beta_2)?;
        Ok(self.change(|rule| *rule = LionRule { beta_1, beta_2 }))
    }
}

impl UpdateRule for LionRule {
    const NAME: &'static str = "lion";
    type Step = f64;

    numbers!("beta_1" => beta_1: positive_share, "beta_2" => beta_2: decay_rate);

    fn slots(&self) -> Vec<(&'static str, f64)> {
        vec![("momentum", 0.0)]
    }

    fn prepare(&self, learning_rate: f64, _update: u64) -> f64 {
        learning_rate
    }

    fn update(&self, _: &mut Workspace, rate: &f64, updates: &[Update<'_>]) -> Result<(), NnError> {
        let (b1, b2) = (self.beta_1, self.beta_2);
        Ok(kernels::lion_update(updates, *rate, b1, b2)?)
    }
}
