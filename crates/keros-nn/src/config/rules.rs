//! Initializers, regularizers and constraints as configurations.

use super::argument::{Plain, shortest};
use super::{Arguments, Config, Object};
use crate::constraint::{Constraint, MaxNorm, MinMaxNorm, NonNeg, UnitNorm};
use crate::error::NnError;
use crate::initializer::{Distribution, Fan, Initializer};
use crate::regularizer::{L1, L1L2, L2, OrthogonalMode, OrthogonalRegularizer, Regularizer};
use serde_json::{Value, json};

/// A class and its arguments, from an object or from a name that has no arguments.
fn class_of(kind: &str, value: Value) -> Result<(String, Option<Arguments>), NnError> {
    if let Value::String(name) = value {
        return Ok((name, None));
    }
    let object = Object::read(kind, value)?;
    Ok((object.class, Some(Arguments::new(object.config))))
}

/// The argument if it is given, or else its default.
fn or<T: Plain>(arguments: &mut Arguments, name: &str, default: T) -> Result<T, NnError> {
    match arguments.value(name) {
        None => Ok(default),
        Some(value) => T::of_json(&value).ok_or_else(|| NnError::config(name, T::EXPECTED, &value)),
    }
}

fn object(module: &str, class: &str, config: Value) -> Value {
    let config = match config {
        Value::Object(config) => config,
        _ => Config::new(),
    };
    Object::write(module, class, config)
}

impl Initializer {
    /// The initializer as Keras writes it: an object with its class and arguments.
    #[must_use]
    pub fn config(&self) -> Value {
        let seeded = |mut config: Value| {
            config["seed"] = Value::Null;
            config
        };
        let (class, config) = match *self {
            Initializer::Zeros => ("Zeros", json!({})),
            Initializer::Ones => ("Ones", json!({})),
            Initializer::Constant { value } => ("Constant", json!({ "value": shortest(value) })),
            Initializer::Identity { gain } => ("Identity", json!({ "gain": shortest(gain) })),
            Initializer::Orthogonal { gain } => {
                ("Orthogonal", seeded(json!({ "gain": shortest(gain) })))
            }
            Initializer::RandomUniform { minval, maxval } => (
                "RandomUniform",
                seeded(json!({ "minval": shortest(minval), "maxval": shortest(maxval) })),
            ),
            Initializer::RandomNormal { mean, stddev } => (
                "RandomNormal",
                seeded(json!({ "mean": shortest(mean), "stddev": shortest(stddev) })),
            ),
            Initializer::TruncatedNormal { mean, stddev } => (
                "TruncatedNormal",
                seeded(json!({ "mean": shortest(mean), "stddev": shortest(stddev) })),
            ),
            Initializer::VarianceScaling {
                scale,
                mode,
                distribution,
            } => (
                "VarianceScaling",
                seeded(json!({
                    "scale": shortest(scale),
                    "mode": mode.name(),
                    "distribution": distribution.name(),
                })),
            ),
            Initializer::GlorotUniform => ("GlorotUniform", seeded(json!({}))),
            Initializer::GlorotNormal => ("GlorotNormal", seeded(json!({}))),
            Initializer::HeUniform => ("HeUniform", seeded(json!({}))),
            Initializer::HeNormal => ("HeNormal", seeded(json!({}))),
            Initializer::LecunUniform => ("LecunUniform", seeded(json!({}))),
            Initializer::LecunNormal => ("LecunNormal", seeded(json!({}))),
        };
        object("keras.initializers", class, config)
    }

    /// The initializer of a name such as `he_normal`, or of an object with its class and arguments.
    /// A seed must be null: seeds are given to the network.
    ///
    /// # Errors
    /// An unknown class, or arguments it does not have or cannot take.
    pub fn from_config(config: Value) -> Result<Initializer, NnError> {
        let (class, arguments) = class_of("initializer", config)?;
        let initializer: Initializer = class.parse()?;
        let Some(mut args) = arguments else {
            return Ok(initializer);
        };
        let a = &mut args;
        let initializer = match initializer {
            Initializer::Constant { value } => Initializer::Constant {
                value: or(a, "value", value)?,
            },
            Initializer::Identity { gain } => Initializer::Identity {
                gain: or(a, "gain", gain)?,
            },
            Initializer::Orthogonal { gain } => Initializer::Orthogonal {
                gain: or(a, "gain", gain)?,
            },
            Initializer::RandomUniform { minval, maxval } => Initializer::RandomUniform {
                minval: or(a, "minval", minval)?,
                maxval: or(a, "maxval", maxval)?,
            },
            Initializer::RandomNormal { mean, stddev } => Initializer::RandomNormal {
                mean: or(a, "mean", mean)?,
                stddev: or(a, "stddev", stddev)?,
            },
            Initializer::TruncatedNormal { mean, stddev } => Initializer::TruncatedNormal {
                mean: or(a, "mean", mean)?,
                stddev: or(a, "stddev", stddev)?,
            },
            Initializer::VarianceScaling {
                scale,
                mode,
                distribution,
            } => Initializer::VarianceScaling {
                scale: or(a, "scale", scale)?,
                mode: or(a, "mode", mode)?,
                distribution: or(a, "distribution", distribution)?,
            },
            fixed => fixed,
        };
        for name in ["seed", "input_axes", "output_axes"] {
            args.only(name, &Value::Null)?;
        }
        args.finish()?;
        Ok(initializer)
    }
}

impl Fan {
    fn name(self) -> &'static str {
        match self {
            Fan::In => "fan_in",
            Fan::Out => "fan_out",
            Fan::Avg => "fan_avg",
        }
    }
}

impl Distribution {
    fn name(self) -> &'static str {
        match self {
            Distribution::TruncatedNormal => "truncated_normal",
            Distribution::UntruncatedNormal => "untruncated_normal",
            Distribution::Uniform => "uniform",
        }
    }
}

super::argument::plain! {
    Fan, "fan_in, fan_out or fan_avg": |this| this.name(), |value| {
        let all = [Fan::In, Fan::Out, Fan::Avg];
        all.into_iter().find(|fan| value.as_str() == Some(fan.name()))
    };
    Distribution, "truncated_normal, untruncated_normal or uniform": |this| this.name(), |value| {
        let all = [
            Distribution::TruncatedNormal,
            Distribution::UntruncatedNormal,
            Distribution::Uniform,
        ];
        let found = all.into_iter().find(|known| value.as_str() == Some(known.name()));
        found.or((value == "normal").then_some(Distribution::TruncatedNormal))
    };
    OrthogonalMode, "rows or columns": |this| match this {
        OrthogonalMode::Rows => "rows",
        OrthogonalMode::Columns => "columns",
    }, |value| match value.as_str()? {
        "rows" => Some(OrthogonalMode::Rows),
        "columns" => Some(OrthogonalMode::Columns),
        _ => None,
    };
}

pub(crate) fn regularizer(class: &str, config: Value) -> Option<Value> {
    Some(object("keras.regularizers", class, config))
}

pub(crate) fn constraint(class: &str, config: Value) -> Option<Value> {
    Some(object("keras.constraints", class, config))
}

impl dyn Regularizer {
    /// The regularizer of a name such as `l2`, or of an object with its class and arguments, as
    /// Keras writes it.
    ///
    /// # Errors
    /// An unknown class, or arguments it does not have or cannot take.
    pub fn from_config(config: Value) -> Result<Box<dyn Regularizer>, NnError> {
        let (class, arguments) = class_of("regularizer", config)?;
        let Some(mut args) = arguments else {
            return class.parse();
        };
        let a = &mut args;
        let regularizer: Box<dyn Regularizer> = match class.as_str() {
            "L1" => Box::new(L1::new(or(a, "l1", 0.01)?)?),
            "L2" => Box::new(L2::new(or(a, "l2", 0.01)?)?),
            "L1L2" => Box::new(L1L2::new(or(a, "l1", 0.0)?, or(a, "l2", 0.0)?)?),
            "OrthogonalRegularizer" => {
                let mode = or(a, "mode", OrthogonalMode::Rows)?;
                Box::new(OrthogonalRegularizer::new(or(a, "factor", 0.01)?, mode)?)
            }
            _ => {
                return Err(NnError::UnknownName {
                    kind: "regularizer",
                    name: class,
                    known: &["L1", "L2", "L1L2", "OrthogonalRegularizer"],
                });
            }
        };
        args.finish()?;
        Ok(regularizer)
    }
}

impl dyn Constraint {
    /// The constraint of a name such as `max_norm`, or of an object with its class and arguments, as
    /// Keras writes it.
    ///
    /// # Errors
    /// An unknown class, or arguments it does not have or cannot take.
    pub fn from_config(config: Value) -> Result<Box<dyn Constraint>, NnError> {
        let (class, arguments) = class_of("constraint", config)?;
        let Some(mut args) = arguments else {
            return class.parse();
        };
        let a = &mut args;
        let constraint: Box<dyn Constraint> = match class.as_str() {
            "MaxNorm" => Box::new(MaxNorm::new(or(a, "max_value", 2.0)?)?.axes(axes(a)?)),
            "NonNeg" => Box::new(NonNeg),
            "UnitNorm" => Box::new(UnitNorm::default().axes(axes(a)?)),
            "MinMaxNorm" => {
                let (low, high) = (or(a, "min_value", 0.0)?, or(a, "max_value", 1.0)?);
                let norm = MinMaxNorm::new(low, high)?.rate(or(a, "rate", 1.0)?)?;
                Box::new(norm.axes(axes(a)?))
            }
            _ => {
                return Err(NnError::UnknownName {
                    kind: "constraint",
                    name: class,
                    known: &["MaxNorm", "NonNeg", "UnitNorm", "MinMaxNorm"],
                });
            }
        };
        args.finish()?;
        Ok(constraint)
    }
}

/// The axes of a constraint: one, or a list of them.
fn axes(arguments: &mut Arguments) -> Result<Vec<usize>, NnError> {
    let axis = match arguments.value("axis") {
        None => return Ok(vec![0]),
        Some(axis) => axis,
    };
    let found = match usize::of_json(&axis) {
        Some(axis) => Some(vec![axis]),
        None => Plain::of_json(&axis),
    };
    found.ok_or_else(|| NnError::config("axis", "one or several whole numbers from 0", &axis))
}

/// Axes as Keras writes them.
pub(crate) fn axes_config(axes: &[usize]) -> Value {
    match axes {
        [axis] => json!(axis),
        axes => json!(axes),
    }
}
