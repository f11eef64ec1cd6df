//! What an optimizer keeps of each parameter, and how it is named, read and put back.

use crate::error::{NnError, StateDifference, StateMismatch};
use crate::schedule::not_negative;
use keros_tensor::{DType, Param, Params, Tensor, kernels};
use std::collections::HashMap;

/// A tensor that an optimizer keeps for a parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    /// Its name, such as `momentum`.
    pub name: &'static str,
    /// Its shape, mostly that of the parameter.
    pub shape: Vec<usize>,
    /// What it is filled with at first.
    pub start: f64,
}

/// Which tensors there are for a parameter.
pub(super) struct Layout {
    /// Those of the rule.
    pub(super) slots: Vec<Slot>,
    pub(super) average: bool,
    pub(super) accumulator: bool,
}

impl Layout {
    /// Names and shapes for a parameter of this shape, in the order of [`ParamState::tensors`].
    fn tensors<'a>(
        &'a self,
        param: &'a [usize],
    ) -> impl Iterator<Item = (&'static str, &'a [usize])> {
        let slots = self.slots.iter().map(|slot| (slot.name, &slot.shape[..]));
        slots
            .chain(self.average.then_some(("average", param)))
            .chain(self.accumulator.then_some(("gradient_accumulator", param)))
    }
}

/// The tensors kept for one parameter.
pub(super) struct ParamState {
    /// The parameter.
    pub(super) name: String,
    shape: Vec<usize>,
    /// Those of the rule.
    pub(super) slots: Vec<Tensor>,
    /// The moving average.
    pub(super) average: Option<Tensor>,
    /// The sum of the gradients since the last update.
    pub(super) accumulator: Option<Tensor>,
    layout: Layout,
}

impl ParamState {
    /// The state before the first update.
    pub(super) fn new(param: &Param, layout: Layout) -> Result<ParamState, NnError> {
        let value = param.value().as_tensor();
        let slot = |slot: &Slot| -> Result<Tensor, NnError> {
            let tensor = Tensor::zeros(&slot.shape[..], value.dtype(), value.device())?;
            if slot.start != 0.0 {
                kernels::fill(&tensor, slot.start as f32)?;
            }
            Ok(tensor)
        };
        Ok(ParamState {
            name: param.name().to_owned(),
            shape: value.dims().to_vec(),
            slots: layout.slots.iter().map(slot).collect::<Result<_, _>>()?,
            average: layout.average.then(|| value.copy()).transpose()?,
            accumulator: layout.accumulator.then(|| value.zeros_like()).transpose()?,
            layout,
        })
    }

    /// The state of a parameter from as many tensors as the layout has names.
    fn from_tensors(param: &Param, layout: Layout, mut tensors: Vec<Tensor>) -> ParamState {
        let accumulator = layout.accumulator.then(|| tensors.pop()).flatten();
        let average = layout.average.then(|| tensors.pop()).flatten();
        ParamState {
            name: param.name().to_owned(),
            shape: param.value().dims().to_vec(),
            slots: tensors,
            average,
            accumulator,
            layout,
        }
    }

    /// The tensors with their names.
    pub(super) fn tensors(&self) -> impl Iterator<Item = (&'static str, &Tensor)> {
        let names = self.layout.tensors(&self.shape).map(|(name, _)| name);
        let tensors = self.slots.iter().chain(&self.average);
        names.zip(tensors.chain(&self.accumulator))
    }

    /// Whether this is the state of `param`.
    pub(super) fn check(&self, optimizer: &str, param: &Param) -> Result<(), NnError> {
        let shape = param.value().dims();
        if self.name == param.name() && self.shape == shape {
            return Ok(());
        }
        let what = format!("parameter of {optimizer}");
        let expected = format!("`{}` of shape {:?}, as before", self.name, self.shape);
        let found = format!("`{}` of shape {shape:?}", param.name());
        Err(NnError::argument(what, expected, found))
    }
}

/// The name of one tensor, such as `adam/momentum/dense/kernel`.
pub(super) fn name(optimizer: &str, slot: &str, param: &str) -> String {
    format!("{optimizer}/{slot}/{param}")
}

fn batches_name(optimizer: &str) -> String {
    format!("{optimizer}/batches")
}

fn rate_name(optimizer: &str) -> String {
    format!("{optimizer}/learning_rate")
}

/// Where the numbers are that were set, such as `adam/set/beta_1`.
fn set_prefix(optimizer: &str) -> String {
    format!("{optimizer}/set/")
}

/// A number that was set.
pub(super) fn number(optimizer: &str, name: &str, value: f64) -> Result<(String, Tensor), NnError> {
    let name = format!("{}{name}", set_prefix(optimizer));
    Ok((name, Tensor::new(value, &keros_tensor::Device::Cpu)?))
}

/// The state that belongs to no parameter.
pub(super) fn scalars(
    optimizer: &str,
    batches: u64,
    learning_rate: Option<f64>,
) -> Result<Vec<(String, Tensor)>, NnError> {
    let device = keros_tensor::Device::Cpu;
    let batches = Tensor::new(batches.cast_signed(), &device)?;
    let mut tensors = vec![(batches_name(optimizer), batches)];
    if let Some(rate) = learning_rate {
        tensors.push((rate_name(optimizer), Tensor::new(rate, &device)?));
    }
    Ok(tensors)
}

/// A state that has been checked.
pub(super) struct Loaded {
    pub(super) batches: u64,
    pub(super) learning_rate: Option<f64>,
    /// Those that were set, by name.
    pub(super) numbers: Vec<(String, f64)>,
    pub(super) states: Vec<Option<ParamState>>,
}

/// Checks a state for `params` and copies it.
///
/// After at least one batch there must be the tensors of every trainable parameter; those of others
/// may be there, all of a parameter or none.
pub(super) fn load(
    optimizer: &str,
    layout: impl Fn(&Param) -> Layout,
    constant_rate: bool,
    params: &Params,
    given: &[(String, Tensor)],
) -> Result<Loaded, NnError> {
    let tensors = given;
    let mut given = Given::new(tensors);
    let batches = given.take(&batches_name(optimizer), DType::I64, &[], true);
    let rate = match constant_rate {
        true => given.take(&rate_name(optimizer), DType::F64, &[], true),
        false => None,
    };
    let set = set_prefix(optimizer);
    let mut numbers = Vec::new();
    for (name, _) in tensors {
        if let Some(number) = name.strip_prefix(&set)
            && let Some(value) = given.take(name, DType::F64, &[], true)
        {
            numbers.push((number.to_owned(), value.to_scalar::<f64>()?));
        }
    }
    let batches = match batches {
        Some(batches) => batches.to_scalar::<i64>()?,
        None => 0,
    };
    let mut found = Vec::with_capacity(params.len());
    for (_, param) in params.iter() {
        let (value, layout) = (param.value(), layout(param));
        let tensors = layout.tensors(value.dims());
        let named: Vec<(String, &[usize])> = tensors
            .map(|(slot, shape)| (name(optimizer, slot, param.name()), shape))
            .collect();
        let some = named.iter().any(|(name, _)| given.has(name));
        let needed = some || param.trainable() && batches > 0;
        let tensors: Vec<&Tensor> = named
            .iter()
            .filter_map(|(name, shape)| given.take(name, value.dtype(), shape, needed))
            .collect();
        found.push(needed.then_some((layout, tensors)));
    }
    given.finish()?;
    let batches = u64::try_from(batches)
        .map_err(|_| NnError::argument(batches_name(optimizer), "a number from 0", batches))?;
    let learning_rate = match rate {
        Some(rate) => Some(not_negative(
            &rate_name(optimizer),
            rate.to_scalar::<f64>()?,
        )?),
        None => None,
    };
    let mut states = Vec::with_capacity(params.len());
    for ((_, param), tensors) in params.iter().zip(found) {
        let Some((layout, tensors)) = tensors else {
            states.push(None);
            continue;
        };
        let device = param.value().device();
        let copies = tensors
            .into_iter()
            .map(|tensor| tensor.to_device(device)?.force_contiguous()?.copy())
            .collect::<Result<Vec<_>, _>>()?;
        states.push(Some(ParamState::from_tensors(param, layout, copies)));
    }
    Ok(Loaded {
        batches,
        learning_rate,
        numbers,
        states,
    })
}

/// The tensors given, those that are not yet taken, and what was wrong.
pub(super) struct Given<'a> {
    tensors: &'a [(String, Tensor)],
    by_name: HashMap<&'a str, usize>,
    mismatch: StateMismatch,
}

impl<'a> Given<'a> {
    pub(super) fn new(tensors: &'a [(String, Tensor)]) -> Given<'a> {
        let mut by_name = HashMap::new();
        let mut mismatch = StateMismatch::default();
        for (i, (name, _)) in tensors.iter().enumerate() {
            if by_name.insert(name.as_str(), i).is_some() {
                mismatch.unexpected.push(name.clone());
            }
        }
        Given {
            tensors,
            by_name,
            mismatch,
        }
    }

    fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// The tensor of this name, if it is there and as it should be.
    pub(super) fn take(
        &mut self,
        name: &str,
        dtype: DType,
        shape: &[usize],
        needed: bool,
    ) -> Option<&'a Tensor> {
        let Some(index) = self.by_name.remove(name) else {
            if needed {
                self.mismatch.missing.push(name.to_owned());
            }
            return None;
        };
        let tensor = &self.tensors[index].1;
        if tensor.dtype() == dtype && tensor.dims() == shape {
            return Some(tensor);
        }
        self.mismatch.different.push(StateDifference {
            name: name.to_owned(),
            expected: (dtype, shape.to_vec()),
            found: (tensor.dtype(), tensor.dims().to_vec()),
        });
        None
    }

    /// Those that nobody has taken.
    pub(super) fn rest(&self) -> impl Iterator<Item = &'a (String, Tensor)> {
        self.tensors.iter().filter(|(name, _)| self.has(name))
    }

    /// That nothing was wrong so far.
    pub(super) fn check(self) -> Result<(), NnError> {
        if self.mismatch == StateMismatch::default() {
            return Ok(());
        }
        Err(NnError::OptimizerState(Box::new(self.mismatch)))
    }

    /// The same, and that nothing is left.
    fn finish(mut self) -> Result<(), NnError> {
        let rest: Vec<String> = self.rest().map(|(name, _)| name.clone()).collect();
        self.mismatch.unexpected.extend(rest);
        self.check()
    }
}
