//! ReLU whose slope below 0 is learned.

use super::common::{Common, ParamSpec};
use super::enlargement;
use crate::error::NnError;
use crate::initializer::Initializer;
use crate::layer::{Layer, LayerBuilder, Pass};
use keros_tensor::kernels::{self, Taps};
use keros_tensor::{DType, ParamId, Tensor, Workspace};

/// `x` above 0 and `alpha · x` below, Keras's `PReLU`.
///
/// **Shapes**: `[N, …]` → the same; parameter `alpha` `[…]`, with 1 in the place of shared axes.
pub struct PReLU {
    alpha: ParamSpec,
    shared_axes: Option<Vec<usize>>,
    common: Common,
    built: Option<Built>,
}

struct Built {
    alpha: ParamId,
    /// The shared axes of a sample, with what repeats `alpha` along them and what sums over them.
    shared: Vec<(usize, Taps, Taps)>,
}

impl Default for PReLU {
    fn default() -> Self {
        PReLU::new()
    }
}

impl PReLU {
    /// A slope for each element of a sample, at first 0.
    #[must_use]
    pub fn new() -> PReLU {
        PReLU {
            alpha: ParamSpec::new(Initializer::Zeros),
            shared_axes: None,
            common: Common::default(),
            built: None,
        }
    }

    /// Axes along which the slopes are the same; 1 is the first axis of a sample. `[1, 2]` gives an
    /// image one slope a channel.
    #[must_use]
    pub fn shared_axes(mut self, axes: impl Into<Vec<usize>>) -> PReLU {
        self.shared_axes = Some(axes.into());
        self
    }

    setter!(alpha);
    setter!(common);

    fn built(&self) -> Result<&Built, NnError> {
        self.built.as_ref().ok_or(NnError::NotBuilt)
    }
}

impl Built {
    /// The slopes, one for each element of a sample.
    fn slopes(&self, workspace: &mut Workspace, alpha: &Tensor) -> Result<Tensor, NnError> {
        let mut slopes = alpha.clone();
        for (axis, repeat, _) in &self.shared {
            slopes = kernels::resample(workspace, &slopes, *axis, repeat)?;
        }
        Ok(slopes)
    }
}

arguments! {
    PReLU = PReLU::new();
    required;
    optional alpha shared_axes common;
}

impl Layer for PReLU {
    layer!("PReLU");

    fn build(
        &mut self,
        input: &[usize],
        builder: &mut LayerBuilder<'_>,
    ) -> Result<Vec<usize>, NnError> {
        let mut shape = input.to_vec();
        let mut shared: Vec<(usize, Taps, Taps)> = Vec::new();
        for &axis in self.shared_axes.iter().flatten() {
            let length = axis
                .checked_sub(1)
                .and_then(|axis| shape.get_mut(axis))
                .ok_or_else(|| {
                    let expected = format!("axes from 1 to {}", input.len());
                    NnError::argument("shared_axes", expected, axis)
                })?;
            if shared.iter().any(|(other, ..)| other + 1 == axis) {
                continue;
            }
            let length = std::mem::replace(length, 1);
            let repeat = Taps::repeat(1, enlargement("shared_axes", 1, length)?);
            let sum = repeat.transposed();
            shared.push((axis - 1, repeat, sum));
        }
        self.built = Some(Built {
            alpha: self.alpha.add(builder, "alpha", &shape)?,
            shared,
        });
        Ok(input.to_vec())
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        let built = self.built()?;
        let alpha = pass.value(built.alpha);
        let slopes = built.slopes(pass.workspace, alpha)?;
        let y = kernels::prelu(pass.workspace, x, &slopes)?;
        pass.workspace.give(&slopes);
        pass.save(x);
        Ok(y)
    }

    fn backward(&self, dy: &Tensor, pass: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        let built = self.built()?;
        let x = pass.restore()?;
        let (alpha, grad) = (pass.value(built.alpha), pass.grad(built.alpha));
        let workspace = &mut *pass.workspace;
        let slopes = built.slopes(workspace, alpha)?;
        let dx = if built.shared.is_empty() {
            kernels::prelu_backward(workspace, &x, &slopes, dy, grad)?
        } else {
            let mut sums = workspace.take(slopes.dims(), DType::F32)?;
            let dx = kernels::prelu_backward(workspace, &x, &slopes, dy, &sums)?;
            for (axis, _, sum) in built.shared.iter().rev() {
                let next = kernels::resample(workspace, &sums, *axis, sum)?;
                workspace.give(&sums);
                sums = next;
            }
            kernels::copy(&sums, grad)?;
            workspace.give(&sums);
            dx
        };
        workspace.give(&slopes);
        workspace.give(dy);
        Ok(Some(dx))
    }
}
