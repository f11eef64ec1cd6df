//! Mean and maximum over all steps of a sequence.

use super::common::Common;
use super::support::sequence;
use crate::error::NnError;
use crate::layer::{Layer, LayerBuilder, Pass};
use keros_tensor::{Tensor, kernels};

/// The mean of each channel over the steps, Keras's `GlobalAveragePooling1D`.
///
/// **Shapes**: `[N, steps, C]` → `[N, C]`, or `[N, 1, C]` with `keepdims`.
#[derive(Default)]
pub struct GlobalAveragePooling1D {
    keepdims: bool,
    common: Common,
    input: Option<(usize, usize)>,
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
        let (steps, channels) = sequence(input)?;
        self.input = Some((steps, channels));
        Ok(output(channels, self.keepdims))
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        let y = kernels::global_average_pool(pass.workspace, x)?;
        shaped(y, self.keepdims)
    }

    fn backward(&self, dy: &Tensor, pass: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        let (steps, channels) = self.input.ok_or(NnError::NotBuilt)?;
        if !pass.wants_input_grad {
            return Ok(None);
        }
        let samples = dy.dim(0)?;
        let flat = dy.reshape((samples, channels))?;
        let x_shape = [samples, steps, channels];
        let dx = kernels::global_average_pool_backward(pass.workspace, &flat, &x_shape)?;
        pass.workspace.give(dy);
        Ok(Some(dx))
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
        let (_, channels) = sequence(input)?;
        Ok(output(channels, self.keepdims))
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        let y = kernels::global_max_pool(pass.workspace, x)?;
        pass.save(x);
        pass.save(&y);
        shaped(y, self.keepdims)
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
        true => vec![1, channels],
        false => vec![channels],
    }
}

/// `[N, C]` as the layer returns it.
fn shaped(y: Tensor, keepdims: bool) -> Result<Tensor, NnError> {
    match keepdims {
        true => Ok(y.unsqueeze(1)?),
        false => Ok(y),
    }
}
