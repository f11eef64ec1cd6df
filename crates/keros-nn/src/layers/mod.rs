//! The layers, one or one family a file, with Keras's names, arguments and defaults.

#[macro_use]
mod macros;

mod activations;
mod activity_regularization;
mod alpha_dropout;
mod autograd;
mod average_pooling2d;
mod batch_normalization;
mod border1d;
mod border2d;
mod broadcast;
mod candle_module;
mod common;
mod conv1d;
mod conv2d;
mod conv2d_transpose;
mod dense;
mod depthwise_conv2d;
mod dropout;
mod embedding;
mod flatten;
mod gaussian_noise;
mod global_pooling;
mod global_pooling1d;
mod global_pooling2d;
mod group_normalization;
mod lambda;
mod layer_normalization;
mod max_pooling2d;
mod normalization;
mod pooling1d;
mod separable_conv2d;
mod support;
mod unit_normalization;

mod merge;
mod permute;
mod prelu;
mod repeat_vector;
mod rescaling;
mod reshape;
mod softmax;
mod up_sampling1d;
mod up_sampling2d;

pub use activations::{Activation, ELU, LeakyReLU, ReLU};
pub use activity_regularization::ActivityRegularization;
pub use alpha_dropout::AlphaDropout;
pub(crate) use autograd::check_output;
pub use autograd::{Autograd, ForwardOnly, Values};
pub use average_pooling2d::AveragePooling2D;
pub use batch_normalization::BatchNormalization;
pub use border1d::{Border1, Cropping1D, ZeroPadding1D};
pub use border2d::{Border2, Cropping2D, ZeroPadding2D};
pub use candle_module::CandleModule;
pub(crate) use candle_module::{is_statistic, sorted};
pub use conv1d::Conv1D;
pub use conv2d::Conv2D;
pub use conv2d_transpose::Conv2DTranspose;
pub use dense::Dense;
pub use depthwise_conv2d::DepthwiseConv2D;
pub use dropout::{Dropout, SpatialDropout1D, SpatialDropout2D};
pub use embedding::Embedding;
pub use flatten::Flatten;
pub use gaussian_noise::{GaussianDropout, GaussianNoise};
pub use global_pooling1d::{GlobalAveragePooling1D, GlobalMaxPooling1D};
pub use global_pooling2d::{GlobalAveragePooling2D, GlobalMaxPooling2D};
pub use group_normalization::GroupNormalization;
pub use keros_tensor::kernels::Padding;
pub use lambda::Lambda;
pub use layer_normalization::LayerNormalization;
pub use max_pooling2d::MaxPooling2D;
pub use merge::{Add, Average, Concatenate, Maximum, Minimum, Multiply, Subtract};
pub use normalization::Normalization;
pub use permute::Permute;
pub use pooling1d::{AveragePooling1D, MaxPooling1D};
pub use prelu::PReLU;
pub use repeat_vector::RepeatVector;
pub use rescaling::{PerChannel, Rescaling};
pub use reshape::Reshape;
pub use separable_conv2d::SeparableConv2D;
pub use softmax::Softmax;
pub use support::Axes;
pub use unit_normalization::UnitNormalization;
pub use up_sampling1d::UpSampling1D;
pub use up_sampling2d::{Interpolation, UpSampling2D};

use crate::config::argument::list;
use crate::error::NnError;

/// Height and width; a single number stands for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size2(pub(crate) usize, pub(crate) usize);

impl From<usize> for Size2 {
    fn from(size: usize) -> Self {
        Size2(size, size)
    }
}

impl From<(usize, usize)> for Size2 {
    fn from((height, width): (usize, usize)) -> Self {
        Size2(height, width)
    }
}

crate::config::argument::plain! {
    Size2, "one or two whole numbers from 0": |this| [this.0, this.1], |value| {
        match (usize::of_json(value), list::<usize>(value).as_deref()) {
            (Some(both), _) => Some(both.into()),
            (None, Some(&[height, width])) => Some(Size2(height, width)),
            _ => None,
        }
    };
    Padding, "valid, same or causal": |this| match this {
        Padding::Valid => "valid",
        Padding::Same => "same",
        Padding::Causal => "causal",
    }, |value| match value.as_str()? {
        "valid" => Some(Padding::Valid),
        "same" => Some(Padding::Same),
        "causal" => Some(Padding::Causal),
        _ => None,
    };
}

impl Size2 {
    fn positive(self, what: &str) -> Result<(usize, usize), NnError> {
        if self.0 == 0 || self.1 == 0 {
            let found = format!("({}, {})", self.0, self.1);
            return Err(NnError::argument(what, "two numbers from 1", found));
        }
        Ok((self.0, self.1))
    }
}

/// Height, width and channels of an image input.
fn image(input: &[usize]) -> Result<(usize, usize, usize), NnError> {
    match *input {
        [height, width, channels] => Ok((height, width, channels)),
        _ => Err(NnError::shape(
            "input sample",
            "[height, width, channels]",
            input,
        )),
    }
}

/// The axis of a batch that Keras's `axis` names: 0 is the batch axis, which no layer works along,
/// and negative numbers count from the end.
fn axis_of_batch(axis: isize, sample: &[usize]) -> Result<usize, NnError> {
    let rank = sample.len() + 1;
    let positive = match usize::try_from(axis) {
        Ok(axis) => Some(axis),
        Err(_) => rank.checked_sub(axis.unsigned_abs()),
    };
    positive
        .filter(|axis| (1..rank).contains(axis))
        .ok_or_else(|| {
            let expected = format!("1 to {0} or -{0} to -1", rank - 1);
            NnError::argument("axis", expected, axis)
        })
}

/// A number that is no NaN and not infinite.
pub(crate) fn finite(what: &str, number: f32) -> Result<f32, NnError> {
    match number.is_finite() {
        true => Ok(number),
        false => Err(NnError::argument(what, "a finite number", number)),
    }
}

/// A number from 0.
fn not_negative(what: &str, number: f32) -> Result<f32, NnError> {
    match number >= 0.0 {
        true => Ok(number),
        false => Err(NnError::argument(what, "a number from 0", number)),
    }
}

/// Checks that an axis of this length may become `factor` times as long, and returns the factor.
fn enlargement(what: &str, length: usize, factor: usize) -> Result<usize, NnError> {
    const LIMIT: usize = 1 << 24;
    match length.checked_mul(factor) {
        Some(1..=LIMIT) => Ok(factor),
        _ => {
            let expected = format!("at least 1, and an axis of at most {LIMIT}");
            Err(NnError::argument(what, expected, factor))
        }
    }
}
