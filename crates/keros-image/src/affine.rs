//! The warp itself: coordinates of a row at a time, split into offsets and weights, then blended.
//!
//! A row of output pixels is walked in chunks. For each chunk three small loops run over arrays
//! that stay in the first cache: coordinates (in `f64`, with scipy's order of operations, so that
//! they agree with scipy to the last bit), their split into a source offset and four weights (in
//! `f32`, rescaling included), and the blend. None of them branches per pixel on the common path:
//! folding a coordinate into the image guarantees that every neighbour exists. Flips cost nothing,
//! they turn the direction of the walk.

use serde::{Deserialize, Serialize};

use crate::fill::{clamp, reflect, wrap};
use crate::geometry::Matrix;
use crate::spline::Spline;
use crate::{FillMode, Geometry, ImageError, ImageShape, Pixel, TransformParams};

/// Pixels computed together. 32 wastes little on small images; the intermediate arrays (2 KiB) stay
/// in the first cache.
const CHUNK: usize = 32;

/// How images are warped: everything that is not drawn per image.
///
/// Setters consume and return the value. The defaults are Keras's: `nearest` fill, `cval` 0, order
/// 1, no rescaling; and [`Geometry::Keros`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Affine {
    fill_mode: FillMode,
    cval: f32,
    interpolation_order: u8,
    geometry: Geometry,
    rescale: f32,
}

impl Default for Affine {
    fn default() -> Self {
        Self {
            fill_mode: FillMode::default(),
            cval: 0.0,
            interpolation_order: 1,
            geometry: Geometry::default(),
            rescale: 1.0,
        }
    }
}

impl Affine {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// What is sampled outside the image. Default: [`FillMode::Nearest`].
    pub fn fill_mode(mut self, fill_mode: FillMode) -> Self {
        self.fill_mode = fill_mode;
        self
    }

    /// The value outside the image for [`FillMode::Constant`], in the unit of the source (it is
    /// rescaled like a pixel). Default: 0.
    pub fn cval(mut self, cval: f32) -> Self {
        self.cval = cval;
        self
    }

    /// 0 takes the nearest pixel, 1 (the default) interpolates linearly, 2 to 5 are splines of that
    /// order (sharper, slower by far, and may overshoot the range of the pixels). Higher orders are
    /// refused by [`Affine::check`] and [`Affine::apply`].
    pub fn interpolation_order(mut self, order: u8) -> Self {
        self.interpolation_order = order;
        self
    }

    /// How parameters become a matrix. Default: [`Geometry::Keros`].
    pub fn geometry(mut self, geometry: Geometry) -> Self {
        self.geometry = geometry;
        self
    }

    /// Every output value is multiplied by this. Default: 1.
    pub fn rescale(mut self, rescale: f32) -> Self {
        self.rescale = rescale;
        self
    }

    /// Whether the settings can be applied at all.
    ///
    /// # Errors
    /// An interpolation order above 5; `cval` or `rescale` NaN or infinite.
    pub fn check(&self) -> Result<(), ImageError> {
        if self.interpolation_order > 5 {
            return Err(ImageError::InterpolationOrder {
                found: self.interpolation_order,
            });
        }
        for (name, value) in [("cval", self.cval), ("rescale", self.rescale)] {
            if !value.is_finite() {
                return Err(ImageError::NotFinite {
                    name,
                    value: f64::from(value),
                });
            }
        }
        Ok(())
    }

    /// Transforms one image.
    ///
    /// # Shapes
    /// `source` and `out` hold `shape` values each, `[height, width, channels]`; any number of
    /// channels. `u8` values keep their range 0..=255 (times `rescale`).
    ///
    /// # Determinism
    /// The result is a pure function of the arguments. Coordinates are computed in `f64` as scipy
    /// does, values in `f32`. Neutral parameters copy (and rescale) without resampling; a flip
    /// alone moves pixels without resampling.
    ///
    /// # Errors
    /// What [`Affine::check`] refuses; parameters that are not finite, or overflow together; an
    /// empty or too large shape; a buffer whose length is not that of the shape. `out` is not
    /// touched in these cases.
    pub fn apply<P: Pixel>(
        &self,
        params: &TransformParams,
        source: &[P],
        shape: ImageShape,
        out: &mut [f32],
    ) -> Result<(), ImageError> {
        self.check()?;
        shape.check_length("source", source.len())?;
        shape.check_length("output", out.len())?;
        if params.resamples() {
            let matrix = self.geometry.matrix(params, shape)?;
            if self.interpolation_order > 1 {
                let spline = Spline {
                    matrix,
                    shape,
                    order: self.interpolation_order,
                    fill_mode: self.fill_mode,
                    cval: self.cval,
                    rescale: self.rescale,
                    flip_horizontal: params.flip_horizontal,
                    flip_vertical: params.flip_vertical,
                };
                spline.apply(source, out);
                return Ok(());
            }
            let warp = Warp {
                matrix,
                shape,
                flip_horizontal: params.flip_horizontal,
                flip_vertical: params.flip_vertical,
                fill_mode: self.fill_mode,
                outside: self.cval * self.rescale,
                rescale: self.rescale,
            };
            match self.interpolation_order {
                0 => warp.nearest(source, out),
                _ => warp.linear(source, out),
            }
        } else {
            copy(params, source, shape, self.rescale, out);
        }
        Ok(())
    }
}

/// Copies the image, flipped if asked, multiplying every value by `rescale`.
fn copy<P: Pixel>(
    params: &TransformParams,
    source: &[P],
    shape: ImageShape,
    rescale: f32,
    out: &mut [f32],
) {
    let row_len = shape.width * shape.channels;
    for (row, out_row) in out.chunks_exact_mut(row_len).enumerate() {
        let row = if params.flip_vertical {
            shape.height - 1 - row
        } else {
            row
        };
        let source_row = &source[row * row_len..(row + 1) * row_len];
        if params.flip_horizontal {
            let pixels = source_row.chunks_exact(shape.channels).rev();
            for (out_pixel, pixel) in out_row.chunks_exact_mut(shape.channels).zip(pixels) {
                for (out, value) in out_pixel.iter_mut().zip(pixel) {
                    *out = value.to_f32() * rescale;
                }
            }
        } else {
            for (out, value) in out_row.iter_mut().zip(source_row) {
                *out = value.to_f32() * rescale;
            }
        }
    }
}

/// One warp of one image, all checks done.
struct Warp {
    matrix: Matrix,
    shape: ImageShape,
    flip_horizontal: bool,
    flip_vertical: bool,
    fill_mode: FillMode,
    /// Value of pixels outside, for `FillMode::Constant`; rescaled.
    outside: f32,
    rescale: f32,
}

/// The output pixels of one chunk: `len` columns from `first` on, one by one in `direction` (1 or
/// -1).
#[derive(Clone, Copy)]
struct Walk {
    first: i32,
    direction: i32,
    len: usize,
}

/// One input axis along a row of the output: column `c` samples at `base + c * step`; the image
/// ends at `last`, the index of its last pixel.
#[derive(Clone, Copy)]
struct Axis {
    base: f64,
    step: f64,
    last: f64,
}

impl Axis {
    #[inline(always)]
    fn at(&self, column: i32) -> f64 {
        self.base + f64::from(column) * self.step
    }

    /// Whether all coordinates of the walk lie in the image. They are monotone, so the two ends
    /// decide.
    #[inline(always)]
    fn contains(&self, walk: Walk) -> bool {
        let inside = 0.0..=self.last;
        inside.contains(&self.at(walk.first))
            && inside.contains(&self.at(walk.first + walk.direction * (walk.len as i32 - 1)))
    }

    /// Coordinates of the walk, folded into `[0, last]`.
    #[inline(always)]
    fn coordinates(&self, walk: Walk, fill_mode: FillMode, out: &mut [f64; CHUNK]) {
        // Constant lengths let the loops be vectorized; what lies beyond the walk is never read.
        let mut column = walk.first;
        for c in out.iter_mut() {
            *c = self.at(column);
            column += walk.direction;
        }
        match fill_mode {
            FillMode::Reflect if !self.contains(walk) => {
                fold(&mut out[..walk.len], self.last, reflect)
            }
            FillMode::Wrap if !self.contains(walk) => fold(&mut out[..walk.len], self.last, wrap),
            _ => {}
        }
        for c in out.iter_mut() {
            *c = clamp(*c, self.last);
        }
    }
}

/// Folds the coordinates that lie outside.
fn fold(coordinates: &mut [f64], last: f64, folded: fn(f64, f64) -> f64) {
    for c in coordinates {
        if !(0.0..=last).contains(c) {
            *c = folded(*c, last);
        }
    }
}

impl Warp {
    /// The input axes (rows, columns) as seen along one row of the output.
    #[inline(always)]
    fn axes(&self, row: usize) -> (Axis, Axis) {
        let ImageShape { height, width, .. } = self.shape;
        let Matrix { linear, offset } = self.matrix;
        let row = if self.flip_vertical {
            height - 1 - row
        } else {
            row
        } as f64;
        let rows = Axis {
            base: offset[0] + row * linear[0][0],
            step: linear[0][1],
            last: (height - 1) as f64,
        };
        let columns = Axis {
            base: offset[1] + row * linear[1][0],
            step: linear[1][1],
            last: (width - 1) as f64,
        };
        (rows, columns)
    }

    /// The way along `len` pixels of a row, beginning with the chunk of the given number.
    #[inline(always)]
    fn walk(&self, chunk: usize, len: usize) -> Walk {
        let begin = (chunk * CHUNK) as i32;
        if self.flip_horizontal {
            Walk {
                first: self.shape.width as i32 - 1 - begin,
                direction: -1,
                len,
            }
        } else {
            Walk {
                first: begin,
                direction: 1,
                len,
            }
        }
    }

    /// Overwrites the pixels whose coordinates lie outside the image, in the mode that does so.
    fn fill_outside(&self, walk: Walk, rows: Axis, columns: Axis, out: &mut [f32]) {
        if self.fill_mode != FillMode::Constant || (rows.contains(walk) && columns.contains(walk)) {
            return;
        }
        let mut column = walk.first;
        for pixel in out.chunks_exact_mut(self.shape.channels) {
            let inside = (0.0..=rows.last).contains(&rows.at(column))
                && (0.0..=columns.last).contains(&columns.at(column));
            if !inside {
                pixel.fill(self.outside);
            }
            column += walk.direction;
        }
    }

    /// Order 0.
    fn nearest<P: Pixel>(&self, source: &[P], out: &mut [f32]) {
        let ImageShape {
            width, channels, ..
        } = self.shape;
        let (mut row, mut column) = ([0.0; CHUNK], [0.0; CHUNK]);
        for (y, out) in out.chunks_exact_mut(width * channels).enumerate() {
            let (rows, columns) = self.axes(y);
            for (chunk, out) in out.chunks_mut(CHUNK * channels).enumerate() {
                let walk = self.walk(chunk, out.len() / channels);
                rows.coordinates(walk, self.fill_mode, &mut row);
                columns.coordinates(walk, self.fill_mode, &mut column);
                for ((pixel, r), c) in out.chunks_exact_mut(channels).zip(&row).zip(&column) {
                    let offset = ((*r + 0.5) as usize * width + (*c + 0.5) as usize) * channels;
                    for (out, value) in pixel.iter_mut().zip(&source[offset..offset + channels]) {
                        *out = value.to_f32() * self.rescale;
                    }
                }
                self.fill_outside(walk, rows, columns, out);
            }
        }
    }

    /// Order 1.
    fn linear<P: Pixel>(&self, source: &[P], out: &mut [f32]) {
        match self.shape.channels {
            1 => self.linear_dispatched::<P, 1>(source, out),
            3 => self.linear_dispatched::<P, 3>(source, out),
            4 => self.linear_dispatched::<P, 4>(source, out),
            _ => self.linear_dispatched::<P, 0>(source, out),
        }
    }

    fn linear_dispatched<P: Pixel, const C: usize>(&self, source: &[P], out: &mut [f32]) {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has what the function is compiled for.
            return unsafe { self.linear_avx2::<P, C>(source, out) };
        }
        self.linear_channels::<P, C>(source, out);
    }

    /// The same code with wider registers; the same bits come out.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn linear_avx2<P: Pixel, const C: usize>(&self, source: &[P], out: &mut [f32]) {
        self.linear_channels::<P, C>(source, out);
    }

    /// Order 1 for `C` channels, or for any number of them if `C` is 0.
    #[inline(always)]
    fn linear_channels<P: Pixel, const C: usize>(&self, source: &[P], out: &mut [f32]) {
        let ImageShape { height, width, .. } = self.shape;
        let channels = if C == 0 { self.shape.channels } else { C };
        let next_row = if height > 1 { width * channels } else { 0 };
        let next_column = if width > 1 { channels } else { 0 };
        let lower_right = next_row + next_column;
        let (mut row, mut column) = ([0.0; CHUNK], [0.0; CHUNK]);
        let mut taps = Taps::new();
        for (y, out) in out.chunks_exact_mut(width * channels).enumerate() {
            let (rows, columns) = self.axes(y);
            for (chunk, out) in out.chunks_mut(CHUNK * channels).enumerate() {
                let walk = self.walk(chunk, out.len() / channels);
                rows.coordinates(walk, self.fill_mode, &mut row);
                columns.coordinates(walk, self.fill_mode, &mut column);
                taps.split(&row, &column, self.shape, self.rescale);
                for i in 0..walk.len {
                    let (here, there) = (taps.offset[i] as usize, i * channels);
                    let weights = [0, 1, 2, 3].map(|neighbour: usize| taps.weights[neighbour][i]);
                    let ends = (here + lower_right + 4, there + 4);
                    // Four values are one vector. Of a pixel of three the fourth belongs to the next,
                    // which overwrites it.
                    if (C == 3 || C == 4) && ends.0 <= source.len() && ends.1 <= out.len() {
                        // SAFETY: the last of them was just seen to lie in `source`.
                        let values = unsafe {
                            [
                                four(source, here),
                                four(source, here + next_column),
                                four(source, here + next_row),
                                four(source, here + lower_right),
                            ]
                        };
                        for (c, out) in out[there..ends.1].iter_mut().enumerate() {
                            *out = blend(
                                values[0][c],
                                values[1][c],
                                values[2][c],
                                values[3][c],
                                weights,
                            );
                        }
                        continue;
                    }
                    for (c, out) in out[there..there + channels].iter_mut().enumerate() {
                        let value = |step: usize| -> f32 {
                            // SAFETY: `Taps::split` puts the offset at the pixel (row, column) with
                            // row <= max(height - 2, 0) and column <= max(width - 2, 0), so that the
                            // pixels one row and one column on exist (or the steps are 0), and
                            // c < channels; `apply` checked that `source` has height * width *
                            // channels values.
                            unsafe { *source.get_unchecked(here + step + c) }.to_f32()
                        };
                        *out = blend(
                            value(0),
                            value(next_column),
                            value(next_row),
                            value(lower_right),
                            weights,
                        );
                    }
                }
                self.fill_outside(walk, rows, columns, out);
            }
        }
    }
}

/// The weighted sum of four neighbours.
#[inline(always)]
fn blend(
    upper_left: f32,
    upper_right: f32,
    lower_left: f32,
    lower_right: f32,
    weights: [f32; 4],
) -> f32 {
    upper_left * weights[0]
        + upper_right * weights[1]
        + lower_left * weights[2]
        + lower_right * weights[3]
}

/// Four values from `at` on.
///
/// # Safety
/// `source` has them.
#[inline(always)]
unsafe fn four<P: Pixel>(source: &[P], at: usize) -> [f32; 4] {
    // SAFETY: the caller vouches for it.
    let values: [P; 4] = unsafe { source.as_ptr().add(at).cast::<[P; 4]>().read_unaligned() };
    [
        values[0].to_f32(),
        values[1].to_f32(),
        values[2].to_f32(),
        values[3].to_f32(),
    ]
}

/// Where the pixels of a chunk are sampled: the offset of the upper left neighbour and the weights
/// of the four.
struct Taps {
    offset: [u32; CHUNK],
    weights: [[f32; CHUNK]; 4],
}

impl Taps {
    fn new() -> Self {
        Self {
            offset: [0; CHUNK],
            weights: [[0.0; CHUNK]; 4],
        }
    }

    /// Splits coordinates, already folded into the image, into neighbours and weights times
    /// `rescale`.
    #[inline(always)]
    fn split(
        &mut self,
        rows: &[f64; CHUNK],
        columns: &[f64; CHUNK],
        shape: ImageShape,
        rescale: f32,
    ) {
        let (mut row_index, mut row_part) = ([0; CHUNK], [0.0; CHUNK]);
        let (mut column_index, mut column_part) = ([0; CHUNK], [0.0; CHUNK]);
        split_axis(rows, shape.height, &mut row_index, &mut row_part);
        split_axis(columns, shape.width, &mut column_index, &mut column_part);
        let (width, channels) = (shape.width as i32, shape.channels as i32);
        for i in 0..CHUNK {
            self.offset[i] = ((row_index[i] * width + column_index[i]) * channels) as u32;
            let (lower, right) = (row_part[i] * rescale, column_part[i]);
            let (upper, left) = ((1.0 - row_part[i]) * rescale, 1.0 - column_part[i]);
            self.weights[0][i] = upper * left;
            self.weights[1][i] = upper * right;
            self.weights[2][i] = lower * left;
            self.weights[3][i] = lower * right;
        }
    }
}

/// Splits coordinates in `[0, length - 1]` into index and fraction, the index at most `length - 2`
/// (0 for one pixel) so that the next one exists.
#[inline(always)]
fn split_axis(
    coordinates: &[f64; CHUNK],
    length: usize,
    index: &mut [i32; CHUNK],
    fraction: &mut [f32; CHUNK],
) {
    let highest = length.saturating_sub(2) as i32;
    for i in 0..CHUNK {
        // SAFETY: coordinates were clamped to [0, length - 1] and length fits an i32
        // (`ImageShape::MAX_VALUES`).
        let whole = unsafe { coordinates[i].to_int_unchecked::<i32>() };
        index[i] = whole.min(highest);
        fraction[i] = (coordinates[i] - f64::from(index[i])) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wider_registers_give_the_same_bits() {
        let shape = ImageShape::new(37, 45, 3);
        let source: Vec<u8> = (0..37 * 45 * 3).map(|i| (i * 7919 % 251) as u8).collect();
        let params = TransformParams {
            rotation_deg: 17.3,
            height_shift_px: 2.7,
            shear_deg: 5.0,
            zoom_width: 0.9,
            ..TransformParams::default()
        };
        for fill_mode in [
            FillMode::Constant,
            FillMode::Nearest,
            FillMode::Reflect,
            FillMode::Wrap,
        ] {
            let warp = Warp {
                matrix: Geometry::Keros.matrix(&params, shape).unwrap(),
                shape,
                flip_horizontal: true,
                flip_vertical: false,
                fill_mode,
                outside: 3.0,
                rescale: 1.0 / 255.0,
            };
            let (mut plain, mut dispatched) = (vec![0.0; source.len()], vec![0.0; source.len()]);
            warp.linear_channels::<u8, 3>(&source, &mut plain);
            warp.linear_dispatched::<u8, 3>(&source, &mut dispatched);
            assert_eq!(plain, dispatched, "{fill_mode:?}");
        }
    }
}
