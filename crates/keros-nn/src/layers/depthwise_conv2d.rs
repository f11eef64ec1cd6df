//! Convolution of each channel by itself.

use super::common::{Common, ParamSpec};
use super::support::{at_least_one, conv_spec};
use super::{Padding, Size2, image};
use crate::activation::Activation;
use crate::error::NnError;
use crate::initializer::Initializer;
use crate::layer::{Layer, LayerBuilder, Pass};
use keros_tensor::kernels::{self, Conv2dSpec};
use keros_tensor::{ParamId, Tensor};

/// Convolution of each channel with kernels of its own, Keras's `DepthwiseConv2D`. Output
/// `c · depth_multiplier + m` is input `c` through its kernel `m`.
///
/// **Shapes**: `[N, H, W, in]` → `[N, H', W', in · depth_multiplier]`; parameters `kernel`
/// `[kh, kw, in, depth_multiplier]` and `bias` `[in · depth_multiplier]`.
pub struct DepthwiseConv2D {
    kernel_size: Size2,
    strides: Size2,
    padding: Padding,
    depth_multiplier: usize,
    dilation_rate: Size2,
    activation: Activation,
    use_bias: bool,
    depthwise: ParamSpec,
    bias: ParamSpec,
    common: Common,
    built: Option<Built>,
}

struct Built {
    kernel: ParamId,
    bias: Option<ParamId>,
    spec: Conv2dSpec,
}

setters!(DepthwiseConv2D: strides, padding, depth_multiplier, dilation_rate, activation, use_bias);
setters!(DepthwiseConv2D: depthwise, bias, common);

impl DepthwiseConv2D {
    /// A window of `kernel_size`; strides 1, padding valid, one output a channel, no activation,
    /// with bias, kernel Glorot-uniform.
    #[must_use]
    pub fn new(kernel_size: impl Into<Size2>) -> DepthwiseConv2D {
        DepthwiseConv2D {
            kernel_size: kernel_size.into(),
            strides: 1.into(),
            padding: Padding::Valid,
            depth_multiplier: 1,
            dilation_rate: 1.into(),
            activation: Activation::Linear,
            use_bias: true,
            depthwise: ParamSpec::new(Initializer::GlorotUniform),
            bias: ParamSpec::new(Initializer::Zeros),
            common: Common::default(),
            built: None,
        }
    }

    fn built(&self) -> Result<&Built, NnError> {
        self.built.as_ref().ok_or(NnError::NotBuilt)
    }
}

arguments! {
    DepthwiseConv2D = DepthwiseConv2D::new(0);
    required kernel_size;
    optional strides padding depth_multiplier dilation_rate activation use_bias depthwise bias common;
    only "data_format" = "channels_last";
}

impl Layer for DepthwiseConv2D {
    layer!("DepthwiseConv2D");

    fn build(
        &mut self,
        input: &[usize],
        builder: &mut LayerBuilder<'_>,
    ) -> Result<Vec<usize>, NnError> {
        let (height, width, channels) = image(input)?;
        let (kh, kw) = self.kernel_size.positive("kernel_size")?;
        let spec = conv_spec(self.strides, self.padding, self.dilation_rate)?;
        let outputs = depthwise_outputs(channels, self.depth_multiplier)?;
        let [_, out_height, out_width, _] =
            spec.output_shape([1, height, width, channels], [kh, kw, channels, outputs])?;
        let kernel = [kh, kw, channels, self.depth_multiplier];
        self.built = Some(Built {
            kernel: self.depthwise.add(builder, "kernel", &kernel)?,
            bias: match self.use_bias {
                true => Some(self.bias.add(builder, "bias", &[outputs])?),
                false => None,
            },
            spec,
        });
        Ok(vec![out_height, out_width, outputs])
    }

    own_activation!();

    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        let built = self.built()?;
        let (kernel, bias) = (
            pass.value(built.kernel),
            built.bias.map(|id| pass.value(id)),
        );
        let fused = self.activation.fused();
        let z = kernels::depthwise_conv2d(pass.workspace, x, kernel, bias, &built.spec, fused)?;
        pass.save(x);
        self.activation.end_forward(z, pass)
    }

    fn backward(&self, dy: &Tensor, pass: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        let built = self.built()?;
        let (y, dz) = self.activation.start_backward(dy, pass)?;
        let x = pass.restore()?;
        let (kernel, kernel_grad) = (pass.value(built.kernel), pass.grad(built.kernel));
        let bias_grad = built.bias.map(|id| pass.grad(id));
        let dx = kernels::depthwise_conv2d_backward(
            pass.workspace,
            &x,
            kernel,
            &y,
            &dz,
            &built.spec,
            self.activation.fused(),
            kernel_grad,
            bias_grad,
            pass.wants_input_grad,
        )?;
        pass.workspace.give(&dz);
        pass.workspace.give(&y);
        Ok(dx)
    }
}

/// The number of output channels.
pub(super) fn depthwise_outputs(channels: usize, multiplier: usize) -> Result<usize, NnError> {
    at_least_one("depth_multiplier", multiplier)?;
    channels.checked_mul(multiplier).ok_or_else(|| {
        let expected = format!("fewer outputs of {channels} channels");
        NnError::argument("depth_multiplier", expected, multiplier)
    })
}
