//! The last steps before an image goes to the network: Keras's `standardize`.

use serde::{Deserialize, Serialize};

use crate::pixel_ops::finite;
use crate::{ImageError, ImageShape, Statistics};

/// Added to a standard deviation before dividing by it.
pub(crate) const EPSILON: f64 = 1e-6;

/// Which steps are taken, in the order of the setters. All default to "off".
///
/// Setters consume and return the value, and can be called in any order: what one step switches on
/// or off of the others is found when the steps are taken.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Standardize {
    rescale: Option<f32>,
    samplewise_center: bool,
    samplewise_std_normalization: bool,
    featurewise_center: bool,
    featurewise_std_normalization: bool,
    zca_whitening: bool,
}

impl Standardize {
    /// No steps.
    pub fn new() -> Self {
        Self::default()
    }

    /// Multiplies every value. Default: off (as is 0, by Keras's rule).
    pub fn rescale(mut self, rescale: f32) -> Self {
        self.rescale = (rescale != 0.0).then_some(rescale);
        self
    }

    /// Subtracts the mean over all values of the image.
    pub fn samplewise_center(mut self, center: bool) -> Self {
        self.samplewise_center = center;
        self
    }

    /// Divides by the standard deviation (of the population) over all values of the image, plus
    /// 1e-6. Switches the centring on.
    pub fn samplewise_std_normalization(mut self, normalize: bool) -> Self {
        self.samplewise_std_normalization = normalize;
        self
    }

    /// Subtracts the mean of the data set, for each channel.
    pub fn featurewise_center(mut self, center: bool) -> Self {
        self.featurewise_center = center;
        self
    }

    /// Divides by the standard deviation of the data set plus 1e-6, for each channel. Switches the
    /// centring on.
    pub fn featurewise_std_normalization(mut self, normalize: bool) -> Self {
        self.featurewise_std_normalization = normalize;
        self
    }

    /// Multiplies the image, as one row of values, by the whitening matrix of the data set.
    /// Switches the featurewise centring on and the featurewise normalization off, as Keras does.
    pub fn zca_whitening(mut self, whiten: bool) -> Self {
        self.zca_whitening = whiten;
        self
    }

    /// The factor of every value, 1 if off.
    pub(crate) fn factor(&self) -> f32 {
        self.rescale.unwrap_or(1.0)
    }

    /// Whether the data are divided by their standard deviation before a whitening matrix is made.
    pub(crate) fn normalizes(&self) -> bool {
        self.resolved().featurewise_std_normalization
    }

    /// Whether there is a step that needs [`Statistics`].
    pub fn needs_statistics(&self) -> bool {
        self.resolved().featurewise_center
    }

    /// The steps that are taken where these are asked for: Keras's rules.
    fn resolved(&self) -> Self {
        let mut steps = self.clone();
        steps.featurewise_std_normalization &= !steps.zca_whitening;
        steps.featurewise_center |= steps.featurewise_std_normalization || steps.zca_whitening;
        steps.samplewise_center |= steps.samplewise_std_normalization;
        steps
    }

    /// Standardizes one image in place.
    ///
    /// # Shapes
    /// `image` holds `shape` values, `[height, width, channels]`.
    ///
    /// # Determinism
    /// A pure function of the arguments. Means and deviations are computed in `f64`, in order.
    ///
    /// # Errors
    /// A factor that is not finite; a buffer that does not fit the shape; a step without the
    /// statistics it needs (where Keras warns and leaves the step out), or with those of images of
    /// another shape. The image is not touched in these cases.
    pub fn apply(
        &self,
        statistics: Option<&Statistics>,
        image: &mut [f32],
        shape: ImageShape,
    ) -> Result<(), ImageError> {
        finite("rescale", f64::from(self.factor()))?;
        shape.check_length("source", image.len())?;
        let steps = self.resolved();
        let fitted = steps.fitted(statistics, shape)?;

        if let Some(factor) = steps.rescale {
            image.iter_mut().for_each(|value| *value *= factor);
        }
        if steps.samplewise_center {
            let mean = mean(image) as f32;
            image.iter_mut().for_each(|value| *value -= mean);
        }
        if steps.samplewise_std_normalization {
            let divisor = (deviation(image) + EPSILON) as f32;
            image.iter_mut().for_each(|value| *value /= divisor);
        }
        let Some(Fitted { statistics, matrix }) = fitted else {
            return Ok(());
        };
        for pixel in image.chunks_exact_mut(shape.channels) {
            let channels = pixel.iter_mut().zip(&statistics.mean).zip(&statistics.std);
            for ((value, mean), std) in channels {
                if steps.featurewise_center {
                    *value -= mean;
                }
                if steps.featurewise_std_normalization {
                    *value /= std + EPSILON as f32;
                }
            }
        }
        if let Some(matrix) = matrix {
            let mut sums = vec![0.0_f64; image.len()];
            for (value, row) in image.iter().zip(matrix.chunks_exact(image.len())) {
                let value = f64::from(*value);
                for (sum, weight) in sums.iter_mut().zip(row) {
                    *sum += value * f64::from(*weight);
                }
            }
            for (value, sum) in image.iter_mut().zip(sums) {
                *value = sum as f32;
            }
        }
        Ok(())
    }

    /// The statistics that the steps, which are resolved, need, and the matrix.
    fn fitted<'a>(
        &self,
        statistics: Option<&'a Statistics>,
        shape: ImageShape,
    ) -> Result<Option<Fitted<'a>>, ImageError> {
        if !self.featurewise_center {
            return Ok(None);
        }
        let step = match (self.zca_whitening, self.featurewise_std_normalization) {
            (true, _) => "zca_whitening",
            (false, true) => "featurewise_std_normalization",
            (false, false) => "featurewise_center",
        };
        let Some(statistics) = statistics else {
            let found = "none";
            return Err(ImageError::NotFitted { step, found });
        };
        if !self.zca_whitening {
            statistics.check_channels(shape)?;
            return Ok(Some(Fitted {
                statistics,
                matrix: None,
            }));
        }
        let Some(matrix) = &statistics.zca_matrix else {
            let found = "statistics without a whitening matrix";
            return Err(ImageError::NotFitted { step, found });
        };
        statistics.check_shape(shape)?;
        Ok(Some(Fitted {
            statistics,
            matrix: Some(matrix),
        }))
    }
}

/// Statistics that were found to be there and to fit the image.
struct Fitted<'a> {
    statistics: &'a Statistics,
    matrix: Option<&'a [f32]>,
}

fn mean(values: &[f32]) -> f64 {
    values.iter().map(|value| f64::from(*value)).sum::<f64>() / values.len() as f64
}

/// The standard deviation of the population.
fn deviation(values: &[f32]) -> f64 {
    let mean = mean(values);
    let squares = values
        .iter()
        .map(|value| (f64::from(*value) - mean).powi(2));
    (squares.sum::<f64>() / values.len() as f64).sqrt()
}
