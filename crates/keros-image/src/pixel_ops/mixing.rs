//! MixUp and CutMix: an image and its label become a mixture with those of another sample.

use serde::{Deserialize, Serialize};

use super::check_parameter;
use super::erasing::check_box;
use crate::{ImageError, ImageShape};

/// How two samples are blended (Zhang et al. 2017).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MixUpParams {
    /// Weight of the first sample, 0..=1; the second has the rest.
    pub weight: f64,
}

impl MixUpParams {
    /// `first` becomes `weight · first + (1 − weight) · second`. For images and, with the same
    /// parameters, for labels (one-hot or probabilities).
    ///
    /// # Errors
    /// A weight outside of 0..=1, or slices of different lengths.
    pub fn apply(&self, first: &mut [f32], second: &[f32]) -> Result<(), ImageError> {
        mix(self.weight, first, second)
    }
}

fn mix(weight: f64, first: &mut [f32], second: &[f32]) -> Result<(), ImageError> {
    check_parameter("weight", weight, "0..=1", (0.0..=1.0).contains(&weight))?;
    check_partner(first.len(), second.len())?;
    let (weight, rest) = (weight as f32, (1.0 - weight) as f32);
    for (first, second) in first.iter_mut().zip(second) {
        *first = *first * weight + second * rest;
    }
    Ok(())
}

fn check_partner(expected: usize, found: usize) -> Result<(), ImageError> {
    match expected == found {
        true => Ok(()),
        false => Err(ImageError::PartnerLength { expected, found }),
    }
}

/// From which mixtures are drawn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MixUp {
    /// The weight of the first sample is Beta(alpha, alpha). At least 0.001; Keras's default is 0.2.
    pub alpha: f64,
}

impl Default for MixUp {
    fn default() -> Self {
        Self { alpha: 0.2 }
    }
}

impl MixUp {
    /// Draws the mixture of one pair.
    ///
    /// `unit` gives the next number of the pair's random stream, uniform in `[0, 1)`.
    ///
    /// # Errors
    /// An `alpha` that is not finite or below 0.001.
    pub fn draw(&self, unit: impl FnMut() -> f64) -> Result<MixUpParams, ImageError> {
        let weight = beta(self.alpha, unit)?;
        Ok(MixUpParams { weight })
    }
}

/// Which box of the second image is put into the first (Yun et al. 2019).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CutMixParams {
    /// First row.
    pub top: usize,
    /// First column.
    pub left: usize,
    /// Number of rows.
    pub height: usize,
    /// Number of columns.
    pub width: usize,
}

impl CutMixParams {
    /// The part of the first image that stays: its weight in the label.
    ///
    /// # Errors
    /// An empty shape, or a box that does not lie in it.
    pub fn weight(&self, shape: ImageShape) -> Result<f64, ImageError> {
        shape.values()?;
        check_box(self.top, self.left, self.height, self.width, shape)?;
        let pixels = (shape.height * shape.width) as f64;
        Ok(1.0 - (self.height * self.width) as f64 / pixels)
    }

    /// Copies the box from the second image into the first.
    ///
    /// # Shapes
    /// Both hold `shape` values, `[height, width, channels]`.
    ///
    /// # Errors
    /// A buffer that does not fit the shape, or a box that does not lie in it.
    pub fn apply(
        &self,
        first: &mut [f32],
        second: &[f32],
        shape: ImageShape,
    ) -> Result<(), ImageError> {
        self.weight(shape)?;
        shape.check_length("output", first.len())?;
        check_partner(first.len(), second.len())?;
        let row_len = shape.width * shape.channels;
        let columns = self.left * shape.channels..(self.left + self.width) * shape.channels;
        let rows = first
            .chunks_exact_mut(row_len)
            .zip(second.chunks_exact(row_len));
        for (to, from) in rows.skip(self.top).take(self.height) {
            to[columns.clone()].copy_from_slice(&from[columns.clone()]);
        }
        Ok(())
    }

    /// Mixes the labels (one-hot or probabilities) of two images of the given shape: each image has
    /// the weight of its part of the area.
    ///
    /// # Errors
    /// A box that does not lie in the shape, or labels of different lengths.
    pub fn apply_to_labels(
        &self,
        first: &mut [f32],
        second: &[f32],
        shape: ImageShape,
    ) -> Result<(), ImageError> {
        mix(self.weight(shape)?, first, second)
    }
}

/// From which boxes are drawn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CutMix {
    /// The part of the first image that stays is Beta(alpha, alpha), before the box is cut off at
    /// the borders. At least 0.001; the default 1 (uniform) is that of the paper and of Keras.
    pub alpha: f64,
}

impl Default for CutMix {
    fn default() -> Self {
        Self { alpha: 1.0 }
    }
}

impl CutMix {
    /// Draws the box of one pair: the aspect ratio is that of the images, the centre uniform, and
    /// what lies outside of the image is cut off.
    ///
    /// `unit` gives the next number of the pair's random stream, uniform in `[0, 1)`.
    ///
    /// # Errors
    /// An `alpha` that is not finite or below 0.001.
    pub fn draw(
        &self,
        shape: ImageShape,
        mut unit: impl FnMut() -> f64,
    ) -> Result<CutMixParams, ImageError> {
        let side = (1.0 - beta(self.alpha, &mut unit)?).sqrt();
        let mut span = |length: usize| {
            let half = (length as f64 * side) as usize / 2;
            let centre = (unit() * length as f64) as usize;
            let start = centre.saturating_sub(half);
            (start, (centre + half).min(length) - start)
        };
        let (top, height) = span(shape.height);
        let (left, width) = span(shape.width);
        Ok(CutMixParams {
            top,
            left,
            height,
            width,
        })
    }
}

/// A number of the distribution Beta(alpha, alpha), as the share of one of two gamma variates. They
/// are kept as logarithms: with a small alpha both may be too small for a float.
fn beta(alpha: f64, mut unit: impl FnMut() -> f64) -> Result<f64, ImageError> {
    check_parameter("alpha", alpha, "at least 0.001", alpha >= 1e-3)?;
    let (first, second) = (ln_gamma(alpha, &mut unit), ln_gamma(alpha, &mut unit));
    Ok(1.0 / (1.0 + (second - first).exp()))
}

/// The logarithm of a gamma variate: Marsaglia and Tsang 2000 for `alpha + 1`, times `u^(1/alpha)`.
fn ln_gamma(alpha: f64, unit: &mut impl FnMut() -> f64) -> f64 {
    let mut positive = || 1.0 - unit();
    let d = alpha + 2.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    let boost = positive().ln() / alpha;
    // One in twenty is rejected; a source that is not random shall not hold us up.
    for _ in 0..100 {
        let normal = (-2.0 * positive().ln()).sqrt() * (std::f64::consts::TAU * positive()).cos();
        let v = (1.0 + c * normal).powi(3);
        if v > 0.0 && positive().ln() < 0.5 * normal * normal + d * (1.0 - v + v.ln()) {
            return (d * v).ln() + boost;
        }
    }
    d.ln() + boost
}
