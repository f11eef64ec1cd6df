//! Adagrad.

use super::{RuleOptimizer, UpdateRule, numbers, positive};
use crate::error::NnError;
use crate::schedule::not_negative;
use keros_tensor::Workspace;
use keros_tensor::kernels::{self, Update};

/// Adagrad (J. Duchi, E. Hazan, Y. Singer, 2011): `a += g²`,
/// `w -= learning_rate · g / √(a + ε)`.
///
/// Defaults: learning rate 0.001, `a` begins at 0.1, ε 1e-7.
pub type Adagrad = RuleOptimizer<AdagradRule>;

/// The update of [`Adagrad`].
#[derive(Clone, Debug)]
pub struct AdagradRule {
    initial: f64,
    epsilon: f64,
}

impl Default for AdagradRule {
    fn default() -> Self {
        AdagradRule {
            initial: 0.1,
            epsilon: 1e-7,
        }
    }
}

impl Adagrad {
    /// What `a` begins at.
    ///
    /// # Errors
    /// A number that is negative or not finite.
    pub fn initial_accumulator_value(self, value: f64) -> Result<Adagrad, NnError> {
        let initial = not_negative("initial_accumulator_value", value)?;
        Ok(self.change(|rule| rule.initial = initial))
    }

    /// The ε that is added to a.
    ///
    /// # Errors
    /// A number that is not positive and finite.
    pub fn epsilon(self, epsilon: f64) -> Result<Adagrad, NnError> {
        let epsilon = positive("epsilon", epsilon)?;
        Ok(self.change(|rule| rule.epsilon = epsilon))
    }
}

impl UpdateRule for AdagradRule {
    const NAME: &'static str = "adagrad";
    type Step = f64;

    numbers!("epsilon" => epsilon: positive);

    fn slots(&self) -> Vec<(&'static str, f64)> {
        vec![("accumulator", self.initial)]
    }

    fn prepare(&self, learning_rate: f64, _update: u64) -> f64 {
        learning_rate
    }

    fn update(&self, _: &mut Workspace, rate: &f64, updates: &[Update<'_>]) -> Result<(), NnError> {
        Ok(kernels::adagrad_update(updates, *rate, self.epsilon)?)
    }
}
