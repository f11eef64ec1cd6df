//! What the layers have in common: a name, whether they are trained, the penalty of their output, and
//! how their parameters begin and are held.

use crate::config::argument::Argument;
use crate::config::{Arguments, Config};
use crate::constraint::Constraint;
use crate::error::NnError;
use crate::initializer::Initializer;
use crate::layer::LayerBuilder;
use crate::param_rules::ParamOptions;
use crate::regularizer::Regularizer;
use crate::resolve::Resolve;
use keros_tensor::ParamId;
use std::sync::Arc;

/// What every layer has.
pub(super) struct Common {
    pub(super) name: Option<String>,
    pub(super) trainable: bool,
    pub(crate) activity_regularizer: Option<Arc<dyn Regularizer>>,
    /// What was wrong with the first argument that could not be resolved.
    pub(super) error: Option<NnError>,
}

impl Default for Common {
    fn default() -> Self {
        Common {
            name: None,
            trainable: true,
            activity_regularizer: None,
            error: None,
        }
    }
}

impl Common {
    /// What an argument stands for; if nothing, [`check`](Self::check) will tell.
    pub(super) fn resolve<T: ?Sized>(&mut self, argument: impl Resolve<T>) -> Option<Box<T>> {
        match argument.resolve() {
            Ok(value) => Some(value),
            Err(error) => {
                self.error.get_or_insert(error);
                None
            }
        }
    }

    pub(super) fn check(&mut self) -> Result<(), NnError> {
        self.error.take().map_or(Ok(()), Err)
    }
}

/// How a layer's parameter begins, its penalty and its constraint.
pub(super) struct ParamSpec {
    pub(crate) initializer: Initializer,
    pub(crate) regularizer: Option<Arc<dyn Regularizer>>,
    pub(crate) constraint: Option<Arc<dyn Constraint>>,
}

impl ParamSpec {
    pub(super) fn new(initializer: Initializer) -> ParamSpec {
        ParamSpec {
            initializer,
            regularizer: None,
            constraint: None,
        }
    }

    /// Adds the trainable parameter `name` of the layer that is being built.
    pub(super) fn add(
        &self,
        builder: &mut LayerBuilder<'_>,
        name: &str,
        shape: &[usize],
    ) -> Result<ParamId, NnError> {
        let options = ParamOptions {
            regularizer: self.regularizer.clone(),
            constraint: self.constraint.clone(),
            ..ParamOptions::default()
        };
        builder.param_with(name, shape, self.initializer, options)
    }
}

/// Name and whether the layer is trained belong to the network's part of a configuration.
impl Argument for Common {
    fn put(&self, _: &str, config: &mut Config) -> Option<()> {
        match &self.activity_regularizer {
            Some(_) => self
                .activity_regularizer
                .put("activity_regularizer", config),
            None => Some(()),
        }
    }

    fn set(&mut self, _: &str, arguments: &mut Arguments) -> Result<(), NnError> {
        self.activity_regularizer
            .set("activity_regularizer", arguments)
    }
}

impl Argument for ParamSpec {
    fn put(&self, name: &str, config: &mut Config) -> Option<()> {
        self.initializer.put(name, config)?;
        self.regularizer
            .put(&format!("{name}_regularizer"), config)?;
        self.constraint.put(&format!("{name}_constraint"), config)
    }

    fn set(&mut self, name: &str, arguments: &mut Arguments) -> Result<(), NnError> {
        self.initializer.set(name, arguments)?;
        self.regularizer
            .set(&format!("{name}_regularizer"), arguments)?;
        self.constraint
            .set(&format!("{name}_constraint"), arguments)
    }
}
