//! Scaling to a length of 1.

use super::Axes;
use super::common::Common;
use super::layer_normalization::of_batch;
use super::support::norm_layout;
use crate::error::NnError;
use crate::layer::{Layer, LayerBuilder, Pass};
use keros_tensor::Tensor;
use keros_tensor::kernels::{self, NormLayout};

/// `x / max(√(Σ x²), 1e-12)` with the sum over some axes, Keras's `UnitNormalization`: vectors of length
/// 1.
///
/// **Shapes**: `[N, …]`, as the input.
pub struct UnitNormalization {
    axis: Axes,
    common: Common,
    /// Of one sample.
    layout: Option<NormLayout>,
}

setters!(UnitNormalization: axes, common);

impl Default for UnitNormalization {
    fn default() -> Self {
        UnitNormalization::new()
    }
}

impl UnitNormalization {
    /// Over the last axis.
    #[must_use]
    pub fn new() -> UnitNormalization {
        UnitNormalization {
            axis: Axes::from(-1),
            common: Common::default(),
            layout: None,
        }
    }
}

arguments! {
    UnitNormalization = UnitNormalization::new();
    required;
    optional axis common;
}

impl Layer for UnitNormalization {
    layer!("UnitNormalization");

    fn build(&mut self, input: &[usize], _: &mut LayerBuilder<'_>) -> Result<Vec<usize>, NnError> {
        let axes = self.axis.of_sample(input)?;
        self.layout = Some(norm_layout(&axes, input)?);
        Ok(input.to_vec())
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        let layout = of_batch(self.layout.as_ref().ok_or(NnError::NotBuilt)?, x)?;
        let (y, factors) = kernels::unit_normalize(pass.workspace, x, &layout)?;
        pass.save(&y);
        pass.save(&factors);
        Ok(y)
    }

    fn backward(&self, dy: &Tensor, pass: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        let (factors, y) = (pass.restore()?, pass.restore()?);
        let layout = of_batch(self.layout.as_ref().ok_or(NnError::NotBuilt)?, &y)?;
        if !pass.wants_input_grad {
            return Ok(None);
        }
        let ws = &mut *pass.workspace;
        let dx = kernels::unit_normalize_backward(ws, &y, &factors, dy, &layout)?;
        pass.workspace.give(dy);
        pass.workspace.give(&y);
        pass.workspace.give(&factors);
        Ok(Some(dx))
    }
}
