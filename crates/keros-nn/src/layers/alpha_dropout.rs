//! Dropout that keeps mean and variance.

use super::common::Common;
use super::dropout::{Mask, NoiseShape};
use crate::error::NnError;
use crate::layer::{Layer, LayerBuilder, Pass};
use keros_tensor::{Tensor, kernels};

/// In training each value becomes the negative saturation of [`Selu`](crate::Activation::Selu), -1.758…, with
/// probability `rate`, and all are scaled and moved so that mean 0 and variance 1 stay what they are; in inference
/// nothing happens. Keras's `AlphaDropout`.
///
/// The mask is a function of the seed, the step and the layer's place in the network.
pub struct AlphaDropout {
    rate: f32,
    noise_shape: NoiseShape,
    seed: Option<u64>,
    common: Common,
    mask: Mask,
}

impl AlphaDropout {
    /// Drops with probability `rate`, in `[0, 1)`.
    #[must_use]
    pub fn new(rate: f32) -> AlphaDropout {
        AlphaDropout {
            rate,
            noise_shape: NoiseShape::default(),
            seed: None,
            common: Common::default(),
            mask: Mask::default(),
        }
    }

    /// The shape of the mask of a sample, as [that of a `Dropout`](super::Dropout::noise_shape).
    #[must_use]
    pub fn noise_shape(mut self, shape: impl Into<Vec<usize>>) -> AlphaDropout {
        self.noise_shape = NoiseShape::of_sample(shape.into());
        self
    }

    /// `(scale, offset, dropped)`: what is kept becomes `scale · x + offset`, the rest `dropped`.
    fn numbers(&self) -> (f64, f64, f64) {
        const ALPHA: f64 = 1.673_263_242_354_377_2;
        const SCALE: f64 = 1.050_700_987_355_480_5;
        let (rate, saturation) = (f64::from(self.rate), -ALPHA * SCALE);
        let scale = ((1.0 - rate) * (1.0 + rate * saturation * saturation)).powf(-0.5);
        let offset = -scale * saturation * rate;
        (scale, offset, scale * saturation + offset)
    }
}

setters!(AlphaDropout: seed, common);

arguments! {
    AlphaDropout = AlphaDropout::new(0.0);
    required rate;
    optional seed noise_shape common;
}

impl Layer for AlphaDropout {
    layer!("AlphaDropout");

    fn build(&mut self, input: &[usize], _: &mut LayerBuilder<'_>) -> Result<Vec<usize>, NnError> {
        self.mask = self.noise_shape.mask(self.rate, self.seed, input)?;
        Ok(input.to_vec())
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        if self.mask.stream(pass).is_none() {
            return Ok(x.clone());
        }
        let (scale, offset, dropped) = self.numbers();
        // The mask makes zeros, and divides the others by this.
        let kept = 1.0 - f64::from(self.rate);
        let (scale, above) = ((scale * kept) as f32, ((offset - dropped) * kept) as f32);
        let moved = kernels::affine(pass.workspace, x, &[scale], &[above])?;
        let masked = self.mask.forward(&moved, pass)?;
        pass.workspace.give(&moved);
        let y = kernels::affine(pass.workspace, &masked, &[1.0], &[dropped as f32])?;
        pass.workspace.give(&masked);
        Ok(y)
    }

    fn backward(&self, dy: &Tensor, pass: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        if self.mask.stream(pass).is_none() {
            return Ok(Some(dy.clone()));
        }
        let (scale, ..) = self.numbers();
        let scale = (scale * (1.0 - f64::from(self.rate))) as f32;
        let Some(masked) = self.mask.backward(dy, pass)? else {
            return Ok(None);
        };
        let dx = kernels::affine(pass.workspace, &masked, &[scale], &[0.0])?;
        pass.workspace.give(&masked);
        Ok(Some(dx))
    }
}
