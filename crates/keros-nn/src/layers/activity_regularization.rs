//! A penalty of what passes through.

use super::common::Common;
use crate::config::argument::Argument;
use crate::config::{Arguments, Config};
use crate::error::NnError;
use crate::layer::{Layer, LayerBuilder, Pass};
use crate::regularizer::L1L2;
use keros_tensor::Tensor;
use std::sync::Arc;

/// The input as it is, with a penalty `l1 · Σ|x| + l2 · Σx²`, divided by the number of samples, that is
/// added to the loss: Keras's `ActivityRegularization`.
///
/// **Shapes**: `[N, …]` → the same.
pub struct ActivityRegularization {
    l1: f64,
    l2: f64,
    common: Common,
}

impl ActivityRegularization {
    /// Penalties of these strengths; Keras's defaults are 0.
    ///
    /// # Errors
    /// A number that is negative or not finite.
    pub fn new(l1: f64, l2: f64) -> Result<ActivityRegularization, NnError> {
        let regularizer = L1L2::new(l1, l2)?;
        Ok(ActivityRegularization {
            l1,
            l2,
            common: Common {
                activity_regularizer: Some(Arc::new(regularizer)),
                ..Common::default()
            },
        })
    }

    /// A name of its own.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> ActivityRegularization {
        self.common.name = Some(name.into());
        self
    }
}

impl ActivityRegularization {
    fn write(&self) -> Option<Config> {
        let mut config = Config::new();
        self.l1.put("l1", &mut config)?;
        self.l2.put("l2", &mut config)?;
        Some(config)
    }

    pub(crate) fn read(arguments: &mut Arguments) -> Result<ActivityRegularization, NnError> {
        let (mut l1, mut l2) = (0.0, 0.0);
        l1.set("l1", arguments)?;
        l2.set("l2", arguments)?;
        // Keras repeats them as a regularizer.
        arguments.value("activity_regularizer");
        ActivityRegularization::new(l1, l2)
    }
}

impl Layer for ActivityRegularization {
    layer!("ActivityRegularization");

    fn build(&mut self, input: &[usize], _: &mut LayerBuilder<'_>) -> Result<Vec<usize>, NnError> {
        Ok(input.to_vec())
    }

    fn forward(&self, x: &Tensor, _: &mut Pass<'_>) -> Result<Tensor, NnError> {
        Ok(x.clone())
    }

    fn backward(&self, dy: &Tensor, _: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        Ok(Some(dy.clone()))
    }
}
