//! The one error type of the crate: what was being done to an image, and what was wrong with it.

use thiserror::Error;

use crate::ImageShape;

/// Why an image could not be transformed.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum ImageError {
    /// A side of the image, or its number of channels, is zero.
    #[error(
        "reading an image: height, width and channels must not be zero (expected at least 1×1×1, found {shape})"
    )]
    EmptyShape {
        /// The shape that was given.
        shape: ImageShape,
    },
    /// The image has more values than the kernels can address.
    #[error(
        "reading an image: {shape} is too large (expected at most {} values)",
        ImageShape::MAX_VALUES
    )]
    TooLarge {
        /// The shape that was given.
        shape: ImageShape,
    },
    /// A buffer does not hold exactly the values of its shape.
    #[error(
        "reading an image: the {buffer} buffer does not fit the shape {shape} (expected {expected} values, found {found})"
    )]
    BufferLength {
        /// Which buffer: `source` or `output`.
        buffer: &'static str,
        /// The shape that was given.
        shape: ImageShape,
        /// height × width × channels.
        expected: usize,
        /// Length of the buffer.
        found: usize,
    },
    /// An interpolation order that is not implemented.
    #[error("warping an image: unknown interpolation_order (expected 0 or 1, found {found})")]
    InterpolationOrder {
        /// The order that was given.
        found: u8,
    },
    /// A parameter is NaN or infinite.
    #[error("warping an image: {name} must be finite (expected a number, found {value})")]
    NotFinite {
        /// Name of the parameter, as the field or setter is called.
        name: &'static str,
        /// Its value.
        value: f64,
    },
    /// Every parameter is finite, but together they exceed the range of `f64`.
    #[error(
        "warping an image: shifts and zooms are too large (expected a finite matrix, found an infinite one)"
    )]
    MatrixOverflow,
}
