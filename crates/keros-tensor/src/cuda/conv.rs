//! Convolutions: cuDNN where it is compiled in and has a way, matrix products of
//! [patches](super::patches) otherwise.

use std::iter;

use candle_core::{DType, Tensor};

use super::bias::{finish, output_gradient};
#[cfg(feature = "cudnn")]
use super::dnn;
use super::elementwise::{cast, cast_into};
use super::window::Window;
use super::{Gpu, Values, int, patches, zero};
use crate::access::check_apart;
use crate::kernels::{Activation, ConvGeometry};
use crate::{TensorError, Workspace};

/// The sizes of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Convolution {
    pub(crate) window: Window,
    pub(crate) outputs: i32,
    pub(crate) groups: i32,
}

impl Convolution {
    fn new(op: &'static str, g: &ConvGeometry) -> Result<Self, TensorError> {
        Ok(Self {
            window: Window::of_convolution(op, g)?,
            outputs: int(op, g.co)?,
            groups: int(op, g.groups)?,
        })
    }

    /// Inputs that one output sees.
    pub(crate) fn patch(&self) -> usize {
        let window = &self.window;
        let cells = window.window_height as usize * window.window_width as usize;
        cells * (window.channels / self.groups) as usize
    }

    /// Whether each output pixel sees one input pixel, in their order.
    pub(crate) fn is_pointwise(&self) -> bool {
        let w = &self.window;
        let cells = (w.window_height, w.window_width, w.top, w.left);
        cells == (1, 1, 0, 0) && (w.rows, w.columns) == (w.height, w.width)
    }
}

/// Which of its three tensors a convolution computes from the other two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Direction {
    Outputs,
    Inputs,
    Weights,
}

/// Computes one of inputs, weights and outputs, without bias and activation.
fn convolve(
    gpu: &Gpu,
    ws: &mut Workspace,
    op: &'static str,
    convolution: &Convolution,
    direction: Direction,
    (x, w, y): (&Tensor, &Tensor, &Tensor),
) -> Result<(), TensorError> {
    if x.elem_count() == 0 {
        return match direction {
            Direction::Weights => zero(gpu, op, w),
            _ => Ok(()),
        };
    }
    // A pointwise convolution is one matrix product as it is.
    #[cfg(feature = "cudnn")]
    if !convolution.is_pointwise() && dnn::convolve(gpu, ws, op, convolution, direction, (x, w, y))?
    {
        return Ok(());
    }
    // Of weights, the result is `f32` as they are.
    let values = Values::of(op, x)?;
    if values == Values::F32 || convolution.is_pointwise() {
        return patches::convolve(gpu, ws, op, convolution, direction, (x, w, y));
    }
    let wide_x = wide(gpu, ws, op, x, direction == Direction::Inputs)?;
    let wide_y = wide(gpu, ws, op, y, direction == Direction::Outputs)?;
    let tensors = (&wide_x, w, &wide_y);
    patches::convolve(gpu, ws, op, convolution, direction, tensors)?;
    match direction {
        Direction::Outputs => cast_into(gpu, op, &wide_y, y)?,
        Direction::Inputs => cast_into(gpu, op, &wide_x, x)?,
        Direction::Weights => {}
    }
    ws.give(&wide_x);
    ws.give(&wide_y);
    Ok(())
}

/// The values of a tensor as `f32`, or room for those that it gets.
fn wide(
    gpu: &Gpu,
    ws: &mut Workspace,
    op: &'static str,
    tensor: &Tensor,
    is_result: bool,
) -> Result<Tensor, TensorError> {
    match is_result {
        true => ws.take(tensor.dims(), DType::F32),
        false => cast(gpu, op, ws, tensor, Values::F32),
    }
}

/// [`kernels::conv2d`](crate::kernels::conv2d).
pub(crate) fn conv2d(
    gpu: &Gpu,
    ws: &mut Workspace,
    g: &ConvGeometry,
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    activation: Activation,
) -> Result<Tensor, TensorError> {
    const OP: &str = "conv2d";
    let convolution = Convolution::new(OP, g)?;
    let y = ws.take(&[g.n, g.oh, g.ow, g.co], x.dtype())?;
    convolve(gpu, ws, OP, &convolution, Direction::Outputs, (x, w, &y))?;
    finish(gpu, OP, &y, bias, activation)?;
    Ok(y)
}

/// [`kernels::conv2d_backward`](crate::kernels::conv2d_backward).
#[allow(clippy::too_many_arguments)]
pub(crate) fn conv2d_backward(
    gpu: &Gpu,
    ws: &mut Workspace,
    g: &ConvGeometry,
    (x, w, y, dy): (&Tensor, &Tensor, &Tensor, &Tensor),
    activation: Activation,
    dw: &Tensor,
    dbias: Option<&Tensor>,
    need_dx: bool,
) -> Result<Option<Tensor>, TensorError> {
    const OP: &str = "conv2d backward";
    let convolution = &Convolution::new(OP, g)?;
    check_apart(OP, iter::once(dw).chain(dbias), &[x, w, y, dy])?;
    let dx = match need_dx {
        true => Some(ws.take(x.dims(), x.dtype())?),
        false => None,
    };
    let own = output_gradient(gpu, ws, OP, y, dy, activation, dbias)?;
    let dz = own.as_ref().unwrap_or(dy);
    if let Some(dx) = &dx {
        convolve(gpu, ws, OP, convolution, Direction::Inputs, (dx, w, dz))?;
    }
    convolve(gpu, ws, OP, convolution, Direction::Weights, (x, dw, dz))?;
    if let Some(dz) = own {
        ws.give(&dz);
    }
    Ok(dx)
}

/// [`kernels::conv2d_transpose`](crate::kernels::conv2d_transpose); `g` is that of the convolution
/// whose gradient it is.
pub(crate) fn conv2d_transpose(
    gpu: &Gpu,
    ws: &mut Workspace,
    g: &ConvGeometry,
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    activation: Activation,
) -> Result<Tensor, TensorError> {
    const OP: &str = "conv2d_transpose";
    let convolution = Convolution::new(OP, g)?;
    let y = ws.take(&[g.n, g.h, g.w, g.ci], x.dtype())?;
    convolve(gpu, ws, OP, &convolution, Direction::Inputs, (&y, w, x))?;
    finish(gpu, OP, &y, bias, activation)?;
    Ok(y)
}

/// [`kernels::conv2d_transpose_backward`](crate::kernels::conv2d_transpose_backward), with `g` as for
/// [`conv2d_transpose`].
#[allow(clippy::too_many_arguments)]
pub(crate) fn conv2d_transpose_backward(
    gpu: &Gpu,
    ws: &mut Workspace,
    g: &ConvGeometry,
    (x, w, y, dy): (&Tensor, &Tensor, &Tensor, &Tensor),
    activation: Activation,
    dw: &Tensor,
    dbias: Option<&Tensor>,
    need_dx: bool,
) -> Result<Option<Tensor>, TensorError> {
    const OP: &str = "conv2d_transpose backward";
    let convolution = &Convolution::new(OP, g)?;
    check_apart(OP, iter::once(dw).chain(dbias), &[x, w, y, dy])?;
    let dx = match need_dx {
        true => Some(ws.take(x.dims(), x.dtype())?),
        false => None,
    };
    let own = output_gradient(gpu, ws, OP, y, dy, activation, dbias)?;
    let dz = own.as_ref().unwrap_or(dy);
    if let Some(dx) = &dx {
        convolve(gpu, ws, OP, convolution, Direction::Outputs, (dz, w, dx))?;
    }
    convolve(gpu, ws, OP, convolution, Direction::Weights, (dz, dw, x))?;
    if let Some(dz) = own {
        ws.give(&dz);
    }
    Ok(dx)
}
