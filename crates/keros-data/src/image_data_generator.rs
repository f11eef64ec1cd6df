//! Keras's `ImageDataGenerator`: from ranges to drawn parameters, and from those to images.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use keros_image::{
    Affine, BrightnessStyle, FillMode, Fit, Geometry, ImageError, ImageParams, ImageShape, Pixel,
    PixelOps, PixelParams, Standardize, Statistics, TransformParams, Whitening,
};
use rand::Rng;
use serde::ser::Error as _;
use serde::{Deserialize, Serialize, Serializer};

use crate::layout::{image_shape, to_channels_first, to_channels_last};
use crate::ranges::{ShiftRange, ZoomRange, check_range, symmetric};
use crate::rng::{self, Purpose, uniform, unit};
use crate::{
    Array, Arrays, DataError, DataFormat, DirectoryOptions, FlowOptions, ImageFileFlow, ImageFlow,
    Table, TableOptions,
};

const DOING: &str = "setting up an ImageDataGenerator";

/// Real-time augmentation and standardization: ranges from which the transformation of every image
/// is drawn, and what is done to its values.
///
/// Setters consume and return the value, in any order; everything defaults to "off" as in Keras. Settings are
/// checked when the generator is used, so that one `?` suffices.
///
/// The order is Keras's: warp, channel shift, flips, brightness (these are drawn); then the function
/// of the user, rescaling, samplewise and featurewise steps, whitening. Keras's argument `dtype` has
/// no counterpart: what comes out is `f32`.
///
/// # Units
/// Angles in degrees; shifts see [`ShiftRange`]; zooms are factors (below 1 magnifies).
///
/// # Determinism
/// Draws take their numbers from the generator that is passed in, in Keras's order: rotation,
/// height shift, width shift, shear, zoom along the height and the width, horizontal flip, vertical
/// flip, channel shift, brightness. What is off draws nothing, except the two flips, which always
/// draw. (The numbers themselves are not numpy's.)
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageDataGenerator {
    rotation_range: f64,
    width_shift_range: ShiftRange,
    height_shift_range: ShiftRange,
    brightness_range: Option<(f64, f64)>,
    shear_range: f64,
    zoom_range: ZoomRange,
    channel_shift_range: f64,
    horizontal_flip: bool,
    vertical_flip: bool,
    rescale: Option<f32>,
    affine: Affine,
    pixel_ops: PixelOps,
    #[serde(skip_deserializing, serialize_with = "no_function")]
    preprocessing: Option<Preprocessing>,
    /// The steps besides the rescaling.
    standardize: Standardize,
    standardizes: bool,
    whitens: bool,
    zca_epsilon: f64,
    whitening: Whitening,
    #[serde(with = "statistics_serde")]
    statistics: Option<Arc<Statistics>>,
    data_format: DataFormat,
    validation_split: Option<f64>,
    augment_validation: bool,
}

/// A function of the user's on the values of one image.
#[derive(Clone)]
struct Preprocessing(Arc<Function>);

type Function = dyn Fn(&mut [f32], ImageShape) + Send + Sync;

/// Writes that there is no function, which a reader assumes anyway.
fn no_function<S: Serializer>(
    function: &Option<Preprocessing>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match function {
        None => serializer.serialize_none(),
        Some(_) => Err(S::Error::custom(
            "a generator with a preprocessing_function cannot be written down",
        )),
    }
}

impl fmt::Debug for Preprocessing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a function")
    }
}

impl PartialEq for Preprocessing {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Statistics in serde's formats, which have no `Arc`.
mod statistics_serde {
    use super::*;

    pub(super) fn serialize<S: Serializer>(
        statistics: &Option<Arc<Statistics>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        statistics.as_deref().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Arc<Statistics>>, D::Error> {
        Ok(Option::deserialize(deserializer)?.map(Arc::new))
    }
}

/// How [`ImageDataGenerator::fit`] looks at the images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FitImages {
    /// Whether the statistics are those of augmented images. Default: false.
    pub augment: bool,
    /// How often each image is augmented, at least once. Default: 1.
    pub rounds: u64,
    /// Seed of the augmentation. Default: 0.
    pub seed: u64,
}

impl Default for FitImages {
    fn default() -> Self {
        Self {
            augment: false,
            rounds: 1,
            seed: 0,
        }
    }
}

impl Default for ImageDataGenerator {
    fn default() -> Self {
        Self {
            rotation_range: 0.0,
            width_shift_range: ShiftRange::Number(0.0),
            height_shift_range: ShiftRange::Number(0.0),
            brightness_range: None,
            shear_range: 0.0,
            zoom_range: ZoomRange::default(),
            channel_shift_range: 0.0,
            horizontal_flip: false,
            vertical_flip: false,
            rescale: None,
            affine: Affine::new(),
            pixel_ops: PixelOps::new(),
            preprocessing: None,
            standardize: Standardize::new(),
            standardizes: false,
            whitens: false,
            zca_epsilon: 1e-6,
            whitening: Whitening::default(),
            statistics: None,
            data_format: DataFormat::default(),
            validation_split: None,
            augment_validation: false,
        }
    }
}

impl ImageDataGenerator {
    /// No augmentation.
    pub fn new() -> Self {
        Self::default()
    }

    /// Subtracts the mean of the data set, for each channel; needs [`ImageDataGenerator::fit`].
    /// Default: false.
    pub fn featurewise_center(mut self, center: bool) -> Self {
        self.standardize = self.standardize.featurewise_center(center);
        self.standardizes |= center;
        self
    }

    /// Subtracts the mean over all values of the image. Default: false.
    pub fn samplewise_center(mut self, center: bool) -> Self {
        self.standardize = self.standardize.samplewise_center(center);
        self.standardizes |= center;
        self
    }

    /// Divides by the standard deviation of the data set plus 1e-6, for each channel; switches the
    /// centring on and needs [`ImageDataGenerator::fit`]. Default: false.
    pub fn featurewise_std_normalization(mut self, normalize: bool) -> Self {
        self.standardize = self.standardize.featurewise_std_normalization(normalize);
        self.standardizes |= normalize;
        self
    }

    /// Divides by the standard deviation over all values of the image plus 1e-6; switches the
    /// centring on. Default: false.
    pub fn samplewise_std_normalization(mut self, normalize: bool) -> Self {
        self.standardize = self.standardize.samplewise_std_normalization(normalize);
        self.standardizes |= normalize;
        self
    }

    /// Multiplies the image, as one row of values, by the whitening matrix of the data set; needs
    /// [`ImageDataGenerator::fit`], switches the featurewise centring on and the featurewise
    /// normalization off. Default: false.
    pub fn zca_whitening(mut self, whiten: bool) -> Self {
        self.standardize = self.standardize.zca_whitening(whiten);
        self.standardizes |= whiten;
        self.whitens = whiten;
        self
    }

    /// Added to what the whitening divides by, see [`Whitening`]. Default: 1e-6.
    pub fn zca_epsilon(mut self, epsilon: f64) -> Self {
        self.zca_epsilon = epsilon;
        self
    }

    /// What the whitening matrix is. Default: its definition, [`Whitening::Variance`].
    pub fn whitening(mut self, whitening: Whitening) -> Self {
        self.whitening = whitening;
        self
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

    /// Factors of the brightness are uniform in `[low, high)`, at least 0; what a factor does is told
    /// by [`BrightnessStyle`]. Images with values outside of the
    /// [`value_range`](Self::value_range) are an error, unless the style is one of Keras's. Default:
    /// off.
    pub fn brightness_range(mut self, low: f64, high: f64) -> Self {
        self.brightness_range = Some((low, high));
        self
    }

    /// What a brightness means. Default: [`BrightnessStyle::Keros`]; the others are Keras's.
    pub fn brightness_style(mut self, style: BrightnessStyle) -> Self {
        self.pixel_ops = self.pixel_ops.brightness_style(style);
        self
    }

    /// The values of black and white, before the rescaling, for a change of brightness. For files of
    /// 16-bit gray that are read as grayscale, 0 and 65535. Default: 0 and 255.
    pub fn value_range(mut self, black: f32, white: f32) -> Self {
        self.pixel_ops = self.pixel_ops.value_range(black, white);
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

    /// A number that is uniform in `[-range, range)` is added to all values of an image, which are
    /// then clipped to the smallest and the largest one before. Default: 0, off.
    pub fn channel_shift_range(mut self, range: f64) -> Self {
        self.channel_shift_range = range;
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

    /// Multiplies every value, after the transformation. Default: off (as is 0, by Keras's rule).
    pub fn rescale(mut self, rescale: f32) -> Self {
        self.rescale = (rescale != 0.0).then_some(rescale);
        self
    }

    /// Changes the values of one image, `[height, width, channels]`, after the augmentation and
    /// before the rescaling. It has to be a pure function: workers call it from any thread.
    pub fn preprocessing_function(
        mut self,
        function: impl Fn(&mut [f32], ImageShape) + Send + Sync + 'static,
    ) -> Self {
        self.preprocessing = Some(Preprocessing(Arc::new(function)));
        self
    }

    /// Where the channels are in arrays that are given and made. Default: last.
    pub fn data_format(mut self, data_format: DataFormat) -> Self {
        self.data_format = data_format;
        self
    }

    /// The part of the samples that [`Subset::Validation`](crate::Subset::Validation) takes, between
    /// 0 and 1. Default: none.
    pub fn validation_split(mut self, part: f64) -> Self {
        self.validation_split = Some(part);
        self
    }

    /// Whether the validation subset is augmented too, as in Keras. Default: false.
    pub fn augment_validation(mut self, augment: bool) -> Self {
        self.augment_validation = augment;
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

    /// Statistics that are known already, instead of those of a [`fit`](Self::fit).
    pub fn statistics(mut self, statistics: Statistics) -> Self {
        self.statistics = Some(Arc::new(statistics));
        self
    }

    /// The statistics of the last [`fit`](Self::fit), to be stored with the model.
    pub fn fitted(&self) -> Option<&Statistics> {
        self.statistics.as_deref()
    }

    /// Checks all settings.
    pub(crate) fn check(&self) -> Result<(), DataError> {
        check_range("rotation_range", self.rotation_range)?;
        self.width_shift_range.check("width_shift_range")?;
        self.height_shift_range.check("height_shift_range")?;
        check_range("shear_range", self.shear_range)?;
        check_range("channel_shift_range", self.channel_shift_range)?;
        check_range("zca_epsilon", self.zca_epsilon)?;
        self.zoom_range.check()?;
        if let Some((low, high)) = self.brightness_range
            && !(low >= 0.0 && low <= high && high.is_finite())
        {
            return Err(DataError::invalid(
                DOING,
                "brightness_range",
                "0 <= low <= high",
                format!("low {low}, high {high}"),
            ));
        }
        if let Some(part) = self.validation_split
            && !(part > 0.0 && part < 1.0)
        {
            let expected = "a number between 0 and 1";
            return Err(DataError::invalid(
                DOING,
                "validation_split",
                expected,
                part,
            ));
        }
        self.pixel_ops.check()?;
        let rescale = self.rescale.unwrap_or(1.0);
        Ok(self.affine.clone().rescale(rescale).check()?)
    }

    pub(crate) fn has_function(&self) -> bool {
        self.preprocessing.is_some()
    }

    pub(crate) fn split(&self) -> Option<f64> {
        self.validation_split
    }

    pub(crate) fn augments_validation(&self) -> bool {
        self.augment_validation
    }

    pub(crate) fn layout(&self) -> DataFormat {
        self.data_format
    }

    /// Whether the brightness of an image, as it came, can be changed if it is to be.
    pub(crate) fn check_values<P: Pixel>(&self, image: &[P]) -> Result<(), DataError> {
        match self.brightness_range {
            Some(_) => Ok(self.pixel_ops.check_values(image)?),
            None => Ok(()),
        }
    }

    /// Whether an image is done after the warp and the rescaling.
    fn is_plain(&self) -> bool {
        self.brightness_range.is_none()
            && self.channel_shift_range == 0.0
            && self.preprocessing.is_none()
            && !self.standardizes
    }

    /// The warp, with the rescaling fused in where nothing comes between them.
    pub(crate) fn warp(&self) -> Affine {
        match (self.is_plain(), self.rescale) {
            (true, Some(rescale)) => self.affine.clone().rescale(rescale),
            _ => self.affine.clone(),
        }
    }

    /// What comes after the warp of [`warp`](Self::warp), in place.
    pub(crate) fn finish(
        &self,
        params: &PixelParams,
        image: &mut [f32],
        shape: ImageShape,
    ) -> Result<(), DataError> {
        if self.is_plain() {
            return Ok(());
        }
        if *params != PixelParams::default() {
            self.pixel_ops.apply(params, image, shape)?;
        }
        self.standardize_values(image, shape)
    }

    fn standardize_values(&self, image: &mut [f32], shape: ImageShape) -> Result<(), DataError> {
        if let Some(Preprocessing(function)) = &self.preprocessing {
            function(image, shape);
        }
        let steps = self.steps();
        Ok(steps.apply(self.statistics.as_deref(), image, shape)?)
    }

    fn steps(&self) -> Standardize {
        self.standardize
            .clone()
            .rescale(self.rescale.unwrap_or(0.0))
    }

    /// Whether the statistics that the steps need are there and fit.
    pub(crate) fn check_statistics(&self, shape: ImageShape) -> Result<(), DataError> {
        if self.standardize.needs_statistics() {
            let mut probe = vec![0.0; shape.values()?];
            let statistics = self.statistics.as_deref();
            self.standardize.apply(statistics, &mut probe, shape)?;
        }
        Ok(())
    }

    /// [`ImageDataGenerator::get_random_transform`] when the settings were checked.
    pub(crate) fn draw<R: Rng + ?Sized>(&self, shape: ImageShape, rng: &mut R) -> ImageParams {
        let rotation_deg = symmetric(rng, self.rotation_range);
        let height_shift_px = self.height_shift_range.draw(shape.height, rng);
        let width_shift_px = self.width_shift_range.draw(shape.width, rng);
        let shear_deg = symmetric(rng, self.shear_range);
        let (zoom_height, zoom_width) = self.zoom_range.draw(rng);
        let flip_horizontal = unit(rng) < 0.5;
        let flip_vertical = unit(rng) < 0.5;
        let channel_shift = symmetric(rng, self.channel_shift_range);
        let brightness = self
            .brightness_range
            .map(|(low, high)| uniform(rng, low, high));
        ImageParams {
            transform: TransformParams {
                rotation_deg,
                height_shift_px,
                width_shift_px,
                shear_deg,
                zoom_height,
                zoom_width,
                flip_horizontal: flip_horizontal && self.horizontal_flip,
                flip_vertical: flip_vertical && self.vertical_flip,
            },
            pixels: PixelParams {
                channel_shift,
                brightness,
                ..PixelParams::default()
            },
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
    ) -> Result<ImageParams, DataError> {
        self.check()?;
        Ok(self.draw(shape, rng))
    }

    /// Applies a transformation to one image. Apply the same parameters to an image and its mask to
    /// keep them together:
    ///
    /// ```
    /// use keros_data::rng::{Purpose, stream};
    /// use keros_data::{Array, ImageDataGenerator, ImageParams, ImageShape};
    ///
    /// # fn main() -> Result<(), keros_data::DataError> {
    /// let image = Array::from_vec(&[32, 32, 3], vec![200_u8; 32 * 32 * 3])?;
    /// let mask = Array::from_vec(&[32, 32, 1], vec![1_u8; 32 * 32])?;
    /// let images = ImageDataGenerator::new().rotation_range(20.0).brightness_range(0.8, 1.2);
    /// // Classes must not be blended, and have no brightness.
    /// let masks = ImageDataGenerator::new().interpolation_order(0);
    ///
    /// let mut rng = stream(42, Purpose::Custom, 0, 0);
    /// let params = images.get_random_transform(ImageShape::new(32, 32, 3), &mut rng)?;
    /// let image = images.apply_transform(&image, &params)?;
    /// let geometry = ImageParams { pixels: Default::default(), ..params };
    /// let mask = masks.apply_transform(&mask, &geometry)?;
    /// assert_eq!((image.shape(), mask.shape()), (&[32, 32, 3][..], &[32, 32, 1][..]));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// For whole flows of images and masks see [`SequenceExt::zip`](crate::SequenceExt::zip).
    ///
    /// # Shapes
    /// `image` is `[height, width, channels]`, or as [`data_format`](Self::data_format) says, of `u8`
    /// or `f32`; the result the same of `f32`. As in Keras, nothing is rescaled or standardized:
    /// that is what [`ImageDataGenerator::standardize`] does.
    ///
    /// # Errors
    /// Settings, parameters, shape or element type that do not work; a brightness of values outside of
    /// the [`value_range`](Self::value_range).
    pub fn apply_transform(&self, image: &Array, params: &ImageParams) -> Result<Array, DataError> {
        self.change(image, |source, shape| {
            let mut out = vec![0.0; shape.values()?];
            match source {
                Values::U8(source) => self.warp_and_change(params, source, shape, &mut out),
                Values::F32(source) => self.warp_and_change(params, source, shape, &mut out),
            }?;
            Ok(out)
        })
    }

    fn warp_and_change<P: Pixel>(
        &self,
        params: &ImageParams,
        source: &[P],
        shape: ImageShape,
        out: &mut [f32],
    ) -> Result<(), DataError> {
        if params.pixels.brightness.is_some() {
            self.pixel_ops.check_values(source)?;
        }
        self.affine.apply(&params.transform, source, shape, out)?;
        Ok(self.pixel_ops.apply(&params.pixels, out, shape)?)
    }

    /// Draws a transformation and applies it to one image, see
    /// [`ImageDataGenerator::apply_transform`].
    ///
    /// # Errors
    /// As [`ImageDataGenerator::apply_transform`].
    pub fn random_transform<R: Rng + ?Sized>(
        &self,
        image: &Array,
        rng: &mut R,
    ) -> Result<Array, DataError> {
        let params = self.get_random_transform(image_shape(image, self.data_format)?, rng)?;
        self.apply_transform(image, &params)
    }

    /// The function of the user, the rescaling and the standardization of one image, shaped as in
    /// [`ImageDataGenerator::apply_transform`].
    ///
    /// # Errors
    /// A step without the statistics it needs, where Keras warns and leaves it out; shape or element
    /// type that do not work.
    pub fn standardize(&self, image: &Array) -> Result<Array, DataError> {
        self.change(image, |source, shape| {
            let mut out: Vec<f32> = match source {
                Values::U8(source) => source.iter().map(|value| f32::from(*value)).collect(),
                Values::F32(source) => source.to_vec(),
            };
            self.standardize_values(&mut out, shape)?;
            Ok(out)
        })
    }

    /// An image made of the values of another, both in the layout of the generator.
    fn change(
        &self,
        image: &Array,
        change: impl FnOnce(Values<'_>, ImageShape) -> Result<Vec<f32>, DataError>,
    ) -> Result<Array, DataError> {
        const DOING: &str = "transforming an image";
        let shape = image_shape(image, self.data_format)?;
        let source = to_channels_last(image, self.data_format);
        let source = if let Some(source) = source.as_slice::<u8>() {
            Values::U8(source)
        } else if let Some(source) = source.as_slice::<f32>() {
            Values::F32(source)
        } else {
            return Err(DataError::ElementType {
                doing: DOING,
                what: "the image",
                expected: "u8 or f32",
                found: image.dtype(),
            });
        };
        let mut out = change(source, shape)?;
        if self.data_format == DataFormat::ChannelsFirst {
            to_channels_first(&mut out, shape);
        }
        Array::from_vec(image.shape(), out)
    }

    /// Computes what the featurewise steps and the whitening need, of images in memory.
    ///
    /// The statistics are those of rescaled images; with augmentation these are augmented before they are
    /// rescaled, as those of a flow are, where Keras rescales first. As in Keras the function of the user
    /// and the samplewise steps are not part of it.
    ///
    /// # Shapes
    /// `x` is `[samples, height, width, channels]`, or as [`data_format`](Self::data_format) says, of
    /// `u8` or `f32`.
    ///
    /// # Errors
    /// Settings outside of what they may be; no images; zero rounds; `x` of another rank or element
    /// type; a value that is not finite; images too large to be whitened, or of too little variety for
    /// the [`zca_epsilon`](Self::zca_epsilon); with augmentation, images whose brightness cannot be
    /// changed. The generator is as before then.
    pub fn fit(&mut self, x: &Array, options: FitImages) -> Result<(), DataError> {
        self.check()?;
        if options.rounds == 0 {
            return Err(DataError::invalid("fitting", "rounds", "at least 1", 0));
        }
        let (x, shape) = crate::layout::images(x, self.data_format, "fitting")?;
        let mut fit = Fit::new(&self.steps(), shape)?;
        if self.whitens {
            fit = fit.zca_whitening(self.whitening, self.zca_epsilon)?;
        }
        if let Some(source) = x.as_slice::<u8>() {
            self.add_to(&mut fit, source, shape, options)?;
        } else if let Some(source) = x.as_slice::<f32>() {
            self.add_to(&mut fit, source, shape, options)?;
        }
        self.statistics = Some(Arc::new(fit.finish()?));
        Ok(())
    }

    fn add_to<P: Pixel>(
        &self,
        fit: &mut Fit,
        source: &[P],
        shape: ImageShape,
        options: FitImages,
    ) -> Result<(), DataError> {
        let mut out = vec![0.0; shape.values()?];
        let rounds = if options.augment { options.rounds } else { 1 };
        for round in 0..rounds {
            for (sample, image) in source.chunks_exact(out.len()).enumerate() {
                let located = |error: ImageError| DataError::from(error).in_sample(sample);
                if !options.augment {
                    fit.add(image).map_err(located)?;
                    continue;
                }
                let purpose = Purpose::Augmentation;
                let mut rng = rng::stream(options.seed, purpose, round, sample as u64);
                let params = self.draw(shape, &mut rng);
                self.warp_and_change(&params, image, shape, &mut out)
                    .map_err(|error| error.in_sample(sample))?;
                fit.add(&out).map_err(located)?;
            }
        }
        Ok(())
    }

    /// Batches of augmented images from images in memory, see [`ImageFlow`].
    ///
    /// # Shapes
    /// `x` is `[samples, height, width, channels]`, or as [`data_format`](Self::data_format) says, of
    /// `u8` or `f32` with any number of channels; of several named arrays this is the first, and the
    /// others are passed on as they are. `y` has as many rows. Batches hold `f32` images.
    ///
    /// # Errors
    /// Settings outside of what they may be; a zero batch size; `x` of another rank or element
    /// type; no samples; `y` or `sample_weight` with another number of rows; images whose brightness is
    /// to be changed with values outside of the [`value_range`](Self::value_range); a subset without a
    /// `validation_split`, without samples or, unless `ignore_class_split`, with other classes than
    /// the rest.
    pub fn flow(
        &self,
        x: impl Into<Arrays>,
        y: Option<Array>,
        options: FlowOptions,
    ) -> Result<ImageFlow, DataError> {
        ImageFlow::new(self.clone(), x.into(), y, options)
    }

    /// Batches of augmented images from a folder with a folder for each class, see
    /// [`ImageFileFlow`].
    ///
    /// The folders are the classes in the order of their names' bytes, unless
    /// [`DirectoryOptions::classes`] says otherwise; an empty folder is a class too. Within a class
    /// files are in the order of their folders, then of their names. Listed are files whose names
    /// end in png, jpg, jpeg, bmp, ppm, tif or tiff, in any case, also those in folders below.
    ///
    /// # Errors
    /// Settings outside of what they may be; a folder that cannot be read, or with a link to a folder
    /// around it; no classes or no images; a class that is not there, or named twice.
    pub fn flow_from_directory(
        &self,
        directory: impl AsRef<Path>,
        options: DirectoryOptions,
    ) -> Result<ImageFileFlow, DataError> {
        crate::directory::flow(self.clone(), directory.as_ref(), options)
    }

    /// Batches of augmented images whose files and targets are told by a table, see
    /// [`ImageFileFlow`]; Keras's `flow_from_dataframe`.
    ///
    /// The order of the rows is kept. Names of files are relative to `directory`, if there is one.
    ///
    /// # Errors
    /// Settings outside of what they may be; a column that is not there; a cell that is no number
    /// where one is needed, or empty where a class is, with its row; no images; with class mode
    /// binary, not two classes.
    pub fn flow_from_dataframe(
        &self,
        table: &Table,
        directory: Option<&Path>,
        options: TableOptions,
    ) -> Result<ImageFileFlow, DataError> {
        crate::table_flow::flow(self.clone(), table, directory, options)
    }
}

/// The values of an image of either type.
enum Values<'a> {
    U8(&'a [u8]),
    F32(&'a [f32]),
}
