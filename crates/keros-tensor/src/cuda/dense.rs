//! Fully connected layers by matrix products.

use std::iter;

use candle_core::{DType, Tensor};

use super::bias::{finish, output_gradient};
use super::blas::{Matrix, product};
use super::{Gpu, address, zero};
use crate::access::check_apart;
use crate::kernels::Activation;
use crate::{TensorError, Workspace};

/// [`kernels::dense`](crate::kernels::dense) for `(batch, inputs, outputs)`.
pub(crate) fn dense(
    gpu: &Gpu,
    ws: &mut Workspace,
    (batch, inputs, outputs): (usize, usize, usize),
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    activation: Activation,
) -> Result<Tensor, TensorError> {
    const OP: &str = "dense";
    let mut shape = x.dims().to_vec();
    shape.pop();
    shape.push(outputs);
    let y = ws.take(&shape, DType::F32)?;
    let a = Matrix::new(address::<f32>(OP, x)?, inputs);
    let b = Matrix::new(address::<f32>(OP, w)?, outputs);
    let c = Matrix::new(address::<f32>(OP, &y)?, outputs);
    if batch > 0 && outputs > 0 {
        product(gpu, OP, (batch, outputs, inputs), 1, a, b, c, false)?;
        finish(gpu, OP, &y, bias, activation)?;
    }
    Ok(y)
}

/// [`kernels::dense_backward`](crate::kernels::dense_backward) for `(batch, inputs, outputs)`.
#[allow(clippy::too_many_arguments)]
pub(crate) fn dense_backward(
    gpu: &Gpu,
    ws: &mut Workspace,
    (batch, inputs, outputs): (usize, usize, usize),
    (x, w, y, dy): (&Tensor, &Tensor, &Tensor, &Tensor),
    activation: Activation,
    dw: &Tensor,
    dbias: Option<&Tensor>,
    need_dx: bool,
) -> Result<Option<Tensor>, TensorError> {
    const OP: &str = "dense backward";
    check_apart(OP, iter::once(dw).chain(dbias), &[x, w, y, dy])?;
    let dx = match need_dx {
        true => Some(ws.take(x.dims(), DType::F32)?),
        false => None,
    };
    let own = output_gradient(gpu, ws, OP, y, dy, activation, dbias)?;
    let dz = Matrix::new(address::<f32>(OP, own.as_ref().unwrap_or(dy))?, outputs);
    if batch == 0 || outputs == 0 {
        zero(gpu, OP, dw)?;
        if let Some(dx) = &dx {
            zero(gpu, OP, dx)?;
        }
    } else {
        if let Some(dx) = &dx {
            let b = Matrix::new(address::<f32>(OP, w)?, outputs).transposed();
            let c = Matrix::new(address::<f32>(OP, dx)?, inputs);
            product(gpu, OP, (batch, inputs, outputs), 1, dz, b, c, false)?;
        }
        let a = Matrix::new(address::<f32>(OP, x)?, inputs).transposed();
        let c = Matrix::new(address::<f32>(OP, dw)?, outputs);
        product(gpu, OP, (inputs, outputs, batch), 1, a, dz, c, false)?;
    }
    if let Some(dz) = own {
        ws.give(&dz);
    }
    Ok(dx)
}
