//! RMSprop.

use super::{
    RuleOptimizer, UpdateRule, decay_or_one, decay_rate, no_number, positive, positive_share,
};
use crate::error::NnError;
use keros_tensor::Workspace;
use keros_tensor::kernels::{self, Update};

/// RMSprop (T. Tieleman, G. Hinton, 2012) in Keras's form, ε inside the root:
/// `v = ρ v + (1 - ρ) g²`, `step = learning_rate · g / √(v + ε)`, `w -= step`.
///
/// Centered, `a = ρ a + (1 - ρ) g` and `v - a²` takes the place of `v` in the root. With momentum,
/// `m = momentum · m + step` and `w -= m`.
///
/// Defaults: learning rate 0.001, ρ 0.9, ε 1e-7, no momentum, not centered.
#[doc(alias = "RMSprop")]
pub type RmsProp = RuleOptimizer<RmsPropRule>;

/// The update of [`RmsProp`].
#[derive(Clone, Debug)]
pub struct RmsPropRule {
    rho: f64,
    momentum: f64,
    epsilon: f64,
    centered: bool,
}

impl Default for RmsPropRule {
    fn default() -> Self {
        RmsPropRule {
            rho: 0.9,
            momentum: 0.0,
            epsilon: 1e-7,
            centered: false,
        }
    }
}

impl RmsProp {
    /// Decay rate of the averages, in `[0, 1)`.
    ///
    /// # Errors
    /// A rate out of range.
    pub fn rho(self, rho: f64) -> Result<RmsProp, NnError> {
        let rho = decay_rate("rho", rho)?;
        Ok(self.change(|rule| rule.rho = rho))
    }

    /// Momentum in `[0, 1]`.
    ///
    /// # Errors
    /// A momentum out of range.
    pub fn momentum(self, momentum: f64) -> Result<RmsProp, NnError> {
        let momentum = decay_or_one("momentum", momentum)?;
        Ok(self.change(|rule| rule.momentum = momentum))
    }

    /// The ε that is added to v.
    ///
    /// # Errors
    /// A number that is not positive and finite.
    pub fn epsilon(self, epsilon: f64) -> Result<RmsProp, NnError> {
        let epsilon = positive("epsilon", epsilon)?;
        Ok(self.change(|rule| rule.epsilon = epsilon))
    }

    /// Whether gradients are scaled by their variance instead of their square.
    #[must_use]
    pub fn centered(self, centered: bool) -> RmsProp {
        self.change(|rule| rule.centered = centered)
    }
}

impl UpdateRule for RmsPropRule {
    const NAME: &'static str = "rmsprop";
    type Step = f64;

    fn numbers(&self) -> Vec<(&'static str, f64)> {
        let mut numbers = vec![("rho", self.rho), ("epsilon", self.epsilon)];
        if self.momentum != 0.0 {
            numbers.push(("momentum", self.momentum));
        }
        numbers
    }

    fn set_number(&mut self, name: &str, value: f64) -> Result<(), NnError> {
        match name {
            "rho" => self.rho = decay_rate(name, value)?,
            "epsilon" => self.epsilon = positive(name, value)?,
            "momentum" if self.momentum != 0.0 => self.momentum = positive_share(name, value)?,
            _ => return Err(no_number(Self::NAME, &self.numbers(), name)),
        }
        Ok(())
    }

    fn slots(&self) -> Vec<(&'static str, f64)> {
        let mut slots = vec![("velocity", 0.0)];
        if self.centered {
            slots.push(("average_gradient", 0.0));
        }
        if self.momentum > 0.0 {
            slots.push(("momentum", 0.0));
        }
        slots
    }

    fn prepare(&self, learning_rate: f64, _update: u64) -> f64 {
        learning_rate
    }

    fn update(&self, _: &mut Workspace, rate: &f64, updates: &[Update<'_>]) -> Result<(), NnError> {
        let momentum = Some(self.momentum).filter(|&momentum| momentum > 0.0);
        let (rho, epsilon) = (self.rho, self.epsilon);
        Ok(kernels::rmsprop_update(
            updates,
            self.centered,
            momentum,
            *rate,
            rho,
            epsilon,
        )?)
    }
}
