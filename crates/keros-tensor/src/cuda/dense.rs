//! Fully connected layers by matrix products.

use std::iter;

use candle_core::Tensor;

use super::bias::{finish, output_gradient};
use super::blas::{Matrix, product};
use super::elementwise::cast;
use super::{Gpu, Values, zero};
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
    let values = Values::of(OP, x)?;
    let y = ws.take(&shape, values.dtype())?;
    if batch > 0 && outputs > 0 {
        let w = Weights::new(gpu, ws, OP, w, values)?;
        let a = Matrix::new(values.address(gpu, OP, x)?, inputs).of(values);
        let b = Matrix::new(values.address(gpu, OP, w.as_ref())?, outputs).of(values);
        let c = Matrix::new(values.address(gpu, OP, &y)?, outputs).of(values);
        product(gpu, OP, (batch, outputs, inputs), 1, a, b, c, false)?;
        w.give(ws);
        finish(gpu, OP, &y, bias, activation)?;
    }
    Ok(y)
}

/// Weights, which are `f32`, in the type of the values that they are multiplied with.
pub(super) enum Weights<'a> {
    Own(Tensor),
    Given(&'a Tensor),
}

impl<'a> Weights<'a> {
    pub(super) fn new(
        gpu: &Gpu,
        ws: &mut Workspace,
        op: &'static str,
        weights: &'a Tensor,
        values: Values,
    ) -> Result<Self, TensorError> {
        Ok(match values {
            Values::F32 => Self::Given(weights),
            Values::Bf16 | Values::F16 => Self::Own(cast(gpu, op, ws, weights, values)?),
        })
    }

    pub(super) fn as_ref(&self) -> &Tensor {
        match self {
            Self::Own(weights) => weights,
            Self::Given(weights) => weights,
        }
    }

    pub(super) fn give(self, ws: &mut Workspace) {
        if let Self::Own(weights) = self {
            ws.give(&weights);
        }
    }
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
    let values = Values::of(OP, x)?;
    let dx = match need_dx {
        true => Some(ws.take(x.dims(), values.dtype())?),
        false => None,
    };
    let own = output_gradient(gpu, ws, OP, y, dy, activation, dbias)?;
    let dz = values.address(gpu, OP, own.as_ref().unwrap_or(dy))?;
    let dz = Matrix::new(dz, outputs).of(values);
    if batch == 0 || outputs == 0 {
        zero(gpu, OP, dw)?;
        if let Some(dx) = &dx {
            zero(gpu, OP, dx)?;
        }
    } else {
        if let Some(dx) = &dx {
            let w = Weights::new(gpu, ws, OP, w, values)?;
            let b = Matrix::new(values.address(gpu, OP, w.as_ref())?, outputs);
            let c = Matrix::new(values.address(gpu, OP, dx)?, inputs).of(values);
            let b = b.of(values).transposed();
            product(gpu, OP, (batch, inputs, outputs), 1, dz, b, c, false)?;
            w.give(ws);
        }
        let a = Matrix::new(values.address(gpu, OP, x)?, inputs);
        let a = a.of(values).transposed();
        let c = Matrix::new(gpu.address::<f32>(OP, dw)?, outputs);
        product(gpu, OP, (inputs, outputs, batch), 1, a, dz, c, false)?;
    }
    if let Some(dz) = own {
        ws.give(&dz);
    }
    Ok(dx)
}
