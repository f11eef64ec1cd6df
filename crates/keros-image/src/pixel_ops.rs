//! What is done to the values of an image after the warp: channel shift, brightness, colour jitter
//! and erasing, as plain parameters and one function that applies them.

mod brightness;
mod erasing;
mod jitter;
mod mixing;

pub use brightness::BrightnessStyle;
pub(crate) use brightness::stretch;
pub use erasing::{EraseParams, RandomErasing};
pub use jitter::{ColorJitter, ColorJitterParams};
pub use mixing::{CutMix, CutMixParams, MixUp, MixUpParams};

use serde::{Deserialize, Serialize};

use crate::{ImageError, ImageShape, Pixel};

/// What is done to the values of one image. The default is neutral: nothing is changed.
///
/// The order of application is that of the fields. The first two are Keras's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PixelParams {
    /// Added to every value (`channel_shift_intensity`); the result is clipped to the smallest and
    /// the largest value of the image before. 0 is neutral.
    pub channel_shift: f64,
    /// Factor of the brightness, at least 0. `None` leaves the values alone; what a factor does, 1
    /// included, is told by [`BrightnessStyle`]. A fourth channel is alpha, and not multiplied.
    pub brightness: Option<f64>,
    /// Changes of brightness, contrast, saturation and hue.
    pub color_jitter: Option<ColorJitterParams>,
    /// The box that is overwritten.
    pub erase: Option<EraseParams>,
}

/// How values are changed: everything that is not drawn per image.
///
/// Setters consume and return the value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PixelOps {
    value_range: (f32, f32),
    brightness_style: BrightnessStyle,
}

impl Default for PixelOps {
    fn default() -> Self {
        Self {
            value_range: (0.0, 255.0),
            brightness_style: BrightnessStyle::default(),
        }
    }
}

impl PixelOps {
    /// Values 0..=255, and [`BrightnessStyle::Keros`].
    pub fn new() -> Self {
        Self::default()
    }

    /// The values of black and white, in the unit of the image. Default: 0 and 255.
    pub fn value_range(mut self, black: f32, white: f32) -> Self {
        self.value_range = (black, white);
        self
    }

    /// What a brightness means. Default: [`BrightnessStyle::Keros`].
    pub fn brightness_style(mut self, style: BrightnessStyle) -> Self {
        self.brightness_style = style;
        self
    }

    /// Whether the settings can be applied at all.
    ///
    /// # Errors
    /// A value range that is not finite, or not rising.
    pub fn check(&self) -> Result<(), ImageError> {
        let (black, white) = self.value_range;
        if black < white && (white - black).is_finite() {
            Ok(())
        } else {
            Err(ImageError::ValueRange { black, white })
        }
    }

    /// Whether the brightness of an image can be changed: its values, as they are before any other
    /// change, lie in the value range. [`BrightnessStyle::Keros`] clips to that range, so that an
    /// image of 16 bits would become white where white is 255; Keras's styles stretch the values
    /// instead and take any.
    ///
    /// # Errors
    /// Values outside of the value range, which would be clipped.
    pub fn check_values<P: Pixel>(&self, image: &[P]) -> Result<(), ImageError> {
        let (black, white) = self.value_range;
        let (least, most) = P::RANGE;
        if self.brightness_style != BrightnessStyle::Keros || (black <= least && most <= white) {
            return Ok(());
        }
        let (low, high) = extremes(image);
        if low < black || high > white {
            return Err(ImageError::OutsideValueRange {
                black,
                white,
                low,
                high,
            });
        }
        Ok(())
    }

    /// Changes one image in place.
    ///
    /// # Shapes
    /// `image` holds `shape` values, `[height, width, channels]`. Contrast works on any number of
    /// channels; saturation and hue need three or four (the fourth is alpha and stays), and leave
    /// images of one channel alone.
    ///
    /// # Determinism
    /// The result is a pure function of the arguments; sums are taken in `f64`, in order.
    ///
    /// # Errors
    /// What [`PixelOps::check`] refuses; a buffer that does not fit the shape; parameters that are
    /// not finite, or negative factors; saturation or hue of another number of channels; a box that
    /// does not lie in the image. The image is not touched in these cases.
    pub fn apply(
        &self,
        params: &PixelParams,
        image: &mut [f32],
        shape: ImageShape,
    ) -> Result<(), ImageError> {
        self.check()?;
        shape.check_length("source", image.len())?;
        finite("channel_shift", params.channel_shift)?;
        if let Some(factor) = params.brightness {
            factor_of("brightness", factor)?;
        }
        if let Some(jitter) = &params.color_jitter {
            jitter.check(shape)?;
        }
        if let Some(erase) = &params.erase {
            erase.check(shape)?;
        }

        if params.channel_shift != 0.0 {
            let (low, high) = extremes(image);
            let shift = params.channel_shift as f32;
            for value in image.iter_mut() {
                *value = (*value + shift).max(low).min(high);
            }
        }
        if let Some(factor) = params.brightness {
            self.brightness_style
                .apply(factor, self.value_range, image, shape.channels);
        }
        if let Some(jitter) = &params.color_jitter {
            jitter.apply(self.value_range, image, shape);
        }
        if let Some(erase) = &params.erase {
            erase.apply(image, shape);
        }
        Ok(())
    }
}

/// The smallest and the largest value.
pub(crate) fn extremes<P: Pixel>(values: &[P]) -> (f32, f32) {
    let start = (f32::INFINITY, f32::NEG_INFINITY);
    let values = values.iter().map(|value| value.to_f32());
    values.fold(start, |(low, high), v| (low.min(v), high.max(v)))
}

pub(crate) fn finite(name: &'static str, value: f64) -> Result<(), ImageError> {
    match value.is_finite() {
        true => Ok(()),
        false => Err(ImageError::NotFinite { name, value }),
    }
}

/// A factor: finite and at least zero.
pub(crate) fn factor_of(name: &'static str, value: f64) -> Result<(), ImageError> {
    check_parameter(name, value, "at least 0", value >= 0.0)
}

/// A parameter: finite, and what it is expected to be.
fn check_parameter(
    name: &'static str,
    value: f64,
    expected: &'static str,
    good: bool,
) -> Result<(), ImageError> {
    finite(name, value)?;
    match good {
        true => Ok(()),
        false => Err(ImageError::Parameter {
            name,
            expected,
            found: value,
        }),
    }
}
