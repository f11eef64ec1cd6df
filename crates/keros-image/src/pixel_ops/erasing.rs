//! Random erasing (Zhong et al. 2017): a box of an image is overwritten.

use serde::{Deserialize, Serialize};

use super::{check_parameter, finite};
use crate::{ImageError, ImageShape};

/// A box of one image and the value that is written over it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EraseParams {
    /// First row.
    pub top: usize,
    /// First column.
    pub left: usize,
    /// Number of rows.
    pub height: usize,
    /// Number of columns.
    pub width: usize,
    /// What all channels become, in the unit of the image.
    pub value: f64,
}

impl EraseParams {
    pub(super) fn check(&self, shape: ImageShape) -> Result<(), ImageError> {
        finite("value", self.value)?;
        check_box(self.top, self.left, self.height, self.width, shape)
    }

    pub(super) fn apply(&self, image: &mut [f32], shape: ImageShape) {
        let rows = image.chunks_exact_mut(shape.width * shape.channels);
        let columns = self.left * shape.channels..(self.left + self.width) * shape.channels;
        for row in rows.skip(self.top).take(self.height) {
            row[columns.clone()].fill(self.value as f32);
        }
    }
}

/// Whether a box lies in an image.
pub(super) fn check_box(
    top: usize,
    left: usize,
    height: usize,
    width: usize,
    shape: ImageShape,
) -> Result<(), ImageError> {
    let inside = |start: usize, length: usize, of: usize| {
        start.checked_add(length).is_some_and(|end| end <= of)
    };
    if inside(top, height, shape.height) && inside(left, width, shape.width) {
        Ok(())
    } else {
        Err(ImageError::BoxOutside {
            top,
            left,
            height,
            width,
            shape,
        })
    }
}

/// From which boxes are drawn. The defaults are those of the paper and of torchvision: every second
/// image, 2 % to 33 % of its area, a ratio of height to width of 0.3 to 3.3, black.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RandomErasing {
    /// How often an image is erased at all, 0..=1.
    pub probability: f64,
    /// Smallest and largest part of the area, 0..=1.
    pub area: (f64, f64),
    /// Smallest and largest ratio of height to width, above 0; drawn on a logarithmic scale.
    pub ratio: (f64, f64),
    /// What is written.
    pub value: f64,
}

impl Default for RandomErasing {
    fn default() -> Self {
        Self {
            probability: 0.5,
            area: (0.02, 0.33),
            ratio: (0.3, 3.3),
            value: 0.0,
        }
    }
}

impl RandomErasing {
    /// Whether boxes can be drawn at all.
    ///
    /// # Errors
    /// A probability or area outside of 0..=1, a ratio that is not positive, a range that falls, a
    /// value that is not finite.
    pub fn check(&self) -> Result<(), ImageError> {
        let part =
            |name, value: f64| check_parameter(name, value, "0..=1", (0.0..=1.0).contains(&value));
        part("probability", self.probability)?;
        part("area", self.area.0)?;
        part("area", self.area.1)?;
        finite("value", self.value)?;
        let rising = |(low, high): (f64, f64)| low <= high;
        check_parameter("area", self.area.1, "low <= high", rising(self.area))?;
        check_parameter("ratio", self.ratio.0, "above 0", self.ratio.0 > 0.0)?;
        check_parameter("ratio", self.ratio.1, "low <= high", rising(self.ratio))
    }

    /// Draws a box for an image of the given shape; `None` leaves the image alone.
    ///
    /// `unit` gives the next number of the image's random stream, uniform in `[0, 1)`. As in
    /// torchvision a box that does not fit is drawn again, at most ten times.
    ///
    /// # Errors
    /// What [`RandomErasing::check`] refuses.
    pub fn draw(
        &self,
        shape: ImageShape,
        mut unit: impl FnMut() -> f64,
    ) -> Result<Option<EraseParams>, ImageError> {
        self.check()?;
        if unit() >= self.probability {
            return Ok(None);
        }
        let pixels = (shape.height * shape.width) as f64;
        for _ in 0..10 {
            let (low, high) = self.area;
            let area = pixels * (low + unit() * (high - low));
            let (low, high) = (self.ratio.0.ln(), self.ratio.1.ln());
            let ratio = (low + unit() * (high - low)).exp();
            let height = (area * ratio).sqrt().round() as usize;
            let width = (area / ratio).sqrt().round() as usize;
            if height < shape.height && width < shape.width {
                let mut start = |room: usize| (unit() * (room + 1) as f64) as usize;
                return Ok(Some(EraseParams {
                    top: start(shape.height - height),
                    left: start(shape.width - width),
                    height,
                    width,
                    value: self.value,
                }));
            }
        }
        Ok(None)
    }
}
