//! Arrays as pictures: the images of a batch, and parameters.

use crate::config::DataFormat;
use keros_plugin::BoxError;
use png::{BitDepth, ColorType, Encoder};

/// Pictures of a parameter at most; the default of `tf.summary.image`.
const WEIGHT_PICTURES: usize = 3;

/// Pictures of one size.
#[derive(Debug)]
pub(crate) struct Pictures {
    pub(crate) width_px: usize,
    pub(crate) height_px: usize,
    /// Each as a file.
    pub(crate) pngs: Vec<Vec<u8>>,
}

/// Where the pixels of some pictures are in an array.
#[derive(Clone, Copy, Debug)]
struct Layout {
    count: usize,
    height_px: usize,
    width_px: usize,
    channels: usize,
    /// From one picture, row, column and channel to the next, in values.
    strides: [usize; 4],
}

/// The first `most` images of a batch, and how their values became pixels: values from 0 to 1 are
/// spread over the 256 levels, others up to 255 are levels already, and anything else, as what is
/// standardized, is spread from the least of the batch to the greatest. `None` if the shape is not
/// that of images.
pub(crate) fn samples(
    values: &[f32],
    shape: &[usize],
    format: DataFormat,
    most: usize,
) -> Result<Option<(Pictures, String)>, BoxError> {
    check_count(values, shape)?;
    let Some(mut layout) = Layout::of_samples(shape, format) else {
        return Ok(None);
    };
    layout.count = layout.count.min(most);
    let (least, greatest) = bounds(values);
    let (scale, offset, told) = if least >= 0.0 && greatest <= 1.0 {
        (255.0, 0.0, "values from 0 to 1".to_owned())
    } else if least >= 0.0 && greatest <= 255.0 {
        (1.0, 0.0, "values from 0 to 255".to_owned())
    } else {
        let scale = 255.0 / (greatest - least).max(f32::MIN_POSITIVE);
        let told = format!("values from {least} (black) to {greatest} (white)");
        (scale, -least * scale, told)
    };
    let pictures = layout.draw(values, |value| value * scale + offset)?;
    Ok(Some((pictures, told)))
}

/// A parameter as pictures: a vector as a column, a matrix as it is or lying, the kernels of a
/// convolution each by itself, in colour if they look at three channels. Zero is grey if any value is
/// below it, else black; the value farthest from zero is black or white. `None` if no picture comes
/// out of the shape.
pub(crate) fn weights(values: &[f32], shape: &[usize]) -> Result<Option<Pictures>, BoxError> {
    check_count(values, shape)?;
    let sizes: Vec<usize> = shape.iter().copied().filter(|size| *size != 1).collect();
    let Some(layout) = Layout::of_weights(&sizes) else {
        return Ok(None);
    };
    let (least, greatest) = bounds(values);
    let farthest = greatest.max(-least).max(f32::MIN_POSITIVE);
    let pictures = if least < 0.0 {
        layout.draw(values, |value| 127.5 + value / farthest * 127.5)
    } else {
        layout.draw(values, |value| value / farthest * 255.0)
    };
    pictures.map(Some)
}

impl Layout {
    fn of_samples(shape: &[usize], format: DataFormat) -> Option<Layout> {
        let (count, height_px, width_px, channels) = match *shape {
            [n, h, w] => (n, h, w, 1),
            [n, h, w, c] if format == DataFormat::ChannelsLast => (n, h, w, c),
            [n, c, h, w] => (n, h, w, c),
            _ => return None,
        };
        let (row, column, channel) = match format {
            DataFormat::ChannelsLast => (width_px * channels, channels, 1),
            DataFormat::ChannelsFirst => (width_px, 1, height_px * width_px),
        };
        let layout = Layout {
            count,
            height_px,
            width_px,
            channels,
            strides: [height_px * width_px * channels, row, column, channel],
        };
        layout.checked()
    }

    /// The layout of Keras's kernels, without sizes of 1.
    fn of_weights(sizes: &[usize]) -> Option<Layout> {
        let (count, height_px, width_px, channels, strides) = match *sizes {
            [] => (1, 1, 1, 1, [0; 4]),
            [n] => (1, n, 1, 1, [0, 1, 0, 0]),
            [h, w] if h > w => (1, w, h, 1, [0, 1, w, 0]),
            [h, w] => (1, h, w, 1, [0, w, 1, 0]),
            [h, w, n] => (n, h, w, 1, [1, w * n, n, 0]),
            [h, w, c @ 3, n] => (n, h, w, c, [1, w * c * n, c * n, n]),
            _ => return None,
        };
        let layout = Layout {
            count: count.min(WEIGHT_PICTURES),
            height_px,
            width_px,
            channels,
            strides,
        };
        layout.checked()
    }

    fn checked(self) -> Option<Layout> {
        let seen = self.count > 0 && self.height_px > 0 && self.width_px > 0;
        (seen && matches!(self.channels, 1 | 3 | 4)).then_some(self)
    }

    /// Draws values as the levels that `level` gives them, 0 to 255; what is beyond is cut off, and
    /// what is not a number is black.
    fn draw(&self, values: &[f32], level: impl Fn(f32) -> f32) -> Result<Pictures, BoxError> {
        let [picture, row, column, channel] = self.strides;
        let mut pngs = Vec::with_capacity(self.count);
        for i in 0..self.count {
            let mut pixels = Vec::with_capacity(self.height_px * self.width_px * self.channels);
            for y in 0..self.height_px {
                for x in 0..self.width_px {
                    for c in 0..self.channels {
                        let value = values[i * picture + y * row + x * column + c * channel];
                        pixels.push(level(value).round() as u8);
                    }
                }
            }
            pngs.push(self.encode(&pixels)?);
        }
        Ok(Pictures {
            width_px: self.width_px,
            height_px: self.height_px,
            pngs,
        })
    }

    fn encode(&self, pixels: &[u8]) -> Result<Vec<u8>, BoxError> {
        let mut file = Vec::new();
        let (width, height) = (
            u32::try_from(self.width_px)?,
            u32::try_from(self.height_px)?,
        );
        let mut encoder = Encoder::new(&mut file, width, height);
        encoder.set_depth(BitDepth::Eight);
        encoder.set_color(match self.channels {
            1 => ColorType::Grayscale,
            3 => ColorType::Rgb,
            _ => ColorType::Rgba,
        });
        encoder.write_header()?.write_image_data(pixels)?;
        Ok(file)
    }
}

/// Pixels are found by their shape, so there must be as many values as it says.
fn check_count(values: &[f32], shape: &[usize]) -> Result<(), BoxError> {
    let expected: usize = shape.iter().product();
    match values.len() {
        found if found == expected => Ok(()),
        found => {
            Err(format!("drawing {shape:?}: expected {expected} values, found {found}").into())
        }
    }
}

/// The least and the greatest of the finite values; 0 and 0 without any.
fn bounds(values: &[f32]) -> (f32, f32) {
    let finite = || values.iter().copied().filter(|value| value.is_finite());
    match (finite().reduce(f32::min), finite().reduce(f32::max)) {
        (Some(least), Some(greatest)) => (least, greatest),
        _ => (0.0, 0.0),
    }
}
