//! Starts the kernels that only move values.

use candle_core::cuda_backend::cudarc::driver::DeviceRepr;
use candle_core::{DType, Tensor};

use super::{Gpu, MOST_BLOCKS, Values, blocks, each, launch, small};
use crate::{TensorError, Workspace};

/// Whether numbers and addresses of values allow four of them to be moved at once.
fn by_four(values: Values, addresses: [u64; 2], lengths: &[u32]) -> bool {
    let four = 4 * values.bytes() as u64;
    addresses.iter().all(|address| address.is_multiple_of(four))
        && lengths.iter().all(|length| length.is_multiple_of(4))
}

/// Rows of `width` elements from tensor to tensor: the first element of each and the distance of its
/// rows.
fn copy_rows(
    gpu: &Gpu,
    values: Values,
    rows: usize,
    width: usize,
    (from, from_step): (u64, usize),
    (to, to_step): (u64, usize),
) -> Result<(), TensorError> {
    let (n, width) = ((rows * width) as u32, width as u32);
    if n == 0 {
        return Ok(());
    }
    let (from_step, to_step) = (from_step as u32, to_step as u32);
    if by_four(values, [from, to], &[width, from_step, to_step]) {
        let (n, width, from_step, to_step) = (n / 4, width / 4, from_step / 4, to_step / 4);
        let threads = each(n as usize);
        launch!(
            gpu,
            SHAPE.copy_rows_x4 of values,
            threads,
            from,
            to,
            n,
            width,
            from_step,
            to_step
        );
    } else {
        let threads = each(n as usize);
        launch!(
            gpu,
            SHAPE.copy_rows_x1 of values,
            threads,
            from,
            to,
            n,
            width,
            from_step,
            to_step
        );
    }
    Ok(())
}

/// The address so many elements behind another.
fn behind(values: Values, start: u64, elements: usize) -> u64 {
    start + (elements * values.bytes()) as u64
}

/// [`kernels::concatenate`](crate::kernels::concatenate): one start for each input.
pub(crate) fn concatenate(
    gpu: &Gpu,
    ws: &mut Workspace,
    inputs: &[Tensor],
    axis: usize,
    shape: &[usize],
) -> Result<Tensor, TensorError> {
    const OP: &str = "concatenating";
    let values = Values::of(OP, &inputs[0])?;
    let y = ws.take(shape, values.dtype())?;
    small(OP, &y)?;
    let to = values.address(gpu, OP, &y)?;
    let rows: usize = shape[..axis].iter().product();
    let inner: usize = shape[axis + 1..].iter().product();
    let whole = shape[axis] * inner;
    let mut start = 0;
    for input in inputs {
        let width = input.dims()[axis] * inner;
        let from = (values.address(gpu, OP, input)?, width);
        let to = (behind(values, to, start), whole);
        copy_rows(gpu, values, rows, width, from, to)?;
        start += width;
    }
    Ok(y)
}

/// [`kernels::slice_axis`](crate::kernels::slice_axis), where `shape` is that of the result.
pub(crate) fn slice_axis(
    gpu: &Gpu,
    ws: &mut Workspace,
    x: &Tensor,
    axis: usize,
    start: usize,
    shape: &[usize],
) -> Result<Tensor, TensorError> {
    const OP: &str = "slicing";
    small(OP, x)?;
    let values = Values::of(OP, x)?;
    let y = ws.take(shape, values.dtype())?;
    let (from, to) = (values.address(gpu, OP, x)?, values.address(gpu, OP, &y)?);
    let rows: usize = shape[..axis].iter().product();
    let inner: usize = shape[axis + 1..].iter().product();
    let width = shape[axis] * inner;
    let from = behind(values, from, start * inner);
    let from = (from, x.dims()[axis] * inner);
    copy_rows(gpu, values, rows, width, from, (to, width))?;
    Ok(y)
}

/// The struct BorderedImage of shape.cu; widths are numbers of elements.
#[repr(C)]
struct BorderedImage {
    height: u32,
    width: u32,
    top: u32,
    left: u32,
    whole_height: u32,
    whole_width: u32,
}

// SAFETY: four-byte numbers, as there.
unsafe impl DeviceRepr for BorderedImage {}

impl BorderedImage {
    /// An image of `[height, width, channels]` that begins at these rows and columns of one of
    /// `[height, width]`.
    fn new(
        image: [usize; 3],
        (top, left): (usize, usize),
        (height, width): (usize, usize),
    ) -> BorderedImage {
        let [inner_height, inner_width, channels] = image;
        BorderedImage {
            height: inner_height as u32,
            width: (inner_width * channels) as u32,
            top: top as u32,
            left: (left * channels) as u32,
            whole_height: height as u32,
            whole_width: (width * channels) as u32,
        }
    }

    /// In units of four elements, if that is possible.
    fn by_four(&mut self, values: Values, addresses: [u64; 2]) -> bool {
        let widths = [self.width, self.left, self.whole_width];
        let possible = by_four(values, addresses, &widths);
        if possible {
            for width in [&mut self.width, &mut self.left, &mut self.whole_width] {
                *width /= 4;
            }
        }
        possible
    }
}

/// [`kernels::zero_pad2d`](crate::kernels::zero_pad2d) to `shape`, `x` beginning at `(top, left)`.
pub(crate) fn zero_pad2d(
    gpu: &Gpu,
    ws: &mut Workspace,
    x: &Tensor,
    start: (usize, usize),
    shape: [usize; 4],
) -> Result<Tensor, TensorError> {
    const OP: &str = "zero padding";
    let values = Values::of(OP, x)?;
    let y = ws.take(&shape, values.dtype())?;
    let n = small(OP, &y)?;
    if n == 0 {
        return Ok(y);
    }
    let image = [x.dims()[1], x.dims()[2], x.dims()[3]];
    let mut border = BorderedImage::new(image, start, (shape[1], shape[2]));
    let (x, to) = (values.address(gpu, OP, x)?, values.address(gpu, OP, &y)?);
    if border.by_four(values, [x, to]) {
        let (threads, n) = (each(n as usize / 4), n / 4);
        launch!(gpu, SHAPE.pad_x4 of values, threads, x, to, n, border);
    } else {
        let threads = each(n as usize);
        launch!(gpu, SHAPE.pad_x1 of values, threads, x, to, n, border);
    }
    Ok(y)
}

/// [`kernels::crop2d`](crate::kernels::crop2d) to `shape`, which begins at `(top, left)` of `x`.
pub(crate) fn crop2d(
    gpu: &Gpu,
    ws: &mut Workspace,
    x: &Tensor,
    start: (usize, usize),
    shape: [usize; 4],
) -> Result<Tensor, TensorError> {
    const OP: &str = "cropping";
    small(OP, x)?;
    let values = Values::of(OP, x)?;
    let y = ws.take(&shape, values.dtype())?;
    let n = y.elem_count() as u32;
    if n == 0 {
        return Ok(y);
    }
    let image = [shape[1], shape[2], shape[3]];
    let mut border = BorderedImage::new(image, start, (x.dims()[1], x.dims()[2]));
    let (x, to) = (values.address(gpu, OP, x)?, values.address(gpu, OP, &y)?);
    if border.by_four(values, [x, to]) {
        let (threads, n) = (each(n as usize / 4), n / 4);
        launch!(gpu, SHAPE.crop_x4 of values, threads, x, to, n, border);
    } else {
        let threads = each(n as usize);
        launch!(gpu, SHAPE.crop_x1 of values, threads, x, to, n, border);
    }
    Ok(y)
}

/// As AXES in shape.cu.
const AXES: usize = 8;

/// The struct PermutedAxes of shape.cu.
#[derive(Default)]
#[repr(C)]
struct PermutedAxes {
    count: u32,
    length: [u32; AXES],
    x_step: [u32; AXES],
    y_step: [u32; AXES],
}

// SAFETY: four-byte numbers, as there.
unsafe impl DeviceRepr for PermutedAxes {}

/// An axis, and how far its neighbours are apart in two tensors.
#[derive(Clone, Copy)]
struct Axis {
    length: usize,
    x_step: usize,
    y_step: usize,
}

/// The axes of a permutation, the fastest of `y` first: without those of length 1, and those that stay
/// beside each other as one.
fn axes(x: &Tensor, order: &[usize]) -> Vec<Axis> {
    let steps = x.stride();
    let mut axes: Vec<Axis> = Vec::with_capacity(order.len());
    let mut y_step = 1;
    for &axis in order.iter().rev() {
        let (length, x_step) = (x.dims()[axis], steps[axis]);
        match axes.last_mut() {
            _ if length == 1 => {}
            Some(last) if x_step == last.x_step * last.length => last.length *= length,
            _ => axes.push(Axis {
                length,
                x_step,
                y_step,
            }),
        }
        y_step *= length;
    }
    axes
}

/// The parameter of a kernel; with lengths in units of `unit` elements.
fn table(op: &'static str, axes: &[Axis], unit: usize) -> Result<PermutedAxes, TensorError> {
    if axes.len() > AXES {
        let expected = format!("at most {AXES} axes that move by themselves, on a GPU");
        return Err(TensorError::argument(op, "order", expected, axes.len()));
    }
    let mut table = PermutedAxes {
        count: axes.len() as u32,
        ..PermutedAxes::default()
    };
    for (i, axis) in axes.iter().enumerate() {
        table.length[i] = axis.length as u32;
        table.x_step[i] = (axis.x_step / unit) as u32;
        table.y_step[i] = (axis.y_step / unit) as u32;
    }
    Ok(table)
}

/// [`kernels::permute`](crate::kernels::permute) to `shape`.
pub(crate) fn permute(
    gpu: &Gpu,
    ws: &mut Workspace,
    x: &Tensor,
    order: &[usize],
    shape: &[usize],
) -> Result<Tensor, TensorError> {
    const OP: &str = "permuting axes";
    let n = small(OP, x)?;
    let y = ws.take(shape, DType::F32)?;
    let (from, to) = (gpu.address::<f32>(OP, x)?, gpu.address::<f32>(OP, &y)?);
    if n == 0 {
        return Ok(y);
    }
    let mut axes = axes(x, order);
    // What is the last axis of both moves in rows.
    if axes.first().is_none_or(|first| first.x_step == 1) {
        let width = match axes.is_empty() {
            true => 1,
            false => axes.remove(0).length as u32,
        };
        if by_four(Values::F32, [from, to], &[width]) {
            let (threads, n, width) = (each(n as usize / 4), n / 4, width / 4);
            let table = table(OP, &axes, 4)?;
            launch!(
                gpu,
                SHAPE.permute_rows_x4,
                threads,
                from,
                to,
                n,
                width,
                table
            );
        } else {
            let threads = each(n as usize);
            let table = table(OP, &axes, 1)?;
            launch!(
                gpu,
                SHAPE.permute_rows_x1,
                threads,
                from,
                to,
                n,
                width,
                table
            );
        }
        return Ok(y);
    }
    let last_of_y = axes.remove(0);
    let Some(at) = axes.iter().position(|axis| axis.x_step == 1) else {
        return Err(super::failure(OP, &"no axis of the input is its last"));
    };
    let last_of_x = axes.remove(at);
    let table = table(OP, &axes, 1)?;
    let matrices: usize = axes.iter().map(|axis| axis.length).product();
    let (rows, columns) = (last_of_y.length as u32, last_of_x.length as u32);
    let (x_step, y_step) = (last_of_y.x_step as u32, last_of_x.y_step as u32);
    let tiles = matrices * rows.div_ceil(32) as usize * columns.div_ceil(32) as usize;
    let threads = blocks(tiles.clamp(1, MOST_BLOCKS));
    let tiles = tiles as u32;
    launch!(
        gpu,
        SHAPE.transpose_f32,
        threads,
        from,
        to,
        rows,
        columns,
        x_step,
        y_step,
        tiles,
        table
    );
    Ok(y)
}
