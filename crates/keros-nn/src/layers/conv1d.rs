//! 1-D convolution.

use super::common::{Common, ParamSpec};
use super::support::{Size1, as_images, at_least_one, sequence};
use super::{Padding, conv2d};
use crate::activation::Activation;
use crate::error::NnError;
use crate::initializer::Initializer;
use crate::layer::{Layer, LayerBuilder, Pass};
use keros_tensor::kernels::{self, Conv2dSpec};
use keros_tensor::{ParamId, Tensor};

/// Convolution (cross-correlation) over the steps of a sequence, Keras's `Conv1D`. With causal
/// padding no output sees a later step.
///
/// **Shapes**: `[N, steps, in]` → `[N, steps', filters]`; parameters `kernel`
/// `[k, in / groups, filters]` and `bias` `[filters]`.
pub struct Conv1D {
    filters: usize,
    kernel_size: Size1,
    strides: Size1,
    padding: Padding,
    dilation_rate: Size1,
    groups: usize,
    activation: Activation,
    use_bias: bool,
    kernel: ParamSpec,
    bias: ParamSpec,
    common: Common,
    built: Option<Built>,
}

/// The convolution is one over images of height 1.
struct Built {
    kernel: ParamId,
    bias: Option<ParamId>,
    spec: Conv2dSpec,
    kernel_shape: [usize; 4],
}

setters!(Conv1D: padding, groups, activation, use_bias);
setters!(Conv1D: kernel, bias, common);

impl Conv1D {
    /// `filters` output channels and a window of `kernel_size` steps; strides 1, padding valid, one
    /// group, no activation, with bias, kernel Glorot-uniform.
    #[must_use]
    pub fn new(filters: usize, kernel_size: usize) -> Conv1D {
        Conv1D {
            filters,
            kernel_size: Size1(kernel_size),
            strides: Size1(1),
            padding: Padding::Valid,
            dilation_rate: Size1(1),
            groups: 1,
            activation: Activation::Linear,
            use_bias: true,
            kernel: ParamSpec::new(Initializer::GlorotUniform),
            bias: ParamSpec::new(Initializer::Zeros),
            common: Common::default(),
            built: None,
        }
    }

    /// Distance of the window from one output to the next.
    #[must_use]
    pub fn strides(mut self, strides: usize) -> Conv1D {
        self.strides = Size1(strides);
        self
    }

    /// Distance of the window's cells. With a distance above 1 strides must be 1, as in Keras.
    #[must_use]
    pub fn dilation_rate(mut self, dilation_rate: usize) -> Conv1D {
        self.dilation_rate = Size1(dilation_rate);
        self
    }

    fn built(&self) -> Result<&Built, NnError> {
        self.built.as_ref().ok_or(NnError::NotBuilt)
    }
}

arguments! {
    Conv1D = Conv1D::new(0, 0);
    required filters kernel_size;
    optional strides padding dilation_rate groups activation use_bias kernel bias common;
    only "data_format" = "channels_last";
    accept "lora_rank" = null, "quantization_config" = null;
}

impl Layer for Conv1D {
    layer!(
        "Conv1D",
        mixed_precision | layer | layer.activation.is_elementwise()
    );

    fn build(
        &mut self,
        input: &[usize],
        builder: &mut LayerBuilder<'_>,
    ) -> Result<Vec<usize>, NnError> {
        let (steps, channels) = sequence(input)?;
        for (what, number) in [
            ("filters", self.filters),
            ("kernel_size", self.kernel_size.0),
            ("strides", self.strides.0),
            ("dilation_rate", self.dilation_rate.0),
        ] {
            at_least_one(what, number)?;
        }
        if self.strides.0 > 1 && self.dilation_rate.0 > 1 {
            let expected = format!("1 with strides of {}", self.strides.0);
            let found = self.dilation_rate.0;
            return Err(NnError::argument("dilation_rate", expected, found));
        }
        let spec = Conv2dSpec {
            strides: (1, self.strides.0),
            padding: self.padding,
            dilation: (1, self.dilation_rate.0),
            groups: conv2d::group_count(self.groups, channels, self.filters)?,
        };
        let kernel = [self.kernel_size.0, channels / self.groups, self.filters];
        let kernel_shape = [1, kernel[0], kernel[1], kernel[2]];
        let [_, _, out_steps, _] = spec.output_shape([1, 1, steps, channels], kernel_shape)?;
        self.built = Some(Built {
            kernel: self.kernel.add(builder, "kernel", &kernel)?,
            bias: match self.use_bias {
                true => Some(self.bias.add(builder, "bias", &[self.filters])?),
                false => None,
            },
            spec,
            kernel_shape,
        });
        Ok(vec![out_steps, self.filters])
    }

    own_activation!();

    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        let built = self.built()?;
        let kernel = pass.value(built.kernel).reshape(&built.kernel_shape)?;
        let bias = built.bias.map(|id| pass.value(id));
        let x = as_images(x)?;
        let fused = self.activation.fused();
        let z = kernels::conv2d(pass.workspace, &x, &kernel, bias, &built.spec, fused)?;
        pass.save(&x);
        let y = self.activation.end_forward(z, pass)?;
        Ok(y.squeeze(1)?)
    }

    fn backward(&self, dy: &Tensor, pass: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        let built = self.built()?;
        let (y, dz) = self.activation.start_backward(&as_images(dy)?, pass)?;
        let x = pass.restore()?;
        let kernel = pass.value(built.kernel).reshape(&built.kernel_shape)?;
        let kernel_grad = pass.grad(built.kernel).reshape(&built.kernel_shape)?;
        let bias_grad = built.bias.map(|id| pass.grad(id));
        let dx = kernels::conv2d_backward(
            pass.workspace,
            &x,
            &kernel,
            &y,
            &dz,
            &built.spec,
            self.activation.fused(),
            &kernel_grad,
            bias_grad,
            pass.wants_input_grad,
        )?;
        pass.workspace.give(&dz);
        pass.workspace.give(&y);
        Ok(dx.map(|dx| dx.squeeze(1)).transpose()?)
    }
}
