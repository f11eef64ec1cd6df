//! Networks as text: the names that Keras has for classes and arguments, in JSON.

pub(crate) mod argument;
mod functional;
mod graph;
mod include;
#[cfg(feature = "keras-files")]
mod keras_model;
mod registry;
pub(crate) mod rules;
mod sequential;

#[cfg(feature = "keras-files")]
pub use keras_model::{load_keras_model, load_keras_model_with};
pub use registry::Registry;

use crate::error::NnError;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Arguments by their names, in the order in which they were added.
pub type Config = serde_json::Map<String, Value>;

/// The arguments of a configuration, to be taken one by one; one that nobody takes is an error.
pub struct Arguments {
    rest: Config,
}

impl Arguments {
    /// Of this configuration.
    #[must_use]
    pub fn new(config: Config) -> Arguments {
        Arguments { rest: config }
    }

    /// The argument of this name; `None` if there is none, or null.
    ///
    /// # Errors
    /// [`NnError::Config`] if it is no `T`.
    pub fn take<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>, NnError> {
        match self.value(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match T::deserialize(&value) {
                Ok(argument) => Ok(Some(argument)),
                Err(error) => Err(NnError::config(name, error.to_string(), &value)),
            },
        }
    }

    /// The argument of this name.
    ///
    /// # Errors
    /// [`NnError::Config`] if there is none, or it is no `T`.
    pub fn required<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, NnError> {
        self.take(name)?
            .ok_or_else(|| NnError::config(name, "a value", &Value::Null))
    }

    /// That every argument was taken.
    ///
    /// # Errors
    /// [`NnError::Config`] with the first that was not.
    pub fn finish(self) -> Result<(), NnError> {
        match self.rest.iter().next() {
            None => Ok(()),
            Some((name, value)) => Err(NnError::config(name, "no argument of this name", value)),
        }
    }

    pub(crate) fn value(&mut self, name: &str) -> Option<Value> {
        self.rest.shift_remove(name)
    }

    /// Takes an argument that, if given, can only have this value.
    pub(crate) fn only(&mut self, name: &str, expected: &Value) -> Result<(), NnError> {
        match self.value(name) {
            Some(found) if found != *expected => {
                Err(NnError::config(name, expected.to_string(), &found))
            }
            _ => Ok(()),
        }
    }
}

/// An object of Keras: a class and its arguments.
pub(crate) struct Object {
    pub(crate) class: String,
    pub(crate) config: Config,
    /// What else is there: the object's name and its place in a network.
    pub(crate) rest: Config,
}

impl Object {
    /// Takes `value` apart; `what` is for the error.
    pub(crate) fn read(what: &str, value: Value) -> Result<Object, NnError> {
        let expected = "an object with `class_name` and `config`";
        let Value::Object(mut rest) = value else {
            return Err(NnError::config(what, expected, &value));
        };
        match (rest.shift_remove("class_name"), rest.shift_remove("config")) {
            (Some(Value::String(class)), Some(Value::Object(config))) => Ok(Object {
                class,
                config,
                rest,
            }),
            _ => Err(NnError::config(what, expected, Value::Object(rest))),
        }
    }

    /// As Keras writes it.
    pub(crate) fn write(module: &str, class: &str, config: Config) -> Value {
        json!({
            "module": module,
            "class_name": class,
            "config": config,
            "registered_name": null,
        })
    }
}

/// Text as JSON; nesting of more than 128 levels is refused.
pub(crate) fn parse(json: &str) -> Result<Value, NnError> {
    serde_json::from_str(json).map_err(NnError::Json)
}
