//! What parameters are held to after each update, with Keras 3's formulas and defaults.

use crate::config::rules;
use crate::error::NnError;
use crate::schedule::not_negative;
use keros_tensor::Tensor;
use keros_tensor::kernels::{self, NormBounds};
use serde_json::{Value, json};
use std::str::FromStr;

/// A set of values that one parameter is moved back into.
pub trait Constraint: Send + Sync {
    /// Whether a parameter of this shape can be constrained.
    ///
    /// # Errors
    /// A shape that it is not defined for.
    fn check(&self, shape: &[usize]) -> Result<(), NnError> {
        let _ = shape;
        Ok(())
    }

    /// Changes an f32 tensor so that it holds.
    ///
    /// # Errors
    /// A shape that it is not defined for, or a tensor that cannot be written.
    fn apply(&self, value: &Tensor) -> Result<(), NnError>;

    /// Class and arguments as Keras writes them, for `<dyn Constraint>::from_config`;
    /// `None`, the default, if the constraint cannot be written.
    fn config(&self) -> Option<Value> {
        None
    }
}

impl FromStr for Box<dyn Constraint> {
    type Err = NnError;

    /// Keras's names, each with Keras's defaults: `max_norm`, `non_neg`, `unit_norm` and
    /// `min_max_norm`.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "max_norm" => Ok(Box::new(MaxNorm::default())),
            "non_neg" => Ok(Box::new(NonNeg)),
            "unit_norm" => Ok(Box::new(UnitNorm::default())),
            "min_max_norm" => Ok(Box::new(MinMaxNorm::default())),
            _ => Err(NnError::UnknownName {
                kind: "constraint",
                name: name.to_owned(),
                known: &["max_norm", "non_neg", "unit_norm", "min_max_norm"],
            }),
        }
    }
}

/// No negative values: `w = max(w, 0)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NonNeg;

/// Norms of at most `max_value`: `w · clip(norm, 0, max_value) / (norm + 1e-7)`.
///
/// Defaults: 2, norms over axis 0.
#[derive(Clone, Debug, PartialEq)]
pub struct MaxNorm {
    max_value: f64,
    axes: Vec<usize>,
}

/// Norms of 1: `w / (norm + 1e-7)`.
///
/// Default: norms over axis 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitNorm {
    axes: Vec<usize>,
}

/// Norms between two bounds, approached at a rate:
/// `w · (rate · clip(norm, min, max) + (1 - rate) · norm) / (norm + 1e-7)`.
///
/// Defaults: 0, 1, rate 1, norms over axis 0.
#[derive(Clone, Debug, PartialEq)]
pub struct MinMaxNorm {
    min_value: f64,
    max_value: f64,
    rate: f64,
    axes: Vec<usize>,
}

impl Default for MaxNorm {
    fn default() -> MaxNorm {
        MaxNorm {
            max_value: 2.0,
            axes: vec![0],
        }
    }
}

impl Default for UnitNorm {
    fn default() -> UnitNorm {
        UnitNorm { axes: vec![0] }
    }
}

impl Default for MinMaxNorm {
    fn default() -> MinMaxNorm {
        MinMaxNorm {
            min_value: 0.0,
            max_value: 1.0,
            rate: 1.0,
            axes: vec![0],
        }
    }
}

impl MaxNorm {
    /// Norms of at most `max_value`.
    ///
    /// # Errors
    /// A number that is negative or not finite.
    pub fn new(max_value: f64) -> Result<MaxNorm, NnError> {
        Ok(MaxNorm {
            max_value: not_negative("max_value", max_value)?,
            ..MaxNorm::default()
        })
    }
}

impl MinMaxNorm {
    /// Norms from `min_value` to `max_value`.
    ///
    /// # Errors
    /// A number that is negative or not finite; a minimum above the maximum.
    pub fn new(min_value: f64, max_value: f64) -> Result<MinMaxNorm, NnError> {
        let max_value = not_negative("max_value", max_value)?;
        if !(0.0..=max_value).contains(&min_value) {
            let expected = format!("a number in [0, {max_value}]");
            return Err(NnError::argument("min_value", expected, min_value));
        }
        Ok(MinMaxNorm {
            min_value,
            max_value,
            ..MinMaxNorm::default()
        })
    }

    /// How much of the way into the bounds is gone at once, in [0, 1]. Default: 1.
    ///
    /// # Errors
    /// A number out of range.
    pub fn rate(mut self, rate: f64) -> Result<MinMaxNorm, NnError> {
        if !(0.0..=1.0).contains(&rate) {
            return Err(NnError::argument("rate", "a number in [0, 1]", rate));
        }
        self.rate = rate;
        Ok(self)
    }
}

impl Constraint for NonNeg {
    fn apply(&self, value: &Tensor) -> Result<(), NnError> {
        Ok(kernels::non_negative(&[value])?)
    }

    fn config(&self) -> Option<Value> {
        rules::constraint("NonNeg", json!({}))
    }
}

macro_rules! norm_constraints {
    ($($name:ident($($field:ident),*): |$this:ident| $min:expr, $max:expr, $rate:expr;)*) => {$(
        impl $name {
            /// The axes that a norm runs over: `[0]`, the default, for the units of a dense layer,
            /// `[0, 1, 2]` for the filters of a convolution.
            #[must_use]
            pub fn axes(mut self, axes: impl Into<Vec<usize>>) -> $name {
                self.axes = axes.into();
                self
            }
        }

        impl Constraint for $name {
            fn check(&self, shape: &[usize]) -> Result<(), NnError> {
                check_axes(&self.axes, shape)
            }

            fn apply(&self, value: &Tensor) -> Result<(), NnError> {
                let $this = self;
                check_axes(&self.axes, value.dims())?;
                let bounds = NormBounds {
                    min: $min,
                    max: $max,
                    rate: $rate,
                };
                Ok(kernels::bound_norms(value, &self.axes, bounds)?)
            }

            fn config(&self) -> Option<Value> {
                let config = json!({
                    $(stringify!($field): self.$field,)*
                    "axis": rules::axes_config(&self.axes),
                });
                rules::constraint(stringify!($name), config)
            }
        }
    )*};
}

norm_constraints! {
    MaxNorm(max_value): |this| 0.0, this.max_value, None;
    UnitNorm(): |_this| 1.0, 1.0, None;
    MinMaxNorm(min_value, max_value, rate): |this| this.min_value, this.max_value, Some(this.rate);
}

fn check_axes(axes: &[usize], shape: &[usize]) -> Result<(), NnError> {
    if axes.is_empty() || axes.iter().any(|axis| *axis >= shape.len()) {
        let expected = format!("at least one, all below {}", shape.len());
        let found = format!("{axes:?}");
        return Err(NnError::argument("axes of a constraint", expected, found));
    }
    Ok(())
}
