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
    /// An image is so long and thin that resizing it would take too much memory.
    #[error(
        "resizing an image of {shape}: it takes too many {what} (expected at most {limit}, found {found})"
    )]
    TooLargeToResize {
        /// Shape of the image.
        shape: ImageShape,
        /// What there would be too many of, in words.
        what: &'static str,
        /// The most there may be.
        limit: usize,
        /// How many there would be.
        found: usize,
    },
    /// A buffer does not hold exactly the values of its shape.
    #[error(
        "reading an image: the {buffer} buffer does not fit the shape {shape} (expected {expected} values, found {found})"
    )]
    BufferLength {
        /// Which buffer: `source`, `output`, `mean`, …
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
    #[error("warping an image: unknown interpolation_order (expected 0 to 5, found {found})")]
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
    /// The values of black and white are not finite, or not in this order.
    #[error(
        "changing the values of an image: value_range must rise (expected black < white, found black {black}, white {white})"
    )]
    ValueRange {
        /// The value of black.
        black: f32,
        /// The value of white.
        white: f32,
    },
    /// Values that a change of brightness would clip to black or white.
    #[error(
        "changing the brightness of an image: values lie outside of value_range (expected {black} to {white}, found {low} to {high})"
    )]
    OutsideValueRange {
        /// The value of black.
        black: f32,
        /// The value of white.
        white: f32,
        /// The smallest value of the image.
        low: f32,
        /// The largest value of the image.
        high: f32,
    },
    /// A parameter is a number, but not one that works.
    #[error(
        "changing the values of an image: {name} is out of range (expected {expected}, found {found})"
    )]
    Parameter {
        /// Name of the parameter, as the field or setter is called.
        name: &'static str,
        /// What it may be.
        expected: &'static str,
        /// Its value.
        found: f64,
    },
    /// Saturation or hue of an image that has no colours.
    #[error(
        "changing the colours of an image: wrong number of channels (expected 1, 3 or 4, found {found})"
    )]
    NoColours {
        /// Number of channels.
        found: usize,
    },
    /// A box does not lie in the image.
    #[error(
        "taking a box of an image: the box is not inside (expected a part of {shape}, found {height}×{width} from row {top}, column {left} on)"
    )]
    BoxOutside {
        /// First row.
        top: usize,
        /// First column.
        left: usize,
        /// Number of rows.
        height: usize,
        /// Number of columns.
        width: usize,
        /// Shape of the image.
        shape: ImageShape,
    },
    /// Two images or labels that are mixed have different lengths.
    #[error(
        "mixing two samples: they differ in length (expected {expected} values in the second, found {found})"
    )]
    PartnerLength {
        /// Length of the first.
        expected: usize,
        /// Length of the second.
        found: usize,
    },
    /// A standardization needs numbers of the data set that were not computed.
    #[error(
        "standardizing an image: {step} needs statistics of the data (expected those of a fit, found {found})"
    )]
    NotFitted {
        /// The step, as its setter is called.
        step: &'static str,
        /// What is there instead.
        found: &'static str,
    },
    /// The statistics are of images of another shape.
    #[error("standardizing an image: wrong shape (expected {expected}, found {found})")]
    ShapeMismatch {
        /// Shape of the images that were fitted.
        expected: ImageShape,
        /// Shape of this one.
        found: ImageShape,
    },
    /// Statistics of no images.
    #[error("computing statistics: no images (expected at least 1, found 0)")]
    NoImages,
    /// An image with a value that is NaN or infinite has no mean.
    #[error(
        "computing statistics: a value of an image is not finite (expected numbers, found {found} at row {row}, column {column}, channel {channel})"
    )]
    NotFiniteValue {
        /// The value, rescaled.
        found: f32,
        /// Where it is.
        row: usize,
        /// Where it is.
        column: usize,
        /// Where it is.
        channel: usize,
    },
    /// A whitening matrix would be too large.
    #[error(
        "computing statistics: images are too large for zca_whitening (expected at most {limit} values, found {found} in {shape})"
    )]
    WhiteningSize {
        /// The most values an image may have.
        limit: usize,
        /// Values of these images.
        found: usize,
        /// Their shape.
        shape: ImageShape,
    },
    /// A direction in which the images do not vary is amplified without bound.
    #[error(
        "computing statistics: the whitening matrix is not finite (expected a larger zca_epsilon, found {found})"
    )]
    WhiteningEpsilon {
        /// The epsilon that was given.
        found: f64,
    },
    /// An image cannot be written in a format.
    #[error("encoding a {format} image of {shape}: {reason}")]
    Unwritable {
        /// Format of the file.
        format: Format,
        /// Shape of the image.
        shape: ImageShape,
        /// What the encoder said.
        reason: String,
    },
}
