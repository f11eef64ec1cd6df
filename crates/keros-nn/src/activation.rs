//! Activation functions by name.

use crate::error::NnError;
use crate::layer::Pass;
use keros_tensor::{Tensor, Workspace, kernels};
use std::str::FromStr;

/// The function a layer applies to its result, elementwise but for the softmax.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Activation {
    /// `x`
    #[default]
    Linear,
    /// `max(x, 0)`
    Relu,
    /// `exp(x) / Σ exp(x)` over the last axis.
    Softmax,
    /// `1 / (1 + exp(-x))`
    Sigmoid,
}

impl Activation {
    /// The part that a kernel computes together with its result; softmax and sigmoid are never part
    /// of it.
    pub(crate) fn fused(self) -> kernels::Activation {
        match self {
            Activation::Relu => kernels::Activation::Relu,
            Activation::Linear | Activation::Softmax | Activation::Sigmoid => {
                kernels::Activation::Linear
            }
        }
    }

    /// `activation(x)` for a tensor of any shape.
    pub(crate) fn apply(self, workspace: &mut Workspace, x: &Tensor) -> Result<Tensor, NnError> {
        match self {
            Activation::Linear => Ok(x.clone()),
            Activation::Relu => {
                let relu = kernels::Activation::Relu;
                Ok(kernels::activation(workspace, x, relu)?)
            }
            Activation::Softmax => Ok(kernels::softmax(workspace, x)?),
            Activation::Sigmoid => Ok(kernels::map(workspace, x, |x| 1.0 / (1.0 + (-x).exp()))?),
        }
    }

    /// Whether [`backward`](Self::backward) works from the output; all these do.
    pub(crate) fn keeps_output(self) -> bool {
        true
    }

    /// The gradient of `activation(x) = y` by `x`, given that by `y`.
    pub(crate) fn backward(
        self,
        workspace: &mut Workspace,
        y: &Tensor,
        dy: &Tensor,
    ) -> Result<Tensor, NnError> {
        match self {
            Activation::Linear => Ok(dy.clone()),
            Activation::Relu => {
                let relu = kernels::Activation::Relu;
                Ok(kernels::activation_backward(workspace, y, dy, relu)?)
            }
            Activation::Softmax => Ok(kernels::softmax_backward(workspace, y, dy)?),
            Activation::Sigmoid => {
                let slope = |y: f32, dy: f32| dy * y * (1.0 - y);
                Ok(kernels::zip_map(workspace, y, dy, slope)?)
            }
        }
    }

    /// Whether a layer applies it after the kernel instead of in it.
    fn is_separate(self) -> bool {
        matches!(self, Activation::Softmax | Activation::Sigmoid)
    }

    /// Ends the forward pass of a layer whose kernel has computed `z` with the [fused](Self::fused)
    /// part: applies the rest and saves what [`start_backward`](Self::start_backward) needs.
    pub(crate) fn end_forward(self, z: Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        if !self.is_separate() {
            pass.save(&z);
            return Ok(z);
        }
        let y = self.apply(pass.workspace, &z)?;
        pass.save(&y);
        pass.workspace.give(&z);
        Ok(y)
    }

    /// Begins the backward pass of such a layer: returns what stands for the kernel's output, and
    /// the gradient of that. Both belong to the layer; `dy` is given back if it is another.
    pub(crate) fn start_backward(
        self,
        dy: &Tensor,
        pass: &mut Pass<'_>,
    ) -> Result<(Tensor, Tensor), NnError> {
        let y = pass.restore()?;
        if !self.is_separate() {
            return Ok((y, dy.clone()));
        }
        let dz = self.backward(pass.workspace, &y, dy)?;
        pass.workspace.give(dy);
        Ok((y, dz))
    }

    /// Takes a softmax or sigmoid away, if this is one, for
    /// [`Layer::take_activation`](crate::Layer).
    pub(crate) fn take_final(&mut self) -> Activation {
        match self.is_separate() {
            true => std::mem::take(self),
            false => Activation::Linear,
        }
    }
}

impl FromStr for Activation {
    type Err = NnError;

    /// Keras's names: `linear`, `relu`, `softmax`, `sigmoid`.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "linear" => Ok(Activation::Linear),
            "relu" => Ok(Activation::Relu),
            "softmax" => Ok(Activation::Softmax),
            "sigmoid" => Ok(Activation::Sigmoid),
            _ => Err(NnError::UnknownName {
                kind: "activation",
                name: name.to_owned(),
                known: &["linear", "relu", "softmax", "sigmoid"],
            }),
        }
    }
}
