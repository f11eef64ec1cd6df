//! All axes of a sample as one.

use crate::error::NnError;
use crate::layer::{Layer, LayerBuilder, Pass};
use keros_tensor::Tensor;

/// Row-major flattening of each sample, Keras's `Flatten`.
///
/// **Shapes**: `[N, …]` → `[N, product of …]`.
#[derive(Default)]
pub struct Flatten {
    name: Option<String>,
    input: Vec<usize>,
}

impl Flatten {
    /// The layer.
    #[must_use]
    pub fn new() -> Flatten {
        Flatten::default()
    }

    /// A name of its own.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Flatten {
        self.name = Some(name.into());
        self
    }
}

impl Layer for Flatten {
    fn class_name(&self) -> &'static str {
        "Flatten"
    }

    fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    fn build(&mut self, input: &[usize], _: &mut LayerBuilder<'_>) -> Result<Vec<usize>, NnError> {
        self.input = input.to_vec();
        Ok(vec![input.iter().product()])
    }

    fn forward(&self, x: &Tensor, _: &mut Pass<'_>) -> Result<Tensor, NnError> {
        Ok(x.reshape((x.dim(0)?, self.input.iter().product::<usize>()))?)
    }

    fn backward(&self, dy: &Tensor, _: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        let shape = [&[dy.dim(0)?], &self.input[..]].concat();
        Ok(Some(dy.reshape(shape)?))
    }
}
