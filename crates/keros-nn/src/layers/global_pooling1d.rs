//! Mean and maximum over all steps of a sequence.

use super::common::Common;
use super::global_pooling;
use super::support::sequence;
use crate::error::NnError;
use crate::layer::{Layer, LayerBuilder, Pass};
use keros_tensor::Tensor;

/// The mean of each channel over the steps, Keras's `GlobalAveragePooling1D`.
///
/// **Shapes**: `[N, steps, C]` → `[N, C]`, or `[N, 1, C]` with `keepdims`.
#[derive(Default)]
pub struct GlobalAveragePooling1D {
    keepdims: bool,
    common: Common,
    input: Option<Vec<usize>>,
}

setters!(GlobalAveragePooling1D: keepdims, common);

impl GlobalAveragePooling1D {
    /// The mean over the steps, which do not stay as an axis.
    #[must_use]
    pub fn new() -> GlobalAveragePooling1D {
        GlobalAveragePooling1D::default()
    }
}

arguments! {
    GlobalAveragePooling1D = GlobalAveragePooling1D::new();
    required;
    optional keepdims common;
    only "data_format" = "channels_last";
}

impl Layer for GlobalAveragePooling1D {
    layer!("GlobalAveragePooling1D", mixed_precision);

    fn build(&mut self, input: &[usize], _: &mut LayerBuilder<'_>) -> Result<Vec<usize>, NnError> {
        sequence(input)?;
        self.input = Some(input.to_vec());
        Ok(global_pooling::output(input, self.keepdims))
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        global_pooling::mean(x, self.keepdims, pass)
    }

    fn backward(&self, dy: &Tensor, pass: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        global_pooling::mean_backward(dy, self.input.as_deref(), pass)
    }
}

/// The maximum of each channel over the steps, Keras's `GlobalMaxPooling1D`. Steps that share the maximum share its
/// gradient.
///
/// **Shapes**: `[N, steps, C]` → `[N, C]`, or `[N, 1, C]` with `keepdims`.
#[derive(Default)]
pub struct GlobalMaxPooling1D {
    keepdims: bool,
    common: Common,
}

setters!(GlobalMaxPooling1D: keepdims, common);

impl GlobalMaxPooling1D {
    /// The maximum over the steps, which do not stay as an axis.
    #[must_use]
    pub fn new() -> GlobalMaxPooling1D {
        GlobalMaxPooling1D::default()
    }
}

arguments! {
    GlobalMaxPooling1D = GlobalMaxPooling1D::new();
    required;
    optional keepdims common;
    only "data_format" = "channels_last";
}

impl Layer for GlobalMaxPooling1D {
    layer!("GlobalMaxPooling1D", mixed_precision);

    fn build(&mut self, input: &[usize], _: &mut LayerBuilder<'_>) -> Result<Vec<usize>, NnError> {
        sequence(input)?;
        Ok(global_pooling::output(input, self.keepdims))
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        global_pooling::maximum(x, self.keepdims, pass)
    }

    fn backward(&self, dy: &Tensor, pass: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        global_pooling::maximum_backward(dy, pass)
    }
}
