//! FTRL.

use super::{RuleOptimizer, UpdateRule, not_positive, numbers};
use crate::error::NnError;
use crate::schedule::not_negative;
use keros_tensor::Workspace;
use keros_tensor::kernels::{self, FtrlStrengths, Update};

/// Follow the regularized leader (H. McMahan et al., 2013) in Keras's form.
///
/// With `p = -learning_rate_power`, `λ₂ = l2 + beta / (2 learning_rate)`: `a' = a + g²`,
/// `z += g + 2 · l2_shrinkage · w - (a'ᵖ - aᵖ) / learning_rate · w`,
/// `w = (clip(z, ±l1) - z) / (a'ᵖ / learning_rate + 2 λ₂)`.
///
/// Defaults: learning rate 0.001, power -0.5, `a` begins at 0.1, all strengths and beta 0. With a
/// learning rate of 0 parameters stay as they are, where Keras divides by it.
pub type Ftrl = RuleOptimizer<FtrlRule>;

/// The update of [`Ftrl`].
#[derive(Clone, Debug)]
pub struct FtrlRule {
    power: f64,
    initial: f64,
    l1: f64,
    l2: f64,
    l2_shrinkage: f64,
    beta: f64,
}

impl Default for FtrlRule {
    fn default() -> Self {
        FtrlRule {
            power: -0.5,
            initial: 0.1,
            l1: 0.0,
            l2: 0.0,
            l2_shrinkage: 0.0,
            beta: 0.0,
        }
    }
}

impl Ftrl {
    /// How the learning rate of an element falls with its gradients so far, at most 0; 0 is a fixed
    /// rate.
    ///
    /// # Errors
    /// A number that is positive or not finite.
    pub fn learning_rate_power(self, power: f64) -> Result<Ftrl, NnError> {
        let power = not_positive("learning_rate_power", power)?;
        Ok(self.change(|rule| rule.power = power))
    }
}

macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident => $field:ident;)*) => {
        impl Ftrl {
            $(
                $(#[$doc])*
                ///
                /// # Errors
                /// A number that is negative or not finite.
                pub fn $name(self, value: f64) -> Result<Ftrl, NnError> {
                    let value = not_negative(stringify!($name), value)?;
                    Ok(self.change(|rule| rule.$field = value))
                }
            )*
        }
    };
}

setters! {
    /// What `a` begins at.
    initial_accumulator_value => initial;
    /// The strength of the penalty on `|w|`.
    l1_regularization_strength => l1;
    /// The strength of the penalty on `w²` that holds the solution.
    l2_regularization_strength => l2;
    /// The strength of the penalty on `w²` that is part of the gradient.
    l2_shrinkage_regularization_strength => l2_shrinkage;
    /// The β of the paper.
    beta => beta;
}

impl UpdateRule for FtrlRule {
    const NAME: &'static str = "ftrl";
    type Step = f64;

    numbers!(
        "l1_regularization_strength" => l1: not_negative,
        "l2_regularization_strength" => l2: not_negative,
        "l2_shrinkage_regularization_strength" => l2_shrinkage: not_negative,
        "beta" => beta: not_negative,
    );

    fn slots(&self) -> Vec<(&'static str, f64)> {
        vec![("accumulator", self.initial), ("linear", 0.0)]
    }

    fn prepare(&self, learning_rate: f64, _update: u64) -> f64 {
        learning_rate
    }

    fn update(&self, _: &mut Workspace, rate: &f64, updates: &[Update<'_>]) -> Result<(), NnError> {
        if *rate == 0.0 {
            return Ok(());
        }
        let strengths = FtrlStrengths {
            l1: self.l1,
            l2: self.l2 + self.beta / (2.0 * rate),
            l2_shrinkage: self.l2_shrinkage,
        };
        Ok(kernels::ftrl_update(updates, *rate, self.power, strengths)?)
    }
}
