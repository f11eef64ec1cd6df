//! Optimizers: how gradients change parameters, with Keras 3's formulas, arguments and defaults.
//!
//! Each optimizer is an [`UpdateRule`] in a [`RuleOptimizer`]: the rule says what one update does to
//! one parameter, and everything that is common to all of them is written once around it: learning
//! rates and schedules, weight decay, clipping, gradient accumulation, moving averages, state.

mod adadelta;
mod adafactor;
mod adagrad;
mod adam;
mod adamax;
mod ftrl;
mod lamb;
mod lion;
mod loss_scale;
mod muon;
mod nadam;
mod rmsprop;
mod rule;
mod sgd;
mod state;

pub use adadelta::{Adadelta, AdadeltaRule};
pub use adafactor::{Adafactor, AdafactorRule};
pub use adagrad::{Adagrad, AdagradRule};
pub use adam::{Adam, AdamRule, AdamW};
pub use adamax::{Adamax, AdamaxRule};
pub use ftrl::{Ftrl, FtrlRule};
pub use lamb::{Lamb, LambRule};
pub use lion::{Lion, LionRule};
pub use loss_scale::LossScaleOptimizer;
pub use muon::{Muon, MuonRule};
pub use nadam::{Nadam, NadamRule};
pub use rmsprop::{RmsProp, RmsPropRule};
pub use rule::{RuleOptimizer, UpdateRule};
pub use sgd::{Sgd, SgdRule};
pub use state::Slot;

use loss_scale::loss_scale;

use crate::error::NnError;
use keros_tensor::{Device, Params, Tensor, Workspace};
use std::str::FromStr;

/// Changes parameters by their gradients.
pub trait Optimizer {
    /// Keras's name, such as `adam`.
    fn name(&self) -> &'static str;

    /// The learning rate of the next update.
    fn learning_rate(&self) -> f64;

    /// Sets the learning rate, finite and not negative.
    ///
    /// # Errors
    /// A rate out of range; [`NnError::Scheduled`] if the rate follows a schedule.
    fn set_learning_rate(&mut self, learning_rate: f64) -> Result<(), NnError>;

    /// The numbers that may be read and set between updates, by Keras's names: the learning rate
    /// first, then those that the arguments switched on, such as `weight_decay` and `momentum`.
    fn numbers(&self) -> Vec<(&'static str, f64)> {
        vec![(LEARNING_RATE, self.learning_rate())]
    }

    /// Sets one of the [`numbers`](Self::numbers) for the updates to come. It is part of the
    /// [`state`](Self::state).
    ///
    /// # Errors
    /// Another name; a value out of the number's range; [`NnError::Scheduled`] for a learning rate
    /// that follows a schedule.
    fn set_number(&mut self, name: &str, value: f64) -> Result<(), NnError> {
        match name {
            LEARNING_RATE => self.set_learning_rate(value),
            _ => Err(no_number(self.name(), &self.numbers(), name)),
        }
    }

    /// Updates done so far.
    fn iterations(&self) -> u64;

    /// Calls of [`step`](Self::step) so far: the updates, unless gradients are accumulated.
    fn batches(&self) -> u64 {
        self.iterations()
    }

    /// Whether the learning rate follows a schedule, so that nobody can set it.
    fn is_scheduled(&self) -> bool {
        false
    }

    /// Whether the next [`step`](Self::step) updates the parameters, rather than only gathering
    /// gradients for a later one.
    fn will_update(&self) -> bool {
        true
    }

    /// What the gradients of the loss are to be multiplied with before they come to
    /// [`unscale`](Self::unscale); `None`, the default, for an optimizer that takes them as they are.
    fn loss_scale(&self) -> Option<f64> {
        None
    }

    /// Divides the gradients by the [`loss_scale`](Self::loss_scale), after the backward pass and before
    /// anything else is done with them. Default: nothing, for an optimizer that takes them as they are.
    ///
    /// # Errors
    /// When a kernel fails.
    fn unscale(&mut self, params: &Params) -> Result<(), NnError> {
        let _ = params;
        Ok(())
    }

    /// Takes the gradients of one batch: one update of every trainable parameter, or their part in
    /// one. The gradients may be overwritten.
    ///
    /// # Errors
    /// When a kernel fails, or the parameters are not those of the updates before.
    fn step(&mut self, params: &Params) -> Result<(), NnError>;

    /// Passes over the gradients of one batch, which change no parameter: called instead of
    /// [`step`](Self::step), so that an optimizer with a scale of its own learns whether they are finite.
    /// Default: nothing.
    ///
    /// # Errors
    /// When a kernel fails; gradients that no scale makes finite.
    fn skip_step(&mut self, params: &Params) -> Result<(), NnError> {
        let _ = params;
        Ok(())
    }

    /// What has to be done to the parameters at the end of a training, such as to put their moving
    /// averages in their place.
    ///
    /// # Errors
    /// The parameters are not those of the updates before.
    fn finalize(&mut self, params: &Params) -> Result<(), NnError> {
        let _ = params;
        Ok(())
    }

    /// Exchanges the parameters and their moving averages. Called twice, everything is as before.
    ///
    /// # Errors
    /// [`NnError::NoAverages`] if the optimizer keeps none; the parameters are not those of the
    /// updates before.
    fn swap_averages(&mut self, params: &Params) -> Result<(), NnError> {
        let _ = params;
        let optimizer = self.name();
        Err(NnError::NoAverages { optimizer })
    }

    /// Whether [`swap_averages`](Self::swap_averages) has put the averages in the place of the
    /// parameters. [`finalize`](Self::finalize) leaves them there.
    fn has_swapped(&self) -> bool {
        false
    }

    /// Copies of everything that the next updates depend on, beside the arguments and parameters,
    /// by name and in a fixed order.
    ///
    /// # Errors
    /// When a tensor cannot be copied.
    fn state(&self) -> Result<Vec<(String, Tensor)>, NnError>;

    /// Goes on from what [`state`](Self::state) of an optimizer with the same arguments returned
    /// when it worked on parameters of these names and shapes.
    ///
    /// # Errors
    /// [`NnError::OptimizerState`] with every name that is missing or unknown and every other shape
    /// or type; a number out of range. After an error nothing has changed.
    fn load_state(&mut self, params: &Params, state: &[(String, Tensor)]) -> Result<(), NnError>;
}

macro_rules! by_name {
    ($($name:literal => $optimizer:ident,)*) => {
        impl FromStr for Box<dyn Optimizer> {
            type Err = NnError;

            /// Keras's names, in lower case, each with Keras's defaults.
            fn from_str(name: &str) -> Result<Self, Self::Err> {
                match name {
                    $($name => Ok(Box::new($optimizer::default())),)*
                    _ => Err(NnError::UnknownName {
                        kind: "optimizer",
                        name: name.to_owned(),
                        known: &[$($name),*],
                    }),
                }
            }
        }
    };
}

by_name! {
    "adadelta" => Adadelta,
    "adafactor" => Adafactor,
    "adagrad" => Adagrad,
    "adam" => Adam,
    "adamax" => Adamax,
    "adamw" => AdamW,
    "ftrl" => Ftrl,
    "lamb" => Lamb,
    "lion" => Lion,
    "muon" => Muon,
    "nadam" => Nadam,
    "rmsprop" => RmsProp,
    "sgd" => Sgd,
}

/// The gradients of the parameters that are trained.
fn trained_gradients(params: &Params) -> Vec<&Tensor> {
    let trained = params.iter().filter(|(_, param)| param.trainable());
    trained.map(|(_, param)| param.grad()).collect()
}

/// Memory to work on these tensors with, which is that of the step before if it is on their device.
fn scratch_for(tensors: &[&Tensor], kept: Option<Workspace>) -> Workspace {
    let device = tensors
        .first()
        .map_or(&Device::Cpu, |tensor| tensor.device());
    let mut scratch = kept
        .filter(|scratch| scratch.device().same_device(device))
        .unwrap_or_else(|| Workspace::new(device));
    scratch.recycle();
    scratch
}

const LEARNING_RATE: &str = "learning_rate";

/// The error for a name that is not one of the numbers.
fn no_number(optimizer: &str, numbers: &[(&str, f64)], name: &str) -> NnError {
    let names: Vec<&str> = numbers.iter().map(|(name, _)| *name).collect();
    let expected = format!("one of {}", names.join(", "));
    NnError::argument(
        format!("number of {optimizer}"),
        expected,
        format!("`{name}`"),
    )
}

/// [`UpdateRule::numbers`] and [`UpdateRule::set_number`] for fields of the rule, each with the name
/// Keras gives it and the check of its range.
macro_rules! numbers {
    ($($name:literal => $field:ident: $check:expr),* $(,)?) => {
        fn numbers(&self) -> Vec<(&'static str, f64)> {
            vec![$(($name, self.$field)),*]
        }

        fn set_number(&mut self, name: &str, value: f64) -> Result<(), NnError> {
            match name {
                $($name => self.$field = $check($name, value)?,)*
                _ => return Err($crate::optimizers::no_number(Self::NAME, &self.numbers(), name)),
            }
            Ok(())
        }
    };
}
use numbers;

/// A decay rate of a moving average.
fn decay_rate(what: &str, rate: f64) -> Result<f64, NnError> {
    if (0.0..1.0).contains(&rate) {
        return Ok(rate);
    }
    Err(NnError::argument(what, "a number in [0, 1)", rate))
}

/// A decay rate that may also be one.
fn decay_or_one(what: &str, rate: f64) -> Result<f64, NnError> {
    if (0.0..=1.0).contains(&rate) {
        return Ok(rate);
    }
    Err(NnError::argument(what, "a number in [0, 1]", rate))
}

/// The decay rates of the two moments of Adam and its kin.
fn betas(beta_1: f64, beta_2: f64) -> Result<(f64, f64), NnError> {
    Ok((decay_rate("beta_1", beta_1)?, decay_rate("beta_2", beta_2)?))
}

fn positive(what: &str, value: f64) -> Result<f64, NnError> {
    if value > 0.0 && value.is_finite() {
        return Ok(value);
    }
    Err(NnError::argument(what, "a positive finite number", value))
}

fn not_positive(what: &str, value: f64) -> Result<f64, NnError> {
    if value <= 0.0 && value.is_finite() {
        return Ok(value);
    }
    let expected = "a finite number that is not positive";
    Err(NnError::argument(what, expected, value))
}

/// A share that is never 0, as that of a momentum: with 0 an optimizer has other state, or none.
fn positive_share(what: &str, value: f64) -> Result<f64, NnError> {
    if value > 0.0 && value <= 1.0 {
        return Ok(value);
    }
    Err(NnError::argument(what, "a number in (0, 1]", value))
}
