//! Adadelta.

use super::{RuleOptimizer, UpdateRule, decay_rate, numbers, positive};
use crate::error::NnError;
use keros_tensor::Workspace;
use keros_tensor::kernels::{self, Update};

/// Adadelta (M. Zeiler, 2012): `a = ρ a + (1 - ρ) g²`, `δ = g · √(d + ε) / √(a + ε)`,
/// `d = ρ d + (1 - ρ) δ²`, `w -= learning_rate · δ`.
///
/// Defaults: learning rate 0.001 (1 in the paper), ρ 0.95, ε 1e-7.
pub type Adadelta = RuleOptimizer<AdadeltaRule>;

/// The update of [`Adadelta`].
#[derive(Clone, Debug)]
pub struct AdadeltaRule {
    rho: f64,
    epsilon: f64,
}

impl Default for AdadeltaRule {
    fn default() -> Self {
        AdadeltaRule {
            rho: 0.95,
            epsilon: 1e-7,
        }
    }
}

impl Adadelta {
    /// Decay rate of the averages, in `[0, 1)`.
    ///
    /// # Errors
    /// A rate out of range.
    pub fn rho(self, rho: f64) -> Result<Adadelta, NnError> {
        let rho = decay_rate("rho", rho)?;
        Ok(self.change(|rule| rule.rho = rho))
    }

    /// The ε that is added inside both roots.
    ///
    /// # Errors
    /// A number that is not positive and finite.
    pub fn epsilon(self, epsilon: f64) -> Result<Adadelta, NnError> {
        let epsilon = positive("epsilon", epsilon)?;
        Ok(self.change(|rule| rule.epsilon = epsilon))
    }
}

impl UpdateRule for AdadeltaRule {
    const NAME: &'static str = "adadelta";
    type Step = f64;

    numbers!("rho" => rho: decay_rate, "epsilon" => epsilon: positive);

    fn slots(&self) -> Vec<(&'static str, f64)> {
        vec![("accumulated_grad", 0.0), ("accumulated_delta_var", 0.0)]
    }

    fn prepare(&self, learning_rate: f64, _update: u64) -> f64 {
        learning_rate
    }

    fn update(&self, _: &mut Workspace, rate: &f64, updates: &[Update<'_>]) -> Result<(), NnError> {
        Ok(kernels::adadelta_update(
            updates,
            *rate,
            self.rho,
            self.epsilon,
        )?)
    }
}
