//! What is done to one image: the result of a draw, as plain data.

use serde::{Deserialize, Serialize};

use crate::{ImageError, PixelParams};

/// Everything that is done to one image: first the warp and the flips, then the changes of values.
///
/// The default is neutral: nothing is changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageParams {
    /// Where the pixels go.
    pub transform: TransformParams,
    /// What happens to their values.
    pub pixels: PixelParams,
}

/// The parameters of one transformation of one image.
///
/// The default is neutral: nothing is changed. In Keras this is the dictionary that
/// `get_random_transform` returns; the names in brackets are its keys.
///
/// The order of application is Keras's: the affine warp (rotation, shift, shear, zoom, about the
/// centre of the image), then the horizontal flip, then the vertical flip.
///
/// The matrix maps *output* to *input* coordinates, as in Keras. Hence a positive shift samples
/// from further down (right), which moves the picture up (left), and a zoom below 1 magnifies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TransformParams {
    /// Rotation in degrees (`theta`).
    pub rotation_deg: f64,
    /// Shift along the height, in pixels (`tx`). Positive moves the picture up.
    pub height_shift_px: f64,
    /// Shift along the width, in pixels (`ty`). Positive moves the picture to the left.
    pub width_shift_px: f64,
    /// Shear angle in degrees (`shear`).
    pub shear_deg: f64,
    /// Zoom along the height (`zx`): 1 is neutral, below 1 magnifies.
    pub zoom_height: f64,
    /// Zoom along the width (`zy`): 1 is neutral, below 1 magnifies.
    pub zoom_width: f64,
    /// Mirror left and right, after the warp.
    pub flip_horizontal: bool,
    /// Mirror top and bottom, after the warp.
    pub flip_vertical: bool,
}

impl Default for TransformParams {
    fn default() -> Self {
        Self {
            rotation_deg: 0.0,
            height_shift_px: 0.0,
            width_shift_px: 0.0,
            shear_deg: 0.0,
            zoom_height: 1.0,
            zoom_width: 1.0,
            flip_horizontal: false,
            flip_vertical: false,
        }
    }
}

impl TransformParams {
    /// Whether pixels have to be resampled: some parameter other than the two flips is not neutral.
    pub fn resamples(&self) -> bool {
        self.rotation_deg != 0.0
            || self.height_shift_px != 0.0
            || self.width_shift_px != 0.0
            || self.shear_deg != 0.0
            || self.zoom_height != 1.0
            || self.zoom_width != 1.0
    }

    /// Refuses NaN and infinity, naming the field.
    pub(crate) fn check(&self) -> Result<(), ImageError> {
        let fields = [
            ("rotation_deg", self.rotation_deg),
            ("height_shift_px", self.height_shift_px),
            ("width_shift_px", self.width_shift_px),
            ("shear_deg", self.shear_deg),
            ("zoom_height", self.zoom_height),
            ("zoom_width", self.zoom_width),
        ];
        for (name, value) in fields {
            if !value.is_finite() {
                return Err(ImageError::NotFinite { name, value });
            }
        }
        Ok(())
    }
}
