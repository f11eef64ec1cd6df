//! Activation functions by name.

use crate::error::NnError;
use keros_tensor::kernels;
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
}

impl Activation {
    /// The part that a kernel computes together with its result; the softmax is never part of it.
    pub(crate) fn fused(self) -> kernels::Activation {
        match self {
            Activation::Relu => kernels::Activation::Relu,
            Activation::Linear | Activation::Softmax => kernels::Activation::Linear,
        }
    }

    /// Takes the softmax away, if this is one, for [`Layer::take_activation`](crate::Layer).
    pub(crate) fn take_softmax(&mut self) -> Activation {
        if *self == Activation::Softmax {
            std::mem::take(self)
        } else {
            Activation::Linear
        }
    }
}

impl FromStr for Activation {
    type Err = NnError;

    /// Keras's names: `linear`, `relu`, `softmax`.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "linear" => Ok(Activation::Linear),
            "relu" => Ok(Activation::Relu),
            "softmax" => Ok(Activation::Softmax),
            _ => Err(NnError::UnknownName {
                kind: "activation",
                name: name.to_owned(),
                known: &["linear", "relu", "softmax"],
            }),
        }
    }
}
