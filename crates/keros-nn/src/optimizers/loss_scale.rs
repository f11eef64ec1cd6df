//! Scaling of the loss, so that small gradients are not lost in half precision.

use super::state::Given;
use super::{Optimizer, no_number, scratch_for, trained_gradients};
use crate::error::NnError;
use crate::resolve::Resolve;
use keros_tensor::access::read;
use keros_tensor::{DType, Device, Params, Readback, Tensor, Workspace, kernels};

/// An optimizer whose gradients arrive multiplied by a scale that follows what the numbers bear:
/// Keras's `LossScaleOptimizer`.
///
/// The scale grows by a factor of 2 after every [`dynamic_growth_steps`](Self::dynamic_growth_steps)
/// steps whose gradients are finite. A step with one that is not changes no parameter, and halves the
/// scale; so does a batch that is passed over ([`skip_step`](Optimizer::skip_step)).
///
/// A [`Trainer`](https://docs.rs/keros-train) wraps the optimizer in one for `mixed_float16`. A
/// training loop without it multiplies the gradient of the loss by [`loss_scale`](Optimizer::loss_scale),
/// tells the network ([`Network::set_loss_scale`](crate::Network::set_loss_scale)), and calls
/// [`unscale`](Optimizer::unscale) between the backward pass and the step, or leaves that to the step.
///
/// ```
/// use keros_nn::{Adam, LossScaleOptimizer, NnError, Optimizer};
///
/// let optimizer = LossScaleOptimizer::new(Adam::new(1e-3)?.clipnorm(1.0)?)?;
/// assert_eq!(optimizer.loss_scale(), Some(32768.0));
/// # Ok::<(), NnError>(())
/// ```
///
/// Each step waits until the GPU knows whether the gradients are finite.
pub struct LossScaleOptimizer {
    inner: Box<dyn Optimizer>,
    scale: f64,
    growth_steps: u64,
    /// Steps with finite gradients since the scale was changed.
    finite_steps: u64,
    /// The sums of the squares of the gradients that are unscaled and wait for their step.
    unscaled: Option<Readback>,
    scratch: Option<Workspace>,
}

const NAME: &str = "loss_scale_optimizer";
const SCALE: &str = "dynamic_scale";
const STEPS: &str = "step_counter";
/// The scale is a factor in `f32`.
const LARGEST: f64 = f32::MAX as f64;
const SMALLEST: f64 = f32::MIN_POSITIVE as f64;

impl LossScaleOptimizer {
    /// This optimizer, by Keras's name or as a value, with Keras's numbers: a scale of 2¹⁵ to begin
    /// with, and 2000 steps until it grows.
    ///
    /// # Errors
    /// An unknown name; an optimizer that scales the loss itself.
    pub fn new(optimizer: impl Resolve<dyn Optimizer>) -> Result<LossScaleOptimizer, NnError> {
        let inner = optimizer.resolve()?;
        if inner.loss_scale().is_some() {
            let expected = "one that does not scale the loss itself";
            return Err(NnError::argument("inner optimizer", expected, inner.name()));
        }
        Ok(LossScaleOptimizer {
            inner,
            scale: 32768.0,
            growth_steps: 2000,
            finite_steps: 0,
            unscaled: None,
            scratch: None,
        })
    }

    /// The scale to begin with. It may be large: one that is too large is given up within a few steps,
    /// while one that is too small takes thousands to grow. Default: 32768.
    ///
    /// # Errors
    /// A number that is not a positive one of `f32`.
    pub fn initial_scale(mut self, scale: f64) -> Result<LossScaleOptimizer, NnError> {
        self.scale = loss_scale("initial_scale", scale)?;
        Ok(self)
    }

    /// Steps with finite gradients after which the scale grows. Default: 2000.
    ///
    /// # Errors
    /// 0.
    pub fn dynamic_growth_steps(mut self, steps: u64) -> Result<LossScaleOptimizer, NnError> {
        if steps == 0 {
            return Err(NnError::argument(
                "dynamic_growth_steps",
                "at least 1",
                steps,
            ));
        }
        self.growth_steps = steps;
        Ok(self)
    }

    /// The optimizer that makes the updates.
    pub fn inner_optimizer(&self) -> &dyn Optimizer {
        self.inner.as_ref()
    }

    /// Whether the gradients are finite, as numbers that a GPU may still be computing.
    fn finite(&mut self, params: &Params) -> Result<bool, NnError> {
        if self.unscaled.is_none() {
            self.unscale(params)?;
        }
        let Some(unscaled) = self.unscaled.take() else {
            return Ok(true);
        };
        for sums in unscaled.wait()? {
            if !read::<f64>(&sums)?.iter().all(|sum| sum.is_finite()) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Halves the scale, which was too large for the gradients.
    fn lower(&mut self) -> Result<(), NnError> {
        self.finite_steps = 0;
        if self.scale == SMALLEST {
            let expected = format!("finite numbers at some loss scale down to {SMALLEST:e}");
            return Err(NnError::argument("gradients", expected, "none"));
        }
        self.scale = SMALLEST.max(self.scale / 2.0);
        Ok(())
    }
}

/// A factor of losses.
pub(super) fn loss_scale(what: &str, scale: f64) -> Result<f64, NnError> {
    match (SMALLEST..=LARGEST).contains(&scale) {
        true => Ok(scale),
        false => Err(NnError::argument(what, "a positive number of f32", scale)),
    }
}

impl Optimizer for LossScaleOptimizer {
    fn name(&self) -> &'static str {
        NAME
    }

    fn learning_rate(&self) -> f64 {
        self.inner.learning_rate()
    }

    fn set_learning_rate(&mut self, learning_rate: f64) -> Result<(), NnError> {
        self.inner.set_learning_rate(learning_rate)
    }

    fn numbers(&self) -> Vec<(&'static str, f64)> {
        let mut numbers = self.inner.numbers();
        numbers.push((SCALE, self.scale));
        numbers
    }

    fn set_number(&mut self, name: &str, value: f64) -> Result<(), NnError> {
        if name == SCALE {
            self.scale = loss_scale(SCALE, value)?;
            self.finite_steps = 0;
            return Ok(());
        }
        let numbers = self.numbers();
        match numbers.iter().any(|(known, _)| *known == name) {
            true => self.inner.set_number(name, value),
            false => Err(no_number(NAME, &numbers, name)),
        }
    }

    fn is_scheduled(&self) -> bool {
        self.inner.is_scheduled()
    }

    fn iterations(&self) -> u64 {
        self.inner.iterations()
    }

    fn batches(&self) -> u64 {
        self.inner.batches()
    }

    fn will_update(&self) -> bool {
        self.inner.will_update()
    }

    fn loss_scale(&self) -> Option<f64> {
        Some(self.scale)
    }

    fn unscale(&mut self, params: &Params) -> Result<(), NnError> {
        let grads = trained_gradients(params);
        let mut scratch = scratch_for(&grads, self.scratch.take());
        let sums = kernels::sums_of_squares(&mut scratch, &grads)?;
        kernels::scale(&grads, 1.0 / self.scale)?;
        self.unscaled = Some(Readback::start(&[&sums])?);
        self.scratch = Some(scratch);
        Ok(())
    }

    fn step(&mut self, params: &Params) -> Result<(), NnError> {
        if self.finite(params)? {
            self.inner.step(params)?;
            self.finite_steps += 1;
            if self.finite_steps >= self.growth_steps {
                self.finite_steps = 0;
                self.scale = LARGEST.min(2.0 * self.scale);
            }
            return Ok(());
        }
        self.lower()
    }

    fn skip_step(&mut self, params: &Params) -> Result<(), NnError> {
        match self.finite(params)? {
            true => self.inner.skip_step(params),
            false => self.lower(),
        }
    }

    fn finalize(&mut self, params: &Params) -> Result<(), NnError> {
        self.inner.finalize(params)
    }

    fn swap_averages(&mut self, params: &Params) -> Result<(), NnError> {
        self.inner.swap_averages(params)
    }

    fn has_swapped(&self) -> bool {
        self.inner.has_swapped()
    }

    fn state(&self) -> Result<Vec<(String, Tensor)>, NnError> {
        let mut state = self.inner.state()?;
        let scale = Tensor::new(self.scale, &Device::Cpu)?;
        let steps = Tensor::new(self.finite_steps.cast_signed(), &Device::Cpu)?;
        state.push((name(SCALE), scale));
        state.push((name(STEPS), steps));
        Ok(state)
    }

    /// As the trait says; what is wrong with the scale is told before what is wrong with the rest.
    fn load_state(&mut self, params: &Params, state: &[(String, Tensor)]) -> Result<(), NnError> {
        let mut given = Given::new(state);
        let scale = given.take(&name(SCALE), DType::F64, &[], true);
        let steps = given.take(&name(STEPS), DType::I64, &[], true);
        let of_inner: Vec<_> = given.rest().cloned().collect();
        given.check()?;
        let (Some(scale), Some(steps)) = (scale, steps) else {
            return Ok(());
        };
        let scale = loss_scale(&name(SCALE), scale.to_scalar::<f64>()?)?;
        let steps = steps.to_scalar::<i64>()?;
        let steps = u64::try_from(steps)
            .map_err(|_| NnError::argument(name(STEPS), "a number from 0", steps))?;
        self.inner.load_state(params, &of_inner)?;
        (self.scale, self.finite_steps, self.unscaled) = (scale, steps, None);
        Ok(())
    }
}

/// The name of a number in the state.
fn name(slot: &str) -> String {
    format!("{NAME}/{slot}")
}
