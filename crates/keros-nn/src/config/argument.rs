//! How the arguments of layers stand in a configuration.

use super::{Arguments, Config};
use crate::activation::Activation;
use crate::constraint::Constraint;
use crate::error::NnError;
use crate::initializer::Initializer;
use crate::regularizer::Regularizer;
use serde_json::{Value, json};
use std::sync::Arc;

/// An argument of a layer, or several of one prefix.
pub(crate) trait Argument {
    /// Adds it under this name; `None` if it cannot be written.
    fn put(&self, name: &str, config: &mut Config) -> Option<()>;

    /// Takes it from the arguments; if it is not there, it stays as it is.
    fn set(&mut self, name: &str, arguments: &mut Arguments) -> Result<(), NnError>;
}

/// An argument that is one value.
pub(crate) trait Plain: Sized {
    /// In words.
    const EXPECTED: &'static str;

    fn to_json(&self) -> Value;

    fn of_json(value: &Value) -> Option<Self>;
}

impl<T: Plain> Argument for T {
    fn put(&self, name: &str, config: &mut Config) -> Option<()> {
        config.insert(name.to_owned(), self.to_json());
        Some(())
    }

    fn set(&mut self, name: &str, arguments: &mut Arguments) -> Result<(), NnError> {
        if let Some(value) = arguments.value(name) {
            *self = T::of_json(&value).ok_or_else(|| NnError::config(name, T::EXPECTED, &value))?;
        }
        Ok(())
    }
}

/// Takes an argument that must be there.
pub(crate) fn require<T: Plain>(
    argument: &mut T,
    name: &str,
    arguments: &mut Arguments,
) -> Result<(), NnError> {
    match arguments.value(name) {
        Some(value) => {
            *argument =
                T::of_json(&value).ok_or_else(|| NnError::config(name, T::EXPECTED, &value))?;
            Ok(())
        }
        None => Err(NnError::config(name, T::EXPECTED, "nothing")),
    }
}

macro_rules! plain {
    ($($type:ty, $expected:literal: |$this:ident| $write:expr, |$value:ident| $read:expr;)*) => {$(
        impl $crate::config::argument::Plain for $type {
            const EXPECTED: &'static str = $expected;

            fn to_json(&self) -> serde_json::Value {
                let $this = self;
                serde_json::json!($write)
            }

            fn of_json($value: &serde_json::Value) -> Option<Self> {
                $read
            }
        }
    )*};
}
pub(crate) use plain;

plain! {
    bool, "true or false": |this| this, |value| value.as_bool();
    usize, "a whole number from 0": |this| this, |value| usize::try_from(value.as_u64()?).ok();
    u64, "a whole number from 0": |this| this, |value| value.as_u64();
    isize, "a whole number": |this| this, |value| isize::try_from(value.as_i64()?).ok();
    f64, "a number": |this| this, |value| value.as_f64();
    f32, "a number of 32 bits": |this| shortest(*this), |value| {
        let number = value.as_f64()? as f32;
        number.is_finite().then_some(number)
    };
    Vec<usize>, "a list of whole numbers from 0": |this| this, |value| list(value);
    Vec<isize>, "a list of whole numbers": |this| this, |value| list(value);
    Activation, "the name of an activation": |this| this.name(), |value| match value {
        Value::Null => Some(Activation::Linear),
        value => value.as_str()?.parse().ok(),
    };
}

/// The number whose text is as short as that of the `f32`; one that is not finite is null.
pub(crate) fn shortest(number: f32) -> Value {
    match number.to_string().parse::<f64>() {
        Ok(number) => json!(number),
        Err(_) => Value::Null,
    }
}

pub(crate) fn list<T: Plain>(value: &Value) -> Option<Vec<T>> {
    value.as_array()?.iter().map(T::of_json).collect()
}

impl<T: Plain> Plain for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;

    fn to_json(&self) -> Value {
        self.as_ref().map_or(Value::Null, T::to_json)
    }

    fn of_json(value: &Value) -> Option<Self> {
        match value {
            Value::Null => Some(None),
            value => T::of_json(value).map(Some),
        }
    }
}

impl Argument for Initializer {
    fn put(&self, name: &str, config: &mut Config) -> Option<()> {
        config.insert(format!("{name}_initializer"), self.config());
        Some(())
    }

    fn set(&mut self, name: &str, arguments: &mut Arguments) -> Result<(), NnError> {
        let name = format!("{name}_initializer");
        if let Some(value) = arguments.value(&name) {
            *self = Initializer::from_config(value).map_err(|error| error.in_argument(&name))?;
        }
        Ok(())
    }
}

macro_rules! rule {
    ($($kind:ident)*) => {$(
        impl Argument for Option<Arc<dyn $kind>> {
            fn put(&self, name: &str, config: &mut Config) -> Option<()> {
                let value = match self {
                    Some(rule) => rule.config()?,
                    None => Value::Null,
                };
                config.insert(name.to_owned(), value);
                Some(())
            }

            fn set(&mut self, name: &str, arguments: &mut Arguments) -> Result<(), NnError> {
                match arguments.value(name) {
                    None => {}
                    Some(Value::Null) => *self = None,
                    Some(value) => {
                        let rule = <dyn $kind>::from_config(value);
                        *self = Some(rule.map_err(|error| error.in_argument(name))?.into());
                    }
                }
                Ok(())
            }
        }
    )*};
}

rule! { Regularizer Constraint }
