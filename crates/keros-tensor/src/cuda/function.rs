//! Starts the activations that are kernels of their own.

use candle_core::{DType, Tensor};

use super::{Gpu, address, each, launch};
use crate::kernels::Function;
use crate::{TensorError, Workspace};

const OP: &str = "activation";

/// [`kernels::function`](crate::kernels::function).
pub(crate) fn function(
    gpu: &Gpu,
    ws: &mut Workspace,
    x: &Tensor,
    f: Function,
) -> Result<Tensor, TensorError> {
    let y = ws.take(x.dims(), DType::F32)?;
    let n = x.elem_count();
    let threads = each(n);
    let (x, to, n) = (address::<f32>(OP, x)?, address::<f32>(OP, &y)?, n as i64);
    match f {
        Function::Relu {
            max_value,
            negative_slope,
            threshold,
        } => {
            launch!(
                gpu,
                FUNCTION.relu_f32,
                threads,
                x,
                to,
                n,
                max_value,
                negative_slope,
                threshold
            );
        }
        _ => return Err(super::failure(OP, &"not there yet")),
    }
    Ok(y)
}
