//! Longer sequences.

use super::common::Common;
use super::enlargement;
use super::support::{at_least_one, sequence};
use crate::error::NnError;
use crate::layer::{Layer, LayerBuilder, Pass};
use keros_tensor::Tensor;
use keros_tensor::kernels::{self, Taps};

/// Each step of a sequence several times in a row, Keras's `UpSampling1D`.
///
/// **Shapes**: `[N, steps, C]` → `[N, steps · size, C]`.
pub struct UpSampling1D {
    size: usize,
    common: Common,
    /// What repeats, and what takes the gradient back.
    built: Option<(Taps, Taps)>,
}

impl Default for UpSampling1D {
    /// Twice as long.
    fn default() -> Self {
        UpSampling1D::new(2)
    }
}

impl UpSampling1D {
    /// `size` times as long; Keras's default is 2.
    #[must_use]
    pub fn new(size: usize) -> UpSampling1D {
        UpSampling1D {
            size,
            common: Common::default(),
            built: None,
        }
    }

    setter!(common);

    fn built(&self) -> Result<&(Taps, Taps), NnError> {
        self.built.as_ref().ok_or(NnError::NotBuilt)
    }
}

arguments! {
    UpSampling1D = UpSampling1D::default();
    required;
    optional size common;
}

impl Layer for UpSampling1D {
    layer!("UpSampling1D");

    fn build(&mut self, input: &[usize], _: &mut LayerBuilder<'_>) -> Result<Vec<usize>, NnError> {
        let (steps, channels) = sequence(input)?;
        at_least_one("size", self.size)?;
        enlargement("size", steps, self.size)?;
        let repeat = Taps::repeat(steps, self.size);
        let back = repeat.transposed();
        self.built = Some((repeat, back));
        Ok(vec![steps * self.size, channels])
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        let (repeat, _) = self.built()?;
        Ok(kernels::resample(pass.workspace, x, 1, repeat)?)
    }

    fn backward(&self, dy: &Tensor, pass: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        let (_, back) = self.built()?;
        let dx = kernels::resample(pass.workspace, dy, 1, back)?;
        pass.workspace.give(dy);
        Ok(Some(dx))
    }
}
