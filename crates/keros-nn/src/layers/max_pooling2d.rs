//! Maximum over windows.

use super::common::Common;
use super::support::image_padding;
use super::{Padding, Size2, image};
use crate::error::NnError;
use crate::layer::{Layer, LayerBuilder, Pass};
use keros_tensor::Tensor;
use keros_tensor::kernels::{self, Pool2dSpec};

/// The maximum of each window over height and width, Keras's `MaxPooling2D`. The gradient goes to
/// the first maximum of a window; padding never wins.
///
/// **Shapes**: `[N, H, W, C]` → `[N, H', W', C]`.
pub struct MaxPooling2D {
    pool_size: Size2,
    strides: Option<Size2>,
    padding: Padding,
    common: Common,
    built: Option<Built>,
}

struct Built {
    input: [usize; 3],
    spec: Pool2dSpec,
}

setters!(MaxPooling2D: pool_strides, padding, common);

impl MaxPooling2D {
    /// Windows of `pool_size` side by side, padding valid.
    #[must_use]
    pub fn new(pool_size: impl Into<Size2>) -> MaxPooling2D {
        MaxPooling2D {
            pool_size: pool_size.into(),
            strides: None,
            padding: Padding::Valid,
            common: Common::default(),
            built: None,
        }
    }

    fn built(&self) -> Result<&Built, NnError> {
        self.built.as_ref().ok_or(NnError::NotBuilt)
    }
}

arguments! {
    MaxPooling2D = MaxPooling2D::new(2);
    required;
    optional pool_size strides padding common;
    only "data_format" = "channels_last";
}

impl Layer for MaxPooling2D {
    layer!("MaxPooling2D", mixed_precision);

    fn build(&mut self, input: &[usize], _: &mut LayerBuilder<'_>) -> Result<Vec<usize>, NnError> {
        let (height, width, channels) = image(input)?;
        let spec = Pool2dSpec {
            window: self.pool_size.positive("pool_size")?,
            strides: self.strides.unwrap_or(self.pool_size).positive("strides")?,
            padding: image_padding(self.padding)?,
        };
        let [_, out_height, out_width, _] = spec.output_shape([1, height, width, channels])?;
        self.built = Some(Built {
            input: [height, width, channels],
            spec,
        });
        Ok(vec![out_height, out_width, channels])
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        let (y, argmax) = kernels::max_pool2d(pass.workspace, x, &self.built()?.spec)?;
        pass.save(&argmax);
        Ok(y)
    }

    fn backward(&self, dy: &Tensor, pass: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        let built = self.built()?;
        let argmax = pass.restore()?;
        if !pass.wants_input_grad {
            return Ok(None);
        }
        let [height, width, channels] = built.input;
        let x_shape = [dy.dim(0)?, height, width, channels];
        let dx = kernels::max_pool2d_backward(pass.workspace, dy, &argmax, x_shape, &built.spec)?;
        pass.workspace.give(dy);
        Ok(Some(dx))
    }
}
