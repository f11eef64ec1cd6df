//! Max pooling with its argument recorded, so that the gradient goes exactly where the value was.

use candle_core::{DType, Tensor};

use super::{CHUNK, Padding, dims, expect_dims};
use crate::access::Element;
use crate::parallel::{chunks_mut, for_each_part};
use crate::simd::multiversion;
use crate::{TensorError, Workspace, access};

/// Window, strides and padding of a pooling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pool2dSpec {
    /// Height and width of the window, at least 1.
    pub window: (usize, usize),
    /// Vertical and horizontal step, at least 1.
    pub strides: (usize, usize),
    /// What happens at the borders; padding never wins and does not count.
    pub padding: Padding,
}

impl Pool2dSpec {
    /// Windows side by side without padding: Keras's default strides.
    pub fn new(window: (usize, usize)) -> Self {
        Self {
            window,
            strides: window,
            padding: Padding::Valid,
        }
    }

    /// The shape `[N, oh, ow, C]` that comes of `[N, H, W, C]`.
    ///
    /// # Errors
    /// [`TensorError::Shape`] if the window fits nowhere or a size is 0.
    pub fn output_shape(&self, x: [usize; 4]) -> Result<[usize; 4], TensorError> {
        let g = Geometry::new("max_pool2d", x, self)?;
        Ok([g.n, g.oh, g.ow, g.c])
    }
}

/// The sizes of one pooling, checked.
#[derive(Clone, Copy)]
pub(crate) struct Geometry {
    pub(crate) n: usize,
    pub(crate) h: usize,
    pub(crate) w: usize,
    pub(crate) c: usize,
    pub(crate) oh: usize,
    pub(crate) ow: usize,
    pub(crate) window: (usize, usize),
    pub(crate) strides: (usize, usize),
    pub(crate) top: usize,
    pub(crate) left: usize,
}

impl Geometry {
    pub(super) fn new(
        op: &'static str,
        x: [usize; 4],
        spec: &Pool2dSpec,
    ) -> Result<Self, TensorError> {
        let [n, h, w, c] = x;
        // With padding a window that is twice as long as the image has all of it wherever it lies, as any longer one.
        let length = |n: usize, window: usize| match spec.padding {
            Padding::Valid => window,
            Padding::Same | Padding::Causal => window.min(n.saturating_mul(2)),
        };
        let window = (length(h, spec.window.0), length(w, spec.window.1));
        let axis = |n, window, stride| spec.padding.resolve(n, window, stride, 1);
        match (
            axis(h, window.0, spec.strides.0),
            axis(w, window.1, spec.strides.1),
        ) {
            (Some((oh, top)), Some((ow, left))) if c > 0 => Ok(Self {
                n,
                h,
                w,
                c,
                oh,
                ow,
                window,
                strides: spec.strides,
                top,
                left,
            }),
            _ => Err(TensorError::shape(
                op,
                "input",
                format_args!("[N, H, W, C] that holds a window of {:?}", spec.window),
                &x,
            )),
        }
    }

    /// Whether the 2 × 2 windows of all outputs lie side by side inside the input.
    fn is_plain_2x2(&self) -> bool {
        self.window == (2, 2)
            && self.strides == (2, 2)
            && (self.top, self.left) == (0, 0)
            && 2 * self.oh <= self.h
            && 2 * self.ow <= self.w
    }

    /// Cells of the window at output `(oy, ox)` that lie inside the input: their number in the
    /// window and their offset in the image.
    #[inline(always)]
    pub(super) fn cells(&self, oy: usize, ox: usize) -> impl Iterator<Item = (usize, usize)> {
        let Self {
            h, w, c, window, ..
        } = *self;
        // Wraps below 0 for cells before the border, and so fails the comparison below.
        let y0 = (oy * self.strides.0).wrapping_sub(self.top);
        let x0 = (ox * self.strides.1).wrapping_sub(self.left);
        (0..window.0).flat_map(move |ky| {
            (0..window.1).filter_map(move |kx| {
                let (y, x) = (y0.wrapping_add(ky), x0.wrapping_add(kx));
                (y < h && x < w).then(|| (ky * window.1 + kx, (y * w + x) * c))
            })
        })
    }
}

/// A window cell number as it is stored.
trait CellIndex: Element + PartialEq {
    fn from_usize(cell: usize) -> Self;
}

impl CellIndex for u8 {
    #[inline(always)]
    fn from_usize(cell: usize) -> Self {
        cell as u8
    }
}

impl CellIndex for u32 {
    #[inline(always)]
    fn from_usize(cell: usize) -> Self {
        cell as u32
    }
}

fn index_dtype(spec: &Pool2dSpec) -> DType {
    if spec.window.0.saturating_mul(spec.window.1) <= 255 {
        DType::U8
    } else {
        DType::U32
    }
}

/// The largest value of each window, and which cell of the window it is.
///
/// `x`: `[N, H, W, C]`.
/// Returns `y`: `[N, oh, ow, C]` and the row-major cell number of the maximum, the first of equals,
/// in the same shape (`u8` for windows of at most 255 cells, else `u32`), for
/// [`max_pool2d_backward`].
/// Of an axis along which the window is more than twice as long as the input, cells count as those of one twice as long.
/// NaN wins.
///
/// # Errors
/// See [the module](super); the window fits somewhere in the input.
pub fn max_pool2d(
    ws: &mut Workspace,
    x: &Tensor,
    spec: &Pool2dSpec,
) -> Result<(Tensor, Tensor), TensorError> {
    const OP: &str = "max_pool2d";
    let g = Geometry::new(OP, dims(OP, "input", x, "[N, H, W, C]")?, spec)?;
    on_gpu!(x, |gpu| cuda::pool::max_pool2d(
        gpu,
        ws,
        &g,
        x,
        index_dtype(spec)
    ));
    let shape = [g.n, g.oh, g.ow, g.c];
    let y = ws.take(&shape, DType::F32)?;
    let argmax = ws.take(&shape, index_dtype(spec))?;
    let x = access::read::<f32>(x)?;
    match argmax.dtype() {
        DType::U8 => forward::<u8>(&g, &x, &y, &argmax)?,
        _ => forward::<u32>(&g, &x, &y, &argmax)?,
    }
    Ok((y, argmax))
}

fn forward<I: CellIndex>(
    g: &Geometry,
    x: &[f32],
    y: &Tensor,
    argmax: &Tensor,
) -> Result<(), TensorError> {
    let row = g.ow * g.c;
    let rows = (CHUNK / row).max(1);
    access::write2(y, argmax, |y: &mut [f32], argmax: &mut [I]| {
        let parts = (chunks_mut(y, rows * row), chunks_mut(argmax, rows * row));
        for_each_part(parts, |i, (y, argmax)| {
            let parts = y.chunks_exact_mut(row).zip(argmax.chunks_exact_mut(row));
            for (r, (y, argmax)) in (i * rows..).zip(parts) {
                let image = &x[r / g.oh * g.h * g.w * g.c..][..g.h * g.w * g.c];
                let oy = r % g.oh;
                if g.is_plain_2x2() {
                    let above = &image[2 * oy * g.w * g.c..][..g.w * g.c];
                    let below = &image[(2 * oy + 1) * g.w * g.c..][..g.w * g.c];
                    forward_row_2x2(above, below, g.c, y, argmax);
                } else {
                    forward_row(g, image, oy, y, argmax);
                }
            }
        });
    })
}

multiversion! {
    /// One row of outputs of any window.
    fn forward_row<I: CellIndex>(
        g: &Geometry,
        image: &[f32],
        oy: usize,
        y: &mut [f32],
        argmax: &mut [I],
    ) {
        let pixels = y.chunks_exact_mut(g.c).zip(argmax.chunks_exact_mut(g.c));
        for (ox, (y, argmax)) in pixels.enumerate() {
            let mut first = true;
            for (cell, offset) in g.cells(oy, ox) {
                let cell = I::from_usize(cell);
                let x = &image[offset..offset + g.c];
                if first {
                    y.copy_from_slice(x);
                    argmax.fill(cell);
                    first = false;
                } else {
                    for ((y, best), &x) in y.iter_mut().zip(argmax.iter_mut()).zip(x) {
                        let wins = (x > *y) | x.is_nan();
                        *y = if wins { x } else { *y };
                        *best = if wins { cell } else { *best };
                    }
                }
            }
        }
    }

    /// One row of outputs of plain 2 × 2 windows, from the two input rows.
    fn forward_row_2x2<I: CellIndex>(
        above: &[f32],
        below: &[f32],
        c: usize,
        y: &mut [f32],
        argmax: &mut [I],
    ) {
        let pixels = y.chunks_exact_mut(c).zip(argmax.chunks_exact_mut(c));
        let inputs = above.chunks_exact(2 * c).zip(below.chunks_exact(2 * c));
        for ((y, argmax), (above, below)) in pixels.zip(inputs) {
            let (x0, x1) = above.split_at(c);
            let (x2, x3) = below.split_at(c);
            let (argmax, x1, x2, x3) = (&mut argmax[..c], &x1[..c], &x2[..c], &x3[..c]);
            for (i, (y, &x0)) in y.iter_mut().zip(x0).enumerate() {
                let (mut value, mut best) = (x0, I::from_usize(0));
                for (cell, x) in [(1, x1[i]), (2, x2[i]), (3, x3[i])] {
                    let wins = (x > value) | x.is_nan();
                    value = if wins { x } else { value };
                    best = if wins { I::from_usize(cell) } else { best };
                }
                *y = value;
                argmax[i] = best;
            }
        }
    }
}

/// The gradient of [`max_pool2d`]: `dy` goes to the cell that was the maximum, gradients of
/// overlapping windows add up.
///
/// `dy` and `argmax`: `[N, oh, ow, C]`; `x_shape`: `[N, H, W, C]`, the shape of the result.
///
/// # Errors
/// See [the module](super).
pub fn max_pool2d_backward(
    ws: &mut Workspace,
    dy: &Tensor,
    argmax: &Tensor,
    x_shape: [usize; 4],
    spec: &Pool2dSpec,
) -> Result<Tensor, TensorError> {
    const OP: &str = "max_pool2d backward";
    let g = Geometry::new(OP, x_shape, spec)?;
    let shape = [g.n, g.oh, g.ow, g.c];
    expect_dims(OP, "output gradient", dy, &shape)?;
    expect_dims(OP, "argmax", argmax, &shape)?;
    on_gpu!(dy, |gpu| cuda::pool::max_pool2d_backward(
        gpu,
        ws,
        &g,
        dy,
        argmax,
        index_dtype(spec)
    ));
    let dx = ws.take(&x_shape, DType::F32)?;
    let dy = access::read::<f32>(dy)?;
    match index_dtype(spec) {
        DType::U8 => backward(&g, &dy, &access::read::<u8>(argmax)?, &dx)?,
        _ => backward(&g, &dy, &access::read::<u32>(argmax)?, &dx)?,
    }
    Ok(dx)
}

fn backward<I: CellIndex>(
    g: &Geometry,
    dy: &[f32],
    argmax: &[I],
    dx: &Tensor,
) -> Result<(), TensorError> {
    let output = g.oh * g.ow * g.c;
    access::write(dx, |dx| {
        for_each_part(chunks_mut(dx, g.h * g.w * g.c), |n, dx| {
            let range = n * output..(n + 1) * output;
            let (dy, argmax) = (&dy[range.clone()], &argmax[range]);
            if g.is_plain_2x2() {
                backward_image_2x2(g, dy, argmax, dx);
            } else {
                backward_image(g, dy, argmax, dx);
            }
        });
    })
}

multiversion! {
    /// One image of any window.
    fn backward_image<I: CellIndex>(g: &Geometry, dy: &[f32], argmax: &[I], dx: &mut [f32]) {
        dx.fill(0.0);
        let pixels = dy.chunks_exact(g.c).zip(argmax.chunks_exact(g.c));
        for (pixel, (dy, argmax)) in pixels.enumerate() {
            for (cell, offset) in g.cells(pixel / g.ow, pixel % g.ow) {
                let cell = I::from_usize(cell);
                let dx = &mut dx[offset..offset + g.c];
                for ((dx, &dy), &best) in dx.iter_mut().zip(dy).zip(argmax) {
                    *dx += if best == cell { dy } else { 0.0 };
                }
            }
        }
    }

    /// One image of plain 2 × 2 windows: every input belongs to one window at most.
    fn backward_image_2x2<I: CellIndex>(g: &Geometry, dy: &[f32], argmax: &[I], dx: &mut [f32]) {
        let (c, row) = (g.c, g.w * g.c);
        let outputs = dy.chunks_exact(g.ow * c).zip(argmax.chunks_exact(g.ow * c));
        let (covered, rest) = dx.split_at_mut(2 * g.oh * row);
        rest.fill(0.0);
        for (rows, (dy, argmax)) in covered.chunks_exact_mut(2 * row).zip(outputs) {
            let (above, below) = rows.split_at_mut(row);
            for (row, first_cell) in [(above, 0), (below, 2)] {
                let (row, rest) = row.split_at_mut(2 * g.ow * c);
                rest.fill(0.0);
                let pixels = dy.chunks_exact(c).zip(argmax.chunks_exact(c));
                for (dx, (dy, argmax)) in row.chunks_exact_mut(2 * c).zip(pixels) {
                    let (left, right) = dx.split_at_mut(c);
                    for (dx, cell) in [(left, first_cell), (right, first_cell + 1)] {
                        let cell = I::from_usize(cell);
                        for ((dx, &dy), &best) in dx.iter_mut().zip(dy).zip(argmax) {
                            *dx = if best == cell { dy } else { 0.0 };
                        }
                    }
                }
            }
        }
    }
}
