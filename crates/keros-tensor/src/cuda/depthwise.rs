//! Starts the kernels of depthwise convolution.

use std::iter;

use candle_core::cuda_backend::cudarc::driver::LaunchConfig;
use candle_core::{DType, Tensor};

use super::bias::{column_sums, columns_of_block, output_gradient, parts};
use super::window::{Window, by_4};
use super::{BLOCK, Gpu, Values, blocks, each, int, launch, zero};
use crate::access::check_apart;
use crate::kernels::{Activation, ConvGeometry};
use crate::{TensorError, Workspace};

/// [`kernels::depthwise_conv2d`](crate::kernels::depthwise_conv2d) with `multiplier` outputs of each
/// input; `g` is that of the grouped convolution that does the same.
#[allow(clippy::too_many_arguments)]
pub(crate) fn forward(
    gpu: &Gpu,
    ws: &mut Workspace,
    g: &ConvGeometry,
    multiplier: usize,
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    activation: Activation,
) -> Result<Tensor, TensorError> {
    const OP: &str = "depthwise_conv2d";
    let window = Window::of_convolution(OP, g)?;
    let y = ws.take(&[g.n, g.oh, g.ow, g.co], DType::F32)?;
    let (n, multiplier) = (int(OP, y.elem_count())?, int(OP, multiplier)?);
    let (x, w) = (gpu.address::<f32>(OP, x)?, gpu.address::<f32>(OP, w)?);
    let (bias, to) = (
        gpu.address_or_null::<f32>(OP, bias)?,
        gpu.address::<f32>(OP, &y)?,
    );
    let relu = i32::from(activation == Activation::Relu);
    if multiplier == 1 && by_4(window.channels, &[x, w, bias, to]) {
        let (window, n) = (window.in_fours(), n / 4);
        let threads = each(n as usize);
        launch!(
            gpu,
            DEPTHWISE.depthwise_by_4_f32,
            threads,
            x,
            w,
            bias,
            to,
            window,
            multiplier,
            relu,
            n
        );
    } else {
        let threads = each(n as usize);
        launch!(
            gpu,
            DEPTHWISE.depthwise_f32,
            threads,
            x,
            w,
            bias,
            to,
            window,
            multiplier,
            relu,
            n
        );
    }
    Ok(y)
}

/// [`kernels::depthwise_conv2d_backward`](crate::kernels::depthwise_conv2d_backward), otherwise as
/// [`forward`].
#[allow(clippy::too_many_arguments)]
pub(crate) fn backward(
    gpu: &Gpu,
    ws: &mut Workspace,
    g: &ConvGeometry,
    multiplier: usize,
    (x, w, y, dy): (&Tensor, &Tensor, &Tensor, &Tensor),
    activation: Activation,
    dw: &Tensor,
    dbias: Option<&Tensor>,
    need_dx: bool,
) -> Result<Option<Tensor>, TensorError> {
    const OP: &str = "depthwise_conv2d backward";
    let window = Window::of_convolution(OP, g)?;
    let multiplier = int(OP, multiplier)?;
    check_apart(OP, iter::once(dw).chain(dbias), &[x, w, y, dy])?;
    let dx = match need_dx {
        true => Some(ws.take(x.dims(), DType::F32)?),
        false => None,
    };
    let own = output_gradient(gpu, ws, OP, y, dy, activation, dbias)?;
    let dz = gpu.address::<f32>(OP, own.as_ref().unwrap_or(dy))?;
    if let Some(dx) = &dx {
        let (n, w, dx) = (
            int(OP, dx.elem_count())?,
            gpu.address::<f32>(OP, w)?,
            gpu.address::<f32>(OP, dx)?,
        );
        if multiplier == 1 && by_4(window.channels, &[dz, w, dx]) {
            let (window, n) = (window.in_fours(), n / 4);
            let threads = each(n as usize);
            launch!(
                gpu,
                DEPTHWISE.depthwise_input_by_4_f32,
                threads,
                dz,
                w,
                dx,
                window,
                multiplier,
                n
            );
        } else {
            let threads = each(n as usize);
            launch!(
                gpu,
                DEPTHWISE.depthwise_input_f32,
                threads,
                dz,
                w,
                dx,
                window,
                multiplier,
                n
            );
        }
    }
    weight_gradient(gpu, ws, OP, &window, multiplier, (x, dz), dw)?;
    if let Some(dz) = own {
        ws.give(&dz);
    }
    Ok(dx)
}

/// Fills `dw` from the inputs and the gradient before the activation.
fn weight_gradient(
    gpu: &Gpu,
    ws: &mut Workspace,
    op: &'static str,
    window: &Window,
    multiplier: i32,
    (x, dz): (&Tensor, u64),
    dw: &Tensor,
) -> Result<(), TensorError> {
    let pixels = window.images as usize * window.windows();
    if pixels == 0 {
        return zero(gpu, op, dw);
    }
    let outputs = (window.channels * multiplier) as usize;
    let cells = dw.elem_count() / outputs;
    let block = columns_of_block(outputs);
    let tiles = cells * outputs.div_ceil(block);
    let (parts, part) = parts(pixels, BLOCK / block, tiles);
    let sums = match parts {
        1 => None,
        _ => Some(ws.take(&[parts, dw.elem_count()], DType::F32)?),
    };
    let threads = LaunchConfig {
        grid_dim: (tiles as u32, parts as u32, 1),
        ..blocks(1)
    };
    let to = gpu.address::<f32>(op, sums.as_ref().unwrap_or(dw))?;
    let (x, window) = (gpu.address::<f32>(op, x)?, *window);
    let (block, part) = (int(op, block)?, int(op, part)?);
    launch!(
        gpu,
        DEPTHWISE.depthwise_weights_f32,
        threads,
        x,
        dz,
        to,
        window,
        multiplier,
        block,
        part
    );
    if let Some(sums) = sums {
        let dw_address = gpu.address::<f32>(op, dw)?;
        column_sums(
            gpu,
            ws,
            op,
            Values::F32,
            (parts, dw.elem_count()),
            (0, to, 0),
            dw_address,
        )?;
        ws.give(&sums);
    }
    Ok(())
}
