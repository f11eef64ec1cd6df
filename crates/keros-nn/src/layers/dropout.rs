//! Random zeros in training.

use super::common::Common;
use crate::error::NnError;
use crate::layer::{Layer, LayerBuilder, Pass};
use keros_tensor::{Tensor, kernels};

/// In training each value is 0 with probability `rate` and otherwise divided by `1 - rate`; in
/// inference nothing happens. Keras's `Dropout`.
///
/// The mask is a function of the seed, the step and the layer's place in the network.
pub struct Dropout {
    rate: f32,
    common: Common,
}

impl Dropout {
    /// Drops with probability `rate`, in `[0, 1)`.
    #[must_use]
    pub fn new(rate: f32) -> Dropout {
        Dropout {
            rate,
            common: Common::default(),
        }
    }

    setter!(common);
}

arguments! {
    Dropout = Dropout::new(0.0);
    required rate;
    optional common;
    only "seed" = null, "noise_shape" = null;
}

impl Layer for Dropout {
    layer!("Dropout", mixed_precision);

    fn build(&mut self, input: &[usize], _: &mut LayerBuilder<'_>) -> Result<Vec<usize>, NnError> {
        if !(0.0..1.0).contains(&self.rate) {
            return Err(NnError::argument("rate", "a number in [0, 1)", self.rate));
        }
        Ok(input.to_vec())
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        match pass.stream() {
            Some(stream) if self.rate > 0.0 => {
                Ok(kernels::dropout(pass.workspace, x, self.rate, stream)?)
            }
            _ => Ok(x.clone()),
        }
    }

    fn backward(&self, dy: &Tensor, pass: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        let dx = match pass.stream() {
            Some(stream) if self.rate > 0.0 => {
                kernels::dropout_backward(pass.workspace, dy, self.rate, stream)?
            }
            _ => dy.clone(),
        };
        Ok(Some(dx))
    }
}
