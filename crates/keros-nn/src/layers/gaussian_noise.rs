//! Gaussian noise in training.

use super::common::Common;
use crate::error::NnError;
use crate::layer::{Layer, LayerBuilder, Pass};
use keros_tensor::{Stream, Tensor, kernels};

/// In training a number from the normal distribution of mean 0 and standard deviation `stddev` is added to each value;
/// in inference nothing happens. Keras's `GaussianNoise`.
///
/// The noise is a function of the seed, the step and the layer's place in the network.
pub struct GaussianNoise {
    stddev: f32,
    seed: Option<u64>,
    common: Common,
}

impl GaussianNoise {
    /// Noise of this standard deviation, in `[0, 1]` as in Keras.
    #[must_use]
    pub fn new(stddev: f32) -> GaussianNoise {
        GaussianNoise {
            stddev,
            seed: None,
            common: Common::default(),
        }
    }
}

setters!(GaussianNoise: seed, common);

arguments! {
    GaussianNoise = GaussianNoise::new(0.0);
    required stddev;
    optional seed common;
}

impl Layer for GaussianNoise {
    layer!("GaussianNoise", mixed_precision);

    fn build(&mut self, input: &[usize], _: &mut LayerBuilder<'_>) -> Result<Vec<usize>, NnError> {
        match (0.0..=1.0).contains(&self.stddev) {
            true => Ok(input.to_vec()),
            false => Err(NnError::argument(
                "stddev",
                "a number in [0, 1]",
                self.stddev,
            )),
        }
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        match pass.stream_of(self.seed) {
            Some(stream) if self.stddev > 0.0 => {
                let ws = &mut *pass.workspace;
                Ok(kernels::gaussian_noise(ws, x, self.stddev, stream)?)
            }
            _ => Ok(x.clone()),
        }
    }

    fn backward(&self, dy: &Tensor, _: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        Ok(Some(dy.clone()))
    }
}

/// In training each value is multiplied with a number from the normal distribution of mean 1 and standard deviation
/// `√(rate / (1 - rate))`, which is that of the factors of [`Dropout`](super::Dropout); in inference nothing happens.
/// Keras's `GaussianDropout`.
///
/// The noise is a function of the seed, the step and the layer's place in the network.
pub struct GaussianDropout {
    rate: f32,
    seed: Option<u64>,
    common: Common,
}

impl GaussianDropout {
    /// As much noise as dropping with probability `rate`, in `[0, 1)`, makes.
    #[must_use]
    pub fn new(rate: f32) -> GaussianDropout {
        GaussianDropout {
            rate,
            seed: None,
            common: Common::default(),
        }
    }

    /// `x` or a gradient times the noise.
    fn times(&self, x: &Tensor, stream: Stream, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        let rate = f64::from(self.rate);
        let stddev = (rate / (1.0 - rate)).sqrt() as f32;
        Ok(kernels::gaussian_dropout(
            pass.workspace,
            x,
            stddev,
            stream,
        )?)
    }

    /// Random numbers, where there is any noise at all.
    fn stream(&self, pass: &Pass<'_>) -> Option<Stream> {
        pass.stream_of(self.seed).filter(|_| self.rate > 0.0)
    }
}

setters!(GaussianDropout: seed, common);

arguments! {
    GaussianDropout = GaussianDropout::new(0.0);
    required rate;
    optional seed common;
}

impl Layer for GaussianDropout {
    layer!("GaussianDropout", mixed_precision);

    fn build(&mut self, input: &[usize], _: &mut LayerBuilder<'_>) -> Result<Vec<usize>, NnError> {
        match (0.0..1.0).contains(&self.rate) {
            true => Ok(input.to_vec()),
            false => Err(NnError::argument("rate", "a number in [0, 1)", self.rate)),
        }
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        match self.stream(pass) {
            Some(stream) => self.times(x, stream, pass),
            None => Ok(x.clone()),
        }
    }

    fn backward(&self, dy: &Tensor, pass: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        let Some(stream) = self.stream(pass) else {
            return Ok(Some(dy.clone()));
        };
        let dx = self.times(dy, stream, pass)?;
        pass.workspace.give(dy);
        Ok(Some(dx))
    }
}
