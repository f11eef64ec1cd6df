//! Resizing to a given height and width exactly as Pillow 11.3 does, which is what Keras's
//! `target_size`, `interpolation` and `keep_aspect_ratio` mean.

mod bytes;
mod passes;
mod weights;

use serde::{Deserialize, Serialize};

use crate::{Image, ImageError, ImageShape, Pixels};
use passes::Value;
use weights::Weights;

/// How a resized pixel is made of the original ones.
///
/// All but [`Interpolation::Nearest`] are antialiased: when shrinking, every original pixel counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Interpolation {
    /// The nearest pixel. Keras's default.
    #[default]
    Nearest,
    /// A triangle, 1 pixel to either side.
    Bilinear,
    /// A cubic with a = −0.5, 2 pixels to either side.
    Bicubic,
    /// The mean of the pixels that fall together.
    Box,
    /// A Hamming window, 1 pixel to either side: sharper than bilinear.
    Hamming,
    /// Lanczos's windowed sinc, 3 pixels to either side.
    Lanczos,
}

/// How images are brought to one size.
///
/// ```
/// use keros_image::{Image, ImageShape, Interpolation, Pixels, Resize};
///
/// # fn main() -> Result<(), keros_image::ImageError> {
/// let image = Image::new(ImageShape::new(1, 4, 1), Pixels::U8(vec![0, 10, 20, 30]))?;
/// let small = Resize::new(1, 2).interpolation(Interpolation::Box).apply(image)?;
/// assert_eq!(small.pixels(), &Pixels::U8(vec![5, 25]));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resize {
    height: usize,
    width: usize,
    #[serde(default)]
    interpolation: Interpolation,
    #[serde(default)]
    keep_aspect_ratio: bool,
}

/// The part of an image that is resized: where it begins and how long it is, in pixels.
#[derive(Clone, Copy)]
struct Span {
    start: usize,
    length: usize,
}

impl Resize {
    /// To so many rows and columns, by the nearest pixel, without regard to the aspect ratio.
    pub fn new(height: usize, width: usize) -> Self {
        Self {
            height,
            width,
            interpolation: Interpolation::default(),
            keep_aspect_ratio: false,
        }
    }

    /// How pixels are made. Default: [`Interpolation::Nearest`].
    pub fn interpolation(mut self, interpolation: Interpolation) -> Self {
        self.interpolation = interpolation;
        self
    }

    /// Whether to cut the largest box with the aspect ratio of the new size out of the middle of
    /// the image first, instead of distorting it. Default: false.
    pub fn keep_aspect_ratio(mut self, keep: bool) -> Self {
        self.keep_aspect_ratio = keep;
        self
    }

    /// Resizes one image. An image that has the size already is given back as it is.
    ///
    /// The rows are resized first, then the columns. Bytes are computed in Pillow's 22-bit fixed
    /// point and rounded to bytes between the two; floats are summed in `f64` and rounded to `f32`
    /// between the two. Of images of four channels of bytes the last is alpha: unless the
    /// interpolation is nearest, colours are weighted by it, as Pillow does.
    ///
    /// # Errors
    /// A new size that is empty or too large; unless the interpolation is nearest, an image so long and
    /// thin that resizing it would take more memory than any image.
    pub fn apply(&self, image: Image) -> Result<Image, ImageError> {
        let from = image.shape();
        let to = ImageShape::new(self.height, self.width, from.channels);
        to.values()?;
        if to == from {
            return Ok(image);
        }
        let (rows, columns) = self.spans(from);
        let pixels = match (image.into_pixels(), self.interpolation) {
            (Pixels::U8(values), Interpolation::Nearest) => {
                Pixels::U8(nearest(&values, from, to, rows, columns))
            }
            (Pixels::F32(values), Interpolation::Nearest) => {
                Pixels::F32(nearest(&values, from, to, rows, columns))
            }
            (Pixels::U8(mut values), _) if from.channels == 4 => {
                premultiply(&mut values);
                let mut resized = self.resample(&values, from, to, rows, columns)?;
                unpremultiply(&mut resized);
                Pixels::U8(resized)
            }
            (Pixels::U8(values), _) => Pixels::U8(self.resample(&values, from, to, rows, columns)?),
            (Pixels::F32(values), _) => {
                Pixels::F32(self.resample(&values, from, to, rows, columns)?)
            }
        };
        Image::new(to, pixels)
    }

    /// Which rows and columns of the image are used.
    fn spans(&self, from: ImageShape) -> (Span, Span) {
        let crop = |length: usize, other: usize, to: usize, other_to: usize| {
            let wanted = (other as u128 * to as u128 / other_to as u128) as usize;
            match self.keep_aspect_ratio {
                true => length.min(wanted).max(1),
                false => length,
            }
        };
        let height = crop(from.height, from.width, self.height, self.width);
        let width = crop(from.width, from.height, self.width, self.height);
        let centred = |length: usize, of: usize| Span {
            start: (of - length) / 2,
            length,
        };
        (centred(height, from.height), centred(width, from.width))
    }

    fn resample<V: Value>(
        &self,
        source: &[V],
        from: ImageShape,
        to: ImageShape,
        rows: Span,
        columns: Span,
    ) -> Result<Vec<V>, ImageError> {
        let too_many = |what, limit, found| ImageError::TooLargeToResize {
            shape: from,
            what,
            limit,
            found,
        };
        let weights = |length, span, to| {
            Weights::new(self.interpolation, length, span, to)
                .map_err(|found| too_many("weights of an axis", Weights::MAX, found))
        };
        let across = weights(from.width, columns, to.width)?;
        let down = weights(from.height, rows, to.height)?;
        let used = down.used();
        let used_source = &source[used.start * from.width * from.channels
            ..(used.start + used.length) * from.width * from.channels];
        let narrow;
        let between = if to.width == from.width && columns.length == from.width {
            used_source
        } else {
            let found = used.length.saturating_mul(to.width * to.channels);
            if found > ImageShape::MAX_VALUES {
                let what = "values between the two passes";
                return Err(too_many(what, ImageShape::MAX_VALUES, found));
            }
            narrow = V::rows(used_source, from.width, from.channels, &across);
            &narrow
        };
        if to.height == from.height && rows.length == from.height {
            return Ok(between.to_vec());
        }
        Ok(V::columns(
            between,
            to.width * to.channels,
            used.start,
            &down,
        ))
    }
}

/// For each new pixel the index of the nearest original one. The coordinate is summed up step by
/// step, because the last bit decides.
fn nearest_indices(span: Span, length: usize, to: usize) -> Vec<usize> {
    let step = span.length as f64 / to as f64;
    let mut at = span.start as f64 + step * 0.5;
    let last = length - 1;
    let index = |_| {
        let index = (at as usize).min(last);
        at += step;
        index
    };
    (0..to).map(index).collect()
}

fn nearest<V: Value>(
    source: &[V],
    from: ImageShape,
    to: ImageShape,
    rows: Span,
    columns: Span,
) -> Vec<V> {
    let columns = nearest_indices(columns, from.width, to.width);
    let row_len = from.width * from.channels;
    let mut out = Vec::with_capacity(to.height * to.width * to.channels);
    for row in nearest_indices(rows, from.height, to.height) {
        let row = &source[row * row_len..(row + 1) * row_len];
        for column in &columns {
            let at = column * from.channels;
            out.extend_from_slice(&row[at..at + from.channels]);
        }
    }
    out
}

/// Pillow's conversion from RGBA to RGBa.
fn premultiply(values: &mut [u8]) {
    let (pixels, _) = values.as_chunks_mut::<4>();
    for [red, green, blue, alpha] in pixels {
        for colour in [red, green, blue] {
            let product = u32::from(*colour) * u32::from(*alpha) + 128;
            *colour = (((product >> 8) + product) >> 8) as u8;
        }
    }
}

/// Pillow's conversion from RGBa to RGBA.
fn unpremultiply(values: &mut [u8]) {
    let (pixels, _) = values.as_chunks_mut::<4>();
    for [red, green, blue, alpha] in pixels {
        if matches!(*alpha, 0 | 255) {
            continue;
        }
        for colour in [red, green, blue] {
            *colour = (255 * u32::from(*colour) / u32::from(*alpha)).min(255) as u8;
        }
    }
}
