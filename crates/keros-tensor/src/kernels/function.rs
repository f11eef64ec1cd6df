//! Element-wise activations that are kernels of their own.

use candle_core::{DType, Tensor};

use super::{CHUNK, expect_dims, math};
use crate::parallel::{chunks_mut, for_each_part};
use crate::simd::multiversion;
use crate::{TensorError, Workspace, access};

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
            // With an alpha of 0 the output does not tell on which side of 0 the input was.
            Function::Elu { alpha } => alpha > 0.0,
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
/// Exponentials and their like are within 7 units in the last place of the true value, or within
/// `1e-43` of it where that is more.
///
/// # Errors
/// See [the module](super).
pub fn function(ws: &mut Workspace, x: &Tensor, f: Function) -> Result<Tensor, TensorError> {
    on_gpu!(x, |gpu| cuda::function::function(gpu, ws, x, f));
    let y = ws.take(x.dims(), DType::F32)?;
    let x = access::read::<f32>(x)?;
    let x = &*x;
    access::write(&y, |y| {
        for_each_part(chunks_mut(y, CHUNK), |i, y| {
            values(f, &x[i * CHUNK..], y);
        });
    })?;
    Ok(y)
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
    expect_dims("function backward", "output gradient", dy, kept.dims())?;
    on_gpu!(kept, |gpu| {
        cuda::function::function_backward(gpu, ws, kept, dy, f)
    });
    let dx = ws.take(kept.dims(), DType::F32)?;
    let (kept, dy) = (access::read::<f32>(kept)?, access::read::<f32>(dy)?);
    let (kept, dy) = (&*kept, &*dy);
    access::write(&dx, |dx| {
        for_each_part(chunks_mut(dx, CHUNK), |i, dx| {
            gradients(f, &kept[i * CHUNK..], &dy[i * CHUNK..], dx);
        });
    })?;
    Ok(dx)
}

#[inline(always)]
fn each(x: &[f32], y: &mut [f32], f: impl Fn(f32) -> f32) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = f(x);
    }
}

/// `dx = dy · slope(kept)`.
#[inline(always)]
fn each_slope(kept: &[f32], dy: &[f32], dx: &mut [f32], slope: impl Fn(f32) -> f32) {
    for ((dx, &kept), &dy) in dx.iter_mut().zip(kept).zip(dy) {
        *dx = dy * slope(kept);
    }
}

// Each closure is called in one place, so that it is compiled into its loop: a loop that calls is
// not turned into vector instructions.
multiversion! {
    fn values(f: Function, x: &[f32], y: &mut [f32]) {
        match f {
            // Neither NaN nor minus infinity may meet the slope 0.
            Function::Relu { max_value, negative_slope: 0.0, threshold } => {
                each(x, y, |x| {
                    let above = if x > max_value { max_value } else { x };
                    if x <= threshold { 0.0 } else { above }
                });
            }
            Function::Relu { max_value, negative_slope, threshold } => each(x, y, |x| {
                let above = if x > max_value { max_value } else { x };
                let below = negative_slope * (x - threshold);
                if x > threshold { above } else { below }
            }),
            Function::Elu { alpha } => each(x, y, |x| elu(x, alpha)),
            Function::Selu => each(x, y, |x| SELU_SCALE * elu(x, SELU_ALPHA)),
            Function::Sigmoid => each(x, y, math::sigmoid),
            Function::Tanh => each(x, y, math::tanh),
            Function::Softplus => each(x, y, math::softplus),
            Function::Softsign => each(x, y, |x| x / (1.0 + x.abs())),
            Function::Exponential => each(x, y, math::exp),
            Function::HardSigmoid => each(x, y, hard_sigmoid),
            Function::HardSilu => each(x, y, |x| x * hard_sigmoid(x)),
            Function::Silu => each(x, y, |x| bounded_below(x) * math::sigmoid(x)),
            Function::Gelu => each(x, y, |x| {
                let (q, e) = math::normal_tail(x);
                let beyond = math::between(x, -15.0, 15.0) * q * e;
                if x <= 0.0 { beyond } else { x - beyond }
            }),
            Function::Mish => each(x, y, |x| {
                let (part, rest) = tanh_of_softplus(x, math::decay(x));
                bounded_below(x) * (part / (part + rest))
            }),
        }
    }

    fn gradients(f: Function, kept: &[f32], dy: &[f32], dx: &mut [f32]) {
        match f {
            Function::Relu { max_value, negative_slope, threshold } => {
                // The output 0 stands for the threshold; where the output is not kept, `kept` is x.
                for ((dx, &kept), &dy) in dx.iter_mut().zip(kept).zip(dy) {
                    let above = if kept >= max_value { 0.0 } else { dy };
                    let below = if kept < threshold { negative_slope * dy } else { 0.0 };
                    *dx = if kept > threshold { above } else { below };
                }
            }
            Function::Elu { alpha } if f.keeps_output() => {
                each_slope(kept, dy, dx, |y| if y < 0.0 { y + alpha } else { 1.0 });
            }
            Function::Elu { alpha } => {
                each_slope(kept, dy, dx, |x| if x < 0.0 { alpha * math::exp(x) } else { 1.0 });
            }
            Function::Selu => each_slope(kept, dy, dx, |y| {
                if y < 0.0 { y + SELU_SCALE * SELU_ALPHA } else { SELU_SCALE }
            }),
            Function::Sigmoid => each_slope(kept, dy, dx, |y| y * (1.0 - y)),
            Function::Tanh => each_slope(kept, dy, dx, |y| 1.0 - y * y),
            Function::Softplus => each_slope(kept, dy, dx, |y| -math::exp_m1_below_0(-y)),
            Function::Softsign => each_slope(kept, dy, dx, |y| {
                let rest = 1.0 - y.abs();
                rest * rest
            }),
            Function::Exponential => each_slope(kept, dy, dx, |y| y),
            Function::HardSigmoid => {
                for ((dx, &y), &dy) in dx.iter_mut().zip(kept).zip(dy) {
                    *dx = if (y > 0.0) & (y < 1.0) { dy / 6.0 } else { 0.0 };
                }
            }
            Function::HardSilu => each_slope(kept, dy, dx, |x| {
                let inside = (x > -3.0) & (x < 3.0);
                hard_sigmoid(x) + if inside { x / 6.0 } else { 0.0 }
            }),
            Function::Silu => each_slope(kept, dy, dx, |x| {
                let e = math::decay(x);
                let inverse = 1.0 / (1.0 + e);
                let (s, rest) = if x < 0.0 { (e, 1.0) } else { (1.0, e) };
                let s = s * inverse;
                s + s * math::between(x, -120.0, 120.0) * (rest * inverse)
            }),
            Function::Gelu => each_slope(kept, dy, dx, |x| {
                const DENSITY: f32 = 0.398_942_3;
                let (q, e) = math::normal_tail(x);
                let beyond = e * (q - DENSITY * math::between(x.abs(), 0.0, 15.0));
                if x < 0.0 { beyond } else { 1.0 - beyond }
            }),
            // With t = tanh(softplus(x)) as part / whole, t' is 4 · q · p · (1 + e) / whole².
            Function::Mish => each_slope(kept, dy, dx, |x| {
                let e = math::decay(x);
                let (part, rest) = tanh_of_softplus(x, e);
                let inverse = 1.0 / (part + rest);
                let product = if x < 0.0 { e } else { e * e };
                let slope = 4.0 * product * (1.0 + e) * inverse;
                (part + math::between(x, -120.0, 120.0) * slope) * inverse
            }),
        }
    }
}

#[inline(always)]
fn elu(x: f32, alpha: f32) -> f32 {
    if x < 0.0 {
        alpha * math::exp_m1_below_0(x)
    } else {
        x
    }
}

#[inline(always)]
fn hard_sigmoid(x: f32) -> f32 {
    (x + 3.0).clamp(0.0, 6.0) / 6.0
}

/// Keeps minus infinity from meeting a 0.
#[inline(always)]
fn bounded_below(x: f32) -> f32 {
    if x < -120.0 { -120.0 } else { x }
}

/// Two numbers, of which the first is so large a part of their sum; `e` is `exp(-|x|)`.
///
/// With `w = exp(x)` it is `(w² + 2w) / (w² + 2w + 2)`, here divided by `w²` where that is large.
#[inline(always)]
fn tanh_of_softplus(x: f32, e: f32) -> (f32, f32) {
    if x < 0.0 {
        (e * e + 2.0 * e, 2.0)
    } else {
        (1.0 + 2.0 * e, 2.0 * e * e)
    }
}
