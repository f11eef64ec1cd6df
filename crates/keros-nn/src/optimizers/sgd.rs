//! Gradient descent with momentum.

use super::{RuleOptimizer, UpdateRule, decay_or_one, no_number, positive_share};
use crate::error::NnError;
use keros_tensor::Workspace;
use keros_tensor::kernels::{self, Update};

/// Gradient descent with momentum in Keras's form: `m = momentum · m - learning_rate · g`, then
/// `w += m`, or with Nesterov `w += momentum · m - learning_rate · g`; without momentum
/// `w -= learning_rate · g`.
///
/// Defaults: learning rate 0.01, no momentum.
#[doc(alias = "SGD")]
pub type Sgd = RuleOptimizer<SgdRule>;

/// The update of [`Sgd`].
#[derive(Clone, Debug, Default)]
pub struct SgdRule {
    momentum: f64,
    nesterov: bool,
}

impl Sgd {
    /// Momentum in `[0, 1]`, and whether it is Nesterov's. Default: none.
    ///
    /// # Errors
    /// A momentum out of range.
    pub fn momentum(self, momentum: f64, nesterov: bool) -> Result<Sgd, NnError> {
        let momentum = decay_or_one("momentum", momentum)?;
        Ok(self.change(|rule| *rule = SgdRule { momentum, nesterov }))
    }
}

impl UpdateRule for SgdRule {
    const NAME: &'static str = "sgd";
    const LEARNING_RATE: f64 = 0.01;
    type Step = f64;

    fn numbers(&self) -> Vec<(&'static str, f64)> {
        match self.momentum {
            0.0 => Vec::new(),
            momentum => vec![("momentum", momentum)],
        }
    }

    fn set_number(&mut self, name: &str, value: f64) -> Result<(), NnError> {
        match name {
            "momentum" if self.momentum != 0.0 => self.momentum = positive_share(name, value)?,
            _ => return Err(no_number(Self::NAME, &self.numbers(), name)),
        }
        Ok(())
    }

    fn slots(&self) -> Vec<(&'static str, f64)> {
        match self.momentum {
            0.0 => vec![],
            _ => vec![("momentum", 0.0)],
        }
    }

    fn prepare(&self, learning_rate: f64, _update: u64) -> f64 {
        learning_rate
    }

    fn update(&self, _: &mut Workspace, rate: &f64, updates: &[Update<'_>]) -> Result<(), NnError> {
        let momentum = Some(self.momentum).filter(|&momentum| momentum != 0.0);
        let nesterov = self.nesterov && momentum.is_some();
        Ok(kernels::sgd_update(updates, momentum, *rate, nesterov)?)
    }
}
