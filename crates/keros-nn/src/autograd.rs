//! The gradients of what candle's operations have computed.

use crate::error::NnError;
use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, CustomOp1, Layout, Shape};
use keros_tensor::{Tensor, kernels};

/// The gradients of all variables that `outputs` depend on, given those of the outputs.
pub(crate) fn gradients(outputs: &[(Tensor, &Tensor)]) -> Result<GradStore, NnError> {
    let mut total: Option<Tensor> = None;
    for (y, dy) in outputs {
        let seed = y.apply_op1(Seed {
            dy: Tensor::clone(dy),
        })?;
        total = Some(match total {
            Some(total) => (total + seed)?,
            None => seed,
        });
    }
    let expected = || NnError::argument("outputs to go back from", "at least one", 0);
    Ok(total.ok_or_else(expected)?.backward()?)
}

/// Writes the gradient of a variable: 0, if no output depends on it.
pub(crate) fn write_gradient(
    grads: &GradStore,
    variable: &Tensor,
    to: &Tensor,
) -> Result<(), NnError> {
    match grads.get(variable) {
        None => kernels::fill(to, 0.0)?,
        Some(grad) => kernels::copy(&grad.contiguous()?, to)?,
    }
    Ok(())
}

/// A number whose gradient is `dy` whatever it is: `Σ y · dy` without computing it.
struct Seed {
    dy: Tensor,
}

impl CustomOp1 for Seed {
    fn name(&self) -> &'static str {
        "seed"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(vec![0.0]), Shape::from(())))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor) -> candle_core::Result<Option<Tensor>> {
        Ok(Some(self.dy.clone()))
    }
}
