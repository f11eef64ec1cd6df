//! Convolution by the [micro-kernels](super::microkernel): no patches are laid out.
//!
//! - The output is a correlation of the input, with a border of zeros where there is padding.
//! - The input gradient is a correlation of the output gradient, with a border of zeros, and the
//!   kernel turned by half a turn with inputs and outputs swapped. Where there are strides, it is one
//!   for each [`Phase`]: neighbouring inputs see different cells of the kernel.
//! - The weight gradient is summed image by image, a tile of it in registers at a time; of a large kernel
//!   each task sums some rows over all images.
//!
//! Each group of channels is a convolution by itself, whose pixels are as far apart as all channels need.

use std::ops::Range;

use super::super::activation::{Activation, add, add_rows, unapply};
use super::geometry::Geometry;
use super::microkernel::{ForwardTile, Isa, WeightTile};
use super::rows::RowBlocks;
use crate::parallel::{chunks_mut, for_each_part};
use crate::scratch::with_scratch;

/// Multiplications that make a task worth its start.
const TASK: usize = 4 << 20;

/// Floats of a part of the first-level cache.
const CACHE: usize = 6 << 10;
/// Floats of a row of inputs and one of outputs that are worth to be taken in parts.
const LONG_ROW: usize = 32 << 10;

/// Rows of a kernel that are a task of [`pack`].
const PACKED_ROWS: usize = 256;

/// Tasks that a large kernel falls into at least, if it has so many rows.
const TASKS: usize = 16;
/// Most rows of such a task: its inputs of [`TASK_PIXELS`] stay in the second-level cache while all columns pass.
const TASK_ROWS: usize = 96;
/// Rows of which tiles of every height make whole numbers.
const TILES: usize = 12;
/// Output pixels that are summed by themselves.
const TASK_PIXELS: usize = 512;

/// Floats in a line of the caches.
const LINE: usize = 16;
/// Floats of a part of the second-level cache: 640 KiB.
const BLOCK: usize = 160 << 10;

/// Cuts `len` into the fewest parts of at most `max`, as equal as can be.
fn split(len: usize, max: usize) -> impl Iterator<Item = Range<usize>> {
    let parts = len.div_ceil(max);
    (0..parts).map(move |i| i * len / parts..(i + 1) * len / parts)
}

/// The column blocks of a matrix of `rows` × `columns`: first column and number of vectors. A block is
/// as wide as a tile, or narrower to stay in the second-level cache while all pixels pass.
fn blocks(isa: &Isa, rows: usize, columns: usize) -> impl Iterator<Item = (usize, usize)> {
    let vectors = (BLOCK / (rows * isa.lanes).max(1)).clamp(1, isa.max_vectors);
    split(columns / isa.lanes, vectors).map(|vectors| (vectors.start * isa.lanes, vectors.len()))
}

/// Lays the columns of the kernel of each group out in [`blocks`], each contiguous.
///
/// `element(group, row, column)` is an element of a kernel as a matrix.
fn pack(
    isa: &Isa,
    groups: usize,
    rows: usize,
    columns: usize,
    element: impl Fn(usize, usize, usize) -> f32 + Sync,
    packed: &mut [f32],
) {
    let mut rest = packed;
    for group in 0..groups {
        for (first, vectors) in blocks(isa, rows, columns) {
            let width = vectors * isa.lanes;
            let (block, tail) = rest.split_at_mut(rows * width);
            for_each_part(chunks_mut(block, PACKED_ROWS * width), |i, block| {
                for (row, values) in (i * PACKED_ROWS..).zip(block.chunks_exact_mut(width)) {
                    for (column, value) in (first..).zip(values) {
                        *value = element(group, row, column);
                    }
                }
            });
            rest = tail;
        }
    }
}

/// Packs the kernel for [`forward`]; `packed` has [`Geometry::weights`] elements.
pub(super) fn pack_forward(isa: &Isa, g: &Geometry, w: &[f32], packed: &mut [f32]) {
    pack(
        isa,
        g.groups,
        g.patch(),
        g.co_group(),
        |group, row, column| w[row * g.co + group * g.co_group() + column],
        packed,
    );
}

/// Packs the kernel for the input gradient, turned and with inputs and outputs swapped: one part after
/// the other for each pair of [`phases`].
pub(super) fn pack_turned(isa: &Isa, g: &Geometry, w: &[f32], packed: &mut [f32]) {
    let mut rest = packed;
    let (inputs, outputs) = (g.ci_group(), g.co_group());
    for (rows, columns) in phase_pairs(g) {
        let cells = rows.cells * columns.cells;
        let (part, tail) = rest.split_at_mut(cells * g.co * inputs);
        let element = |group: usize, row: usize, column: usize| {
            let (cell, output) = (cells - 1 - row / outputs, row % outputs);
            let ky = rows.phase + cell / columns.cells * g.strides.0;
            let kx = columns.phase + cell % columns.cells * g.strides.1;
            w[((ky * g.kw + kx) * inputs + column) * g.co + group * outputs + output]
        };
        pack(isa, g.groups, cells * outputs, inputs, element, part);
        rest = tail;
    }
}

/// Along one axis, the inputs that see the same cells of the kernel: every `stride`-th.
#[derive(Clone, Copy)]
struct Phase {
    /// The first cell; the others are `stride` apart.
    phase: usize,
    /// Number of cells.
    cells: usize,
    /// The first input.
    first: usize,
    /// Number of inputs.
    inputs: usize,
    /// The first output gradient that the first input sees, in the bordered axis.
    start: usize,
}

/// The phases of an axis with `n` inputs, `before` of padding and `k` cells. Where there are strides,
/// there is no dilation.
fn phases(
    n: usize,
    before: usize,
    k: usize,
    stride: usize,
    dilation: usize,
) -> impl Iterator<Item = Phase> + Clone {
    (0..stride).map(move |phase| {
        let cells = k.saturating_sub(phase).div_ceil(stride);
        let first = (phase + stride - before % stride) % stride;
        // Input and cell `i * stride + phase` meet at output `i`, counted from the padding.
        let shift = (first + before) / stride - before / stride;
        let seen = cells.saturating_sub(1) * dilation;
        Phase {
            phase,
            cells,
            first,
            inputs: n.saturating_sub(first).div_ceil(stride),
            start: (k - 1) * dilation / stride + shift - seen,
        }
    })
}

/// The phases of rows and columns, in the order of [`pack_turned`].
fn phase_pairs(g: &Geometry) -> impl Iterator<Item = (Phase, Phase)> {
    let rows = phases(g.h, g.top, g.kh, g.strides.0, g.dilation.0);
    let columns = phases(g.w, g.left, g.kw, g.strides.1, g.dilation.1);
    rows.flat_map(move |row| columns.clone().map(move |column| (row, column)))
}

/// Output gradients that one input sees at most, of all channels of its group; `None` if there is no kernel for the
/// input gradient.
pub(super) fn turned_inputs(g: &Geometry) -> Option<usize> {
    let cells = g.kh.div_ceil(g.strides.0) * g.kw.div_ceil(g.strides.1);
    (g.strides == (1, 1) || g.dilation == (1, 1)).then_some(cells * g.co_group())
}

/// Correlation of an image with a packed kernel.
struct Correlation<'a> {
    isa: &'static Isa,
    input: &'a [f32],
    /// Floats in a row of the input.
    pitch: usize,
    groups: usize,
    /// Channels of the input and the output, of one group.
    channels: (usize, usize),
    kernel: (usize, usize),
    strides: (usize, usize),
    dilation: (usize, usize),
    packed: &'a [f32],
    bias: Option<&'a [f32]>,
    relu: bool,
    /// From one output row or pixel to the next.
    y_steps: (usize, usize),
}

impl Correlation<'_> {
    /// Computes `rows` × `columns` outputs.
    fn run(&self, rows: usize, columns: usize, y: &mut [f32]) {
        let (inputs, outputs) = self.channels;
        let pixel = self.groups * inputs;
        let (kh, kw) = self.kernel;
        let last_row = (rows - 1) * self.strides.0 + (kh - 1) * self.dilation.0;
        let last_column = (columns - 1) * self.strides.1 + (kw - 1) * self.dilation.1;
        assert!(last_row * self.pitch + (last_column + 1) * pixel <= self.input.len());
        assert_eq!(self.packed.len(), kh * kw * pixel * outputs);
        let last_output = (rows - 1) * self.y_steps.0 + (columns - 1) * self.y_steps.1;
        assert!(last_output + self.groups * outputs <= y.len());
        assert!(
            self.bias
                .is_none_or(|bias| bias.len() == self.groups * outputs)
        );
        let runs = if self.dilation.1 == 1 && self.groups == 1 {
            (kh, 1, kw * inputs)
        } else {
            (kh, kw, inputs)
        };
        let mut packed = self.packed;
        for group in 0..self.groups {
            for (first, vectors) in blocks(self.isa, kh * kw * inputs, outputs) {
                let width = vectors * self.isa.lanes;
                let (block, rest) = packed.split_at(kh * kw * inputs * width);
                packed = rest;
                let first = group * outputs + first;
                let kernels = self.isa.forward[vectors - 1];
                for row in 0..rows {
                    for pixels in split(columns, kernels.len()) {
                        let input = row * self.strides.0 * self.pitch
                            + pixels.start * self.strides.1 * pixel
                            + group * inputs;
                        let output = row * self.y_steps.0 + pixels.start * self.y_steps.1 + first;
                        let tile = ForwardTile {
                            x: self.input[input..].as_ptr(),
                            pixel_step: self.strides.1 * pixel,
                            row_step: self.dilation.0 * self.pitch,
                            run_step: self.dilation.1 * pixel,
                            runs,
                            w: block.as_ptr(),
                            bias: self
                                .bias
                                .map_or(std::ptr::null(), |bias| bias[first..].as_ptr()),
                            relu: self.relu,
                            y: y[output..].as_mut_ptr(),
                            y_step: self.y_steps.1,
                        };
                        // SAFETY: by the assertions above the farthest input and output of the tile
                        // are inside their slices; `isa` is one that this processor has.
                        unsafe { kernels[pixels.len() - 1](&tile) };
                    }
                }
            }
        }
    }
}

/// Size of the input with its border: all that the outputs of `rows` rows see.
fn bordered(g: &Geometry, rows: usize) -> (usize, usize) {
    (
        (rows - 1) * g.strides.0 + (g.kh - 1) * g.dilation.0 + 1,
        (g.ow - 1) * g.strides.1 + (g.kw - 1) * g.dilation.1 + 1,
    )
}

/// Whether some outputs see cells outside the image.
fn has_border(g: &Geometry) -> bool {
    let (height, width) = bordered(g, g.oh);
    g.top > 0 || g.left > 0 || height > g.h || width > g.w
}

/// Copies what outputs from row `first_row` see into the bordered image `out`, whose border is not
/// written.
fn copy_inside(
    g: &Geometry,
    x: &[f32],
    first_row: usize,
    (height, width): (usize, usize),
    out: &mut [f32],
) {
    let columns = g.w.min(width - g.left);
    for (row, out) in out.chunks_exact_mut(width * g.ci).take(height).enumerate() {
        // Wraps below 0 above the image, and so fails the comparison.
        let y = (first_row * g.strides.0 + row).wrapping_sub(g.top);
        if y < g.h {
            out[g.left * g.ci..][..columns * g.ci]
                .copy_from_slice(&x[y * g.w * g.ci..][..columns * g.ci]);
        }
    }
}

/// `y = activation(conv(x, w) + bias)` for all images.
pub(super) fn forward(
    isa: &'static Isa,
    g: &Geometry,
    x: &[f32],
    packed: &[f32],
    bias: Option<&[f32]>,
    activation: Activation,
    y: &mut [f32],
) {
    let row_work = g.ow * g.patch() * g.co;
    let block_rows = (TASK / row_work).clamp(1, g.oh);
    for_each_part(RowBlocks::new(y, g, block_rows), |_, block| {
        let x = &x[block.image * g.image()..][..g.image()];
        let mut correlate = |input: &[f32], pitch: usize| {
            Correlation {
                isa,
                input,
                pitch,
                groups: g.groups,
                channels: (g.ci_group(), g.co_group()),
                kernel: (g.kh, g.kw),
                strides: g.strides,
                dilation: g.dilation,
                packed,
                bias,
                relu: activation == Activation::Relu,
                y_steps: (g.ow * g.co, g.co),
            }
            .run(block.rows.len(), g.ow, block.outputs);
        };
        if has_border(g) {
            let size = bordered(g, block.rows.len());
            with_scratch(size.0 * size.1 * g.ci, |input| {
                input.fill(0.0);
                copy_inside(g, x, block.rows.start, size, input);
                correlate(input, size.1 * g.ci);
            });
        } else {
            correlate(
                &x[block.rows.start * g.strides.0 * g.w * g.ci..],
                g.w * g.ci,
            );
        }
    });
}

/// The output gradient of an image in memory.
struct GradientShape {
    rows: usize,
    /// Floats in a row.
    pitch: usize,
    /// Index of the first element inside the border.
    first: usize,
}

impl GradientShape {
    /// With the border that the input gradient needs, or without one.
    fn new(g: &Geometry, border: bool) -> Self {
        if !border {
            return Self {
                rows: g.oh,
                pitch: g.ow * g.co,
                first: 0,
            };
        }
        let (above, rows) = bordered_axis(g.h, g.top, g.kh, g.strides.0, g.dilation.0);
        let (left, columns) = bordered_axis(g.w, g.left, g.kw, g.strides.1, g.dilation.1);
        let pitch = columns * g.co;
        Self {
            rows,
            pitch,
            first: above * pitch + left * g.co,
        }
    }

    fn len(&self) -> usize {
        self.rows * self.pitch
    }
}

/// Zeros before the output gradients of an axis that the input gradient needs, and the length with
/// those after them.
fn bordered_axis(
    n: usize,
    before: usize,
    k: usize,
    stride: usize,
    dilation: usize,
) -> (usize, usize) {
    let zeros = (k - 1) * dilation / stride;
    let (first, last) = (before / stride, (n - 1 + before) / stride);
    (zeros - first, zeros + last - first + 1)
}

/// The input gradient of one image from its bordered output gradient and the kernel of
/// [`pack_turned`].
fn correlate_turned(
    isa: &'static Isa,
    g: &Geometry,
    dz: &[f32],
    pitch: usize,
    packed: &[f32],
    dx: &mut [f32],
) {
    if g.kh < g.strides.0 || g.kw < g.strides.1 {
        // Some inputs are seen by nobody.
        dx.fill(0.0);
    }
    let mut packed = packed;
    for (rows, columns) in phase_pairs(g) {
        let cells = rows.cells * columns.cells;
        let (part, rest) = packed.split_at(cells * g.co * g.ci_group());
        packed = rest;
        if cells == 0 || rows.inputs == 0 || columns.inputs == 0 {
            continue;
        }
        Correlation {
            isa,
            input: &dz[rows.start * pitch + columns.start * g.co..],
            pitch,
            groups: g.groups,
            channels: (g.co_group(), g.ci_group()),
            kernel: (rows.cells, columns.cells),
            strides: (1, 1),
            dilation: g.dilation,
            packed: part,
            bias: None,
            relu: false,
            y_steps: (g.strides.0 * g.w * g.ci, g.strides.1 * g.ci),
        }
        .run(
            rows.inputs,
            columns.inputs,
            &mut dx[(rows.first * g.w + columns.first) * g.ci..],
        );
    }
}

/// The input gradients of all images, with the kernel of [`pack_turned`].
pub(super) fn input_gradient(
    isa: &'static Isa,
    g: &Geometry,
    dz: &[f32],
    packed: &[f32],
    dx: &mut [f32],
) {
    let shape = GradientShape::new(g, true);
    let row_len = g.ow * g.co;
    for_each_part(chunks_mut(dx, g.image()), |n, dx| {
        with_scratch(shape.len(), |bordered| {
            bordered.fill(0.0);
            let dz = dz[n * g.output()..][..g.output()].chunks_exact(row_len);
            for (row, dz) in dz.enumerate() {
                bordered[shape.first + row * shape.pitch..][..row_len].copy_from_slice(dz);
            }
            correlate_turned(isa, g, bordered, shape.pitch, packed, dx);
        });
    });
}

/// The gradients of a convolution: what they are made from, for all images.
pub(super) struct Backward<'a> {
    pub(super) g: &'a Geometry,
    pub(super) x: &'a [f32],
    pub(super) w: &'a [f32],
    pub(super) y: &'a [f32],
    pub(super) dy: &'a [f32],
    pub(super) activation: Activation,
    /// The micro-kernels for weight gradients that are summed image by image.
    pub(super) weights: Option<&'static Isa>,
    /// The micro-kernels for the input gradient and the kernel of [`pack_turned`].
    pub(super) turned: Option<(&'static Isa, &'a [f32])>,
}

impl Backward<'_> {
    /// The gradients of some images, as far as there are micro-kernels for them: adds to `dw` and
    /// `dbias`, overwrites `dx`, which holds these images only.
    pub(super) fn images(
        &self,
        images: Range<usize>,
        weights: Option<(&mut [f32], &mut [f32])>,
        dx: Option<&mut [f32]>,
    ) {
        let g = self.g;
        let mut weights = self.weights.zip(weights);
        let mut dx = self.turned.zip(dx);
        let border = weights.is_some() && has_border(g);
        let x_size = bordered(g, g.oh);
        let x_len = if border {
            x_size.0 * x_size.1 * g.ci
        } else {
            0
        };
        let dz_shape = GradientShape::new(g, dx.is_some());
        // Without activation and border the gradient is good as it is.
        let copy_dz = self.activation != Activation::Linear || dx.is_some();
        let dz_len = if copy_dz { dz_shape.len() } else { 0 };
        with_scratch(x_len, |bordered_x| {
            with_scratch(dz_len, |scratch| {
                bordered_x.fill(0.0);
                scratch.fill(0.0);
                for (i, n) in images.enumerate() {
                    let outputs = n * g.output()..(n + 1) * g.output();
                    let dy = &self.dy[outputs.clone()];
                    let dz = if copy_dz {
                        self.unapply_inside(&self.y[outputs], dy, &dz_shape, scratch);
                        &*scratch
                    } else {
                        dy
                    };
                    if let Some((isa, (dw, dbias))) = &mut weights {
                        let x = &self.x[n * g.image()..][..g.image()];
                        let (x, x_pitch) = if border {
                            copy_inside(g, x, 0, x_size, bordered_x);
                            (&*bordered_x, x_size.1 * g.ci)
                        } else {
                            (x, g.w * g.ci)
                        };
                        let inside = &dz[dz_shape.first..];
                        let rows = inside.chunks(dz_shape.pitch).take(g.oh);
                        add_rows(rows.map(|row| &row[..g.ow * g.co]), dbias);
                        add_weights(isa, g, (x, x_pitch), (inside, dz_shape.pitch), dw);
                    }
                    if let Some(((isa, packed), dx)) = &mut dx {
                        let dx = &mut dx[i * g.image()..][..g.image()];
                        correlate_turned(isa, g, dz, dz_shape.pitch, packed, dx);
                    }
                }
            });
        });
    }

    /// Undoes the activation of one image into the inside of `dz`.
    fn unapply_inside(&self, y: &[f32], dy: &[f32], shape: &GradientShape, dz: &mut [f32]) {
        let row_len = self.g.ow * self.g.co;
        let rows = y.chunks_exact(row_len).zip(dy.chunks_exact(row_len));
        for (row, (y, dy)) in rows.enumerate() {
            let dz = &mut dz[shape.first + row * shape.pitch..][..row_len];
            unapply(y, dy, dz, self.activation);
        }
    }
}

/// The weight gradient of a kernel that is too large to be summed in several parts of the images: how
/// images are laid out for it. There is one group.
pub(super) struct ManyWeights<'a> {
    g: &'a Geometry,
    isa: &'static Isa,
    /// Rows and columns of an image with its border.
    x_size: (usize, usize),
    dz: GradientShape,
}

impl<'a> ManyWeights<'a> {
    /// With the border that the input gradient needs, or without one.
    pub(super) fn new(isa: &'static Isa, g: &'a Geometry, for_dx: bool) -> Self {
        let (rows, columns) = bordered(g, g.oh);
        Self {
            g,
            isa,
            x_size: (rows.max(g.h), columns.max(g.w)),
            dz: GradientShape::new(g, for_dx),
        }
    }

    fn x_len(&self) -> usize {
        self.x_size.0 * self.x_size.1 * self.g.ci
    }

    /// Floats that an image is laid out in: input, output gradient and the sums of that for the bias.
    pub(super) fn image_len(&self) -> usize {
        self.x_len() + self.dz.len() + self.g.co
    }

    /// Lays out image number `n`, and computes its input gradient where there is a kernel for it.
    pub(super) fn lay_out(
        &self,
        of: &Backward<'_>,
        n: usize,
        image: &mut [f32],
        dx: Option<&mut [f32]>,
    ) {
        let g = self.g;
        image.fill(0.0);
        let (x, rest) = image.split_at_mut(self.x_len());
        let (dz, sums) = rest.split_at_mut(self.dz.len());
        copy_inside(g, &of.x[n * g.image()..][..g.image()], 0, self.x_size, x);
        let outputs = n * g.output()..(n + 1) * g.output();
        of.unapply_inside(&of.y[outputs.clone()], &of.dy[outputs], &self.dz, dz);
        let rows = dz[self.dz.first..].chunks(self.dz.pitch).take(g.oh);
        add_rows(rows.map(|row| &row[..g.ow * g.co]), sums);
        if let Some(((isa, packed), dx)) = of.turned.zip(dx) {
            correlate_turned(isa, g, dz, self.dz.pitch, packed, dx);
        }
    }

    /// Cells of the kernel that lie side by side in the input.
    fn run(&self) -> usize {
        self.g.ci * if self.g.dilation.1 == 1 { self.g.kw } else { 1 }
    }

    /// Rows of the gradient, as a matrix with a column for each output, that make a task.
    pub(super) fn task_rows(&self) -> usize {
        let rows = self.g.patch().div_ceil(TASKS).next_multiple_of(TILES);
        rows.clamp(TILES, TASK_ROWS)
    }

    /// Adds to the rows of a task, from `first_row` on, what these images have for them.
    pub(super) fn add(&self, images: &[f32], first_row: usize, dw: &mut [f32]) {
        let g = self.g;
        let together = (TASK_PIXELS / (g.oh * g.ow)).max(1) * self.image_len();
        let run = self.run();
        for images in images.chunks(together) {
            let (mut row, mut rest) = (first_row, &mut *dw);
            while !rest.is_empty() {
                let rows = (run - row % run).min(rest.len() / g.co);
                let (dw, others) = rest.split_at_mut(rows * g.co);
                self.add_rows_of_run(images, row, dw);
                (row, rest) = (row + rows, others);
            }
        }
    }

    /// [`add`](Self::add) for rows of one run, and images of which each tile is summed by itself: a sum of
    /// all would lose digits.
    fn add_rows_of_run(&self, images: &[f32], first_row: usize, dw: &mut [f32]) {
        let g = self.g;
        let (x_pitch, rows) = (self.x_size.1 * g.ci, dw.len() / g.co);
        let (height, width) = bordered(g, g.oh);
        assert!(height <= self.x_size.0 && width <= self.x_size.1 && g.groups == 1);
        assert!(self.dz.first + (g.oh - 1) * self.dz.pitch + g.ow * g.co <= self.dz.len());
        assert!(first_row + rows <= g.patch() && first_row % self.run() + rows <= self.run());
        let (ky, kx) = (first_row / (g.kw * g.ci), first_row / g.ci % g.kw);
        let input = ky * g.dilation.0 * x_pitch + kx * g.dilation.1 * g.ci + first_row % g.ci;
        for (first, vectors) in blocks(self.isa, 1, g.co) {
            let (kernels, columns) = (self.isa.weights[vectors - 1], vectors * self.isa.lanes);
            with_scratch(rows * columns, |sums| {
                sums.fill(0.0);
                for image in images.chunks_exact(self.image_len()) {
                    let (x, dz) = image.split_at(self.x_len());
                    for rows in split(rows, kernels.len()) {
                        let tile = WeightTile {
                            x: x[input + rows.start..].as_ptr(),
                            x_steps: (g.strides.0 * x_pitch, g.strides.1 * g.ci),
                            x_kernel_step: 0,
                            dz: dz[self.dz.first + first..].as_ptr(),
                            dz_steps: (self.dz.pitch, g.co),
                            outputs: (g.oh, g.ow),
                            dw: sums[rows.start * columns..].as_mut_ptr(),
                            dw_steps: (0, columns),
                        };
                        // SAFETY: by the assertions above the farthest input and output gradient of the
                        // tile are inside their slices, rows are cells of one run, and there is a sum for
                        // each; `isa` is one that this processor has.
                        unsafe { kernels[rows.len() - 1](&tile) };
                    }
                }
                for (dw, sums) in dw.chunks_exact_mut(g.co).zip(sums.chunks_exact(columns)) {
                    add(sums, &mut dw[first..][..columns]);
                }
            });
        }
    }

    /// Adds the bias gradient of these images.
    pub(super) fn add_bias(&self, images: &[f32], dbias: &mut [f32]) {
        let sums = images.chunks_exact(self.image_len());
        add_rows(
            sums.map(|image| &image[self.x_len() + self.dz.len()..]),
            dbias,
        );
    }
}

/// Adds the weight gradient of one image.
fn add_weights(
    isa: &Isa,
    g: &Geometry,
    (x, x_pitch): (&[f32], usize),
    (dz, dz_pitch): (&[f32], usize),
    dw: &mut [f32],
) {
    let (height, width) = bordered(g, g.oh);
    assert!((height - 1) * x_pitch + width * g.ci <= x.len());
    assert!((g.oh - 1) * dz_pitch + g.ow * g.co <= dz.len());
    assert_eq!(dw.len(), g.weights());
    // Outputs whose inputs and gradients stay in the first-level cache while all tiles of a group pass:
    // some rows, or a part of a long one. Lines of the cache hold the channels of other groups too.
    let (inputs, outputs) = (LINE.max(g.ci_group()), LINE.max(g.co_group()));
    let (inputs, outputs) = (inputs.min(g.ci), outputs.min(g.co));
    let row_len = g.strides.0 * x_pitch / g.ci * inputs + dz_pitch / g.co * outputs;
    let rows = (CACHE / row_len).clamp(1, g.oh);
    let columns = match row_len > LONG_ROW {
        true => (CACHE / (g.strides.1 * inputs + outputs)).clamp(1, g.ow),
        false => g.ow,
    };
    for group in 0..g.groups {
        for rows in split(g.oh, rows) {
            for columns in split(g.ow, columns) {
                let input = rows.start * g.strides.0 * x_pitch
                    + columns.start * g.strides.1 * g.ci
                    + group * g.ci_group();
                let output = rows.start * dz_pitch + columns.start * g.co + group * g.co_group();
                add_weights_of_outputs(
                    isa,
                    g,
                    (rows.len(), columns.len()),
                    (&x[input..], x_pitch),
                    (&dz[output..], dz_pitch),
                    &mut dw[group * g.co_group()..],
                );
            }
        }
    }
}

/// The share of some rows × columns of outputs of a group in [`add_weights`], which has checked the
/// sizes. The slices begin with what belongs to the first of them.
fn add_weights_of_outputs(
    isa: &Isa,
    g: &Geometry,
    outputs: (usize, usize),
    (x, x_pitch): (&[f32], usize),
    (dz, dz_pitch): (&[f32], usize),
    dw: &mut [f32],
) {
    let inputs = g.ci_group();
    // Cells of a kernel row that lie side by side in the input.
    let (runs, run) = if g.dilation.1 == 1 && g.groups == 1 {
        (1, g.kw * inputs)
    } else {
        (g.kw, inputs)
    };
    for (first, vectors) in blocks(isa, 1, g.co_group()) {
        // Rows of few cells are handled three at a time, to fill the registers.
        let three_rows = isa.weights3.get(vectors - 1);
        let (rows, kernels) = match three_rows {
            Some(kernels) if g.kh.is_multiple_of(3) && run <= kernels.len() => (3, *kernels),
            _ => (1, isa.weights[vectors - 1]),
        };
        for ky in (0..g.kh).step_by(rows) {
            for part in 0..runs {
                for cells in split(run, kernels.len()) {
                    let input =
                        ky * g.dilation.0 * x_pitch + part * g.dilation.1 * g.ci + cells.start;
                    let cell = ky * g.kw * inputs + part * inputs + cells.start;
                    let tile = WeightTile {
                        x: x[input..].as_ptr(),
                        x_steps: (g.strides.0 * x_pitch, g.strides.1 * g.ci),
                        x_kernel_step: g.dilation.0 * x_pitch,
                        dz: dz[first..].as_ptr(),
                        dz_steps: (dz_pitch, g.co),
                        outputs,
                        dw: dw[cell * g.co + first..].as_mut_ptr(),
                        dw_steps: (g.kw * inputs * g.co, g.co),
                    };
                    // SAFETY: by the assertions above the farthest input, output gradient and
                    // weight of the tile are inside their slices; `isa` is one that this
                    // processor has.
                    unsafe { kernels[cells.len() - 1](&tile) };
                }
            }
        }
    }
}
