//! Depthwise convolution: every input channel has kernels of its own, so there is no matrix product
//! in it, and the channels are what the vectors hold.

use std::ops::Range;

use candle_core::{DType, Tensor};

use super::super::activation::{Activation, add, add_rows, finish_row, unapply};
use super::super::{dims, expect_dims};
use super::geometry::Geometry;
use super::rows::RowBlocks;
use super::{Conv2dSpec, PARTIALS};
use crate::parallel::{chunks_mut, for_each_part};
use crate::scratch::with_scratch;
use crate::simd::multiversion;
use crate::{TensorError, Workspace, access};

/// Channels whose sums are kept in registers.
const LANES: usize = 16;
/// Multiplications that one task of the forward pass does.
const TASK: usize = 256 * 1024;

/// `y = activation(conv(x, w) + bias)`, each channel by itself.
///
/// `x`: `[N, H, W, C]`; `w`: `[kh, kw, C, M]`; `bias`: `[C · M]`; `y`: `[N, oh, ow, C · M]`, where the
/// output `c · M + m` is input `c` through `w[…, c, m]`. The groups of `spec` do not count.
///
/// # Errors
/// See [the module](super::super) and [`Conv2dSpec::output_shape`].
pub fn depthwise_conv2d(
    ws: &mut Workspace,
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    spec: &Conv2dSpec,
    activation: Activation,
) -> Result<Tensor, TensorError> {
    const OP: &str = "depthwise_conv2d";
    let d = Depthwise::new(OP, x, w, spec)?;
    let g = &d.g;
    if let Some(bias) = bias {
        expect_dims(OP, "bias", bias, &[g.co])?;
    }
    on_gpu!(x, |gpu| cuda::depthwise::forward(
        gpu,
        ws,
        g,
        d.multiplier,
        x,
        w,
        bias,
        activation
    ));
    let y = ws.take(&g.output_shape(), DType::F32)?;
    let planes = d.planes(ws, w)?;
    {
        let (x, planes) = (access::read::<f32>(x)?, access::read::<f32>(&planes)?);
        let bias = bias.map(access::read::<f32>).transpose()?;
        let (x, planes, bias) = (&*x, &*planes, bias.as_deref());
        let block = (TASK / (g.ow * g.co * g.kh * g.kw)).clamp(1, g.oh);
        access::write(&y, |y| {
            for_each_part(RowBlocks::new(y, g, block), |_, block| {
                let x = &x[block.image * g.image()..][..g.image()];
                let rows = block.outputs.chunks_exact_mut(g.ow * g.co);
                for (oy, row) in block.rows.zip(rows) {
                    d.forward_row(x, planes, oy, row);
                    for pixel in row.chunks_exact_mut(g.co) {
                        finish_row(pixel, bias, activation);
                    }
                }
            });
        })?;
    }
    ws.give(&planes);
    Ok(y)
}

/// The gradients of [`depthwise_conv2d`]: fills `dw` (as `w`) and `dbias` (`[C · M]`), returns `dx`
/// (as `x`) if `need_dx`.
///
/// `y` is the output of the forward pass and `dy` the gradient with respect to it.
///
/// # Errors
/// As [`depthwise_conv2d`]. After an error the gradients are unspecified.
#[allow(clippy::too_many_arguments)]
pub fn depthwise_conv2d_backward(
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
    const OP: &str = "depthwise_conv2d backward";
    let d = Depthwise::new(OP, x, w, spec)?;
    let g = &d.g;
    expect_dims(OP, "output", y, &g.output_shape())?;
    expect_dims(OP, "output gradient", dy, &g.output_shape())?;
    expect_dims(OP, "kernel gradient", dw, w.dims())?;
    if let Some(dbias) = dbias {
        expect_dims(OP, "bias gradient", dbias, &[g.co])?;
    }
    on_gpu!(x, |gpu| cuda::depthwise::backward(
        gpu,
        ws,
        g,
        d.multiplier,
        (x, w, y, dy),
        activation,
        dw,
        dbias,
        need_dx
    ));
    let partial_len = g.weights() + g.co;
    let images_per_partial = g.n.div_ceil(PARTIALS).max(1);
    let partials = g.n.div_ceil(images_per_partial).max(1);
    let sums = ws.take(&[partials, partial_len], DType::F32)?;
    let dx = match need_dx {
        true => Some(ws.take(x.dims(), DType::F32)?),
        false => None,
    };
    let planes = d.planes(ws, w)?;
    {
        let (x, planes) = (access::read::<f32>(x)?, access::read::<f32>(&planes)?);
        let (y, dy) = (access::read::<f32>(y)?, access::read::<f32>(dy)?);
        let (x, planes, y, dy) = (&*x, &*planes, &*y, &*dy);
        let run = |sums: &mut [f32], dx: Option<&mut [f32]>| {
            sums.fill(0.0);
            let parts = (
                chunks_mut(sums, partial_len),
                dx.map(|dx| chunks_mut(dx, images_per_partial * g.image())),
            );
            for_each_part(parts, |i, (sums, mut dx)| {
                let (dw, dbias) = sums.split_at_mut(g.weights());
                let first = i * images_per_partial;
                for n in first..g.n.min(first + images_per_partial) {
                    let dx = dx
                        .as_deref_mut()
                        .map(|dx| &mut dx[(n - first) * g.image()..][..g.image()]);
                    let x = &x[n * g.image()..][..g.image()];
                    let output = n * g.output()..(n + 1) * g.output();
                    let (y, dy) = (&y[output.clone()], &dy[output]);
                    d.backward_image(x, planes, y, dy, activation, dw, dbias, dx);
                }
            });
        };
        match &dx {
            Some(dx) => access::write2(&sums, dx, |sums, dx| run(sums, Some(dx)))?,
            None => access::write(&sums, |sums| run(sums, None))?,
        }
    }
    access::write(&sums, |sums: &mut [f32]| {
        let (total, rest) = sums.split_at_mut(partial_len);
        for partial in rest.chunks_exact(partial_len) {
            add(partial, total);
        }
    })?;
    {
        let sums = access::read::<f32>(&sums)?;
        access::write(dw, |dw| d.unpack(&sums[..g.weights()], dw))?;
        if let Some(dbias) = dbias {
            access::write(dbias, |dbias: &mut [f32]| {
                dbias.copy_from_slice(&sums[g.weights()..partial_len]);
            })?;
        }
    }
    ws.give(&sums);
    ws.give(&planes);
    Ok(dx)
}

/// The sizes of a depthwise convolution; `g` is that of the grouped one that does the same.
struct Depthwise {
    g: Geometry,
    multiplier: usize,
}

impl Depthwise {
    fn new(
        op: &'static str,
        x: &Tensor,
        w: &Tensor,
        spec: &Conv2dSpec,
    ) -> Result<Self, TensorError> {
        let x = dims(op, "input", x, "[N, H, W, C]")?;
        let [kh, kw, channels, multiplier] = dims(op, "kernel", w, "[kh, kw, C, M]")?;
        if channels != x[3] || channels == 0 || multiplier == 0 {
            let expected = format_args!("[kh, kw, {}, M], M at least 1", x[3]).to_string();
            return Err(TensorError::shape(op, "kernel", expected, w.dims()));
        }
        let spec = Conv2dSpec {
            groups: channels,
            ..*spec
        };
        let g = Geometry::new(op, x, [kh, kw, 1, channels * multiplier], &spec)?;
        Ok(Self { g, multiplier })
    }

    /// The kernel as `[M, kh, kw, C]`: what is multiplied with neighbouring channels lies side by
    /// side.
    fn planes(&self, ws: &mut Workspace, w: &Tensor) -> Result<Tensor, TensorError> {
        let planes = ws.take(&[self.g.weights()], DType::F32)?;
        let w = access::read::<f32>(w)?;
        let (c, m) = (self.g.ci, self.multiplier);
        let plane = self.g.kh * self.g.kw * c;
        access::write(&planes, |planes: &mut [f32]| {
            for (multiple, plane) in planes.chunks_exact_mut(plane).enumerate() {
                for (at, value) in plane.iter_mut().enumerate() {
                    *value = w[at * m + multiple];
                }
            }
        })?;
        Ok(planes)
    }

    /// The reverse of [`planes`](Self::planes), for the gradient.
    fn unpack(&self, planes: &[f32], w: &mut [f32]) {
        let plane = self.g.kh * self.g.kw * self.g.ci;
        for (multiple, plane) in planes.chunks_exact(plane).enumerate() {
            for (at, value) in plane.iter().enumerate() {
                w[at * self.multiplier + multiple] = *value;
            }
        }
    }

    /// The kernel rows that lie inside the image for output row `oy`.
    fn kernel_rows(&self, oy: usize) -> Range<usize> {
        let g = &self.g;
        inside(oy * g.strides.0, g.top, g.dilation.0, g.kh, g.h)
    }

    /// The kernel columns that lie inside the image for output column `ox`.
    fn kernel_columns(&self, ox: usize) -> Range<usize> {
        let g = &self.g;
        inside(ox * g.strides.1, g.left, g.dilation.1, g.kw, g.w)
    }

    /// Where the input of a kernel cell begins in the image, and its weights in a plane.
    #[inline(always)]
    fn cell(&self, (oy, ox): (usize, usize), (ky, kx): (usize, usize)) -> (usize, usize) {
        let g = &self.g;
        let y = oy * g.strides.0 + ky * g.dilation.0 - g.top;
        let x = ox * g.strides.1 + kx * g.dilation.1 - g.left;
        ((y * g.w + x) * g.ci, (ky * g.kw + kx) * g.ci)
    }

    /// One row of outputs, without bias and activation.
    fn forward_row(&self, image: &[f32], planes: &[f32], oy: usize, row: &mut [f32]) {
        let rows = self.kernel_rows(oy);
        for (ox, pixel) in row.chunks_exact_mut(self.g.co).enumerate() {
            let cells = (rows.clone(), self.kernel_columns(ox));
            forward_pixel(self, image, planes, (oy, ox), cells, pixel);
        }
    }

    /// The gradients of one image: adds to `dw` (in planes) and `dbias`, overwrites `dx`.
    #[allow(clippy::too_many_arguments)]
    fn backward_image(
        &self,
        x: &[f32],
        planes: &[f32],
        y: &[f32],
        dy: &[f32],
        activation: Activation,
        dw: &mut [f32],
        dbias: &mut [f32],
        mut dx: Option<&mut [f32]>,
    ) {
        let (g, m) = (&self.g, self.multiplier);
        if let Some(dx) = &mut dx {
            dx.fill(0.0);
        }
        let row_len = g.ow * g.co;
        with_scratch(row_len + g.co, |scratch| {
            let (dz, by_plane) = scratch.split_at_mut(row_len);
            for oy in 0..g.oh {
                let outputs = oy * row_len..(oy + 1) * row_len;
                unapply(&y[outputs.clone()], &dy[outputs], dz, activation);
                add_rows(dz, dbias);
                let rows = self.kernel_rows(oy);
                for (ox, dz) in dz.chunks_exact(g.co).enumerate() {
                    let dz = match m {
                        1 => dz,
                        _ => {
                            for (multiple, plane) in by_plane.chunks_exact_mut(g.ci).enumerate() {
                                for (c, value) in plane.iter_mut().enumerate() {
                                    *value = dz[c * m + multiple];
                                }
                            }
                            &*by_plane
                        }
                    };
                    let cells = (rows.clone(), self.kernel_columns(ox));
                    let dx = dx.as_deref_mut();
                    backward_pixel(self, x, planes, (oy, ox), cells, dz, dw, dx);
                }
            }
        });
    }
}

/// The cells of a window that lie inside an axis of `n`: the window begins at `start - before`.
fn inside(start: usize, before: usize, dilation: usize, window: usize, n: usize) -> Range<usize> {
    let first = before.saturating_sub(start).div_ceil(dilation);
    let end = (n + before).saturating_sub(start).div_ceil(dilation);
    let end = end.min(window);
    first.min(end)..end
}

multiversion! {
    /// The sums of one output pixel.
    fn forward_pixel(
        d: &Depthwise,
        image: &[f32],
        planes: &[f32],
        at: (usize, usize),
        cells: (Range<usize>, Range<usize>),
        pixel: &mut [f32],
    ) {
        let (c, m) = (d.g.ci, d.multiplier);
        for (multiple, plane) in planes.chunks_exact(d.g.kh * d.g.kw * c).enumerate() {
            for first in (0..c).step_by(LANES) {
                let lanes = LANES.min(c - first);
                let mut sums = [0.0_f32; LANES];
                for ky in cells.0.clone() {
                    for kx in cells.1.clone() {
                        let (x, w) = d.cell(at, (ky, kx));
                        let x = &image[x + first..][..lanes];
                        let w = &plane[w + first..][..lanes];
                        if lanes == LANES {
                            for ((sum, x), w) in sums.iter_mut().zip(&x[..LANES]).zip(&w[..LANES]) {
                                *sum += x * w;
                            }
                        } else {
                            for ((sum, x), w) in sums.iter_mut().zip(x).zip(w) {
                                *sum += x * w;
                            }
                        }
                    }
                }
                if m == 1 {
                    pixel[first..first + lanes].copy_from_slice(&sums[..lanes]);
                } else {
                    for (i, sum) in sums[..lanes].iter().enumerate() {
                        pixel[(first + i) * m + multiple] = *sum;
                    }
                }
            }
        }
    }

    /// The share of one output pixel, whose gradient is `dz` in planes, in the gradients.
    fn backward_pixel(
        d: &Depthwise,
        image: &[f32],
        planes: &[f32],
        at: (usize, usize),
        cells: (Range<usize>, Range<usize>),
        dz: &[f32],
        dw: &mut [f32],
        dx: Option<&mut [f32]>,
    ) {
        let c = d.g.ci;
        let plane_len = d.g.kh * d.g.kw * c;
        let mut dx = dx;
        let parts = planes.chunks_exact(plane_len).zip(dw.chunks_exact_mut(plane_len));
        for ((plane, dw), dz) in parts.zip(dz.chunks_exact(c)) {
            for ky in cells.0.clone() {
                for kx in cells.1.clone() {
                    let (x, w) = d.cell(at, (ky, kx));
                    for ((dw, x), dz) in dw[w..w + c].iter_mut().zip(&image[x..x + c]).zip(dz) {
                        *dw += x * dz;
                    }
                    if let Some(dx) = &mut dx {
                        for ((dx, w), dz) in dx[x..x + c].iter_mut().zip(&plane[w..w + c]).zip(dz) {
                            *dx += w * dz;
                        }
                    }
                }
            }
        }
    }
}
