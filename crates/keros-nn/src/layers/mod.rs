//! The layers, one or one family a file, with Keras's names, arguments and defaults.

/// The setters that layers share: `setters!(Dense: activation, use_bias, name);`.
macro_rules! setters {
    ($layer:ident: $($setter:ident),+ $(,)?) => {
        impl $layer { $(setter!($setter);)+ }
    };
}

/// One of [`setters`].
macro_rules! setter {
    (common) => {
        /// A name of its own.
        #[must_use]
        pub fn name(mut self, name: impl Into<String>) -> Self {
            self.common.name = Some(name.into());
            self
        }

        /// Whether the layer learns; true unless set.
        #[must_use]
        pub fn trainable(mut self, trainable: bool) -> Self {
            self.common.trainable = trainable;
            self
        }

        /// A penalty of the layer's output, divided by the number of samples, that is added to the
        /// loss: a value such as [`L2`](crate::L2), or its name. None unless set.
        #[must_use]
        pub fn activity_regularizer(
            mut self,
            regularizer: impl $crate::Resolve<dyn $crate::Regularizer>,
        ) -> Self {
            if let Some(regularizer) = self.common.resolve(regularizer) {
                self.common.activity_regularizer = Some(regularizer.into());
            }
            self
        }
    };
    (activation) => {
        /// The function applied to the result, a value or its name; none unless set.
        #[must_use]
        pub fn activation(mut self, activation: impl $crate::Resolve<$crate::Activation>) -> Self {
            if let Some(activation) = self.common.resolve(activation) {
                self.activation = *activation;
            }
            self
        }
    };
    (kernel) => {
        param_setters!(
            kernel,
            "the kernel",
            "Glorot-uniform",
            kernel_initializer,
            kernel_regularizer,
            kernel_constraint
        );
    };
    (depthwise) => {
        param_setters!(
            depthwise,
            "the depthwise kernel",
            "Glorot-uniform",
            depthwise_initializer,
            depthwise_regularizer,
            depthwise_constraint
        );
    };
    (pointwise) => {
        param_setters!(
            pointwise,
            "the pointwise kernel",
            "Glorot-uniform",
            pointwise_initializer,
            pointwise_regularizer,
            pointwise_constraint
        );
    };
    (bias) => {
        param_setters!(
            bias,
            "the bias",
            "zeros",
            bias_initializer,
            bias_regularizer,
            bias_constraint
        );
    };
    (gamma) => {
        param_setters!(
            gamma,
            "`gamma`",
            "ones",
            gamma_initializer,
            gamma_regularizer,
            gamma_constraint
        );
    };
    (beta) => {
        param_setters!(
            beta,
            "`beta`",
            "zeros",
            beta_initializer,
            beta_regularizer,
            beta_constraint
        );
    };
    (embeddings) => {
        param_setters!(
            embeddings,
            "the table",
            "uniform in ±0.05",
            embeddings_initializer,
            embeddings_regularizer,
            embeddings_constraint
        );
    };
    (alpha) => {
        param_setters!(
            alpha,
            "the slopes",
            "zeros",
            alpha_initializer,
            alpha_regularizer,
            alpha_constraint
        );
    };
    (strides) => {
        /// Steps of the window over height and width.
        #[must_use]
        pub fn strides(mut self, strides: impl Into<$crate::layers::Size2>) -> Self {
            self.strides = strides.into();
            self
        }
    };
    (pool_strides) => {
        /// Steps of the window; the window's size unless set.
        #[must_use]
        pub fn strides(mut self, strides: impl Into<$crate::layers::Size2>) -> Self {
            self.strides = Some(strides.into());
            self
        }
    };
    (padding) => {
        /// What happens at the borders; valid, that is no padding, unless set.
        #[must_use]
        pub fn padding(mut self, padding: $crate::layers::Padding) -> Self {
            self.padding = padding;
            self
        }
    };
    (dilation_rate) => {
        /// Distance of the window's cells. With a distance above 1 strides must be 1, as in Keras.
        #[must_use]
        pub fn dilation_rate(mut self, dilation_rate: impl Into<$crate::layers::Size2>) -> Self {
            self.dilation_rate = dilation_rate.into();
            self
        }
    };
    (groups) => {
        /// Number of groups that input channels and filters fall into: the filters of a group see
        /// its inputs only. It divides both; 1 unless set.
        #[must_use]
        pub fn groups(mut self, groups: usize) -> Self {
            self.groups = groups;
            self
        }
    };
    (depth_multiplier) => {
        /// Number of outputs for each input channel; 1 unless set.
        #[must_use]
        pub fn depth_multiplier(mut self, depth_multiplier: usize) -> Self {
            self.depth_multiplier = depth_multiplier;
            self
        }
    };
    (use_bias) => {
        /// Whether a bias is added; true unless set.
        #[must_use]
        pub fn use_bias(mut self, use_bias: bool) -> Self {
            self.use_bias = use_bias;
            self
        }
    };
    (epsilon) => {
        /// What is added to the variance; 0.001 unless set.
        #[must_use]
        pub fn epsilon(mut self, epsilon: f32) -> Self {
            self.epsilon = epsilon;
            self
        }
    };
    (center) => {
        /// Whether `beta` is added; true unless set.
        #[must_use]
        pub fn center(mut self, center: bool) -> Self {
            self.center = center;
            self
        }
    };
    (scale) => {
        /// Whether the result is multiplied with `gamma`; true unless set.
        #[must_use]
        pub fn scale(mut self, scale: bool) -> Self {
            self.scale = scale;
            self
        }
    };
    (keepdims) => {
        /// Whether height and width stay, as axes of 1; false unless set.
        #[must_use]
        pub fn keepdims(mut self, keepdims: bool) -> Self {
            self.keepdims = keepdims;
            self
        }
    };
    (axes) => {
        /// The axes that are normalized, the batch being axis 0 and the last one -1; -1 unless set.
        ///
        /// Their order does not matter. They are neighbours, or two groups of neighbours of which
        /// one ends with the last axis.
        #[must_use]
        pub fn axis(mut self, axis: impl Into<$crate::layers::Axes>) -> Self {
            self.axis = axis.into();
            self
        }
    };
}

/// The setters of one parameter: its field, its name and first values in words, and their names.
macro_rules! param_setters {
    ($field:ident, $what:literal, $first:literal, $init:ident, $regularizer:ident, $constraint:ident) => {
        #[doc = concat!("First values of ", $what, ", an [`Initializer`](crate::Initializer) or its")]
        #[doc = concat!("name; ", $first, " unless set.")]
        #[must_use]
        pub fn $init(mut self, initializer: impl $crate::Resolve<$crate::Initializer>) -> Self {
            if let Some(initializer) = self.common.resolve(initializer) {
                self.$field.initializer = *initializer;
            }
            self
        }

        #[doc = concat!("A penalty of ", $what, " that is added to the loss, a value such as")]
        /// [`L2`](crate::L2) or its name; none unless set.
        #[must_use]
        pub fn $regularizer(
            mut self,
            regularizer: impl $crate::Resolve<dyn $crate::Regularizer>,
        ) -> Self {
            if let Some(regularizer) = self.common.resolve(regularizer) {
                self.$field.regularizer = Some(regularizer.into());
            }
            self
        }

        #[doc = concat!("What holds for ", $what, " after each update, a value such as")]
        /// [`MaxNorm`](crate::MaxNorm) or its name; nothing unless set.
        #[must_use]
        pub fn $constraint(
            mut self,
            constraint: impl $crate::Resolve<dyn $crate::Constraint>,
        ) -> Self {
            if let Some(constraint) = self.common.resolve(constraint) {
                self.$field.constraint = Some(constraint.into());
            }
            self
        }
    };
}

/// The methods of [`Layer`](crate::Layer) that do not depend on what a layer computes.
macro_rules! layer {
    ($class:literal) => {
        fn class_name(&self) -> &'static str {
            $class
        }

        own_layer!();

        fn config(&self) -> Option<$crate::Config> {
            self.write()
        }
    };
}

/// How a layer is written to a configuration and read from one: what makes it before its arguments
/// are known; the arguments it needs; those that have defaults; those of which only one value is
/// supported; and such that are not written.
macro_rules! arguments {
    (
        $layer:ident = $new:expr;
        required $($required:ident)*;
        optional $($optional:ident)*;
        $(only $($only:literal = $value:tt),+;)?
        $(accept $($accept:literal = $accepted:tt),+;)?
    ) => {
        impl $layer {
            fn write(&self) -> Option<$crate::Config> {
                let mut config = $crate::Config::new();
                $(
                    let name = stringify!($required);
                    $crate::config::argument::Argument::put(&self.$required, name, &mut config)?;
                )*
                $(
                    let name = stringify!($optional);
                    $crate::config::argument::Argument::put(&self.$optional, name, &mut config)?;
                )*
                $($(config.insert($only.to_owned(), serde_json::json!($value));)+)?
                Some(config)
            }

            pub(crate) fn read(arguments: &mut $crate::Arguments) -> Result<$layer, $crate::NnError> {
                let mut layer = $new;
                $(
                    let name = stringify!($required);
                    $crate::config::argument::require(&mut layer.$required, name, arguments)?;
                )*
                $(
                    let name = stringify!($optional);
                    $crate::config::argument::Argument::set(&mut layer.$optional, name, arguments)?;
                )*
                $($(arguments.only($only, &serde_json::json!($value))?;)+)?
                $($(arguments.only($accept, &serde_json::json!($accepted))?;)+)?
                Ok(layer)
            }
        }
    };
}

/// The part of [`layer`] that layers of the user's own functions have too.
macro_rules! own_layer {
    () => {
        fn name(&self) -> Option<&str> {
            self.common.name.as_deref()
        }

        fn trainable(&self) -> bool {
            self.common.trainable
        }

        fn activity_regularizer(&self) -> Option<&dyn $crate::Regularizer> {
            self.common.activity_regularizer.as_deref()
        }

        fn check(&mut self) -> Result<(), $crate::NnError> {
            self.common.check()
        }
    };
}

mod activations;
mod activity_regularization;
mod autograd;
mod average_pooling2d;
mod batch_normalization;
mod border2d;
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
mod global_pooling2d;
mod group_normalization;
mod lambda;
mod layer_normalization;
mod max_pooling2d;
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
mod up_sampling2d;

pub use activations::{Activation, ELU, LeakyReLU, ReLU};
pub use activity_regularization::ActivityRegularization;
pub(crate) use autograd::check_output;
pub use autograd::{Autograd, ForwardOnly, Values};
pub use average_pooling2d::AveragePooling2D;
pub use batch_normalization::BatchNormalization;
pub use border2d::{Border2, Cropping2D, ZeroPadding2D};
pub use candle_module::CandleModule;
pub(crate) use candle_module::{is_statistic, sorted};
pub use conv1d::Conv1D;
pub use conv2d::Conv2D;
pub use conv2d_transpose::Conv2DTranspose;
pub use dense::Dense;
pub use depthwise_conv2d::DepthwiseConv2D;
pub use dropout::Dropout;
pub use embedding::Embedding;
pub use flatten::Flatten;
pub use global_pooling2d::{GlobalAveragePooling2D, GlobalMaxPooling2D};
pub use group_normalization::GroupNormalization;
pub use keros_tensor::kernels::Padding;
pub use lambda::Lambda;
pub use layer_normalization::LayerNormalization;
pub use max_pooling2d::MaxPooling2D;
pub use merge::{Add, Average, Concatenate, Maximum, Minimum, Multiply, Subtract};
pub use permute::Permute;
pub use prelu::PReLU;
pub use repeat_vector::RepeatVector;
pub use rescaling::{PerChannel, Rescaling};
pub use reshape::Reshape;
pub use separable_conv2d::SeparableConv2D;
pub use softmax::Softmax;
pub use support::Axes;
pub use unit_normalization::UnitNormalization;
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
fn finite(what: &str, number: f32) -> Result<f32, NnError> {
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
