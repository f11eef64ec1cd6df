//! Starts the activations that are kernels of their own.

use candle_core::Tensor;

use super::{Gpu, Values, each, launch};
use crate::kernels::Function;
use crate::{TensorError, Workspace};

const OP: &str = "activation";

/// Calls a macro with the kernel of a function and the function's numbers.
macro_rules! by_function {
    ($f:expr, $start:ident, $($function:ident => $forward:ident $backward:ident,)*) => {
        match $f {
            Function::Relu { max_value, negative_slope, threshold } => {
                $start!(relu, relu_backward, (max_value, negative_slope, threshold));
            }
            Function::Elu { alpha } => $start!(elu, elu_backward, (alpha, 0.0, 0.0)),
            $(Function::$function => $start!($forward, $backward, (0.0, 0.0, 0.0)),)*
        }
    };
    ($f:expr, $start:ident) => {
        by_function! {
            $f, $start,
            Selu => selu selu_backward,
            Sigmoid => sigmoid sigmoid_backward,
            Tanh => tanh tanh_backward,
            Softplus => softplus softplus_backward,
            Softsign => softsign softsign_backward,
            Exponential => exponential exponential_backward,
            HardSigmoid => hard_sigmoid hard_sigmoid_backward,
            HardSilu => hard_silu hard_silu_backward,
            Silu => silu silu_backward,
            Gelu => gelu gelu_backward,
            Mish => mish mish_backward,
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
    let values = Values::of(OP, x)?;
    let y = ws.take(x.dims(), values.dtype())?;
    let n = x.elem_count() as i64;
    let (from, to) = (values.address(gpu, OP, x)?, values.address(gpu, OP, &y)?);
    let threads = each(x.elem_count().div_ceil(4));
    macro_rules! start {
        ($kernel:ident, $backward:ident, $numbers:expr) => {{
            let (a, b, c): (f32, f32, f32) = $numbers;
            launch!(gpu, FUNCTION.$kernel of values, threads, from, to, n, a, b, c);
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
    let values = Values::of(OP, kept)?;
    let dx = ws.take(kept.dims(), values.dtype())?;
    let n = kept.elem_count() as i64;
    let (kept, dy) = (values.address(gpu, OP, kept)?, values.address(gpu, OP, dy)?);
    let to = values.address(gpu, OP, &dx)?;
    let threads = each(dx.elem_count().div_ceil(4));
    macro_rules! start {
        ($forward:ident, $kernel:ident, $numbers:expr) => {{
            let (a, b, c): (f32, f32, f32) = $numbers;
            launch!(gpu, FUNCTION.$kernel of values, threads, kept, dy, to, n, a, b, c);
        }};
    }
    by_function!(f, start);
    Ok(dx)
}
