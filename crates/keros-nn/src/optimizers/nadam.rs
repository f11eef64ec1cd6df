//! Nadam.

use super::{RuleOptimizer, UpdateRule, betas, decay_rate, numbers, positive};
use crate::error::NnError;
use keros_tensor::Workspace;
use keros_tensor::kernels::{self, Update};

/// Nadam (T. Dozat, 2016), Adam with Nesterov's momentum.
///
/// With `uₜ = β₁ (1 - ½ · 0.96ᵗ)` and their product `Pₜ`: the moments of [`Adam`](super::Adam), then
/// `m̂ = uₜ₊₁ m / (1 - Pₜ₊₁) + (1 - uₜ) g / (1 - Pₜ)`, `v̂ = v / (1 - β₂ᵗ)`,
/// `w -= learning_rate · m̂ / (√v̂ + ε)`.
///
/// Defaults: learning rate 0.001, β₁ 0.9, β₂ 0.999, ε 1e-7.
pub type Nadam = RuleOptimizer<NadamRule>;

/// The update of [`Nadam`].
#[derive(Clone, Debug)]
pub struct NadamRule {
    beta_1: f64,
    beta_2: f64,
    epsilon: f64,
}

impl Default for NadamRule {
    fn default() -> Self {
        NadamRule {
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-7,
        }
    }
}

impl Nadam {
    /// Decay rates of the first and second moment, each in `[0, 1)`.
    ///
    /// # Errors
    /// A rate out of range.
    pub fn betas(self, beta_1: f64, beta_2: f64) -> Result<Nadam, NnError> {
        let betas = betas(beta_1, beta_2)?;
        Ok(self.change(|rule| (rule.beta_1, rule.beta_2) = betas))
    }

    /// The ε that is added to √v̂.
    ///
    /// # Errors
    /// A number that is not positive and finite.
    pub fn epsilon(self, epsilon: f64) -> Result<Nadam, NnError> {
        let epsilon = positive("epsilon", epsilon)?;
        Ok(self.change(|rule| rule.epsilon = epsilon))
    }
}

/// From here on `1 - ½ · 0.96ᵗ` is 1 to the last digit.
const SCHEDULE_ENDS: u64 = 1000;

impl NadamRule {
    /// `u_t`.
    fn u(&self, t: u64) -> f64 {
        self.beta_1 * (1.0 - 0.5 * 0.96_f64.powf(t as f64))
    }

    /// `u_1 · … · u_t`: a function of `t`, so that it need not be part of the state.
    fn product(&self, t: u64) -> f64 {
        let first: f64 = (1..=t.min(SCHEDULE_ENDS)).map(|t| self.u(t)).product();
        first * self.beta_1.powf(t.saturating_sub(SCHEDULE_ENDS) as f64)
    }
}

/// The numbers of one update of [`Nadam`].
#[derive(Clone, Copy, Debug)]
pub struct NadamStep {
    alpha: (f64, f64),
    correction: f64,
}

impl UpdateRule for NadamRule {
    const NAME: &'static str = "nadam";
    type Step = NadamStep;

    numbers!("beta_1" => beta_1: decay_rate, "beta_2" => beta_2: decay_rate, "epsilon" => epsilon: positive);

    fn slots(&self) -> Vec<(&'static str, f64)> {
        vec![("momentum", 0.0), ("velocity", 0.0)]
    }

    fn prepare(&self, learning_rate: f64, t: u64) -> NadamStep {
        let (product, next) = (self.product(t), self.u(t + 1));
        NadamStep {
            alpha: (
                learning_rate * next / (1.0 - product * next),
                learning_rate * (1.0 - self.u(t)) / (1.0 - product),
            ),
            correction: 1.0 / (1.0 - self.beta_2.powf(t as f64)),
        }
    }

    fn update(
        &self,
        _: &mut Workspace,
        step: &NadamStep,
        updates: &[Update<'_>],
    ) -> Result<(), NnError> {
        let (b1, b2, epsilon) = (self.beta_1, self.beta_2, self.epsilon);
        let (alpha, correction) = (step.alpha, step.correction);
        Ok(kernels::nadam_update(
            updates, alpha, correction, b1, b2, epsilon,
        )?)
    }
}
