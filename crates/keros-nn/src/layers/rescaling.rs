//! Another range of values.

use super::common::Common;
use crate::config::argument::{list, shortest};
use crate::error::NnError;
use crate::layer::{Layer, LayerBuilder, Pass};
use keros_tensor::{Tensor, kernels};

/// One number for all values, or one for each channel (position of the last axis).
#[derive(Clone, Debug, PartialEq)]
pub struct PerChannel(pub(super) Vec<f32>);

impl From<f32> for PerChannel {
    fn from(all: f32) -> Self {
        PerChannel(vec![all])
    }
}

impl From<Vec<f32>> for PerChannel {
    fn from(channels: Vec<f32>) -> Self {
        PerChannel(channels)
    }
}

impl<const N: usize> From<[f32; N]> for PerChannel {
    fn from(channels: [f32; N]) -> Self {
        PerChannel(channels.into())
    }
}

crate::config::argument::plain! {
    PerChannel, "a number or a list of numbers": |this| match this.0[..] {
        [number] => shortest(number),
        _ => this.0.iter().map(|&number| shortest(number)).collect(),
    }, |value| match f32::of_json(value) {
        Some(number) => Some(number.into()),
        None => list(value).map(PerChannel),
    };
}

impl PerChannel {
    pub(super) fn check(&self, what: &str, input: &[usize]) -> Result<(), NnError> {
        let channels = input.last().copied().unwrap_or(1);
        if self.0.len() != 1 && self.0.len() != channels {
            let expected = format!("1 or {channels} numbers");
            return Err(NnError::argument(what, expected, self.0.len()));
        }
        match self.0.iter().find(|number| !number.is_finite()) {
            Some(number) => Err(NnError::argument(what, "finite numbers", number)),
            None => Ok(()),
        }
    }
}

/// `x · scale + offset`, Keras's `Rescaling`.
///
/// **Shapes**: `[N, …]` → the same.
pub struct Rescaling {
    scale: PerChannel,
    offset: PerChannel,
    common: Common,
}

impl Rescaling {
    /// Multiplies with `scale` and adds nothing; `1.0 / 255.0` brings bytes to `[0, 1]`.
    #[must_use]
    pub fn new(scale: impl Into<PerChannel>) -> Rescaling {
        Rescaling {
            scale: scale.into(),
            offset: 0.0.into(),
            common: Common::default(),
        }
    }

    /// What is added.
    #[must_use]
    pub fn offset(mut self, offset: impl Into<PerChannel>) -> Rescaling {
        self.offset = offset.into();
        self
    }

    setter!(common);
}

arguments! {
    Rescaling = Rescaling::new(1.0);
    required scale;
    optional offset common;
}

impl Layer for Rescaling {
    layer!("Rescaling");

    fn build(&mut self, input: &[usize], _: &mut LayerBuilder<'_>) -> Result<Vec<usize>, NnError> {
        self.scale.check("scale", input)?;
        self.offset.check("offset", input)?;
        Ok(input.to_vec())
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        let (scale, offset) = (&self.scale.0, &self.offset.0);
        Ok(kernels::affine(pass.workspace, x, scale, offset)?)
    }

    fn backward(&self, dy: &Tensor, pass: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        let dx = kernels::affine(pass.workspace, dy, &self.scale.0, &[0.0])?;
        pass.workspace.give(dy);
        Ok(Some(dx))
    }
}
