//! Convolutions: kernels of this crate for weight gradients that cuDNN is slow at, else cuDNN where it is compiled in
//! and has a way for tensor cores, else matrix products of [patches](super::patches).

use std::iter;

use candle_core::{DType, Tensor};

use super::bias::{finish, output_gradient};
#[cfg(feature = "cudnn")]
use super::dnn;
use super::elementwise::{cast, cast_into};
#[cfg(feature = "cudnn")]
use super::fold::Fold;
use super::window::Window;
use super::{Gpu, Values, int, patches, small_window, weight_gradient, zero};
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
        window.cells() * (window.channels / self.groups) as usize
    }

    /// Whether each output pixel sees one input pixel, in their order.
    pub(crate) fn is_pointwise(&self) -> bool {
        let w = &self.window;
        let cells = (w.window_height, w.window_width, w.top, w.left);
        cells == (1, 1, 0, 0) && (w.rows, w.columns) == (w.height, w.width)
    }
}

/// What follows a convolution whose result is a gradient.
const NOTHING: (Option<&Tensor>, Activation) = (None, Activation::Linear);

/// Which of its three tensors a convolution computes from the other two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Direction {
    Outputs,
    Inputs,
    Weights,
}

impl Direction {
    /// Input, weights and output of a layer that computes this as inputs, weights and outputs of the convolution.
    fn order<'t>(
        self,
        x: &'t Tensor,
        w: &'t Tensor,
        y: &'t Tensor,
    ) -> (&'t Tensor, &'t Tensor, &'t Tensor) {
        match self {
            Direction::Inputs => (y, w, x),
            _ => (x, w, y),
        }
    }
}

/// Computes one of inputs, weights and outputs, adds a bias and applies the activation.
fn convolve(
    gpu: &Gpu,
    ws: &mut Workspace,
    op: &'static str,
    convolution: &Convolution,
    direction: Direction,
    (x, w, y): (&Tensor, &Tensor, &Tensor),
    (bias, activation): (Option<&Tensor>, Activation),
) -> Result<(), TensorError> {
    if x.elem_count() == 0 {
        return match direction {
            Direction::Weights => zero(gpu, op, w),
            _ => Ok(()),
        };
    }
    let (tensors, values) = ((x, w, y), Values::of(op, x)?);
    #[cfg(feature = "cudnn")]
    if direction != Direction::Inputs
        && let Some(fold) = Fold::of(gpu, convolution, values)
    {
        return convolve_folded(gpu, ws, op, &fold, direction, tensors, (bias, activation));
    }
    // A pointwise convolution is one matrix product as it is. Without tensor cores those of cuDNN, channels last, are slow:
    // ResNet-18 took five times as long as in PyTorch on an H100.
    #[cfg(feature = "cudnn")]
    let by_dnn = |ws: &mut Workspace, follows| {
        if convolution.is_pointwise() || !gpu.has_tensor_cores_for(values) {
            return Ok(false);
        }
        dnn::convolve(gpu, ws, op, convolution, direction, tensors, follows)
    };
    #[cfg(not(feature = "cudnn"))]
    let by_dnn = |_: &mut Workspace, _| Ok::<_, TensorError>(false);
    let is_alone = bias.is_none() && activation == Activation::Linear;
    if !is_alone && by_dnn(ws, (bias, activation))? {
        return Ok(());
    }
    if !by_dnn(ws, NOTHING)? {
        // Of weights, the result is `f32` as they are.
        if values == Values::F32 || convolution.is_pointwise() {
            patches::convolve(gpu, ws, op, convolution, direction, tensors)?;
        } else {
            convolve_wide(gpu, ws, op, convolution, direction, tensors)?;
        }
    }
    let result = match direction {
        Direction::Outputs => y,
        Direction::Inputs => x,
        Direction::Weights => w,
    };
    finish(gpu, op, result, bias, activation)
}

/// Computes outputs, or weights, by the folded convolution, and what follows.
#[cfg(feature = "cudnn")]
fn convolve_folded(
    gpu: &Gpu,
    ws: &mut Workspace,
    op: &'static str,
    fold: &Fold,
    direction: Direction,
    (x, w, y): (&Tensor, &Tensor, &Tensor),
    follows: (Option<&Tensor>, Activation),
) -> Result<(), TensorError> {
    let (images, filter) = (fold.images(gpu, ws, op, x)?, fold.filter(ws)?);
    if direction == Direction::Outputs {
        fold.move_filter(gpu, op, direction, w, &filter)?;
    }
    let tensors = (&images, &filter, y);
    convolve(gpu, ws, op, &fold.folded, direction, tensors, follows)?;
    if direction == Direction::Weights {
        fold.move_filter(gpu, op, direction, w, &filter)?;
    }
    ws.give(&images);
    ws.give(&filter);
    Ok(())
}

/// Computes one of inputs, weights and outputs of values with 16 bits, in `f32`.
fn convolve_wide(
    gpu: &Gpu,
    ws: &mut Workspace,
    op: &'static str,
    convolution: &Convolution,
    direction: Direction,
    (x, w, y): (&Tensor, &Tensor, &Tensor),
) -> Result<(), TensorError> {
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

/// [`kernels::conv2d`](crate::kernels::conv2d), which computes outputs, or
/// [`kernels::conv2d_transpose`](crate::kernels::conv2d_transpose), which computes the inputs of the convolution `g` whose
/// gradient it is.
#[allow(clippy::too_many_arguments)]
pub(crate) fn forward(
    gpu: &Gpu,
    ws: &mut Workspace,
    op: &'static str,
    g: &ConvGeometry,
    direction: Direction,
    (x, w): (&Tensor, &Tensor),
    bias: Option<&Tensor>,
    activation: Activation,
) -> Result<Tensor, TensorError> {
    let convolution = Convolution::new(op, g)?;
    let shape = match direction {
        Direction::Inputs => [g.n, g.h, g.w, g.ci],
        _ => [g.n, g.oh, g.ow, g.co],
    };
    let y = ws.take(&shape, x.dtype())?;
    let tensors = direction.order(x, w, &y);
    let follows = (bias, activation);
    convolve(gpu, ws, op, &convolution, direction, tensors, follows)?;
    Ok(y)
}

/// [`kernels::conv2d_backward`](crate::kernels::conv2d_backward) or
/// [`kernels::conv2d_transpose_backward`](crate::kernels::conv2d_transpose_backward), with `g` and `direction` as for
/// [`forward`].
#[allow(clippy::too_many_arguments)]
pub(crate) fn backward(
    gpu: &Gpu,
    ws: &mut Workspace,
    op: &'static str,
    g: &ConvGeometry,
    direction: Direction,
    (x, w, y, dy): (&Tensor, &Tensor, &Tensor, &Tensor),
    activation: Activation,
    dw: &Tensor,
    dbias: Option<&Tensor>,
    need_dx: bool,
) -> Result<Option<Tensor>, TensorError> {
    let convolution = &Convolution::new(op, g)?;
    check_apart(op, iter::once(dw).chain(dbias), &[x, w, y, dy])?;
    let is_first = direction == Direction::Outputs && !need_dx && x.elem_count() > 0;
    if is_first && small_window::is_small(convolution) {
        let y = (activation == Activation::Relu).then_some(y);
        small_window::gradient(gpu, ws, op, convolution, (x, y, dy), dw, dbias)?;
        return Ok(None);
    }
    let dx = match need_dx {
        true => Some(ws.take(x.dims(), x.dtype())?),
        false => None,
    };
    let own = output_gradient(gpu, ws, op, y, dy, activation, dbias)?;
    let dz = own.as_ref().unwrap_or(dy);
    if let Some(dx) = &dx {
        let back = match direction {
            Direction::Inputs => Direction::Outputs,
            _ => Direction::Inputs,
        };
        let tensors = direction.order(dx, w, dz);
        convolve(gpu, ws, op, convolution, back, tensors, NOTHING)?;
    }
    gradient_of_weights(gpu, ws, op, convolution, direction.order(x, dw, dz))?;
    if let Some(dz) = own {
        ws.give(&dz);
    }
    Ok(dx)
}

/// Computes the gradient `w` of the weights from inputs and the gradient of outputs.
fn gradient_of_weights(
    gpu: &Gpu,
    ws: &mut Workspace,
    op: &'static str,
    convolution: &Convolution,
    (x, w, y): (&Tensor, &Tensor, &Tensor),
) -> Result<(), TensorError> {
    if x.elem_count() > 0 {
        if small_window::is_small(convolution) {
            return small_window::gradient(gpu, ws, op, convolution, (x, None, y), w, None);
        }
        if weight_gradient::try_gradient(gpu, ws, op, convolution, (x, w, y))? {
            return Ok(());
        }
    }
    let direction = Direction::Weights;
    convolve(gpu, ws, op, convolution, direction, (x, w, y), NOTHING)
}
