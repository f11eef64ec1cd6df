//! Maximum and mean over windows of the steps of a sequence.

use super::Padding;
use super::common::Common;
use super::support::{Size1, as_images, at_least_one, image_padding, sequence};
use crate::error::NnError;
use crate::layer::{Layer, LayerBuilder, Pass};
use keros_tensor::Tensor;
use keros_tensor::kernels::{self, Pool2dSpec};

/// The arguments of a pooling; a sequence is an image of height 1.
struct Pooling {
    steps: usize,
    channels: usize,
    spec: Pool2dSpec,
}

impl Pooling {
    /// The pooling for samples of this shape, and the shape of what comes out.
    fn new(
        pool_size: Size1,
        strides: Option<Size1>,
        padding: Padding,
        input: &[usize],
    ) -> Result<(Pooling, Vec<usize>), NnError> {
        let (steps, channels) = sequence(input)?;
        let strides = strides.unwrap_or(pool_size);
        at_least_one("pool_size", pool_size.0)?;
        at_least_one("strides", strides.0)?;
        let spec = Pool2dSpec {
            window: (1, pool_size.0),
            strides: (1, strides.0),
            padding: image_padding(padding)?,
        };
        let [_, _, out_steps, _] = spec.output_shape([1, 1, steps, channels])?;
        let pooling = Pooling {
            steps,
            channels,
            spec,
        };
        Ok((pooling, vec![out_steps, channels]))
    }

    /// The shape of a batch of as many images as `dy` has samples.
    fn images(&self, dy: &Tensor) -> Result<[usize; 4], NnError> {
        Ok([dy.dim(0)?, 1, self.steps, self.channels])
    }
}

/// A pooling layer: what is the same whatever is made of a window.
macro_rules! pooling {
    (
        $(#[$doc:meta])*
        $layer:ident, $class:literal;
        $forward:item
        $backward:item
    ) => {
        $(#[$doc])*
        ///
        /// **Shapes**: `[N, steps, C]` → `[N, steps', C]`.
        pub struct $layer {
            pool_size: Size1,
            strides: Option<Size1>,
            padding: Padding,
            common: Common,
            built: Option<Pooling>,
        }

        impl $layer {
            /// Windows of `pool_size` steps side by side, padding valid.
            #[must_use]
            pub fn new(pool_size: usize) -> $layer {
                $layer {
                    pool_size: Size1(pool_size),
                    strides: None,
                    padding: Padding::Valid,
                    common: Common::default(),
                    built: None,
                }
            }

            /// Distance of the window from one output to the next; the window's size unless set.
            #[must_use]
            pub fn strides(mut self, strides: usize) -> $layer {
                self.strides = Some(Size1(strides));
                self
            }

            fn built(&self) -> Result<&Pooling, NnError> {
                self.built.as_ref().ok_or(NnError::NotBuilt)
            }
        }

        setters!($layer: padding, common);

        arguments! {
            $layer = $layer::new(2);
            required;
            optional pool_size strides padding common;
            only "data_format" = "channels_last";
        }

        impl Layer for $layer {
            layer!($class, mixed_precision);

            fn build(
                &mut self,
                input: &[usize],
                _: &mut LayerBuilder<'_>,
            ) -> Result<Vec<usize>, NnError> {
                let (pooling, output) =
                    Pooling::new(self.pool_size, self.strides, self.padding, input)?;
                self.built = Some(pooling);
                Ok(output)
            }

            $forward

            $backward
        }
    };
}

pooling! {
    /// The maximum of each window over the steps of a sequence, Keras's `MaxPooling1D`. The gradient goes to the first
    /// maximum of a window; padding never wins.
    MaxPooling1D, "MaxPooling1D";

    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        let spec = &self.built()?.spec;
        let (y, argmax) = kernels::max_pool2d(pass.workspace, &as_images(x)?, spec)?;
        pass.save(&argmax);
        Ok(y.squeeze(1)?)
    }

    fn backward(&self, dy: &Tensor, pass: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        let built = self.built()?;
        let argmax = pass.restore()?;
        if !pass.wants_input_grad {
            return Ok(None);
        }
        let (images, shape) = (as_images(dy)?, built.images(dy)?);
        let ws = &mut *pass.workspace;
        let dx = kernels::max_pool2d_backward(ws, &images, &argmax, shape, &built.spec)?;
        ws.give(dy);
        Ok(Some(dx.squeeze(1)?))
    }
}

pooling! {
    /// The mean of each window over the steps of a sequence, Keras's `AveragePooling1D`. Padding is not counted: a
    /// window over the border is divided by the number of its steps inside.
    AveragePooling1D, "AveragePooling1D";

    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        let spec = &self.built()?.spec;
        let y = kernels::average_pool2d(pass.workspace, &as_images(x)?, spec)?;
        Ok(y.squeeze(1)?)
    }

    fn backward(&self, dy: &Tensor, pass: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        let built = self.built()?;
        if !pass.wants_input_grad {
            return Ok(None);
        }
        let (images, shape) = (as_images(dy)?, built.images(dy)?);
        let ws = &mut *pass.workspace;
        let dx = kernels::average_pool2d_backward(ws, &images, shape, &built.spec)?;
        ws.give(dy);
        Ok(Some(dx.squeeze(1)?))
    }
}
