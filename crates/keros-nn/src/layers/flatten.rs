//! All axes of a sample as one.

use super::common::Common;
use crate::error::NnError;
use crate::layer::{Layer, LayerBuilder, Pass};
use keros_tensor::Tensor;

/// Row-major flattening of each sample, Keras's `Flatten`.
///
/// **Shapes**: `[N, …]` → `[N, product of …]`.
#[derive(Default)]
pub struct Flatten {
    common: Common,
    input: Vec<usize>,
}

impl Flatten {
    /// The layer.
    #[must_use]
    pub fn new() -> Flatten {
        Flatten::default()
    }

    setter!(common);
}

arguments! {
    Flatten = Flatten::new();
    required;
    optional common;
    only "data_format" = "channels_last";
}

impl Layer for Flatten {
    layer!("Flatten", mixed_precision);

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
