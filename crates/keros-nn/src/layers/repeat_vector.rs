//! A vector as a sequence of itself.

use super::common::Common;
use super::enlargement;
use crate::error::NnError;
use crate::layer::{Layer, LayerBuilder, Pass};
use keros_tensor::Tensor;
use keros_tensor::kernels::{self, Taps};

/// The input `n` times, Keras's `RepeatVector`.
///
/// **Shapes**: `[N, features]` → `[N, n, features]`.
pub struct RepeatVector {
    n: usize,
    common: Common,
    /// What repeats, and what sums the gradients.
    built: Option<(Taps, Taps)>,
}

impl RepeatVector {
    /// `n` times, at least once.
    #[must_use]
    pub fn new(n: usize) -> RepeatVector {
        RepeatVector {
            n,
            common: Common::default(),
            built: None,
        }
    }

    setter!(common);
}

arguments! {
    RepeatVector = RepeatVector::new(0);
    required n;
    optional common;
}

impl Layer for RepeatVector {
    layer!("RepeatVector");

    fn build(&mut self, input: &[usize], _: &mut LayerBuilder<'_>) -> Result<Vec<usize>, NnError> {
        let &[features] = input else {
            return Err(NnError::shape("input sample", "[features]", input));
        };
        let repeat = Taps::repeat(1, enlargement("n", 1, self.n)?);
        let sum = repeat.transposed();
        self.built = Some((repeat, sum));
        Ok(vec![self.n, features])
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        let (repeat, _) = self.built.as_ref().ok_or(NnError::NotBuilt)?;
        Ok(kernels::resample(
            pass.workspace,
            &x.unsqueeze(1)?,
            1,
            repeat,
        )?)
    }

    fn backward(&self, dy: &Tensor, pass: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        let (_, sum) = self.built.as_ref().ok_or(NnError::NotBuilt)?;
        let dx = kernels::resample(pass.workspace, dy, 1, sum)?;
        pass.workspace.give(dy);
        Ok(Some(dx.squeeze(1)?))
    }
}
