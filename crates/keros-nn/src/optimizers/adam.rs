//! Adam and AdamW.

use super::{RuleOptimizer, UpdateRule, betas, decay_rate, numbers, positive};
use crate::error::NnError;
use keros_tensor::Workspace;
use keros_tensor::kernels::{self, Update};

/// Adam (D. Kingma, J. Ba, 2015) in Keras's form: `m += (1 - β₁)(g - m)`, `v += (1 - β₂)(g² - v)`,
/// `w -= α · m / (√v + ε)` with `α = learning_rate · √(1 - β₂ᵗ) / (1 - β₁ᵗ)`.
///
/// Defaults: learning rate 0.001, β₁ 0.9, β₂ 0.999, ε 1e-7, no AMSGrad.
pub type Adam = RuleOptimizer<AdamRule<false>>;

/// [`Adam`] with decoupled weight decay (I. Loshchilov, F. Hutter, 2019) of 0.004 by default.
pub type AdamW = RuleOptimizer<AdamRule<true>>;

/// The update of [`Adam`] and, with `DECAYS`, of [`AdamW`].
#[derive(Clone, Debug)]
pub struct AdamRule<const DECAYS: bool> {
    beta_1: f64,
    beta_2: f64,
    epsilon: f64,
    amsgrad: bool,
}

impl<const DECAYS: bool> Default for AdamRule<DECAYS> {
    fn default() -> Self {
        AdamRule {
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-7,
            amsgrad: false,
        }
    }
}

impl<const DECAYS: bool> RuleOptimizer<AdamRule<DECAYS>> {
    /// Decay rates of the first and second moment, each in `[0, 1)`.
    ///
    /// # Errors
    /// A rate out of range.
    pub fn betas(self, beta_1: f64, beta_2: f64) -> Result<Self, NnError> {
        let betas = betas(beta_1, beta_2)?;
        Ok(self.change(|rule| (rule.beta_1, rule.beta_2) = betas))
    }

    /// The ε that is added to √v.
    ///
    /// # Errors
    /// A number that is not positive and finite.
    pub fn epsilon(self, epsilon: f64) -> Result<Self, NnError> {
        let epsilon = positive("epsilon", epsilon)?;
        Ok(self.change(|rule| rule.epsilon = epsilon))
    }

    /// Whether the largest v so far takes the place of v (S. Reddi, S. Kale, S. Kumar, 2018).
    #[must_use]
    pub fn amsgrad(self, amsgrad: bool) -> Self {
        self.change(|rule| rule.amsgrad = amsgrad)
    }
}

impl<const DECAYS: bool> UpdateRule for AdamRule<DECAYS> {
    const NAME: &'static str = if DECAYS { "adamw" } else { "adam" };
    const WEIGHT_DECAY: Option<f64> = if DECAYS { Some(0.004) } else { None };
    /// α.
    type Step = f64;

    numbers!("beta_1" => beta_1: decay_rate, "beta_2" => beta_2: decay_rate, "epsilon" => epsilon: positive);

    fn slots(&self) -> Vec<(&'static str, f64)> {
        let mut slots = vec![("momentum", 0.0), ("velocity", 0.0)];
        if self.amsgrad {
            slots.push(("velocity_hat", 0.0));
        }
        slots
    }

    fn prepare(&self, learning_rate: f64, update: u64) -> f64 {
        let t = update as f64;
        learning_rate * (1.0 - self.beta_2.powf(t)).sqrt() / (1.0 - self.beta_1.powf(t))
    }

    fn update(
        &self,
        _: &mut Workspace,
        alpha: &f64,
        updates: &[Update<'_>],
    ) -> Result<(), NnError> {
        let (b1, b2, epsilon) = (self.beta_1, self.beta_2, self.epsilon);
        if self.amsgrad {
            kernels::amsgrad_update(updates, *alpha, b1, b2, epsilon)?;
        } else {
            kernels::adam_update(updates, *alpha, b1, b2, epsilon)?;
        }
        Ok(())
    }
}
