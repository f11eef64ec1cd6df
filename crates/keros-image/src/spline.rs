//! Interpolation of the orders 2 to 5: B-splines, with the filter that comes before them, as
//! scipy.ndimage computes them. In `f64` throughout.

use crate::fill::{reflect_half, wrap};
use crate::geometry::Matrix;
use crate::{FillMode, ImageShape, Pixel};

/// Most taps along one axis, those of order 5.
const MOST_TAPS: usize = 6;

/// Pixels that scipy repeats beyond every border before it filters for [`FillMode::Nearest`], for
/// which the filter has no exact beginning.
const PADDING: usize = 12;

/// One warp of one image.
pub(crate) struct Spline {
    pub(crate) matrix: Matrix,
    pub(crate) shape: ImageShape,
    pub(crate) order: u8,
    pub(crate) fill_mode: FillMode,
    /// The value outside, not rescaled.
    pub(crate) cval: f32,
    pub(crate) rescale: f32,
    pub(crate) flip_horizontal: bool,
    pub(crate) flip_vertical: bool,
}

/// How indices beyond the border are folded: about the border pixel, or about its outer edge.
#[derive(Clone, Copy)]
enum Border {
    Mirror,
    Reflect,
}

impl Spline {
    fn padding(&self) -> usize {
        match self.fill_mode {
            FillMode::Nearest => PADDING,
            _ => 0,
        }
    }

    fn border(&self) -> Border {
        match self.fill_mode {
            FillMode::Constant | FillMode::Wrap => Border::Mirror,
            FillMode::Nearest | FillMode::Reflect => Border::Reflect,
        }
    }

    /// Warps `source` into `out`, both of the shape.
    pub(crate) fn apply<P: Pixel>(&self, source: &[P], out: &mut [f32]) {
        let ImageShape {
            height,
            width,
            channels,
        } = self.shape;
        let padding = self.padding();
        let (rows, columns) = (height + 2 * padding, width + 2 * padding);
        let mut plane = vec![0.0; rows * columns];
        for channel in 0..channels {
            for (row, line) in plane.chunks_exact_mut(columns).enumerate() {
                let row = row.saturating_sub(padding).min(height - 1);
                for (column, value) in line.iter_mut().enumerate() {
                    let column = column.saturating_sub(padding).min(width - 1);
                    let pixel = source[(row * width + column) * channels + channel];
                    *value = f64::from(pixel.to_f32());
                }
            }
            self.filter(&mut plane, rows, columns);
            for y in 0..height {
                for x in 0..width {
                    let value = self.sample(&plane, rows, columns, y, x);
                    let y = if self.flip_vertical {
                        height - 1 - y
                    } else {
                        y
                    };
                    let x = if self.flip_horizontal {
                        width - 1 - x
                    } else {
                        x
                    };
                    out[(y * width + x) * channels + channel] = value as f32 * self.rescale;
                }
            }
        }
    }

    /// Turns values into the coefficients of the spline through them.
    fn filter(&self, plane: &mut [f64], rows: usize, columns: usize) {
        let poles = poles(self.order);
        for line in plane.chunks_exact_mut(columns) {
            filter_line(line, poles, self.border());
        }
        let mut line = vec![0.0; rows];
        for column in 0..columns {
            for (value, row) in line.iter_mut().zip(plane.chunks_exact(columns)) {
                *value = row[column];
            }
            filter_line(&mut line, poles, self.border());
            for (value, row) in line.iter().zip(plane.chunks_exact_mut(columns)) {
                row[column] = *value;
            }
        }
    }

    /// The value of output pixel (y, x), flips not counted.
    fn sample(&self, plane: &[f64], rows: usize, columns: usize, y: usize, x: usize) -> f64 {
        let Matrix { linear, offset } = self.matrix;
        let (y, x) = (y as f64, x as f64);
        let row = linear[0][0] * y + linear[0][1] * x + offset[0];
        let column = linear[1][0] * y + linear[1][1] * x + offset[1];
        let (Some(row), Some(column)) = (self.folded(row, rows), self.folded(column, columns))
        else {
            return f64::from(self.cval);
        };
        let taps = usize::from(self.order) + 1;
        let (row_indices, row_weights) = self.taps(row, rows);
        let (column_indices, column_weights) = self.taps(column, columns);
        let across = |row: usize| -> f64 {
            let line = &plane[row * columns..(row + 1) * columns];
            let taps = column_indices.iter().zip(column_weights).take(taps);
            taps.map(|(column, weight)| line[*column] * weight).sum()
        };
        let taps = row_indices.iter().zip(row_weights).take(taps);
        taps.map(|(row, weight)| across(*row) * weight).sum()
    }

    /// The coordinate in the padded plane, of `length` pixels along this axis; `None` is outside.
    fn folded(&self, coordinate: f64, length: usize) -> Option<f64> {
        let last = (length - 1) as f64;
        let c = coordinate + self.padding() as f64;
        match self.fill_mode {
            FillMode::Constant => (0.0..=last).contains(&c).then_some(c),
            FillMode::Nearest => Some(c.clamp(0.0, last)),
            FillMode::Reflect => Some(reflect_half(c, last)),
            FillMode::Wrap => Some(wrap(c, last)),
        }
    }

    /// Indices and weights of the pixels that make the value at a coordinate.
    fn taps(&self, coordinate: f64, length: usize) -> ([usize; MOST_TAPS], [f64; MOST_TAPS]) {
        let nearest = match self.order % 2 {
            0 => (coordinate + 0.5).floor(),
            _ => coordinate.floor(),
        };
        let start = nearest as i64 - i64::from(self.order / 2);
        let mut indices = [0; MOST_TAPS];
        for (index, at) in indices.iter_mut().zip(start..) {
            *index = match self.fill_mode {
                FillMode::Nearest => at.clamp(0, length as i64 - 1) as usize,
                _ => folded_index(at, length, self.border()),
            };
        }
        (indices, weights(self.order, coordinate - nearest))
    }
}

/// The pixel that stands for one beyond the border.
fn folded_index(index: i64, length: usize, border: Border) -> usize {
    let length = length as i64;
    let (period, edge) = match border {
        Border::Mirror => (2 * length - 2, 0),
        Border::Reflect => (2 * length, 1),
    };
    if period <= 0 {
        return 0;
    }
    let index = index.rem_euclid(period);
    let index = if index < length {
        index
    } else {
        period - edge - index
    };
    index.max(0) as usize
}

/// Weights of a B-spline. `x` is the way from the nearest pixel (even orders, at most half a pixel)
/// or from the pixel before (odd orders). Formulas of Unser 1999 as in scipy.
fn weights(order: u8, x: f64) -> [f64; MOST_TAPS] {
    let (y, z) = (x, 1.0 - x);
    let mut w = [0.0; MOST_TAPS];
    match order {
        2 => {
            w[0] = 0.5 * (0.5 - x).powi(2);
            w[1] = 0.75 - x * x;
        }
        3 => {
            w[0] = z.powi(3) / 6.0;
            w[1] = (y * y * (y - 2.0) * 3.0 + 4.0) / 6.0;
            w[2] = (z * z * (z - 2.0) * 3.0 + 4.0) / 6.0;
        }
        4 => {
            let outer = |t: f64| t * (t * (t * (5.0 - t) / 6.0 - 1.25) + 5.0 / 24.0) + 55.0 / 96.0;
            let t = x * x;
            w[0] = (0.5 - x).powi(4) / 24.0;
            w[1] = outer(1.0 + x);
            w[2] = t * (t * 0.25 - 0.625) + 115.0 / 192.0;
            w[3] = outer(z);
        }
        _ => {
            let inner = |v: f64| v * v * (v * v * (0.25 - v / 12.0) - 0.5) + 0.55;
            let outer =
                |v: f64| v * (v * (v * (v * (v / 24.0 - 0.375) + 1.25) - 1.75) + 0.625) + 0.425;
            w[0] = z.powi(5) / 120.0;
            w[1] = outer(y + 1.0);
            w[2] = inner(y);
            w[3] = inner(z);
            w[4] = outer(z + 1.0);
        }
    }
    // They sum to 1.
    let last = usize::from(order);
    w[last] = 1.0 - w[..last].iter().sum::<f64>();
    w
}

/// Poles of the filter that makes coefficients of values.
fn poles(order: u8) -> &'static [f64] {
    match order {
        2 => &[-0.171_572_875_253_809_9],
        3 => &[-0.267_949_192_431_122_7],
        4 => &[-0.361_341_225_900_220_2, -0.013_725_429_297_339_12],
        _ => &[-0.430_575_347_099_973_8, -0.043_096_288_203_264_65],
    }
}

fn filter_line(line: &mut [f64], poles: &[f64], border: Border) {
    let length = line.len();
    let last = length - 1;
    if length < 2 {
        return;
    }
    let gain: f64 = poles.iter().map(|z| (1.0 - z) * (1.0 - 1.0 / z)).product();
    line.iter_mut().for_each(|value| *value *= gain);
    for &z in poles {
        line[0] = match border {
            Border::Mirror => {
                let end = z.powi(last as i32);
                let mut power = z;
                let mut sum = line[0] + end * line[last];
                for i in 1..last {
                    sum += power * (line[i] + end * line[last - i]);
                    power *= z;
                }
                sum / (1.0 - end * end)
            }
            Border::Reflect => {
                let end = z.powi(length as i32);
                let mut power = z;
                let mut sum = line[0] + end * line[last];
                for i in 1..length {
                    sum += power * (line[i] + end * line[last - i]);
                    power *= z;
                }
                sum * z / (1.0 - end * end) + line[0]
            }
        };
        for i in 1..length {
            line[i] += z * line[i - 1];
        }
        line[last] = match border {
            Border::Mirror => (z * line[last - 1] + line[last]) * z / (z * z - 1.0),
            Border::Reflect => line[last] * z / (z - 1.0),
        };
        for i in (0..last).rev() {
            line[i] = z * (line[i + 1] - line[i]);
        }
    }
}
