//! Mean and maximum over all positions of an image.

use super::common::Common;
use super::image;
use crate::error::NnError;
use crate::layer::{Layer, LayerBuilder, Pass};
use keros_tensor::{Tensor, kernels};

/// The mean of each channel over height and width, Keras's `GlobalAveragePooling2D`.
///
/// **Shapes**: `[N, H, W, C]` → `[N, C]`, or `[N, 1, 1, C]` with `keepdims`.
#[derive(Default)]
pub struct GlobalAveragePooling2D {
    keepdims: bool,
    common: Common,
    input: Option<[usize; 3]>,
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
        let (height, width, channels) = image(input)?;
        self.input = Some([height, width, channels]);
        Ok(output(channels, self.keepdims))
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        let y = kernels::global_average_pool(pass.workspace, x)?;
        shaped(&y, self.keepdims)
    }

    fn backward(&self, dy: &Tensor, pass: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        let [height, width, channels] = self.input.ok_or(NnError::NotBuilt)?;
        if !pass.wants_input_grad {
            return Ok(None);
        }
        let samples = dy.dim(0)?;
        let flat = dy.reshape((samples, channels))?;
        let x_shape = [samples, height, width, channels];
        let dx = kernels::global_average_pool_backward(pass.workspace, &flat, &x_shape)?;
        pass.workspace.give(dy);
        Ok(Some(dx))
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
        let (_, _, channels) = image(input)?;
        Ok(output(channels, self.keepdims))
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        let y = kernels::global_max_pool(pass.workspace, x)?;
        pass.save(x);
        pass.save(&y);
        shaped(&y, self.keepdims)
    }

    fn backward(&self, dy: &Tensor, pass: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        let (y, x) = (pass.restore()?, pass.restore()?);
        if !pass.wants_input_grad {
            return Ok(None);
        }
        let flat = dy.reshape(y.shape())?;
        let dx = kernels::global_max_pool_backward(pass.workspace, &x, &y, &flat)?;
        pass.workspace.give(dy);
        pass.workspace.give(&y);
        Ok(Some(dx))
    }
}

fn output(channels: usize, keepdims: bool) -> Vec<usize> {
    match keepdims {
        true => vec![1, 1, channels],
        false => vec![channels],
    }
}

/// `[N, C]` as the layer returns it.
fn shaped(y: &Tensor, keepdims: bool) -> Result<Tensor, NnError> {
    match keepdims {
        true => Ok(y.unsqueeze(1)?.unsqueeze(1)?),
        false => Ok(y.clone()),
    }
}
