//! Element-wise activations that are kernels of their own.

use candle_core::Tensor;
use candle_core::cpu::erf::erf_f64;
use std::f32::consts::FRAC_1_SQRT_2;

use super::elementwise::{map, zip_map};
use crate::{TensorError, Workspace};

/// A function of each element, with Keras's definitions.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Function {
    /// `min(x, max_value)` above the threshold, `negative_slope * (x - threshold)` below it and 0
    /// at it. The gradient at the threshold and from `max_value` on is 0.
    Relu {
        /// Largest value; infinite for none.
        max_value: f32,
        /// Slope below the threshold.
        negative_slope: f32,
        /// Where the function starts to rise.
        threshold: f32,
    },
    /// `x` from 0 on, `alpha * (exp(x) - 1)` below.
    Elu {
        /// Minus the limit for very negative values.
        alpha: f32,
    },
    /// `1.0507 *` ELU with `alpha = 1.6733` (Klambauer et al. 2017).
    Selu,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `tanh(x)`.
    Tanh,
    /// `ln(1 + exp(x))`.
    Softplus,
    /// `x / (1 + |x|)`.
    Softsign,
    /// `exp(x)`.
    Exponential,
    /// `min(max(x + 3, 0), 6) / 6`.
    HardSigmoid,
    /// `x * hard_sigmoid(x)`.
    HardSilu,
    /// `x * sigmoid(x)`.
    Silu,
    /// `x / 2 * (1 + erf(x / √2))`.
    Gelu,
    /// `x * tanh(softplus(x))`.
    Mish,
}

const SELU_SCALE: f32 = 1.050_701;
const SELU_ALPHA: f32 = 1.673_263_2;

impl Function {
    /// Whether [`function_backward`] works from the output `y`; from the input `x` otherwise.
    #[must_use]
    pub fn keeps_output(self) -> bool {
        match self {
            Function::Relu {
                negative_slope,
                threshold,
                ..
            } => negative_slope >= 0.0 && threshold == 0.0,
            Function::Elu { alpha } => alpha >= 0.0,
            Function::Selu
            | Function::Sigmoid
            | Function::Tanh
            | Function::Softplus
            | Function::Softsign
            | Function::Exponential
            | Function::HardSigmoid => true,
            Function::HardSilu | Function::Silu | Function::Gelu | Function::Mish => false,
        }
    }
}

/// `y = f(x)` for a tensor of any shape.
///
/// # Errors
/// See [the module](super).
pub fn function(ws: &mut Workspace, x: &Tensor, f: Function) -> Result<Tensor, TensorError> {
    match f {
        Function::Relu {
            max_value,
            negative_slope,
            threshold,
        } => map(ws, x, |x| {
            // Neither NaN nor minus infinity may meet the slope 0.
            if x > threshold {
                if x > max_value { max_value } else { x }
            } else if x <= threshold && negative_slope == 0.0 {
                0.0
            } else {
                negative_slope * (x - threshold)
            }
        }),
        Function::Elu { alpha } => map(ws, x, |x| elu(x, alpha)),
        Function::Selu => map(ws, x, |x| SELU_SCALE * elu(x, SELU_ALPHA)),
        Function::Sigmoid => map(ws, x, sigmoid),
        Function::Tanh => map(ws, x, f32::tanh),
        Function::Softplus => map(ws, x, softplus),
        Function::Softsign => map(ws, x, |x| x / (1.0 + x.abs())),
        Function::Exponential => map(ws, x, f32::exp),
        Function::HardSigmoid => map(ws, x, hard_sigmoid),
        Function::HardSilu => map(ws, x, |x| x * hard_sigmoid(x)),
        Function::Silu => map(ws, x, |x| x * sigmoid(x)),
        Function::Gelu => map(ws, x, |x| x * normal_cdf(x)),
        Function::Mish => map(ws, x, |x| x * softplus(x).tanh()),
    }
}

/// The gradient of [`function`]: `dx = dy * f'(x)`.
///
/// `kept` is the output `y` where [`Function::keeps_output`] says so, the input `x` otherwise.
///
/// # Errors
/// See [the module](super).
pub fn function_backward(
    ws: &mut Workspace,
    kept: &Tensor,
    dy: &Tensor,
    f: Function,
) -> Result<Tensor, TensorError> {
    match f {
        Function::Relu {
            max_value,
            negative_slope,
            threshold,
        } => {
            // The output 0 stands for the threshold; where the output is not kept, `kept` is x.
            zip_map(ws, kept, dy, |kept, dy| {
                if kept >= max_value && kept > threshold {
                    0.0
                } else if kept > threshold {
                    dy
                } else if kept < threshold {
                    negative_slope * dy
                } else {
                    0.0
                }
            })
        }
        Function::Elu { alpha } if f.keeps_output() => {
            zip_map(ws, kept, dy, |y, dy| dy * elu_slope(y, alpha))
        }
        Function::Elu { alpha } => zip_map(ws, kept, dy, |x, dy| {
            dy * if x < 0.0 { alpha * x.exp() } else { 1.0 }
        }),
        Function::Selu => zip_map(ws, kept, dy, |y, dy| {
            dy * if y < 0.0 {
                y + SELU_SCALE * SELU_ALPHA
            } else {
                SELU_SCALE
            }
        }),
        Function::Sigmoid => zip_map(ws, kept, dy, |y, dy| dy * y * (1.0 - y)),
        Function::Tanh => zip_map(ws, kept, dy, |y, dy| dy * (1.0 - y * y)),
        Function::Softplus => zip_map(ws, kept, dy, |y, dy| dy * -(-y).exp_m1()),
        Function::Softsign => zip_map(ws, kept, dy, |y, dy| {
            let rest = 1.0 - y.abs();
            dy * rest * rest
        }),
        Function::Exponential => zip_map(ws, kept, dy, |y, dy| dy * y),
        Function::HardSigmoid => zip_map(ws, kept, dy, |y, dy| {
            if y > 0.0 && y < 1.0 { dy / 6.0 } else { 0.0 }
        }),
        Function::HardSilu => zip_map(ws, kept, dy, |x, dy| {
            let inside = x > -3.0 && x < 3.0;
            dy * (hard_sigmoid(x) + if inside { x / 6.0 } else { 0.0 })
        }),
        Function::Silu => zip_map(ws, kept, dy, |x, dy| {
            let s = sigmoid(x);
            dy * s * (1.0 + x * (1.0 - s))
        }),
        Function::Gelu => zip_map(ws, kept, dy, |x, dy| {
            let density = 0.398_942_3 * (-0.5 * x * x).exp();
            dy * (normal_cdf(x) + x * density)
        }),
        Function::Mish => zip_map(ws, kept, dy, |x, dy| {
            let t = softplus(x).tanh();
            dy * (t + x * (1.0 - t * t) * sigmoid(x))
        }),
    }
}

fn elu(x: f32, alpha: f32) -> f32 {
    if x < 0.0 { alpha * x.exp_m1() } else { x }
}

/// The slope of ELU from its output.
fn elu_slope(y: f32, alpha: f32) -> f32 {
    if y < 0.0 { y + alpha } else { 1.0 }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

fn softplus(x: f32) -> f32 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

fn hard_sigmoid(x: f32) -> f32 {
    (x + 3.0).clamp(0.0, 6.0) / 6.0
}

/// The part of the standard normal distribution below `x`.
fn normal_cdf(x: f32) -> f32 {
    (0.5 * (1.0 + erf_f64(f64::from(x * FRAC_1_SQRT_2)))) as f32
}
