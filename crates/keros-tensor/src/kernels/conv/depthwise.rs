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

/// Neighbouring channels whose sums are kept in registers, and half of them, for what is left.
const LANES: usize = 16;
const HALF: usize = 8;
/// Neighbouring pixels whose sums are.
const TILE: usize = 4;
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
    let (planes, windows) = (d.planes(ws, w)?, d.windows());
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
                    forward_row(&d, &windows, x, planes, oy, row);
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
    let (planes, windows) = (d.planes(ws, w)?, d.windows());
    let reversed = need_dx.then(|| d.reversed());
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
                    d.with_gradient(y, dy, activation, dbias, |dz| {
                        weight_gradient(&d, &windows[0], x, dz, dw);
                        if let (Some(dx), Some(reversed)) = (dx, &reversed) {
                            input_gradient(&d, reversed, planes, dz, dx);
                        }
                    });
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

    /// The windows of output rows and columns.
    fn windows(&self) -> [Axis; 2] {
        let g = &self.g;
        let axis = |outputs, inputs, (window, stride, dilation, before): Sizes| {
            Axis::new(outputs, window, |output, kernel| {
                let input = (output * stride + kernel * dilation).checked_sub(before)?;
                (input < inputs).then_some(input)
            })
        };
        let [rows, columns] = self.sizes();
        [axis(g.oh, g.h, rows), axis(g.ow, g.w, columns)]
    }

    /// The cells through which input rows and columns are seen, whose sources are the outputs.
    fn reversed(&self) -> [Axis; 2] {
        let g = &self.g;
        let axis = |inputs, outputs, (window, stride, dilation, before): Sizes| {
            Axis::new(inputs, window, |input, kernel| {
                let start = (input + before).checked_sub(kernel * dilation)?;
                let is_seen = start.is_multiple_of(stride) && start / stride < outputs;
                is_seen.then_some(start / stride)
            })
        };
        let [rows, columns] = self.sizes();
        [axis(g.h, g.oh, rows), axis(g.w, g.ow, columns)]
    }

    /// Window, stride, dilation and padding before the image, for rows and columns.
    fn sizes(&self) -> [Sizes; 2] {
        let g = &self.g;
        [
            (g.kh, g.strides.0, g.dilation.0, g.top),
            (g.kw, g.strides.1, g.dilation.1, g.left),
        ]
    }

    /// The outputs in a row whose window has its column `kx` inside the image.
    fn outputs_of_column(&self, kx: usize) -> Range<usize> {
        let g = &self.g;
        let offset = kx * g.dilation.1;
        let first = g.left.saturating_sub(offset).div_ceil(g.strides.1);
        let end = (g.w + g.left).saturating_sub(offset).div_ceil(g.strides.1);
        let end = end.min(g.ow);
        first.min(end)..end
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

    /// Calls `then` with the gradient of an image's outputs before the activation, in planes, and adds it to `dbias`.
    fn with_gradient(
        &self,
        y: &[f32],
        dy: &[f32],
        activation: Activation,
        dbias: &mut [f32],
        then: impl FnOnce(&[f32]),
    ) {
        let m = self.multiplier;
        with_scratch(dy.len() * if m == 1 { 1 } else { 2 }, |scratch| {
            let (dz, by_plane) = scratch.split_at_mut(dy.len());
            unapply(y, dy, dz, activation);
            add_rows([&*dz], dbias);
            if m == 1 {
                return then(dz);
            }
            for (multiple, plane) in by_plane.chunks_exact_mut(dy.len() / m).enumerate() {
                for (at, value) in plane.iter_mut().enumerate() {
                    *value = dz[at * m + multiple];
                }
            }
            then(by_plane);
        });
    }
}

/// Window, stride, dilation and padding before the image along one axis.
type Sizes = (usize, usize, usize, usize);

/// A cell of the kernel and the place of what it is multiplied with, along one axis.
#[derive(Clone, Copy)]
struct Cell {
    kernel: usize,
    source: usize,
}

/// Of each result along an axis, the cells that it is a sum over.
struct Axis {
    cells: Vec<Cell>,
    /// Where those of each result end.
    ends: Vec<usize>,
}

impl Axis {
    /// `source(result, kernel)` is the place that a cell meets, if any.
    fn new(results: usize, window: usize, source: impl Fn(usize, usize) -> Option<usize>) -> Axis {
        let mut axis = Axis {
            cells: Vec::new(),
            ends: Vec::with_capacity(results),
        };
        for result in 0..results {
            let cells = (0..window)
                .filter_map(|kernel| source(result, kernel).map(|source| Cell { kernel, source }));
            axis.cells.extend(cells);
            axis.ends.push(axis.cells.len());
        }
        axis
    }

    /// The number of results.
    fn len(&self) -> usize {
        self.ends.len()
    }

    /// The cells of a result; none beyond the last.
    fn of(&self, result: usize) -> &[Cell] {
        let start = match result {
            0 => 0,
            _ => self.ends.get(result - 1).copied().unwrap_or_default(),
        };
        let end = self.ends.get(result).copied().unwrap_or(start);
        &self.cells[start..end]
    }
}

/// Runs `$block` for all channels, as many at once as registers hold: `$l` is their number, a constant, and `$first`
/// the first of them.
macro_rules! each_block {
    ($channels:expr, |$l:ident, $first:ident| $block:expr) => {{
        let channels = $channels;
        let mut $first = 0;
        while $first < channels {
            match channels - $first {
                LANES.. => {
                    const $l: usize = LANES;
                    $block;
                    $first += $l;
                }
                HALF.. => {
                    const $l: usize = HALF;
                    $block;
                    $first += $l;
                }
                _ => {
                    const $l: usize = 1;
                    $block;
                    $first += $l;
                }
            }
        }
    }};
}

/// A row of results, each a sum over the cells of the kernel.
struct Row<'a> {
    /// Those along the vertical axis.
    rows: &'a [Cell],
    /// Those of each result.
    columns: &'a Axis,
    /// Planes of the kernel, `[kh, kw, C]` each, and the source of each.
    planes: &'a [f32],
    sources: &'a [f32],
    count: usize,
    /// Columns of the kernel and of a source.
    window: usize,
    width: usize,
    channels: usize,
    /// How far apart the sources of neighbours with whole windows are, in pixels; `None` if their
    /// cells differ.
    step: Option<usize>,
}

impl Row<'_> {
    /// Writes all results, `to` apart, the channels of one `stride` apart. A pixel's channels come one after the
    /// other, as memory has them.
    #[inline(always)]
    fn write(&self, results: &mut [f32], to: usize, stride: usize) {
        let is_whole = |at: usize| self.columns.of(at).len() == self.window;
        let mut at = 0;
        while at < self.columns.len() {
            match self.step {
                Some(step) if is_whole(at) && is_whole(at + TILE - 1) => {
                    each_block!(self.channels, |L, first| {
                        let sums = self.sums::<L, TILE>(at, step, first);
                        for (t, sums) in sums.iter().enumerate() {
                            put::<L>(sums, &mut results[(at + t) * to + first * stride..], stride);
                        }
                    });
                    at += TILE;
                }
                _ => {
                    each_block!(self.channels, |L, first| {
                        let [sums] = self.sums::<L, 1>(at, 0, first);
                        put::<L>(&sums, &mut results[at * to + first * stride..], stride);
                    });
                    at += 1;
                }
            }
        }
    }

    /// The sums of `T` neighbours in `L` channels from `first` on.
    #[inline(always)]
    fn sums<const L: usize, const T: usize>(
        &self,
        at: usize,
        step: usize,
        first: usize,
    ) -> [[f32; L]; T] {
        let c = self.channels;
        let (plane, source) = (
            self.planes.len() / self.count,
            self.sources.len() / self.count,
        );
        let mut sums = [[0.0; L]; T];
        for i in 0..self.count {
            for row in self.rows {
                let weights = &self.planes[i * plane + row.kernel * self.window * c..];
                let line = &self.sources[i * source + row.source * self.width * c..];
                for column in self.columns.of(at) {
                    let weight = lanes::<L>(weights, column.kernel * c + first);
                    let line = &line[column.source * c + first..];
                    for (t, sums) in sums.iter_mut().enumerate() {
                        let value = lanes::<L>(line, t * step * c);
                        for l in 0..L {
                            sums[l] += weight[l] * value[l];
                        }
                    }
                }
            }
        }
        sums
    }
}

/// `L` values from a place on.
#[inline(always)]
fn lanes<const L: usize>(values: &[f32], at: usize) -> [f32; L] {
    let mut lanes = [0.0; L];
    lanes.copy_from_slice(&values[at..at + L]);
    lanes
}

/// Writes values so far apart.
#[inline(always)]
fn put<const L: usize>(values: &[f32; L], to: &mut [f32], stride: usize) {
    match stride {
        1 => to[..L].copy_from_slice(values),
        _ => {
            for (to, value) in to.iter_mut().step_by(stride).zip(values) {
                *to = *value;
            }
        }
    }
}

/// Adds the products of `L` values of `a` and of `b`.
// A function and no closure, which would not be compiled for the vectors of its caller.
#[inline(always)]
fn add_products<const L: usize>(
    sums: &mut [f32; L],
    a: &[f32],
    a_at: usize,
    b: &[f32],
    b_at: usize,
) {
    let (a, b) = (lanes::<L>(a, a_at), lanes::<L>(b, b_at));
    for l in 0..L {
        sums[l] += a[l] * b[l];
    }
}

/// Adds what a row of outputs has in the gradient of one row of a plane of the kernel, in `L` channels from `first` on:
/// `line` is the row of inputs that it meets.
#[inline(always)]
fn weight_row<const L: usize>(
    d: &Depthwise,
    line: &[f32],
    dz: &[f32],
    dw: &mut [f32],
    first: usize,
) {
    let (g, c) = (&d.g, d.g.ci);
    let step = g.strides.1 * c;
    for kx in 0..g.kw {
        let outputs = d.outputs_of_column(kx);
        if outputs.is_empty() {
            continue;
        }
        let start = outputs.start * g.strides.1 + kx * g.dilation.1 - g.left;
        let mut sums = [[0.0; L]; TILE];
        let (line, dz) = (&line[start * c + first..], &dz[outputs.start * c + first..]);
        let tiles = outputs.len() / TILE;
        for tile in 0..tiles {
            for (t, sums) in sums.iter_mut().enumerate() {
                let at = tile * TILE + t;
                add_products::<L>(sums, line, at * step, dz, at * c);
            }
        }
        for at in tiles * TILE..outputs.len() {
            add_products::<L>(&mut sums[0], line, at * step, dz, at * c);
        }
        let [s0, s1, s2, s3] = sums;
        let dw = &mut dw[kx * c + first..][..L];
        for l in 0..L {
            dw[l] += (s0[l] + s1[l]) + (s2[l] + s3[l]);
        }
    }
}

multiversion! {
    /// One row of outputs, without bias and activation.
    fn forward_row(
        d: &Depthwise,
        windows: &[Axis; 2],
        image: &[f32],
        planes: &[f32],
        oy: usize,
        row: &mut [f32]
    ) {
        let (g, m) = (&d.g, d.multiplier);
        for (multiple, plane) in planes.chunks_exact(g.kh * g.kw * g.ci).enumerate() {
            let outputs = Row {
                rows: windows[0].of(oy),
                columns: &windows[1],
                planes: plane,
                sources: image,
                count: 1,
                window: g.kw,
                width: g.w,
                channels: g.ci,
                step: Some(g.strides.1),
            };
            outputs.write(&mut row[multiple..], g.co, m);
        }
    }

    /// Adds to the gradient of the kernel, in planes, what an image with the gradients `dz` of its outputs, in planes
    /// too, has in it.
    fn weight_gradient(d: &Depthwise, rows: &Axis, x: &[f32], dz: &[f32], dw: &mut [f32]) {
        let (g, c) = (&d.g, d.g.ci);
        let (kernel_row, plane) = (g.kw * c, g.kh * g.kw * c);
        let planes = dw.chunks_exact_mut(plane).zip(dz.chunks_exact(g.oh * g.ow * c));
        for (dw, dz) in planes {
            for (oy, dz) in dz.chunks_exact(g.ow * c).enumerate() {
                for row in rows.of(oy) {
                    let line = &x[row.source * g.w * c..][..g.w * c];
                    let dw = &mut dw[row.kernel * kernel_row..][..kernel_row];
                    each_block!(c, |L, first| weight_row::<L>(d, line, dz, dw, first));
                }
            }
        }
    }

    /// The gradient of an image.
    fn input_gradient(
        d: &Depthwise,
        reversed: &[Axis; 2],
        planes: &[f32],
        dz: &[f32],
        dx: &mut [f32]
    ) {
        let g = &d.g;
        for (y, row) in dx.chunks_exact_mut(g.w * g.ci).enumerate() {
            let gradients = Row {
                rows: reversed[0].of(y),
                columns: &reversed[1],
                planes,
                sources: dz,
                count: d.multiplier,
                window: g.kw,
                width: g.ow,
                channels: g.ci,
                step: (g.strides.1 == 1).then_some(1),
            };
            gradients.write(row, g.ci, 1);
        }
    }
}
