//! Where the channels of images are in an array.

use keros_image::ImageShape;
use ndarray::{ArcArray, IxDyn};
use serde::{Deserialize, Serialize};

use crate::{Array, DataError};

/// Where the channels are in an array of images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DataFormat {
    /// `[…, height, width, channels]`.
    #[default]
    ChannelsLast,
    /// `[…, channels, height, width]`.
    ChannelsFirst,
}

impl DataFormat {
    fn words(self) -> &'static str {
        match self {
            Self::ChannelsLast => "[height, width, channels]",
            Self::ChannelsFirst => "[channels, height, width]",
        }
    }

    /// The shape of an image of this shape in an array.
    pub(crate) fn axes(self, shape: ImageShape) -> [usize; 3] {
        let ImageShape {
            height,
            width,
            channels,
        } = shape;
        match self {
            Self::ChannelsLast => [height, width, channels],
            Self::ChannelsFirst => [channels, height, width],
        }
    }

    fn shape(self, axes: [usize; 3]) -> ImageShape {
        let [a, b, c] = axes;
        match self {
            Self::ChannelsLast => ImageShape::new(a, b, c),
            Self::ChannelsFirst => ImageShape::new(b, c, a),
        }
    }
}

/// The shape of an array that is one image.
pub(crate) fn image_shape(image: &Array, format: DataFormat) -> Result<ImageShape, DataError> {
    match *image.shape() {
        [a, b, c] => Ok(format.shape([a, b, c])),
        ref found => Err(DataError::shape(
            "transforming an image",
            "the image",
            format.words(),
            found,
        )),
    }
}

/// An array of images with the channels last and its elements in order, and the shape of an image.
pub(crate) fn images(
    x: &Array,
    format: DataFormat,
    doing: &'static str,
) -> Result<(Array, ImageShape), DataError> {
    let [_, a, b, c] = *x.shape() else {
        let expected = format.words().replace('[', "[samples, ");
        return Err(DataError::shape(doing, "x", expected, x.shape()));
    };
    if !matches!(x, Array::U8(_) | Array::F32(_)) {
        return Err(DataError::ElementType {
            doing,
            what: "x",
            expected: "u8 or f32",
            found: x.dtype(),
        });
    }
    let shape = format.shape([a, b, c]);
    shape.values()?;
    Ok((to_channels_last(x, format), shape))
}

/// The array with the last three axes as height, width, channels, its elements in order.
pub(crate) fn to_channels_last(x: &Array, format: DataFormat) -> Array {
    if format == DataFormat::ChannelsLast {
        return x.to_standard_layout();
    }
    fn turned<T: Clone>(x: &ArcArray<T, IxDyn>) -> ArcArray<T, IxDyn> {
        let rank = x.ndim();
        let mut axes: Vec<usize> = (0..rank).collect();
        axes[rank - 3..].rotate_left(1);
        x.clone().permuted_axes(axes)
    }
    match x {
        Array::U8(x) => Array::U8(turned(x)),
        Array::F32(x) => Array::F32(turned(x)),
        Array::I64(x) => Array::I64(turned(x)),
    }
    .to_standard_layout()
}

/// Brings the values of an image, channels last, into the order of channels first.
pub(crate) fn to_channels_first(image: &mut [f32], shape: ImageShape) {
    let last = image.to_vec();
    let pixels = shape.height * shape.width;
    for (channel, plane) in image.chunks_exact_mut(pixels).enumerate() {
        let values = last.iter().skip(channel).step_by(shape.channels);
        plane
            .iter_mut()
            .zip(values)
            .for_each(|(to, from)| *to = *from);
    }
}
