//! Named parameters in the order in which they were added.

use std::collections::HashMap;

use candle_core::{Tensor, Var};

use crate::TensorError;

/// Index of a parameter in its [`Params`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ParamId(usize);

impl ParamId {
    /// Position in insertion order, from 0.
    pub fn index(self) -> usize {
        self.0
    }
}

/// One parameter: a value, its gradient and whether an optimizer may change it.
#[derive(Debug)]
pub struct Param {
    name: String,
    value: Var,
    grad: Tensor,
    trainable: bool,
}

impl Param {
    /// The name, unique in its [`Params`].
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value.
    pub fn value(&self) -> &Var {
        &self.value
    }

    /// The gradient, of the value's shape and type: zero at first, written by backward passes.
    pub fn grad(&self) -> &Tensor {
        &self.grad
    }

    /// Whether an optimizer may change the value.
    pub fn trainable(&self) -> bool {
        self.trainable
    }

    /// Lets an optimizer change the value, or not.
    pub fn set_trainable(&mut self, trainable: bool) {
        self.trainable = trainable;
    }

    /// Copies `value` into the parameter; every clone of its [`Var`] sees the new numbers.
    ///
    /// # Errors
    /// [`TensorError::Shape`], [`TensorError::DType`], or a source that shares the parameter's own
    /// storage or lies on another device.
    pub fn set(&self, value: &Tensor) -> Result<(), TensorError> {
        const OP: &str = "setting parameter";
        if value.dims() != self.value.dims() {
            let expected = format!("{:?}, the shape of {:?}", self.value.dims(), self.name);
            return Err(TensorError::shape(OP, "value", expected, value.dims()));
        }
        if value.dtype() != self.value.dtype() {
            return Err(TensorError::DType {
                op: OP,
                expected: self.value.dtype(),
                found: value.dtype(),
            });
        }
        Ok(self.value.set(value)?)
    }
}

/// Named parameters in insertion order.
#[derive(Debug, Default)]
pub struct Params {
    params: Vec<Param>,
    by_name: HashMap<String, usize>,
}

impl Params {
    /// No parameters.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a parameter with a copy of `value`.
    ///
    /// # Errors
    /// [`TensorError::DuplicateParam`] if the name is taken, [`TensorError::BadName`] if it is empty,
    /// holds control characters or is `"__metadata__"` (reserved by the file format).
    pub fn add(
        &mut self,
        name: &str,
        value: &Tensor,
        trainable: bool,
    ) -> Result<ParamId, TensorError> {
        let value = Var::from_tensor(&value.force_contiguous()?.copy()?)?;
        self.add_var(name, value, trainable)
    }

    /// As [`add`](Self::add), without a copy: all clones of the variable are this parameter.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn add_var(
        &mut self,
        name: &str,
        value: Var,
        trainable: bool,
    ) -> Result<ParamId, TensorError> {
        check_name(name)?;
        if self.by_name.contains_key(name) {
            return Err(TensorError::DuplicateParam { name: name.into() });
        }
        let grad = Tensor::zeros(value.shape(), value.dtype(), value.device())?;
        let index = self.params.len();
        self.params.push(Param {
            name: name.to_owned(),
            value,
            grad,
            trainable,
        });
        self.by_name.insert(name.to_owned(), index);
        Ok(ParamId(index))
    }

    /// The parameter with this id, if it is one of these.
    pub fn get(&self, id: ParamId) -> Option<&Param> {
        self.params.get(id.0)
    }

    /// As [`get`](Self::get), to change whether it is trainable.
    pub fn get_mut(&mut self, id: ParamId) -> Option<&mut Param> {
        self.params.get_mut(id.0)
    }

    /// The parameter of this name.
    pub fn by_name(&self, name: &str) -> Option<&Param> {
        self.params.get(*self.by_name.get(name)?)
    }

    /// The id of the parameter of this name.
    pub fn id(&self, name: &str) -> Option<ParamId> {
        self.by_name.get(name).copied().map(ParamId)
    }

    /// All parameters in insertion order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (ParamId, &Param)> {
        self.params.iter().enumerate().map(|(i, p)| (ParamId(i), p))
    }

    /// Number of parameters.
    pub fn len(&self) -> usize {
        self.params.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.params.is_empty()
    }

    /// Number of elements of all parameters, or of the trainable ones only.
    pub fn num_elements(&self, trainable_only: bool) -> usize {
        self.params
            .iter()
            .filter(|p| p.trainable || !trainable_only)
            .map(|p| p.value.elem_count())
            .sum()
    }
}

impl std::ops::Index<ParamId> for Params {
    type Output = Param;

    /// The parameter with this id.
    ///
    /// # Panics
    /// The id is from another `Params` and out of range here.
    fn index(&self, id: ParamId) -> &Param {
        &self.params[id.0]
    }
}

pub(crate) fn check_name(name: &str) -> Result<(), TensorError> {
    if name.is_empty() || name == "__metadata__" || name.chars().any(char::is_control) {
        return Err(TensorError::BadName { name: name.into() });
    }
    Ok(())
}
