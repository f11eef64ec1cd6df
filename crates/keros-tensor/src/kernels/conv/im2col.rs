//! Convolution of any kernel, stride, dilation and grouping as matrix products: the patches that some
//! output pixels see are laid out as a matrix.
//!
//! Pixels are counted through all images: small images with many channels share a product, since each
//! product reads the whole kernel, and a long row, such as a sequence is, falls into several.

use std::ops::Range;

use super::super::activation::{Activation, add, add_rows, finish_row, unapply};
use super::super::matmul::{Matrix, MatrixMut, matmul};
use super::direct::Backward;
use super::geometry::Geometry;
use crate::parallel::{chunks_mut, for_each_part};
use crate::scratch::with_scratch;

/// Floats of a patch matrix: 256 KiB, a part of the second-level cache.
const PATCHES: usize = 64 * 1024;
/// Fewest pixels of a patch matrix, however large: reading the kernel has to pay.
const PIXELS: usize = 256;
/// Blocks of the forward pass that threads share, if each has a quarter of [`PIXELS`].
const BLOCKS: usize = 16;

/// Output pixels whose patches are handled at once, of `pixels`.
fn block_pixels(g: &Geometry, pixels: usize) -> usize {
    (PATCHES / g.patch()).max(PIXELS).min(pixels.max(1))
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
    let pixels = g.n * g.oh * g.ow;
    let shared = pixels.div_ceil(BLOCKS).max(PIXELS / 4);
    let block = block_pixels(g, pixels).min(shared);
    for_each_part(chunks_mut(y, block * g.co), |i, y: &mut [f32]| {
        let pixels = y.len() / g.co;
        with_scratch(pixels * g.patch(), |patches| {
            for group in 0..g.groups {
                gather(g, x, group, i * block..i * block + pixels, patches);
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

/// The gradients of some images: adds to `dw` and `dbias`, overwrites `dx`, which holds these images only;
/// what is not wanted is left out.
pub(super) fn backward(
    of: &Backward<'_>,
    images: Range<usize>,
    mut weights: Option<(&mut [f32], &mut [f32])>,
    mut dx: Option<&mut [f32]>,
) {
    if weights.is_none() && dx.is_none() {
        return;
    }
    let (g, w, activation) = (of.g, of.w, of.activation);
    let x = &of.x[images.start * g.image()..images.end * g.image()];
    let outputs = images.start * g.output()..images.end * g.output();
    let (y, dy) = (&of.y[outputs.clone()], &of.dy[outputs]);
    if let Some(dx) = &mut dx {
        dx.fill(0.0);
    }
    let all = y.len() / g.co;
    let block = block_pixels(g, all);
    with_scratch(block * g.co, |dz| {
        with_scratch(block * g.patch(), |patches| {
            for first in (0..all).step_by(block) {
                let pixels = first..all.min(first + block);
                let outputs = pixels.start * g.co..pixels.end * g.co;
                let dz = &mut dz[..outputs.len()];
                unapply(&y[outputs.clone()], &dy[outputs], dz, activation);
                if let Some((_, dbias)) = &mut weights {
                    add_rows([&*dz], dbias);
                }
                let patches = &mut patches[..pixels.len() * g.patch()];
                for group in 0..g.groups {
                    let dz = Matrix::new(dz, pixels.len(), g.co, g.co)
                        .columns(group * g.co_group(), g.co_group());
                    if let Some((dw, _)) = &mut weights {
                        gather(g, x, group, pixels.clone(), patches);
                        let dw = &mut dw[group * g.co_group()..];
                        let mut dw = MatrixMut::new(dw, g.patch(), g.co_group(), g.co);
                        let a = Matrix::new(patches, pixels.len(), g.patch(), g.patch());
                        matmul(&mut dw, true, a.transposed(), dz);
                    }
                    if let Some(dx) = &mut dx {
                        add_input_gradient(g, w, dz, group, pixels.clone(), patches, dx);
                    }
                }
            }
        });
    });
}

/// The input gradient of some images, which both slices hold; it is overwritten.
pub(super) fn input_gradient(g: &Geometry, w: &[f32], dz: &[f32], dx: &mut [f32]) {
    dx.fill(0.0);
    let all = dz.len() / g.co;
    let block = block_pixels(g, all);
    with_scratch(block * g.patch(), |patches| {
        for first in (0..all).step_by(block) {
            let pixels = first..all.min(first + block);
            let dz = Matrix::new(&dz[first * g.co..], pixels.len(), g.co, g.co);
            let patches = &mut patches[..pixels.len() * g.patch()];
            for group in 0..g.groups {
                let dz = dz.columns(group * g.co_group(), g.co_group());
                add_input_gradient(g, w, dz, group, pixels.clone(), patches, dx);
            }
        }
    });
}

/// The share of some output pixels and one group in the input gradient; the patches are overwritten.
fn add_input_gradient(
    g: &Geometry,
    w: &[f32],
    dz: Matrix<'_>,
    group: usize,
    pixels: Range<usize>,
    patches: &mut [f32],
    dx: &mut [f32],
) {
    let mut products = MatrixMut::new(patches, pixels.len(), g.patch(), g.patch());
    let w = group_weights(g, w, group).transposed();
    matmul(&mut products, false, dz, w);
    scatter(g, patches, group, pixels, dx);
}

/// The kernel of one group as a matrix of [`Geometry::patch`] rows.
fn group_weights<'a>(g: &Geometry, w: &'a [f32], group: usize) -> Matrix<'a> {
    Matrix::new(w, g.patch(), g.co, g.co).columns(group * g.co_group(), g.co_group())
}

/// Visits the patches of some output pixels in pieces that are contiguous in an image: where
/// a piece lies in the patches, its length, and where it lies in the images unless it is padding.
#[inline(always)]
fn for_each_piece(
    g: &Geometry,
    group: usize,
    pixels: Range<usize>,
    mut visit: impl FnMut(usize, usize, Option<usize>),
) {
    let channels = g.ci_group();
    let joined = g.dilation.1 == 1 && g.groups == 1;
    let mut patch = 0;
    let mut pixel = pixels.start;
    while pixel < pixels.end {
        let (row, first) = (pixel / g.ow, pixel % g.ow);
        let (image, oy) = (row / g.oh, row % g.oh);
        let last = g.ow.min(first + pixels.end - pixel);
        pixel += last - first;
        for ox in first..last {
            for ky in 0..g.kh {
                // Wraps below 0 above and left of the image, and so fails the comparisons below.
                let y = (oy * g.strides.0 + ky * g.dilation.0).wrapping_sub(g.top);
                let mut kx = 0;
                while kx < g.kw {
                    let x = (ox * g.strides.1 + kx * g.dilation.1).wrapping_sub(g.left);
                    let inside = y < g.h && x < g.w;
                    let cells = match (joined, inside) {
                        (true, true) => (g.kw - kx).min(g.w - x),
                        _ => 1,
                    };
                    let pixel =
                        inside.then(|| ((image * g.h + y) * g.w + x) * g.ci + group * channels);
                    visit(patch, cells * channels, pixel);
                    patch += cells * channels;
                    kx += cells;
                }
            }
        }
    }
}

/// Copies the patches that some output pixels see: one row of the matrix for each.
fn gather(g: &Geometry, x: &[f32], group: usize, pixels: Range<usize>, patches: &mut [f32]) {
    for_each_piece(g, group, pixels, |patch, len, pixel| {
        let patch = &mut patches[patch..patch + len];
        match pixel {
            Some(pixel) => patch.copy_from_slice(&x[pixel..pixel + len]),
            None => patch.fill(0.0),
        }
    });
}

/// Adds the gradient of the patches to that of the image: the transpose of [`gather`].
fn scatter(g: &Geometry, patches: &[f32], group: usize, pixels: Range<usize>, dx: &mut [f32]) {
    for_each_piece(g, group, pixels, |patch, len, pixel| {
        if let Some(pixel) = pixel {
            add(&patches[patch..patch + len], &mut dx[pixel..pixel + len]);
        }
    });
}
