//! Convolution of any kernel, stride, dilation and grouping as matrix products: the patches that a
//! few output rows see are laid out as a matrix small enough for the cache.

use std::marker::PhantomData;
use std::ops::Range;

use super::super::activation::{Activation, add, add_rows, finish_row, unapply};
use super::super::matmul::{Matrix, MatrixMut, matmul};
use super::geometry::Geometry;
use crate::parallel::{Parts, for_each_part};
use crate::scratch::with_scratch;

/// Floats of a patch matrix: 256 KiB, a part of the second-level cache.
const PATCHES: usize = 64 * 1024;

/// Output rows whose patches are handled at once.
fn block_rows(g: &Geometry) -> usize {
    (PATCHES / (g.ow * g.patch())).clamp(1, g.oh)
}

/// `y = activation(conv(x, w) + bias)` for all images.
pub(super) fn forward(
    g: &Geometry,
    x: &[f32],
    w: &[f32],
    bias: Option<&[f32]>,
    activation: Activation,
    y: &mut [f32],
) {
    for_each_part(RowBlocks::new(y, g), |_, block| {
        let x = &x[block.image * g.image()..][..g.image()];
        let y = block.outputs;
        let pixels = block.rows.len() * g.ow;
        with_scratch(pixels * g.patch(), |patches| {
            for group in 0..g.groups {
                gather(g, x, group, block.rows.clone(), patches);
                let first = group * g.co_group();
                let mut y = MatrixMut::new(&mut y[first..], pixels, g.co_group(), g.co);
                let patches = Matrix::new(patches, pixels, g.patch(), g.patch());
                matmul(&mut y, false, patches, group_weights(g, w, group));
            }
        });
        for row in y.chunks_exact_mut(g.co) {
            finish_row(row, bias, activation);
        }
    });
}

/// The gradients of one image: adds to `dw` and `dbias`, overwrites `dx`.
#[allow(clippy::too_many_arguments)]
pub(super) fn backward_image(
    g: &Geometry,
    x: &[f32],
    w: &[f32],
    y: &[f32],
    dy: &[f32],
    activation: Activation,
    dw: &mut [f32],
    dbias: &mut [f32],
    mut dx: Option<&mut [f32]>,
) {
    if let Some(dx) = &mut dx {
        dx.fill(0.0);
    }
    let block = block_rows(g);
    with_scratch(block * g.ow * g.co, |dz| {
        with_scratch(block * g.ow * g.patch(), |patches| {
            for first in (0..g.oh).step_by(block) {
                let rows = first..g.oh.min(first + block);
                let pixels = rows.len() * g.ow;
                let outputs = rows.start * g.ow * g.co..rows.end * g.ow * g.co;
                let dz = &mut dz[..outputs.len()];
                unapply(&y[outputs.clone()], &dy[outputs], dz, activation);
                add_rows(dz, dbias);
                let patches = &mut patches[..pixels * g.patch()];
                for group in 0..g.groups {
                    let dz = Matrix::new(dz, pixels, g.co, g.co)
                        .columns(group * g.co_group(), g.co_group());
                    gather(g, x, group, rows.clone(), patches);
                    let mut dw = MatrixMut::new(
                        &mut dw[group * g.co_group()..],
                        g.patch(),
                        g.co_group(),
                        g.co,
                    );
                    let a = Matrix::new(patches, pixels, g.patch(), g.patch()).transposed();
                    matmul(&mut dw, true, a, dz);
                    if let Some(dx) = &mut dx {
                        let mut a = MatrixMut::new(patches, pixels, g.patch(), g.patch());
                        matmul(&mut a, false, dz, group_weights(g, w, group).transposed());
                        scatter(g, patches, group, rows.clone(), dx);
                    }
                }
            }
        });
    });
}

/// The kernel of one group as a matrix of [`Geometry::patch`] rows.
fn group_weights<'a>(g: &Geometry, w: &'a [f32], group: usize) -> Matrix<'a> {
    Matrix::new(w, g.patch(), g.co, g.co).columns(group * g.co_group(), g.co_group())
}

/// For every kernel cell of every output pixel of `rows`: where its channels lie in the patches, and
/// where in the image unless that is padding.
#[inline(always)]
fn for_each_cell(
    g: &Geometry,
    group: usize,
    rows: Range<usize>,
    mut visit: impl FnMut(usize, Option<usize>),
) {
    let mut patch = 0;
    for oy in rows {
        for ox in 0..g.ow {
            for ky in 0..g.kh {
                // Wraps below 0 above and left of the image, and so fails the comparison below.
                let y = (oy * g.strides.0 + ky * g.dilation.0).wrapping_sub(g.top);
                for kx in 0..g.kw {
                    let x = (ox * g.strides.1 + kx * g.dilation.1).wrapping_sub(g.left);
                    let inside = y < g.h && x < g.w;
                    visit(
                        patch,
                        inside.then(|| (y * g.w + x) * g.ci + group * g.ci_group()),
                    );
                    patch += g.ci_group();
                }
            }
        }
    }
}

/// Copies the patches that the outputs of `rows` see: one row of the matrix per output pixel.
fn gather(g: &Geometry, x: &[f32], group: usize, rows: Range<usize>, patches: &mut [f32]) {
    let channels = g.ci_group();
    for_each_cell(g, group, rows, |patch, pixel| {
        let patch = &mut patches[patch..patch + channels];
        match pixel {
            Some(pixel) => patch.copy_from_slice(&x[pixel..pixel + channels]),
            None => patch.fill(0.0),
        }
    });
}

/// Adds the gradient of the patches to that of the image: the transpose of [`gather`].
fn scatter(g: &Geometry, patches: &[f32], group: usize, rows: Range<usize>, dx: &mut [f32]) {
    let channels = g.ci_group();
    for_each_cell(g, group, rows, |patch, pixel| {
        if let Some(pixel) = pixel {
            add(
                &patches[patch..patch + channels],
                &mut dx[pixel..pixel + channels],
            );
        }
    });
}

/// The outputs of all images cut into blocks of [`block_rows`] rows, no block across two images.
struct RowBlocks<'a> {
    data: *mut f32,
    images: usize,
    rows: usize,
    row_len: usize,
    block: usize,
    slice: PhantomData<&'a mut [f32]>,
}

struct RowBlock<'a> {
    image: usize,
    rows: Range<usize>,
    outputs: &'a mut [f32],
}

impl<'a> RowBlocks<'a> {
    fn new(y: &'a mut [f32], g: &Geometry) -> Self {
        assert_eq!(y.len(), g.n * g.output());
        Self {
            data: y.as_mut_ptr(),
            images: g.n,
            rows: g.oh,
            row_len: g.ow * g.co,
            block: block_rows(g),
            slice: PhantomData,
        }
    }
}

// SAFETY: shared references only give out disjoint blocks, each to one thread.
unsafe impl Sync for RowBlocks<'_> {}

// SAFETY: blocks with different indices do not overlap.
unsafe impl<'a> Parts for RowBlocks<'a> {
    type Part = RowBlock<'a>;

    fn parts(&self) -> Option<usize> {
        Some(self.images * self.rows.div_ceil(self.block))
    }

    unsafe fn part(&self, index: usize) -> RowBlock<'a> {
        let blocks = self.rows.div_ceil(self.block);
        let image = index / blocks;
        let first = index % blocks * self.block;
        let rows = first..self.rows.min(first + self.block);
        let start = (image * self.rows + rows.start) * self.row_len;
        // SAFETY: inside the slice, whose length `new` checked, and disjoint from other blocks.
        let outputs = unsafe {
            std::slice::from_raw_parts_mut(self.data.add(start), rows.len() * self.row_len)
        };
        RowBlock {
            image,
            rows,
            outputs,
        }
    }
}
