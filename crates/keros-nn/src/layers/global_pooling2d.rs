//! Mean and maximum over all positions of an image.

use super::common::Common;
use super::{global_pooling, image};
use crate::error::NnError;
use crate::layer::{Layer, LayerBuilder, Pass};
use keros_tensor::Tensor;

/// The mean of each channel over height and width, Keras's `GlobalAveragePooling2D`.
///
/// **Shapes**: `[N, H, W, C]` → `[N, C]`, or `[N, 1, 1, C]` with `keepdims`.
#[derive(Default)]
pub struct GlobalAveragePooling2D {
    keepdims: bool,
    common: Common,
    input: Option<Vec<usize>>,
}

setters!(GlobalAveragePooling2D: keepdims, common);

impl GlobalAveragePooling2D {
    /// The mean over height and width, which do not stay as axes.
    #[must_use]
    pub fn new() -> GlobalAveragePooling2D {
        GlobalAveragePooling2D::default()
    }
}

arguments! {
    GlobalAveragePooling2D = GlobalAveragePooling2D::new();
    required;
    optional keepdims common;
    only "data_format" = "channels_last";
}

impl Layer for GlobalAveragePooling2D {
    layer!("GlobalAveragePooling2D", mixed_precision);

    fn build(&mut self, input: &[usize], _: &mut LayerBuilder<'_>) -> Result<Vec<usize>, NnError> {
        image(input)?;
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

/// The maximum of each channel over height and width, Keras's `GlobalMaxPooling2D`. Positions that
/// share the maximum share its gradient.
///
/// **Shapes**: `[N, H, W, C]` → `[N, C]`, or `[N, 1, 1, C]` with `keepdims`.
#[derive(Default)]
pub struct GlobalMaxPooling2D {
    keepdims: bool,
    common: Common,
}

setters!(GlobalMaxPooling2D: keepdims, common);

impl GlobalMaxPooling2D {
    /// The maximum over height and width, which do not stay as axes.
    #[must_use]
    pub fn new() -> GlobalMaxPooling2D {
        GlobalMaxPooling2D::default()
    }
}

arguments! {
    GlobalMaxPooling2D = GlobalMaxPooling2D::new();
    required;
    optional keepdims common;
    only "data_format" = "channels_last";
}

impl Layer for GlobalMaxPooling2D {
    layer!("GlobalMaxPooling2D", mixed_precision);

    fn build(&mut self, input: &[usize], _: &mut LayerBuilder<'_>) -> Result<Vec<usize>, NnError> {
        image(input)?;
        Ok(global_pooling::output(input, self.keepdims))
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        global_pooling::maximum(x, self.keepdims, pass)
    }

    fn backward(&self, dy: &Tensor, pass: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        global_pooling::maximum_backward(dy, pass)
    }
}
