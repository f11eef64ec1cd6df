//! Brightness: the right one, and Keras's two historical ones, which pass through bytes.

use serde::{Deserialize, Serialize};

use super::extremes;

/// What a brightness of `factor` does to the values of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BrightnessStyle {
    /// `black + factor · (value − black)`, clipped to black and white of the declared value range.
    /// In floats; 1 changes nothing within the range.
    /// [`PixelOps::check_values`](super::PixelOps::check_values) finds images that are not in it.
    #[default]
    Keros,
    /// As keras-preprocessing 1.1.2 (Keras 2.0 to 2.8) did: the image is stretched to 0..=255,
    /// truncated to bytes, multiplied, truncated and clipped, and not stretched back. 1 changes the
    /// image, and an image of one colour becomes black.
    KerasPreprocessing112,
    /// As tf.keras 2.4 and later, tf-keras and Keras 3 do: an image with values outside of 0..=255
    /// is stretched and later stretched back; any other is truncated to bytes directly, so that an
    /// image of values 0..=1 loses everything between.
    TfKeras,
}

impl BrightnessStyle {
    /// Changes the values; the factor is finite and not negative. A fourth channel is alpha, which is not multiplied.
    pub(super) fn apply(
        self,
        factor: f64,
        (black, white): (f32, f32),
        values: &mut [f32],
        channels: usize,
    ) {
        let factor = factor as f32;
        if self == BrightnessStyle::Keros {
            let bright = |value: f32| (black + factor * (value - black)).clamp(black, white);
            return change_colours(values, channels, bright);
        }
        let (low, high) = extremes(values);
        let historical = self == BrightnessStyle::KerasPreprocessing112;
        let stretched = historical || low < 0.0 || high > 255.0;
        if stretched {
            stretch(values, (low, high));
        }
        values.iter_mut().for_each(|value| *value = value.trunc());
        let bright = |value: f32| (factor * value).trunc().clamp(0.0, 255.0);
        change_colours(values, channels, bright);
        if stretched && !historical {
            for value in values {
                *value = *value / 255.0 * (high - low) + low;
            }
        }
    }
}

fn change_colours(values: &mut [f32], channels: usize, change: impl Fn(f32) -> f32) {
    let (pixel, colours) = match channels {
        4 => (4, 3),
        _ => (values.len().max(1), values.len()),
    };
    for pixel in values.chunks_exact_mut(pixel) {
        pixel[..colours]
            .iter_mut()
            .for_each(|value| *value = change(*value));
    }
}

/// Keras's `array_to_img`: the smallest value becomes 0 and the largest 255.
pub(crate) fn stretch(values: &mut [f32], (low, high): (f32, f32)) {
    let range = high - low;
    for value in values {
        *value -= low;
        if range != 0.0 {
            *value /= range;
        }
        *value *= 255.0;
    }
}
