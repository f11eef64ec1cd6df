//! Buffers of pixels: their shape and the types a pixel value may have.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ImageError;

/// Height, width and channels of an image whose values lie in that order (row by row, channels
/// together).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ImageShape {
    /// Number of rows.
    pub height: usize,
    /// Number of columns.
    pub width: usize,
    /// Number of values per pixel.
    pub channels: usize,
}

impl ImageShape {
    /// The most values an image may have: 2³⁰.
    pub const MAX_VALUES: usize = 1 << 30;

    /// An image of `height` rows, `width` columns and `channels` values per pixel.
    pub fn new(height: usize, width: usize, channels: usize) -> Self {
        Self {
            height,
            width,
            channels,
        }
    }

    /// Number of values, height × width × channels.
    ///
    /// # Errors
    /// When a side is zero or the product is above [`ImageShape::MAX_VALUES`].
    pub fn values(&self) -> Result<usize, ImageError> {
        if self.height == 0 || self.width == 0 || self.channels == 0 {
            return Err(ImageError::EmptyShape { shape: *self });
        }
        self.height
            .checked_mul(self.width)
            .and_then(|pixels| pixels.checked_mul(self.channels))
            .filter(|values| *values <= Self::MAX_VALUES)
            .ok_or(ImageError::TooLarge { shape: *self })
    }

    /// Number of values, if it is also the length of the named buffer.
    pub(crate) fn check_length(
        &self,
        buffer: &'static str,
        found: usize,
    ) -> Result<usize, ImageError> {
        let expected = self.values()?;
        if found != expected {
            return Err(ImageError::BufferLength {
                buffer,
                shape: *self,
                expected,
                found,
            });
        }
        Ok(expected)
    }
}

impl fmt::Display for ImageShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}×{}×{}", self.height, self.width, self.channels)
    }
}

/// A type that pixel values may have: `u8` or `f32`.
pub trait Pixel: Copy + sealed::Sealed {
    /// The value as `f32`; `u8` keeps its range 0..=255.
    fn to_f32(self) -> f32;
}

impl Pixel for u8 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from(self)
    }
}

impl Pixel for f32 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }
}

mod sealed {
    pub trait Sealed {
        /// The least and the largest value there can be.
        const RANGE: (f32, f32);
    }

    impl Sealed for u8 {
        const RANGE: (f32, f32) = (0.0, 255.0);
    }

    impl Sealed for f32 {
        const RANGE: (f32, f32) = (f32::NEG_INFINITY, f32::INFINITY);
    }
}
