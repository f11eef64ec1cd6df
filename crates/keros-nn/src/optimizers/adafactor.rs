//! Adafactor.

use super::{RuleOptimizer, Slot, UpdateRule, not_positive, numbers, positive};
use crate::error::NnError;
use keros_tensor::kernels::{self, Update};
use keros_tensor::{Param, Workspace};

/// Adafactor (N. Shazeer, M. Stern, 2018) in Keras's form: of a parameter with two axes or more it keeps one number for
/// each row and one for each column of its last two axes.
///
/// With `β = 1 - tᵈ` for update `t` from 1, where `d` is `beta_2_decay`: `r` and `c` are moving averages,
/// `r = β r + (1 - β) …`, of the means of `g² + ε₁` over the last axis and over the one before, and
/// `v = r / mean(r) · c` with the mean over the last axis of `r`; a parameter of one axis or none has an average `v` of
/// its own for each element. Then `u = g / √v` and
/// `w -= min(learning_rate, 1 / √t) · max(ε₂, rms(w)) · u / max(1, rms(u) / clip_threshold)`.
///
/// Defaults: learning rate 0.001, `beta_2_decay` -0.8, ε₁ 1e-30, ε₂ 0.001, `clip_threshold` 1.
pub type Adafactor = RuleOptimizer<AdafactorRule>;

/// The update of [`Adafactor`].
#[derive(Clone, Debug)]
pub struct AdafactorRule {
    beta_2_decay: f64,
    epsilon_1: f64,
    epsilon_2: f64,
    clip_threshold: f64,
}

impl Default for AdafactorRule {
    fn default() -> Self {
        AdafactorRule {
            beta_2_decay: -0.8,
            epsilon_1: 1e-30,
            epsilon_2: 1e-3,
            clip_threshold: 1.0,
        }
    }
}

impl Adafactor {
    /// The power of the number of the update by which averages forget less and less, at most 0.
    ///
    /// # Errors
    /// A number that is positive or not finite.
    pub fn beta_2_decay(self, beta_2_decay: f64) -> Result<Adafactor, NnError> {
        let beta_2_decay = not_positive("beta_2_decay", beta_2_decay)?;
        Ok(self.change(|rule| rule.beta_2_decay = beta_2_decay))
    }

    /// Keras's argument of this name, which changes nothing there either: the learning rate is at most `1 / √t` with
    /// it and without.
    #[must_use]
    pub fn relative_step(self, relative_step: bool) -> Adafactor {
        let _ = relative_step;
        self
    }
}

macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        impl Adafactor {
            $(
                $(#[$doc])*
                ///
                /// # Errors
                /// A number that is not positive and finite.
                pub fn $name(self, value: f64) -> Result<Adafactor, NnError> {
                    let value = positive(stringify!($name), value)?;
                    Ok(self.change(|rule| rule.$name = value))
                }
            )*
        }
    };
}

setters! {
    /// The ε₁ that is added to squares of gradients, a positive number of `f32`.
    epsilon_1;
    /// The ε₂: a parameter with a smaller root mean square is updated as if it had this one.
    epsilon_2;
    /// The largest root mean square of an update before the learning rate; a longer one is shortened to it.
    clip_threshold;
}

impl UpdateRule for AdafactorRule {
    const NAME: &'static str = "adafactor";
    type Step = kernels::Adafactor;

    numbers!(
        "epsilon_1" => epsilon_1: positive,
        "epsilon_2" => epsilon_2: positive,
        "clip_threshold" => clip_threshold: positive,
    );

    fn slots_of(&self, param: &Param) -> Vec<Slot> {
        let slot = |name, shape| Slot {
            name,
            shape,
            start: 0.0,
        };
        match param.value().dims() {
            [outer @ .., rows, columns] => vec![
                slot("rows", [outer, &[*rows]].concat()),
                slot("columns", [outer, &[*columns]].concat()),
            ],
            shape => vec![slot("velocity", shape.to_vec())],
        }
    }

    fn prepare(&self, learning_rate: f64, update: u64) -> kernels::Adafactor {
        let t = update as f64;
        kernels::Adafactor {
            rate: learning_rate.min(1.0 / t.sqrt()),
            beta2: 1.0 - t.powf(self.beta_2_decay),
            epsilon1: self.epsilon_1,
            epsilon2: self.epsilon_2,
            clip_threshold: self.clip_threshold,
        }
    }

    fn update(
        &self,
        ws: &mut Workspace,
        step: &kernels::Adafactor,
        updates: &[Update<'_>],
    ) -> Result<(), NnError> {
        Ok(kernels::adafactor_update(ws, updates, *step)?)
    }
}
