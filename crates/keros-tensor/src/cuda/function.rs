//! Starts the activations that are kernels of their own.

use candle_core::{DType, Tensor};

use super::{Gpu, address, each, launch};
use crate::kernels::Function;
use crate::{TensorError, Workspace};

const OP: &str = "activation";

/// Calls a macro with the kernel of a function and the function's numbers.
macro_rules! by_function {
    ($f:expr, $start:ident, $($function:ident => $forward:ident $backward:ident,)*) => {
        match $f {
            Function::Relu { max_value, negative_slope, threshold } => {
                $start!(relu_f32, relu_backward_f32, (max_value, negative_slope, threshold));
            }
            Function::Elu { alpha } => $start!(elu_f32, elu_backward_f32, (alpha, 0.0, 0.0)),
            $(Function::$function => $start!($forward, $backward, (0.0, 0.0, 0.0)),)*
        }
    };
    ($f:expr, $start:ident) => {
        by_function! {
            $f, $start,
            Selu => selu_f32 selu_backward_f32,
            Sigmoid => sigmoid_f32 sigmoid_backward_f32,
            Tanh => tanh_f32 tanh_backward_f32,
            Softplus => softplus_f32 softplus_backward_f32,
            Softsign => softsign_f32 softsign_backward_f32,
            Exponential => exponential_f32 exponential_backward_f32,
            HardSigmoid => hard_sigmoid_f32 hard_sigmoid_backward_f32,
            HardSilu => hard_silu_f32 hard_silu_backward_f32,
            Silu => silu_f32 silu_backward_f32,
            Gelu => gelu_f32 gelu_backward_f32,
            Mish => mish_f32 mish_backward_f32,
        }
    };
}

/// [`kernels::function`](crate::kernels::function).
pub(crate) fn function(
    gpu: &Gpu,
    ws: &mut Workspace,
    x: &Tensor,
    f: Function,
) -> Result<Tensor, TensorError> {
    let y = ws.take(x.dims(), DType::F32)?;
    let n = x.elem_count() as i64;
    let (from, to) = (address::<f32>(OP, x)?, address::<f32>(OP, &y)?);
    let threads = each(x.elem_count().div_ceil(4));
    macro_rules! start {
        ($kernel:ident, $backward:ident, $numbers:expr) => {{
            let (a, b, c): (f32, f32, f32) = $numbers;
            launch!(gpu, FUNCTION.$kernel, threads, from, to, n, a, b, c);
        }};
    }
    by_function!(f, start);
    Ok(y)
}

/// [`kernels::function_backward`](crate::kernels::function_backward).
pub(crate) fn function_backward(
    gpu: &Gpu,
    ws: &mut Workspace,
    kept: &Tensor,
    dy: &Tensor,
    f: Function,
) -> Result<Tensor, TensorError> {
    let dx = ws.take(kept.dims(), DType::F32)?;
    let n = kept.elem_count() as i64;
    let (kept, dy) = (address::<f32>(OP, kept)?, address::<f32>(OP, dy)?);
    let to = address::<f32>(OP, &dx)?;
    let threads = each(dx.elem_count().div_ceil(4));
    macro_rules! start {
        ($forward:ident, $kernel:ident, $numbers:expr) => {{
            let (a, b, c): (f32, f32, f32) = $numbers;
            launch!(gpu, FUNCTION.$kernel, threads, kept, dy, to, n, a, b, c);
        }};
    }
    by_function!(f, start);
    Ok(dx)
}
