//! Colour jitter: brightness, contrast, saturation and hue, as torchvision defines them.

use serde::{Deserialize, Serialize};

use super::{check_parameter, factor_of};
use crate::{ImageError, ImageShape};

/// The changes of colour of one image, applied in this order. The default is neutral.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ColorJitterParams {
    /// Factor of all values. 1 is neutral, 0 makes the image black.
    pub brightness: f64,
    /// Factor of the distance to the mean luma of the image. 1 is neutral, 0 makes it gray.
    pub contrast: f64,
    /// Factor of the distance to the luma of the pixel. 1 is neutral, 0 takes all colour away.
    pub saturation: f64,
    /// Part of the circle of hues by which the hue is turned, -0.5..=0.5. 0 is neutral.
    pub hue: f64,
}

impl Default for ColorJitterParams {
    fn default() -> Self {
        Self {
            brightness: 1.0,
            contrast: 1.0,
            saturation: 1.0,
            hue: 0.0,
        }
    }
}

/// Luma as torchvision weighs it (ITU-R 601).
fn luma([red, green, blue]: [f32; 3]) -> f32 {
    0.2989 * red + 0.587 * green + 0.114 * blue
}

impl ColorJitterParams {
    pub(super) fn check(&self, shape: ImageShape) -> Result<(), ImageError> {
        factor_of("brightness", self.brightness)?;
        factor_of("contrast", self.contrast)?;
        factor_of("saturation", self.saturation)?;
        let turn = (-0.5..=0.5).contains(&self.hue);
        check_parameter("hue", self.hue, "-0.5..=0.5", turn)?;
        let colours = self.saturation != 1.0 || self.hue != 0.0;
        match shape.channels {
            1 | 3 | 4 => Ok(()),
            found if colours => Err(ImageError::NoColours { found }),
            _ => Ok(()),
        }
    }

    /// Changes the values; the parameters were checked.
    pub(super) fn apply(&self, range: (f32, f32), image: &mut [f32], shape: ImageShape) {
        match shape.channels {
            3 => self.colours(range, image.as_chunks_mut::<3>().0.iter_mut()),
            4 => {
                let pixels = image.as_chunks_mut::<4>().0.iter_mut();
                let colours = pixels.filter_map(|pixel| pixel.first_chunk_mut::<3>());
                self.colours(range, colours.collect::<Vec<_>>().into_iter());
            }
            _ => self.light(range, image),
        }
    }

    /// Brightness and contrast of values without colour.
    fn light(&self, (black, white): (f32, f32), values: &mut [f32]) {
        let (brightness, contrast) = (self.brightness as f32, self.contrast as f32);
        let mut sum = 0.0;
        for value in values.iter_mut() {
            *value = blend(*value, black, brightness).clamp(black, white);
            sum += f64::from(*value);
        }
        let mean = (sum / values.len() as f64) as f32;
        if contrast != 1.0 {
            for value in values {
                *value = blend(*value, mean, contrast).clamp(black, white);
            }
        }
    }

    fn colours<'a>(
        &self,
        (black, white): (f32, f32),
        pixels: impl ExactSizeIterator<Item = &'a mut [f32; 3]>,
    ) {
        let count = pixels.len();
        let (brightness, contrast) = (self.brightness as f32, self.contrast as f32);
        let (saturation, hue) = (self.saturation as f32, self.hue as f32);
        let mut sum = 0.0;
        let mut pixels: Vec<_> = pixels.collect();
        for pixel in &mut pixels {
            **pixel = pixel.map(|v| blend(v, black, brightness).clamp(black, white));
            sum += f64::from(luma(**pixel));
        }
        let mean = (sum / count as f64) as f32;
        for pixel in pixels {
            if contrast != 1.0 {
                *pixel = pixel.map(|v| blend(v, mean, contrast).clamp(black, white));
            }
            if saturation != 1.0 {
                let gray = luma(*pixel);
                *pixel = pixel.map(|v| blend(v, gray, saturation).clamp(black, white));
            }
            if hue != 0.0 {
                *pixel = turned(*pixel, hue);
            }
        }
    }
}

/// From `to` (factor 0) through `value` (factor 1) and beyond.
fn blend(value: f32, to: f32, factor: f32) -> f32 {
    to + factor * (value - to)
}

/// The colour with its hue turned, value and saturation (of HSV) kept.
fn turned(pixel: [f32; 3], turn: f32) -> [f32; 3] {
    let [red, green, blue] = pixel;
    let high = red.max(green).max(blue);
    let low = red.min(green).min(blue);
    let chroma = high - low;
    if chroma == 0.0 {
        return pixel;
    }
    let sixths = if high == red {
        (green - blue) / chroma
    } else if high == green {
        2.0 + (blue - red) / chroma
    } else {
        4.0 + (red - green) / chroma
    };
    let sixths = (sixths + 6.0 * turn).rem_euclid(6.0);
    let channel = |shift: f32| {
        let k = (shift + sixths).rem_euclid(6.0);
        high - chroma * k.min(4.0 - k).clamp(0.0, 1.0)
    };
    [channel(5.0), channel(3.0), channel(1.0)]
}

/// Ranges from which changes of colour are drawn. All default to "off".
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ColorJitter {
    /// The factor of brightness is uniform in `[max(0, 1 - b), 1 + b)`.
    pub brightness: f64,
    /// The factor of contrast is uniform in `[max(0, 1 - c), 1 + c)`.
    pub contrast: f64,
    /// The factor of saturation is uniform in `[max(0, 1 - s), 1 + s)`.
    pub saturation: f64,
    /// The turn of the hue is uniform in `[-h, h)`; at most 0.5.
    pub hue: f64,
}

impl ColorJitter {
    /// Whether the ranges can be drawn from.
    ///
    /// # Errors
    /// A range that is negative or not finite, or a hue above 0.5.
    pub fn check(&self) -> Result<(), ImageError> {
        factor_of("brightness", self.brightness)?;
        factor_of("contrast", self.contrast)?;
        factor_of("saturation", self.saturation)?;
        let turn = (0.0..=0.5).contains(&self.hue);
        check_parameter("hue", self.hue, "0..=0.5", turn)
    }

    /// Draws the changes of one image. What is off draws nothing.
    ///
    /// `unit` gives the next number of the image's random stream, uniform in `[0, 1)`.
    ///
    /// # Errors
    /// What [`ColorJitter::check`] refuses.
    pub fn draw(&self, mut unit: impl FnMut() -> f64) -> Result<ColorJitterParams, ImageError> {
        self.check()?;
        let mut uniform = |range: f64, low: f64, high: f64, neutral: f64| match range == 0.0 {
            true => neutral,
            false => low + unit() * (high - low),
        };
        let mut factor = |range: f64| uniform(range, (1.0 - range).max(0.0), 1.0 + range, 1.0);
        let brightness = factor(self.brightness);
        let contrast = factor(self.contrast);
        let saturation = factor(self.saturation);
        let hue = uniform(self.hue, -self.hue, self.hue, 0.0);
        Ok(ColorJitterParams {
            brightness,
            contrast,
            saturation,
            hue,
        })
    }
}
