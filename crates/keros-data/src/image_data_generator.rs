//! Keras's `ImageDataGenerator`: from ranges to drawn parameters.

use keros_image::{Affine, FillMode, Geometry, ImageShape, TransformParams};
use rand::Rng;

use crate::rng::{below, uniform, unit};
use crate::{Array, DataError, FlowOptions, ImageFlow};

const DOING: &str = "setting up an ImageDataGenerator";

/// Real-time augmentation: ranges from which the transformation of every image is drawn.
///
/// Setters consume and return the value; all ranges default to "off" as in Keras. They are checked
/// when the generator is used, so that one `?` suffices.
///
/// # Units
/// Angles in degrees; shifts see [`ShiftRange`]; zooms are factors (below 1 magnifies).
///
/// # Determinism
/// Draws take their numbers from the generator that is passed in, in Keras's order: rotation,
/// height shift, width shift, shear, zoom along the height and the width, horizontal flip, vertical
/// flip. What is off draws nothing, except the two flips, which always draw. (The numbers
/// themselves are not numpy's.)
#[derive(Clone, Debug, PartialEq)]
pub struct ImageDataGenerator {
    rotation_range: f64,
    width_shift_range: ShiftRange,
    height_shift_range: ShiftRange,
    shear_range: f64,
    zoom_range: ZoomRange,
    horizontal_flip: bool,
    vertical_flip: bool,
    rescale: Option<f32>,
    affine: Affine,
}

/// How far an image may be shifted along one side. Keras tells the cases apart by type and value,
/// and so do the `From`s.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ShiftRange {
    /// A number `f`: the shift is uniform in `[-f, f)`, as a fraction of the side if `f < 1`, else
    /// in pixels. 0 is off.
    Number(f64),
    /// A whole number `n`: the shift is a whole number of pixels in `(-n, n)`. 0 is off.
    Whole(i64),
    /// A list: one of the values with a random sign, as fractions of the side if all are below 1,
    /// else in pixels.
    OneOf(Vec<f64>),
}

impl From<f64> for ShiftRange {
    fn from(value: f64) -> Self {
        Self::Number(value)
    }
}

impl From<i32> for ShiftRange {
    fn from(value: i32) -> Self {
        Self::Whole(value.into())
    }
}

impl From<Vec<f64>> for ShiftRange {
    fn from(values: Vec<f64>) -> Self {
        Self::OneOf(values)
    }
}

impl<const N: usize> From<[f64; N]> for ShiftRange {
    fn from(values: [f64; N]) -> Self {
        Self::OneOf(values.to_vec())
    }
}

impl ShiftRange {
    /// Draws a shift in pixels for a side of `side` pixels.
    fn draw<R: Rng + ?Sized>(&self, side: usize, rng: &mut R) -> f64 {
        let (value, largest) = match self {
            Self::Number(range) if *range == 0.0 => return 0.0,
            Self::Number(range) => (uniform(rng, -range, *range), *range),
            Self::Whole(range) if *range == 0 => return 0.0,
            Self::Whole(range) => {
                let value = below(rng, range.unsigned_abs()) as f64;
                (signed(rng, value), *range as f64)
            }
            Self::OneOf(values) => {
                let value = values
                    .get(below(rng, values.len() as u64) as usize)
                    .copied()
                    .unwrap_or(0.0);
                (
                    signed(rng, value),
                    values.iter().copied().fold(0.0, f64::max),
                )
            }
        };
        if largest < 1.0 {
            value * side as f64
        } else {
            value
        }
    }

    fn check(&self, argument: &'static str) -> Result<(), DataError> {
        match self {
            Self::Number(range) => check_range(argument, *range),
            Self::Whole(range) if *range < 0 => {
                Err(DataError::invalid(DOING, argument, "at least 0", range))
            }
            Self::Whole(_) => Ok(()),
            Self::OneOf(values) if values.is_empty() => Err(DataError::invalid(
                DOING,
                argument,
                "at least one value",
                "an empty list",
            )),
            Self::OneOf(values) => match values.iter().find(|value| !value.is_finite()) {
                Some(value) => Err(DataError::invalid(DOING, argument, "finite values", value)),
                None => Ok(()),
            },
        }
    }
}

/// The value with a random sign.
fn signed<R: Rng + ?Sized>(rng: &mut R, value: f64) -> f64 {
    if unit(rng) < 0.5 { -value } else { value }
}

/// How much an image may be zoomed: factors are uniform in `[low, high)`, drawn independently for
/// height and width. A factor below 1 magnifies. Equal ends of 1 are off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ZoomRange {
    /// Lowest factor, above 0.
    pub low: f64,
    /// Highest factor.
    pub high: f64,
}

impl Default for ZoomRange {
    fn default() -> Self {
        Self {
            low: 1.0,
            high: 1.0,
        }
    }
}

/// A number `z` is the range `[1 - z, 1 + z]`.
impl From<f64> for ZoomRange {
    fn from(z: f64) -> Self {
        Self {
            low: 1.0 - z,
            high: 1.0 + z,
        }
    }
}

impl From<(f64, f64)> for ZoomRange {
    fn from((low, high): (f64, f64)) -> Self {
        Self { low, high }
    }
}

impl From<[f64; 2]> for ZoomRange {
    fn from([low, high]: [f64; 2]) -> Self {
        Self { low, high }
    }
}

/// A range that is symmetric about zero: finite, not negative.
fn check_range(argument: &'static str, range: f64) -> Result<(), DataError> {
    if range.is_finite() && range >= 0.0 {
        Ok(())
    } else {
        Err(DataError::invalid(
            DOING,
            argument,
            "a finite number, at least 0",
            range,
        ))
    }
}

impl Default for ImageDataGenerator {
    fn default() -> Self {
        Self {
            rotation_range: 0.0,
            width_shift_range: ShiftRange::Number(0.0),
            height_shift_range: ShiftRange::Number(0.0),
            shear_range: 0.0,
            zoom_range: ZoomRange::default(),
            horizontal_flip: false,
            vertical_flip: false,
            rescale: None,
            affine: Affine::new(),
        }
    }
}

impl ImageDataGenerator {
    /// No augmentation.
    pub fn new() -> Self {
        Self::default()
    }

    /// Rotations are uniform in `[-degrees, degrees)`. Default: 0, off.
    pub fn rotation_range(mut self, degrees: f64) -> Self {
        self.rotation_range = degrees;
        self
    }

    /// Shifts along the width, see [`ShiftRange`]. Default: 0, off.
    pub fn width_shift_range(mut self, range: impl Into<ShiftRange>) -> Self {
        self.width_shift_range = range.into();
        self
    }

    /// Shifts along the height, see [`ShiftRange`]. Default: 0, off.
    pub fn height_shift_range(mut self, range: impl Into<ShiftRange>) -> Self {
        self.height_shift_range = range.into();
        self
    }

    /// Shear angles are uniform in `[-degrees, degrees)`. Default: 0, off.
    pub fn shear_range(mut self, degrees: f64) -> Self {
        self.shear_range = degrees;
        self
    }

    /// Zooms: `z` for `[1 - z, 1 + z]` or `(low, high)`. Default: off.
    pub fn zoom_range(mut self, range: impl Into<ZoomRange>) -> Self {
        self.zoom_range = range.into();
        self
    }

    /// Mirrors every second image left and right. Default: false.
    pub fn horizontal_flip(mut self, flip: bool) -> Self {
        self.horizontal_flip = flip;
        self
    }

    /// Mirrors every second image top and bottom. Default: false.
    pub fn vertical_flip(mut self, flip: bool) -> Self {
        self.vertical_flip = flip;
        self
    }

    /// What is sampled outside the image. Default: [`FillMode::Nearest`].
    pub fn fill_mode(mut self, fill_mode: FillMode) -> Self {
        self.affine = self.affine.fill_mode(fill_mode);
        self
    }

    /// The value outside the image for [`FillMode::Constant`], before rescaling. Default: 0.
    pub fn cval(mut self, cval: f32) -> Self {
        self.affine = self.affine.cval(cval);
        self
    }

    /// Multiplies every value, after the transformation. Default: off (as is 0, by Keras's rule).
    pub fn rescale(mut self, rescale: f32) -> Self {
        self.rescale = (rescale != 0.0).then_some(rescale);
        self
    }

    /// 0 takes the nearest pixel, 1 (the default) interpolates linearly, 2 to 5 are splines; higher
    /// orders are an error where images are made.
    pub fn interpolation_order(mut self, order: u8) -> Self {
        self.affine = self.affine.interpolation_order(order);
        self
    }

    /// Which geometry the parameters have: the right one (default) or one of Keras's historical
    /// ones.
    pub fn geometry(mut self, geometry: Geometry) -> Self {
        self.affine = self.affine.geometry(geometry);
        self
    }

    /// Checks all settings.
    pub(crate) fn check(&self) -> Result<(), DataError> {
        check_range("rotation_range", self.rotation_range)?;
        self.width_shift_range.check("width_shift_range")?;
        self.height_shift_range.check("height_shift_range")?;
        check_range("shear_range", self.shear_range)?;
        let ZoomRange { low, high } = self.zoom_range;
        if !(low > 0.0 && low <= high && high.is_finite()) {
            return Err(DataError::invalid(
                DOING,
                "zoom_range",
                "0 < low <= high",
                format!("low {low}, high {high}"),
            ));
        }
        self.rescaling_affine().check()?;
        Ok(())
    }

    /// The warp with the rescaling that belongs to whole samples fused in.
    pub(crate) fn rescaling_affine(&self) -> Affine {
        self.affine.clone().rescale(self.rescale.unwrap_or(1.0))
    }

    /// [`ImageDataGenerator::get_random_transform`] when the settings were checked.
    pub(crate) fn draw<R: Rng + ?Sized>(&self, shape: ImageShape, rng: &mut R) -> TransformParams {
        let symmetric = |rng: &mut R, range: f64| {
            if range == 0.0 {
                0.0
            } else {
                uniform(rng, -range, range)
            }
        };
        let rotation_deg = symmetric(rng, self.rotation_range);
        let height_shift_px = self.height_shift_range.draw(shape.height, rng);
        let width_shift_px = self.width_shift_range.draw(shape.width, rng);
        let shear_deg = symmetric(rng, self.shear_range);
        let ZoomRange { low, high } = self.zoom_range;
        let (zoom_height, zoom_width) = if self.zoom_range == ZoomRange::default() {
            (1.0, 1.0)
        } else {
            (uniform(rng, low, high), uniform(rng, low, high))
        };
        let flip_horizontal = unit(rng) < 0.5;
        let flip_vertical = unit(rng) < 0.5;
        TransformParams {
            rotation_deg,
            height_shift_px,
            width_shift_px,
            shear_deg,
            zoom_height,
            zoom_width,
            flip_horizontal: flip_horizontal && self.horizontal_flip,
            flip_vertical: flip_vertical && self.vertical_flip,
        }
    }

    /// Draws the transformation of one image of the given shape.
    ///
    /// # Errors
    /// Settings outside of what they may be.
    pub fn get_random_transform<R: Rng + ?Sized>(
        &self,
        shape: ImageShape,
        rng: &mut R,
    ) -> Result<TransformParams, DataError> {
        self.check()?;
        Ok(self.draw(shape, rng))
    }

    /// Applies a transformation to one image. Apply the same parameters to an image and its mask to
    /// keep them together.
    ///
    /// # Shapes
    /// `image` is `[height, width, channels]` of `u8` or `f32`, the result the same of `f32`. As in
    /// Keras, `rescale` is not applied: it belongs to the preparation of a sample, which
    /// [`ImageDataGenerator::flow`] does.
    ///
    /// # Errors
    /// Settings, parameters, shape or element type that do not work.
    pub fn apply_transform(
        &self,
        image: &Array,
        params: &TransformParams,
    ) -> Result<Array, DataError> {
        const DOING: &str = "transforming an image";
        let shape = image_shape(image)?;
        let mut out = vec![0.0; shape.values()?];
        let image = image.to_standard_layout();
        if let Some(source) = image.as_slice::<u8>() {
            self.affine.apply(params, source, shape, &mut out)?;
        } else if let Some(source) = image.as_slice::<f32>() {
            self.affine.apply(params, source, shape, &mut out)?;
        } else {
            return Err(DataError::ElementType {
                doing: DOING,
                what: "the image",
                expected: "u8 or f32",
                found: image.dtype(),
            });
        }
        Array::from_vec(image.shape(), out)
    }

    /// Draws a transformation and applies it to one image, see
    /// [`ImageDataGenerator::apply_transform`].
    ///
    /// # Errors
    /// Settings, shape or element type that do not work.
    pub fn random_transform<R: Rng + ?Sized>(
        &self,
        image: &Array,
        rng: &mut R,
    ) -> Result<Array, DataError> {
        let params = self.get_random_transform(image_shape(image)?, rng)?;
        self.apply_transform(image, &params)
    }

    /// Batches of augmented images from images in memory, see [`ImageFlow`].
    ///
    /// # Shapes
    /// `x` is `[samples, height, width, channels]` of `u8` or `f32` with any number of channels;
    /// `y` has as many rows. Batches hold `f32` images, times `rescale`.
    ///
    /// # Errors
    /// Settings outside of what they may be; a zero batch size; `x` of another rank or element
    /// type; no samples; `y` or `sample_weight` with another number of rows.
    pub fn flow(
        &self,
        x: Array,
        y: Option<Array>,
        options: FlowOptions,
    ) -> Result<ImageFlow, DataError> {
        ImageFlow::new(self.clone(), x, y, options)
    }
}

fn image_shape(image: &Array) -> Result<ImageShape, DataError> {
    match *image.shape() {
        [height, width, channels] => Ok(ImageShape::new(height, width, channels)),
        ref found => Err(DataError::shape(
            "transforming an image",
            "the image",
            "[height, width, channels]",
            found,
        )),
    }
}
