//! Activation functions by name.

use crate::error::NnError;
use crate::layer::Pass;
use keros_tensor::kernels::{self, Function};
use keros_tensor::{Tensor, Workspace};
use std::str::FromStr;

/// The function a layer applies to its result, with the definitions of Keras 3.
///
/// All are elementwise but for the two softmaxes, which work on the last axis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Activation {
    /// `x`
    #[default]
    Linear,
    /// `max(x, 0)`
    Relu,
    /// `min(max(x, 0), 6)`
    Relu6,
    /// `x` above 0, `0.2 x` below; the layer [`LeakyReLU`](crate::layers::LeakyReLU) has a slope of
    /// its own.
    LeakyRelu,
    /// `x` above 0, `exp(x) - 1` below.
    Elu,
    /// `1.0507 x` above 0, `1.0507 · 1.6733 (exp(x) - 1)` below.
    Selu,
    /// `x / 2 · (1 + erf(x / √2))`, the exact one.
    Gelu,
    /// `x · sigmoid(x)`, also called swish.
    Silu,
    /// `x · tanh(softplus(x))`
    Mish,
    /// `1 / (1 + exp(-x))`
    Sigmoid,
    /// `min(max(x + 3, 0), 6) / 6`
    HardSigmoid,
    /// `x · hard_sigmoid(x)`, also called hard swish.
    HardSilu,
    /// The hyperbolic tangent.
    Tanh,
    /// `ln(1 + exp(x))`
    Softplus,
    /// `x / (1 + |x|)`
    Softsign,
    /// `exp(x)`
    Exponential,
    /// `exp(x) / Σ exp(x)` over the last axis.
    Softmax,
    /// `x - ln Σ exp(x)` over the last axis.
    LogSoftmax,
}

/// Names and what they stand for; an activation's own name comes before its other ones.
const NAMES: [(&str, Activation); 20] = [
    ("linear", Activation::Linear),
    ("relu", Activation::Relu),
    ("relu6", Activation::Relu6),
    ("leaky_relu", Activation::LeakyRelu),
    ("elu", Activation::Elu),
    ("selu", Activation::Selu),
    ("gelu", Activation::Gelu),
    ("silu", Activation::Silu),
    ("swish", Activation::Silu),
    ("mish", Activation::Mish),
    ("sigmoid", Activation::Sigmoid),
    ("hard_sigmoid", Activation::HardSigmoid),
    ("hard_silu", Activation::HardSilu),
    ("hard_swish", Activation::HardSilu),
    ("tanh", Activation::Tanh),
    ("softplus", Activation::Softplus),
    ("softsign", Activation::Softsign),
    ("exponential", Activation::Exponential),
    ("softmax", Activation::Softmax),
    ("log_softmax", Activation::LogSoftmax),
];

const KNOWN: [&str; NAMES.len()] = {
    let mut known = [""; NAMES.len()];
    let mut i = 0;
    while i < NAMES.len() {
        known[i] = NAMES[i].0;
        i += 1;
    }
    known
};

/// What computes an activation.
enum Kernel {
    Identity,
    Elementwise(Function),
    Softmax,
    LogSoftmax,
}

impl Activation {
    /// Keras's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        let named = NAMES.iter().find(|(_, activation)| *activation == self);
        named.map_or("linear", |(name, _)| name)
    }

    /// `y = activation(x)`, for a tensor of any shape; the softmaxes need a last axis.
    ///
    /// # Errors
    /// When the kernel fails.
    pub fn apply(self, workspace: &mut Workspace, x: &Tensor) -> Result<Tensor, NnError> {
        Ok(match self.kernel() {
            Kernel::Identity => x.clone(),
            Kernel::Elementwise(function) => kernels::function(workspace, x, function)?,
            Kernel::Softmax => kernels::softmax(workspace, x)?,
            Kernel::LogSoftmax => kernels::log_softmax(workspace, x)?,
        })
    }

    /// Whether [`backward`](Self::backward) works from the output `y`. It needs the input `x` for
    /// `gelu`, `silu`, `mish` and `hard_silu`, which are not monotonic: their slope does not follow
    /// from their value.
    #[must_use]
    pub fn keeps_output(self) -> bool {
        match self.kernel() {
            Kernel::Elementwise(function) => function.keeps_output(),
            Kernel::Identity | Kernel::Softmax | Kernel::LogSoftmax => true,
        }
    }

    /// The gradient of [`apply`](Self::apply) with respect to `x`, given that with respect to `y`;
    /// `kept` is `y` or `x`, as [`keeps_output`](Self::keeps_output) says.
    ///
    /// # Errors
    /// When the kernel fails.
    pub fn backward(
        self,
        workspace: &mut Workspace,
        kept: &Tensor,
        dy: &Tensor,
    ) -> Result<Tensor, NnError> {
        Ok(match self.kernel() {
            Kernel::Identity => dy.clone(),
            Kernel::Elementwise(function) => {
                kernels::function_backward(workspace, kept, dy, function)?
            }
            Kernel::Softmax => kernels::softmax_backward(workspace, kept, dy)?,
            Kernel::LogSoftmax => kernels::log_softmax_backward(workspace, kept, dy)?,
        })
    }

    /// Whether each value is computed by itself.
    pub(crate) fn is_elementwise(self) -> bool {
        matches!(self.kernel(), Kernel::Identity | Kernel::Elementwise(_))
    }

    fn kernel(self) -> Kernel {
        let relu = |max_value, negative_slope| Function::Relu {
            max_value,
            negative_slope,
            threshold: 0.0,
        };
        Kernel::Elementwise(match self {
            Activation::Linear => return Kernel::Identity,
            Activation::Softmax => return Kernel::Softmax,
            Activation::LogSoftmax => return Kernel::LogSoftmax,
            Activation::Relu => relu(f32::INFINITY, 0.0),
            Activation::Relu6 => relu(6.0, 0.0),
            Activation::LeakyRelu => relu(f32::INFINITY, 0.2),
            Activation::Elu => Function::Elu { alpha: 1.0 },
            Activation::Selu => Function::Selu,
            Activation::Gelu => Function::Gelu,
            Activation::Silu => Function::Silu,
            Activation::Mish => Function::Mish,
            Activation::Sigmoid => Function::Sigmoid,
            Activation::HardSigmoid => Function::HardSigmoid,
            Activation::HardSilu => Function::HardSilu,
            Activation::Tanh => Function::Tanh,
            Activation::Softplus => Function::Softplus,
            Activation::Softsign => Function::Softsign,
            Activation::Exponential => Function::Exponential,
        })
    }

    /// The part that a kernel computes together with its result: linear or ReLU.
    pub(crate) fn fused(self) -> kernels::Activation {
        match self {
            Activation::Relu => kernels::Activation::Relu,
            _ => kernels::Activation::Linear,
        }
    }

    /// Ends the forward pass of a layer whose kernel has computed `z` with the [fused](Self::fused)
    /// part: applies the rest and saves what [`start_backward`](Self::start_backward) needs.
    pub(crate) fn end_forward(self, z: Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        if matches!(self, Activation::Linear | Activation::Relu) {
            pass.save(&z);
            return Ok(z);
        }
        let y = self.apply(pass.workspace, &z)?;
        let kept = if self.keeps_output() { &y } else { &z };
        pass.save(kept);
        if self.keeps_output() || !pass.keeps {
            pass.workspace.give(&z);
        }
        Ok(y)
    }

    /// Begins the backward pass of such a layer: returns what stands for the kernel's output, and
    /// the gradient of that. Both belong to the layer; `dy` is given back if it is another.
    pub(crate) fn start_backward(
        self,
        dy: &Tensor,
        pass: &mut Pass<'_>,
    ) -> Result<(Tensor, Tensor), NnError> {
        let kept = pass.restore()?;
        if matches!(self, Activation::Linear | Activation::Relu) {
            return Ok((kept, dy.clone()));
        }
        let dz = self.backward(pass.workspace, &kept, dy)?;
        pass.workspace.give(dy);
        Ok((kept, dz))
    }

    /// Becomes the ReLU that follows, if this does nothing, for [`Layer::fuse_relu`](crate::Layer).
    pub(crate) fn fuse_relu(&mut self) -> bool {
        let fuses = *self == Activation::Linear;
        if fuses {
            *self = Activation::Relu;
        }
        fuses
    }

    /// Takes the softmax or sigmoid away, if this is one, for
    /// [`Layer::take_activation`](crate::Layer).
    pub(crate) fn take_final(&mut self) -> Activation {
        match self {
            Activation::Softmax | Activation::Sigmoid => std::mem::take(self),
            _ => Activation::Linear,
        }
    }
}

impl FromStr for Activation {
    type Err = NnError;

    /// Keras's names: those of the variants in snake case, and `swish` and `hard_swish`.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let named = NAMES.iter().find(|(known, _)| *known == name);
        named
            .map(|(_, activation)| *activation)
            .ok_or_else(|| NnError::UnknownName {
                kind: "activation",
                name: name.to_owned(),
                known: &KNOWN,
            })
    }
}
