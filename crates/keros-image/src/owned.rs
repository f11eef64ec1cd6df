//! An image that owns its pixels: what decoding gives and resizing takes.

use crate::{ImageError, ImageShape};

/// The pixel values of an [`Image`], `[height, width, channels]`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Pixels {
    /// Bytes, 0..=255.
    U8(Vec<u8>),
    /// Anything else: the values of 16-bit grayscale files (0..=65535), or floats.
    F32(Vec<f32>),
}

/// An image: a shape and as many values.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    shape: ImageShape,
    pixels: Pixels,
}

impl Image {
    /// An image of the given shape and values.
    ///
    /// # Errors
    /// When the shape is empty or too large, or the number of values is not that of the shape.
    pub fn new(shape: ImageShape, pixels: Pixels) -> Result<Self, ImageError> {
        let found = match &pixels {
            Pixels::U8(values) => values.len(),
            Pixels::F32(values) => values.len(),
        };
        shape.check_length("source", found)?;
        Ok(Self { shape, pixels })
    }

    /// Height, width and channels.
    pub fn shape(&self) -> ImageShape {
        self.shape
    }

    /// The values.
    pub fn pixels(&self) -> &Pixels {
        &self.pixels
    }

    /// The values, taken out.
    pub fn into_pixels(self) -> Pixels {
        self.pixels
    }

    /// The values as floats; bytes keep their range 0..=255.
    pub fn into_f32(self) -> Vec<f32> {
        match self.pixels {
            Pixels::U8(values) => values.into_iter().map(f32::from).collect(),
            Pixels::F32(values) => values,
        }
    }
}
