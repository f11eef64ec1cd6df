//! Average pooling: each window is divided by the number of its cells that lie inside the input.

use candle_core::{DType, Tensor};

use super::activation::{FEW_ROWS, add_rows};
use super::pool::{Geometry, Pool2dSpec};
use super::{CHUNK, dims, expect_dims};
use crate::parallel::{chunks_mut, for_each_part};
use crate::simd::multiversion;
use crate::{TensorError, Workspace, access};

/// The mean of each window of `x`.
///
/// `x`: `[N, H, W, C]`; the result: `[N, oh, ow, C]`. Padding is not counted.
///
/// # Errors
/// See [the module](super); the window fits somewhere in the input.
pub fn average_pool2d(
    ws: &mut Workspace,
    x: &Tensor,
    spec: &Pool2dSpec,
) -> Result<Tensor, TensorError> {
    const OP: &str = "average_pool2d";
    let g = Geometry::new(OP, dims(OP, "input", x, "[N, H, W, C]")?, spec)?;
    on_gpu!(x, |gpu| cuda::pool::average_pool2d(gpu, ws, &g, x));
    let y = ws.take(&[g.n, g.oh, g.ow, g.c], DType::F32)?;
    let x = access::read::<f32>(x)?;
    let x = &*x;
    let row = g.ow * g.c;
    let rows = (CHUNK / row).max(1);
    access::write(&y, |y: &mut [f32]| {
        for_each_part(chunks_mut(y, rows * row), |i, y| {
            for (r, y) in (i * rows..).zip(y.chunks_exact_mut(row)) {
                let image = &x[r / g.oh * g.h * g.w * g.c..][..g.h * g.w * g.c];
                match g.window.0.saturating_mul(g.window.1) <= FEW_ROWS {
                    true => forward_row(&g, image, r % g.oh, y),
                    false => forward_row_of_large(&g, image, r % g.oh, y),
                }
            }
        });
    })?;
    Ok(y)
}

/// The gradient of [`average_pool2d`]: each window shares its gradient out evenly.
///
/// `dy`: `[N, oh, ow, C]`; `x_shape`: `[N, H, W, C]`, the shape of the result.
///
/// # Errors
/// See [the module](super).
pub fn average_pool2d_backward(
    ws: &mut Workspace,
    dy: &Tensor,
    x_shape: [usize; 4],
    spec: &Pool2dSpec,
) -> Result<Tensor, TensorError> {
    const OP: &str = "average_pool2d backward";
    let g = Geometry::new(OP, x_shape, spec)?;
    expect_dims(OP, "output gradient", dy, &[g.n, g.oh, g.ow, g.c])?;
    on_gpu!(dy, |gpu| cuda::pool::average_pool2d_backward(
        gpu, ws, &g, dy
    ));
    let dx = ws.take(&x_shape, DType::F32)?;
    let dy = access::read::<f32>(dy)?;
    let dy = &*dy;
    let output = g.oh * g.ow * g.c;
    access::write(&dx, |dx| {
        for_each_part(chunks_mut(dx, g.h * g.w * g.c), |n, dx| {
            backward_image(&g, &dy[n * output..][..output], dx);
        });
    })?;
    Ok(dx)
}

/// As [`forward_row`], for windows of so many cells that rounding would add up.
fn forward_row_of_large(g: &Geometry, image: &[f32], oy: usize, y: &mut [f32]) {
    let inside = |start: usize, window: usize, before: usize, n: usize| {
        start.saturating_sub(before)..(start + window - before).min(n)
    };
    let rows = inside(oy * g.strides.0, g.window.0, g.top, g.h);
    for (ox, y) in y.chunks_exact_mut(g.c).enumerate() {
        let columns = inside(ox * g.strides.1, g.window.1, g.left, g.w);
        let row = |row: usize| &image[(row * g.w + columns.start) * g.c..][..columns.len() * g.c];
        y.fill(0.0);
        add_rows(rows.clone().map(row), y);
        let cells = (rows.len() * columns.len()) as f32;
        y.iter_mut().for_each(|y| *y /= cells);
    }
}

multiversion! {
    fn forward_row(g: &Geometry, image: &[f32], oy: usize, y: &mut [f32]) {
        for (ox, y) in y.chunks_exact_mut(g.c).enumerate() {
            y.fill(0.0);
            let mut cells = 0_usize;
            for (_, offset) in g.cells(oy, ox) {
                cells += 1;
                for (y, &x) in y.iter_mut().zip(&image[offset..offset + g.c]) {
                    *y += x;
                }
            }
            let cells = cells as f32;
            y.iter_mut().for_each(|y| *y /= cells);
        }
    }

    fn backward_image(g: &Geometry, dy: &[f32], dx: &mut [f32]) {
        dx.fill(0.0);
        for (pixel, dy) in dy.chunks_exact(g.c).enumerate() {
            let (oy, ox) = (pixel / g.ow, pixel % g.ow);
            let share = 1.0 / g.cells(oy, ox).count() as f32;
            for (_, offset) in g.cells(oy, ox) {
                for (dx, &dy) in dx[offset..offset + g.c].iter_mut().zip(dy) {
                    *dx += dy * share;
                }
            }
        }
    }
}
