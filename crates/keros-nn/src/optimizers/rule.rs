//! The one driver around all update rules: what Keras's base class of optimizers does.

use super::state::{self, Layout, ParamState, Slot};
use super::{
    LEARNING_RATE, Optimizer, decay_or_one, loss_scale, no_number, positive, scratch_for,
    trained_gradients,
};
use crate::error::NnError;
use crate::schedule::{LearningRate, not_negative};
use keros_tensor::kernels::{self, Update};
use keros_tensor::{Param, Params, Tensor, Workspace};

/// What one update does to the parameters.
///
/// Everything else is done by [`RuleOptimizer`], which makes an optimizer of a rule of your own:
///
/// ```
/// use keros_nn::{NnError, Optimizer};
/// use keros_nn::optimizers::{RuleOptimizer, UpdateRule};
/// use keros_tensor::Workspace;
/// use keros_tensor::kernels::{self, Update};
///
/// /// Gradient descent whose steps shrink with the square root of their number.
/// #[derive(Default)]
/// struct Shrinking;
///
/// impl UpdateRule for Shrinking {
///     const NAME: &'static str = "shrinking";
///     const LEARNING_RATE: f64 = 0.1;
///     type Step = f64;
///
///     fn prepare(&self, learning_rate: f64, update: u64) -> f64 {
///         learning_rate / (update as f64).sqrt()
///     }
///
///     fn update(&self, _: &mut Workspace, rate: &f64, updates: &[Update<'_>]) -> Result<(), NnError> {
///         Ok(kernels::sgd_update(updates, None, *rate, false)?)
///     }
/// }
///
/// let optimizer = RuleOptimizer::<Shrinking>::new(0.5)?.clipnorm(1.0)?;
/// assert_eq!(optimizer.name(), "shrinking");
/// # Ok::<(), NnError>(())
/// ```
pub trait UpdateRule {
    /// The name of the optimizer.
    const NAME: &'static str;

    /// The learning rate if none is given.
    const LEARNING_RATE: f64 = 0.001;

    /// The weight decay if none is given.
    const WEIGHT_DECAY: Option<f64> = None;

    /// Numbers that are the same for all parameters of an update.
    type Step;

    /// The tensors to keep for each parameter, each of its shape: their names and the numbers they are
    /// filled with at first. Default: none.
    fn slots(&self) -> Vec<(&'static str, f64)> {
        Vec::new()
    }

    /// The tensors to keep for this parameter. Default: those of [`slots`](Self::slots).
    fn slots_of(&self, param: &Param) -> Vec<Slot> {
        let slots = self.slots().into_iter().map(|(name, start)| Slot {
            name,
            shape: param.value().dims().to_vec(),
            start,
        });
        slots.collect()
    }

    /// The weight decay of this parameter, which is not [excluded](RuleOptimizer::exclude_from_weight_decay) from
    /// it, where that of the optimizer is `decay`. Default: the same.
    fn decay_of(&self, param: &Param, decay: Option<f64>) -> Option<f64> {
        let _ = param;
        decay
    }

    /// The rule's numbers that may be set between updates, by Keras's names. Default: none.
    fn numbers(&self) -> Vec<(&'static str, f64)> {
        Vec::new()
    }

    /// Sets one of the [`numbers`](Self::numbers), which must not change the [`slots`](Self::slots).
    ///
    /// # Errors
    /// Another name, or a value out of the number's range; nothing has changed then.
    fn set_number(&mut self, name: &str, value: f64) -> Result<(), NnError> {
        let _ = value;
        Err(no_number(Self::NAME, &self.numbers(), name))
    }

    /// The numbers of update number `update`, from 1.
    fn prepare(&self, learning_rate: f64, update: u64) -> Self::Step;

    /// Changes parameters by their gradients, which may be overwritten; the state of each is the tensors
    /// of [`slots_of`](Self::slots_of), and `ws` is memory for what is needed on the way. All parameters
    /// come at once, since a GPU is slow at many small pieces of work.
    ///
    /// # Errors
    /// When a kernel fails.
    fn update(
        &self,
        ws: &mut Workspace,
        step: &Self::Step,
        updates: &[Update<'_>],
    ) -> Result<(), NnError>;
}

/// An optimizer made of an update rule and of what all optimizers of Keras have in common.
///
/// A step clips the gradients, decays the weights, updates the parameters by the rule and then their
/// moving averages. With [`gradient_accumulation_steps`](Self::gradient_accumulation_steps) k it does
/// all but the last only at every k-th call, for the mean of k gradients. The learning rate of a
/// schedule is that of the number of batches before.
///
/// The methods that set arguments are for an optimizer that has not been used: where the state
/// depends on the argument, it begins anew.
pub struct RuleOptimizer<R> {
    rule: R,
    learning_rate: LearningRate,
    weight_decay: Option<f64>,
    not_decayed: Vec<String>,
    clip: Option<Clip>,
    average: Option<Average>,
    loss_scale: Option<f64>,
    /// Whether the gradients of the next step have been divided by it.
    unscaled: bool,
    accumulated_batches: u64,
    batches: u64,
    /// Numbers other than the learning rate that were set since the optimizer was made, with what
    /// they were before.
    set: Vec<(&'static str, f64)>,
    /// Whether the averages stand in the place of the parameters, and these in theirs.
    swapped: bool,
    /// By the index of the parameter; `None` for those that were never updated.
    states: Vec<Option<ParamState>>,
    /// Memory for what clipping and the rule need on the way.
    scratch: Option<Workspace>,
}

#[derive(Clone, Copy)]
enum Clip {
    Norm(f64),
    GlobalNorm(f64),
    Value(f64),
}

/// Clips the gradients in place.
fn clip_gradients(scratch: &mut Workspace, grads: &[&Tensor], clip: Clip) -> Result<(), NnError> {
    match clip {
        Clip::Value(limit) => kernels::clamp(grads, limit)?,
        Clip::Norm(limit) => kernels::clip_norms(scratch, grads, limit)?,
        // As in Keras, one gradient that is not finite makes all of them NaN.
        Clip::GlobalNorm(limit) => kernels::clip_global_norm(scratch, grads, limit)?,
    }
    Ok(())
}

impl Clip {
    /// Its argument and the limit.
    fn number(mut self) -> (&'static str, f64) {
        let name = match self {
            Clip::Norm(_) => "clipnorm",
            Clip::GlobalNorm(_) => "global_clipnorm",
            Clip::Value(_) => "clipvalue",
        };
        (name, *self.limit())
    }

    fn limit(&mut self) -> &mut f64 {
        match self {
            Clip::Norm(limit) | Clip::GlobalNorm(limit) | Clip::Value(limit) => limit,
        }
    }
}

const WEIGHT_DECAY: &str = "weight_decay";
const EMA_MOMENTUM: &str = "ema_momentum";

#[derive(Clone, Copy)]
struct Average {
    momentum: f64,
    overwrite_frequency: Option<u64>,
}

impl<R: UpdateRule + Default> Default for RuleOptimizer<R> {
    /// Keras's defaults.
    fn default() -> Self {
        RuleOptimizer::with_rule(R::default())
    }
}

impl<R: UpdateRule + Default> RuleOptimizer<R> {
    /// The optimizer with this learning rate, a number or a schedule, and Keras's other defaults.
    ///
    /// # Errors
    /// A rate that is negative or not finite.
    pub fn new(learning_rate: impl Into<LearningRate>) -> Result<Self, NnError> {
        let learning_rate = learning_rate.into();
        check_rate(&learning_rate, 0)?;
        Ok(RuleOptimizer {
            learning_rate,
            ..RuleOptimizer::default()
        })
    }
}

impl<R: UpdateRule> RuleOptimizer<R> {
    /// An optimizer of this rule, with its default learning rate.
    pub fn with_rule(rule: R) -> Self {
        RuleOptimizer {
            rule,
            learning_rate: LearningRate::Constant(R::LEARNING_RATE),
            weight_decay: R::WEIGHT_DECAY,
            not_decayed: Vec::new(),
            clip: None,
            average: None,
            loss_scale: None,
            unscaled: false,
            accumulated_batches: 1,
            batches: 0,
            set: Vec::new(),
            swapped: false,
            states: Vec::new(),
            scratch: None,
        }
    }

    /// Decoupled weight decay: `w -= w · weight_decay · learning_rate` before each update, for all
    /// trainable parameters but those [excluded](Self::exclude_from_weight_decay). Default: none; 0.004 for
    /// AdamW and Muon, of which see also [`adam_weight_decay`](crate::Muon::adam_weight_decay).
    ///
    /// # Errors
    /// A number that is negative or not finite.
    pub fn weight_decay(mut self, weight_decay: f64) -> Result<Self, NnError> {
        self.weight_decay = Some(not_negative("weight_decay", weight_decay)?);
        Ok(self)
    }

    /// Parameters whose name (`layer/parameter`) contains one of `texts` keep their weights, as
    /// those of `["bias"]`. Unlike in Keras a text is no regular expression.
    #[must_use]
    pub fn exclude_from_weight_decay<T: Into<String>>(
        mut self,
        texts: impl IntoIterator<Item = T>,
    ) -> Self {
        self.not_decayed = texts.into_iter().map(Into::into).collect();
        self
    }

    /// Scales the gradient of each parameter down to this norm if it is longer. Default: none.
    ///
    /// # Errors
    /// A number that is not positive and finite; another clipping is set.
    pub fn clipnorm(self, norm: f64) -> Result<Self, NnError> {
        self.clip(Clip::Norm(positive("clipnorm", norm)?))
    }

    /// Scales all gradients down together if their common norm is longer than this. Default: none.
    ///
    /// # Errors
    /// A number that is not positive and finite; another clipping is set.
    pub fn global_clipnorm(self, norm: f64) -> Result<Self, NnError> {
        self.clip(Clip::GlobalNorm(positive("global_clipnorm", norm)?))
    }

    /// Cuts each element of a gradient off at ±`value`. Default: none.
    ///
    /// # Errors
    /// A number that is not positive and finite; another clipping is set.
    pub fn clipvalue(self, value: f64) -> Result<Self, NnError> {
        self.clip(Clip::Value(positive("clipvalue", value)?))
    }

    fn clip(mut self, clip: Clip) -> Result<Self, NnError> {
        if self.clip.is_some() {
            let expected = "one of clipnorm, global_clipnorm and clipvalue";
            return Err(NnError::argument("gradient clipping", expected, "two"));
        }
        self.clip = Some(clip);
        Ok(self)
    }

    /// Keeps a moving average of every parameter, `average = momentum · average + (1 - momentum) · w`
    /// after each batch, which begins with the parameter after the first update.
    ///
    /// [`finalize`](Optimizer::finalize) puts the averages in the place of the parameters, and so
    /// does each `overwrite_frequency`-th update if that is given. Keras's `use_ema`, `ema_momentum`
    /// (0.99 there) and `ema_overwrite_frequency`; default: off.
    ///
    /// # Errors
    /// A momentum outside [0, 1]; a frequency of 0.
    pub fn use_ema(
        mut self,
        momentum: f64,
        overwrite_frequency: Option<u64>,
    ) -> Result<Self, NnError> {
        let momentum = decay_or_one(EMA_MOMENTUM, momentum)?;
        if overwrite_frequency == Some(0) {
            let expected = "at least 1, or none";
            return Err(NnError::argument("ema_overwrite_frequency", expected, 0));
        }
        self.average = Some(Average {
            momentum,
            overwrite_frequency,
        });
        self.states.clear();
        Ok(self)
    }

    /// Takes gradients that are multiplied with this factor, so that small ones are not lost in half
    /// precision; see [`Optimizer::loss_scale`]. Default: none.
    /// [`LossScaleOptimizer`](super::LossScaleOptimizer) finds the factor by itself.
    ///
    /// # Errors
    /// A number that is not a positive one of `f32`.
    pub fn loss_scale_factor(mut self, factor: f64) -> Result<Self, NnError> {
        self.loss_scale = Some(loss_scale("loss_scale_factor", factor)?);
        Ok(self)
    }

    /// One update with the mean gradient of every `steps` batches. Default: one with each.
    ///
    /// # Errors
    /// A number below 2.
    pub fn gradient_accumulation_steps(mut self, steps: u64) -> Result<Self, NnError> {
        if steps < 2 {
            let what = "gradient_accumulation_steps";
            return Err(NnError::argument(what, "at least 2", steps));
        }
        self.accumulated_batches = steps;
        self.states.clear();
        Ok(self)
    }

    /// Sets a number other than the learning rate.
    fn assign(&mut self, name: &str, value: f64) -> Result<(), NnError> {
        match (
            name,
            &mut self.weight_decay,
            &mut self.clip,
            &mut self.average,
        ) {
            (WEIGHT_DECAY, Some(decay), ..) => *decay = not_negative(name, value)?,
            (EMA_MOMENTUM, .., Some(average)) => average.momentum = decay_or_one(name, value)?,
            (name, _, Some(clip), _) if clip.number().0 == name => {
                *clip.limit() = positive(name, value)?;
            }
            _ => self.rule.set_number(name, value)?,
        }
        Ok(())
    }

    /// Takes back what was set, and sets `numbers` instead; nothing has changed after an error.
    fn reset_numbers(&mut self, numbers: &[(String, f64)]) -> Result<(), NnError> {
        let before = self.numbers();
        let set = std::mem::take(&mut self.set);
        let result = set
            .iter()
            .try_for_each(|(name, value)| self.assign(name, *value))
            .and_then(|()| {
                numbers
                    .iter()
                    .try_for_each(|(name, value)| self.set_number(name, *value))
            });
        if result.is_err() {
            for (name, value) in &before[1..] {
                self.assign(name, *value)?;
            }
            self.set = set;
        }
        result
    }

    /// Changes the rule, whose state begins anew.
    pub(super) fn change(mut self, change: impl FnOnce(&mut R)) -> Self {
        change(&mut self.rule);
        self.states.clear();
        self
    }

    /// Makes the state of parameters that have none and checks that of the others.
    fn prepare(&mut self, params: &Params) -> Result<(), NnError> {
        if self.states.len() < params.len() {
            self.states.resize_with(params.len(), || None);
        }
        for (id, param) in params.iter().filter(|(_, param)| param.trainable()) {
            match &self.states[id.index()] {
                Some(state) => state.check(R::NAME, param)?,
                None => {
                    let state = ParamState::new(param, self.layout(param))?;
                    self.states[id.index()] = Some(state);
                }
            }
        }
        Ok(())
    }

    fn layout(&self, param: &Param) -> Layout {
        Layout {
            slots: self.rule.slots_of(param),
            average: self.average.is_some(),
            accumulator: self.accumulated_batches > 1,
        }
    }

    /// The parameters to be updated, each with its state.
    fn trained<'a>(
        &'a self,
        params: &'a Params,
    ) -> impl Iterator<Item = (&'a Param, &'a ParamState)> {
        params
            .iter()
            .filter(|(_, param)| param.trainable())
            .filter_map(|(id, param)| Some((param, self.states.get(id.index())?.as_ref()?)))
    }

    fn update(&mut self, params: &Params, learning_rate: f64) -> Result<(), NnError> {
        let accumulated: Vec<_> = self
            .trained(params)
            .filter_map(|(param, state)| Some((param.grad(), state.accumulator.as_ref()?)))
            .collect();
        kernels::mean_of_accumulated(&accumulated, self.accumulated_batches)?;
        let gradients = trained_gradients(params);
        let mut scratch = scratch_for(&gradients, self.scratch.take());
        if let Some(clip) = self.clip {
            clip_gradients(&mut scratch, &gradients, clip)?;
        }
        self.decay_weights(params, learning_rate)?;
        let updates: Vec<Update<'_>> = self
            .trained(params)
            .map(|(param, state)| Update {
                param: param.value().as_tensor(),
                grad: param.grad(),
                state: &state.slots,
            })
            .collect();
        let step = self.rule.prepare(learning_rate, self.iterations() + 1);
        let result = self.rule.update(&mut scratch, &step, &updates);
        self.scratch = Some(scratch);
        result
    }

    fn decay_weights(&self, params: &Params, learning_rate: f64) -> Result<(), NnError> {
        let is_decayed = |param: &Param| !self.not_decayed.iter().any(|t| param.name().contains(t));
        // Mostly all have one decay.
        let mut groups: Vec<(f64, Vec<&Tensor>)> = Vec::new();
        for (param, _) in self.trained(params).filter(|(param, _)| is_decayed(param)) {
            let Some(decay) = self.rule.decay_of(param, self.weight_decay) else {
                continue;
            };
            let value = param.value().as_tensor();
            match groups.iter_mut().find(|(of_group, _)| *of_group == decay) {
                Some((_, group)) => group.push(value),
                None => groups.push((decay, vec![value])),
            }
        }
        for (decay, group) in groups {
            kernels::weight_decay(&group, decay * learning_rate)?;
        }
        Ok(())
    }

    fn update_averages(&self, params: &Params, average: Average) -> Result<(), NnError> {
        // Until the first update is over, the average is the parameter itself.
        let momentum = if self.iterations() == 0 {
            0.0
        } else {
            average.momentum
        };
        let averages: Vec<(&Tensor, &Tensor)> = self
            .trained(params)
            .filter_map(|(param, state)| Some((state.average.as_ref()?, param.value().as_tensor())))
            .collect();
        kernels::moving_average(&averages, momentum, 1.0 - momentum)?;
        match average.overwrite_frequency {
            Some(frequency) if (self.iterations() + 1).is_multiple_of(frequency) => {
                self.overwrite(params)
            }
            _ => Ok(()),
        }
    }

    fn overwrite(&self, params: &Params) -> Result<(), NnError> {
        for (param, state) in self.trained(params) {
            if let Some(mean) = &state.average {
                param.set(mean)?;
            }
        }
        Ok(())
    }
}

impl<R: UpdateRule> Optimizer for RuleOptimizer<R> {
    fn name(&self) -> &'static str {
        R::NAME
    }

    fn learning_rate(&self) -> f64 {
        self.learning_rate.at(self.batches)
    }

    fn set_learning_rate(&mut self, learning_rate: f64) -> Result<(), NnError> {
        match &mut self.learning_rate {
            LearningRate::Constant(rate) => *rate = not_negative("learning rate", learning_rate)?,
            LearningRate::Schedule(_) => return Err(NnError::Scheduled { optimizer: R::NAME }),
        }
        Ok(())
    }

    fn numbers(&self) -> Vec<(&'static str, f64)> {
        let mut numbers = vec![(LEARNING_RATE, self.learning_rate())];
        numbers.extend(self.weight_decay.map(|decay| (WEIGHT_DECAY, decay)));
        numbers.extend(self.clip.map(Clip::number));
        numbers.extend(self.average.map(|average| (EMA_MOMENTUM, average.momentum)));
        numbers.extend(self.rule.numbers());
        numbers
    }

    fn set_number(&mut self, name: &str, value: f64) -> Result<(), NnError> {
        if name == LEARNING_RATE {
            return self.set_learning_rate(value);
        }
        let numbers = self.numbers();
        let Some((name, before)) = numbers.iter().find(|(known, _)| *known == name).copied() else {
            return Err(no_number(R::NAME, &numbers, name));
        };
        self.assign(name, value)?;
        if !self.set.iter().any(|(known, _)| *known == name) {
            self.set.push((name, before));
        }
        Ok(())
    }

    fn is_scheduled(&self) -> bool {
        matches!(self.learning_rate, LearningRate::Schedule(_))
    }

    fn iterations(&self) -> u64 {
        self.batches / self.accumulated_batches
    }

    fn batches(&self) -> u64 {
        self.batches
    }

    fn will_update(&self) -> bool {
        (self.batches + 1).is_multiple_of(self.accumulated_batches)
    }

    fn loss_scale(&self) -> Option<f64> {
        self.loss_scale
    }

    fn unscale(&mut self, params: &Params) -> Result<(), NnError> {
        if let Some(factor) = self.loss_scale {
            kernels::scale(&trained_gradients(params), 1.0 / factor)?;
            self.unscaled = true;
        }
        Ok(())
    }

    fn step(&mut self, params: &Params) -> Result<(), NnError> {
        if !std::mem::take(&mut self.unscaled) {
            self.unscale(params)?;
            self.unscaled = false;
        }
        let learning_rate = check_rate(&self.learning_rate, self.batches)?;
        self.prepare(params)?;
        if self.will_update() {
            self.update(params, learning_rate)?;
        } else {
            let sums: Vec<(&Tensor, &Tensor)> = self
                .trained(params)
                .filter_map(|(param, state)| Some((state.accumulator.as_ref()?, param.grad())))
                .collect();
            kernels::accumulate(&sums, 1.0)?;
        }
        if let Some(average) = self.average {
            self.update_averages(params, average)?;
        }
        self.batches += 1;
        Ok(())
    }

    fn skip_step(&mut self, _: &Params) -> Result<(), NnError> {
        self.unscaled = false;
        Ok(())
    }

    fn finalize(&mut self, params: &Params) -> Result<(), NnError> {
        if self.swapped {
            // The weights stand where the averages belong. Else they would be taken for them later.
            self.swap_averages(params)?;
        }
        if self.average.is_none() || self.batches == 0 {
            return Ok(());
        }
        self.prepare(params)?;
        self.overwrite(params)
    }

    fn swap_averages(&mut self, params: &Params) -> Result<(), NnError> {
        if self.average.is_none() {
            return Err(NnError::NoAverages { optimizer: R::NAME });
        }
        self.prepare(params)?;
        for (id, param) in params.iter().filter(|(_, param)| param.trainable()) {
            if let Some(state) = &mut self.states[id.index()]
                && let Some(mean) = &mut state.average
            {
                let value = param.value().copy()?;
                param.set(mean)?;
                *mean = value;
            }
        }
        self.swapped = !self.swapped;
        Ok(())
    }

    fn has_swapped(&self) -> bool {
        self.swapped
    }

    fn state(&self) -> Result<Vec<(String, Tensor)>, NnError> {
        let rate = match &self.learning_rate {
            LearningRate::Constant(rate) => Some(*rate),
            LearningRate::Schedule(_) => None,
        };
        let mut tensors = state::scalars(R::NAME, self.batches, rate)?;
        let numbers = self.numbers();
        let is_set = |name| self.set.iter().any(|(set, _)| *set == name);
        for (name, value) in numbers.iter().filter(|(name, _)| is_set(*name)) {
            tensors.push(state::number(R::NAME, name, *value)?);
        }
        for state in self.states.iter().flatten() {
            for (slot, tensor) in state.tensors() {
                let name = state::name(R::NAME, slot, &state.name);
                tensors.push((name, tensor.copy()?));
            }
        }
        Ok(tensors)
    }

    fn load_state(&mut self, params: &Params, state: &[(String, Tensor)]) -> Result<(), NnError> {
        let constant = matches!(self.learning_rate, LearningRate::Constant(_));
        let layout = |param: &Param| self.layout(param);
        let loaded = state::load(R::NAME, layout, constant, params, state)?;
        self.reset_numbers(&loaded.numbers)?;
        if let Some(rate) = loaded.learning_rate {
            self.learning_rate = LearningRate::Constant(rate);
        }
        self.batches = loaded.batches;
        self.swapped = false;
        self.states = loaded.states;
        Ok(())
    }
}

/// The rate after `step` batches, which a schedule of the user's might make anything.
fn check_rate(learning_rate: &LearningRate, step: u64) -> Result<f64, NnError> {
    not_negative("learning rate", learning_rate.at(step))
}
