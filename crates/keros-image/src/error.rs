//! The one error type of the crate: what was being done to an image, and what was wrong with it.

use thiserror::Error;

use crate::{ColorMode, Format, ImageShape};

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
    /// The bytes are of no format that is read.
    #[error(
        "decoding an image: unknown format (expected PNG, JPEG, BMP, PNM, GIF, TIFF or WebP, found {length} bytes that begin with {begin:02x?})"
    )]
    UnknownFormat {
        /// Number of bytes.
        length: usize,
        /// The first of them, at most eight.
        begin: Vec<u8>,
    },
    /// The file claims more pixels than are allowed.
    #[error(
        "decoding a {format} image: {height}×{width} pixels are too many (expected at most {limit} pixels, found {})",
        u64::from(*height) * u64::from(*width)
    )]
    TooManyPixels {
        /// Format of the file.
        format: Format,
        /// Height that the file claims.
        height: u32,
        /// Width that the file claims.
        width: u32,
        /// The limit, see [`Decoder::max_pixels`](crate::Decoder::max_pixels).
        limit: u64,
    },
    /// The file ends before the picture does.
    #[error(
        "decoding a {format} image: the file is truncated (expected the end of the picture, found the end of the file after {length} bytes)"
    )]
    Truncated {
        /// Format of the file.
        format: Format,
        /// Number of bytes.
        length: usize,
    },
    /// The file is damaged, or uses a part of its format that is not read.
    #[error("decoding a {format} image: {reason}")]
    Undecodable {
        /// Format of the file.
        format: Format,
        /// What the decoder of this format found.
        reason: String,
    },
    /// The pixels have a kind of values that the colour mode cannot take.
    #[error(
        "decoding a {format} image: {found} pixels do not fit the colour mode {mode} (expected 8 or 16 bits per channel)"
    )]
    PixelKind {
        /// Format of the file.
        format: Format,
        /// What was asked for.
        mode: ColorMode,
        /// Kind of the pixels, such as `Rgb32F`.
        found: String,
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
