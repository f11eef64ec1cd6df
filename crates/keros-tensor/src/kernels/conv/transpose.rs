//! Transposed convolution: the input gradient of a convolution as a forward pass.

use candle_core::{DType, Tensor};

use super::super::activation::{Activation, add_rows, finish_row, unapply};
use super::super::{CHUNK, dims, expect_dims};
use super::geometry::Geometry;
use super::{Conv2dSpec, PARTIALS, conv2d, conv2d_backward, direct, im2col, turned_isa};
use crate::parallel::{chunks_mut, for_each_part};
use crate::{TensorError, Workspace, access};

/// `y = activation(convᵀ(x, w) + bias)`: what [`conv2d_backward`] would return as the gradient of an
/// input of `size` for the output gradient `x`.
///
/// `x`: `[N, h, w, in]`; `w`: `[kh, kw, out, in]`; `bias`: `[out]`; `y`: `[N, H, W, out]`, where
/// `size` is `(H, W)`. The convolution of `spec` makes `h × w` outputs of it; see
/// [`Padding::transposed_len`](super::Padding::transposed_len) for the size that Keras takes.
///
/// # Errors
/// See [the module](super::super); the size is not one that the convolution takes to that of `x`.
pub fn conv2d_transpose(
    ws: &mut Workspace,
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    size: (usize, usize),
    spec: &Conv2dSpec,
    activation: Activation,
) -> Result<Tensor, TensorError> {
    const OP: &str = "conv2d_transpose";
    let g = mirrored(OP, x, w, size, spec)?;
    if let Some(bias) = bias {
        expect_dims(OP, "bias", bias, &[g.ci])?;
    }
    on_gpu!(x, |gpu| {
        let direction = cuda::conv::Direction::Inputs;
        cuda::conv::forward(gpu, ws, OP, &g, direction, (x, w), bias, activation)
    });
    let y = ws.take(&[g.n, g.h, g.w, g.ci], DType::F32)?;
    let x = access::read::<f32>(x)?;
    let x = &*x;
    match turned_isa(&g) {
        Some(isa) => {
            let packed = ws.take(w.dims(), DType::F32)?;
            {
                let w = access::read::<f32>(w)?;
                access::write(&packed, |packed| direct::pack_turned(isa, &g, &w, packed))?;
            }
            {
                let packed = access::read::<f32>(&packed)?;
                let packed = &*packed;
                access::write(&y, |y| direct::input_gradient(isa, &g, x, packed, y))?;
            }
            ws.give(&packed);
        }
        None => {
            let w = access::read::<f32>(w)?;
            let w = &*w;
            access::write(&y, |y| {
                let images = g.n.div_ceil(PARTIALS).max(1);
                for_each_part(chunks_mut(y, images * g.image()), |i, y: &mut [f32]| {
                    let count = y.len() / g.image();
                    let x = &x[i * images * g.output()..][..count * g.output()];
                    im2col::input_gradient(&g, w, x, y);
                });
            })?;
        }
    }
    if bias.is_some() || activation != Activation::Linear {
        let bias = bias.map(access::read::<f32>).transpose()?;
        let bias = bias.as_deref();
        let chunk = (CHUNK / g.ci).max(1) * g.ci;
        access::write(&y, |y: &mut [f32]| {
            for_each_part(chunks_mut(y, chunk), |_, y| {
                for pixel in y.chunks_exact_mut(g.ci) {
                    finish_row(pixel, bias, activation);
                }
            });
        })?;
    }
    Ok(y)
}

/// The gradients of [`conv2d_transpose`]: fills `dw` (as `w`) and `dbias` (`[out]`), returns `dx` (as
/// `x`) if `need_dx`.
///
/// `y` is the output of the forward pass and `dy` the gradient with respect to it.
///
/// # Errors
/// As [`conv2d_transpose`]. After an error the gradients are unspecified.
#[allow(clippy::too_many_arguments)]
pub fn conv2d_transpose_backward(
    ws: &mut Workspace,
    x: &Tensor,
    w: &Tensor,
    y: &Tensor,
    dy: &Tensor,
    spec: &Conv2dSpec,
    activation: Activation,
    dw: &Tensor,
    dbias: Option<&Tensor>,
    need_dx: bool,
) -> Result<Option<Tensor>, TensorError> {
    const OP: &str = "conv2d_transpose backward";
    let [_, height, width, _] = dims(OP, "output", y, "[N, H, W, out]")?;
    let g = mirrored(OP, x, w, (height, width), spec)?;
    expect_dims(OP, "output", y, &[g.n, g.h, g.w, g.ci])?;
    expect_dims(OP, "output gradient", dy, y.dims())?;
    expect_dims(OP, "kernel gradient", dw, w.dims())?;
    if let Some(dbias) = dbias {
        expect_dims(OP, "bias gradient", dbias, &[g.ci])?;
    }
    on_gpu!(x, |gpu| cuda::conv::backward(
        gpu,
        ws,
        OP,
        &g,
        cuda::conv::Direction::Inputs,
        (x, w, y, dy),
        activation,
        dw,
        dbias,
        need_dx
    ));
    let own = match activation {
        Activation::Linear => None,
        _ => {
            let dz = ws.take(y.dims(), DType::F32)?;
            let (y, dy) = (access::read::<f32>(y)?, access::read::<f32>(dy)?);
            let (y, dy) = (&*y, &*dy);
            access::write(&dz, |dz| {
                for_each_part(chunks_mut(dz, CHUNK), |i, dz| {
                    let range = i * CHUNK..i * CHUNK + dz.len();
                    unapply(&y[range.clone()], &dy[range], dz, activation);
                });
            })?;
            Some(dz)
        }
    };
    let dz = own.as_ref().unwrap_or(dy);
    if let Some(dbias) = dbias {
        let dz = access::read::<f32>(dz)?;
        access::write(dbias, |dbias: &mut [f32]| {
            dbias.fill(0.0);
            add_rows([&*dz], dbias);
        })?;
    }
    let linear = Activation::Linear;
    conv2d_backward(ws, dz, w, x, x, spec, linear, dw, None, false)?;
    let dx = match need_dx {
        true => Some(conv2d(ws, dz, w, None, spec, linear)?),
        false => None,
    };
    if let Some(dz) = own {
        ws.give(&dz);
    }
    Ok(dx)
}

/// The sizes of the convolution whose gradient this is: its outputs are `x`.
fn mirrored(
    op: &'static str,
    x: &Tensor,
    w: &Tensor,
    (height, width): (usize, usize),
    spec: &Conv2dSpec,
) -> Result<Geometry, TensorError> {
    let [n, h, wide, inputs] = dims(op, "input", x, "[N, h, w, in]")?;
    let [kh, kw, outputs, kernel_inputs] = dims(op, "kernel", w, "[kh, kw, out, in]")?;
    if kernel_inputs != inputs || spec.groups != 1 {
        let expected = format_args!("[kh, kw, out, {inputs}], one group").to_string();
        return Err(TensorError::shape(op, "kernel", expected, w.dims()));
    }
    let input = [n, height, width, outputs];
    let g = Geometry::new(op, input, [kh, kw, outputs, inputs], spec)?;
    if (g.oh, g.ow) != (h, wide) {
        let expected = format_args!(
            "[N, {}, {}, {inputs}], which an output of {height} × {width} comes from",
            g.oh, g.ow
        )
        .to_string();
        return Err(TensorError::shape(op, "input", expected, x.dims()));
    }
    Ok(g)
}
