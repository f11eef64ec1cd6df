//! What layers would otherwise repeat: their setters, names and configurations.

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
        /// Whether the axes of the positions stay, as axes of 1; false unless set.
        #[must_use]
        pub fn keepdims(mut self, keepdims: bool) -> Self {
            self.keepdims = keepdims;
            self
        }
    };
    (seed) => {
        /// A seed of the layer's own, so that its random numbers do not depend on that of the training; none unless set.
        #[must_use]
        pub fn seed(mut self, seed: u64) -> Self {
            self.seed = Some(seed);
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

/// The methods of [`Layer`](crate::Layer) that do not depend on what a layer computes: `layer!("ReLU", mixed_precision)`
/// for one that takes values of 16 bits, `layer!("Dense", mixed_precision |layer| …)` for one that does where the
/// expression holds.
macro_rules! layer {
    ($class:literal, mixed_precision) => {
        layer!($class, mixed_precision | _layer | true);
    };
    ($class:literal, mixed_precision |$layer:ident| $takes:expr) => {
        layer!($class);

        fn takes_mixed_precision(&self) -> bool {
            let $layer = self;
            $takes
        }
    };
    ($class:literal) => {
        fn class_name(&self) -> &'static str {
            $class
        }

        own_layer!();

        fn is_recordable(&self) -> bool {
            true
        }

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

/// The methods of [`Layer`](crate::Layer) about the activation of a layer that has one.
macro_rules! own_activation {
    () => {
        fn take_activation(&mut self) -> $crate::Activation {
            self.activation.take_final()
        }

        fn fuse_relu(&mut self) -> bool {
            self.activation.fuse_relu()
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
