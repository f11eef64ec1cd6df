//! A depthwise convolution and a mixture of its channels.

use super::common::{Common, ParamSpec};
use super::support::{at_least_one, conv_spec};
use super::{Padding, Size2, depthwise_conv2d, image};
use crate::activation::Activation;
use crate::error::NnError;
use crate::initializer::Initializer;
use crate::layer::{Layer, LayerBuilder, Pass};
use keros_tensor::kernels::{self, Conv2dSpec};
use keros_tensor::{ParamId, Tensor};

/// A depthwise convolution followed by one of window 1, Keras's `SeparableConv2D`. Bias and
/// activation come after both.
///
/// **Shapes**: `[N, H, W, in]` → `[N, H', W', filters]`; parameters `depthwise_kernel`
/// `[kh, kw, in, depth_multiplier]`, `pointwise_kernel` `[1, 1, in · depth_multiplier, filters]` and
/// `bias` `[filters]`.
pub struct SeparableConv2D {
    filters: usize,
    kernel_size: Size2,
    strides: Size2,
    padding: Padding,
    dilation_rate: Size2,
    depth_multiplier: usize,
    activation: Activation,
    use_bias: bool,
    depthwise: ParamSpec,
    pointwise: ParamSpec,
    bias: ParamSpec,
    common: Common,
    built: Option<Built>,
}

struct Built {
    depthwise: ParamId,
    pointwise: ParamId,
    bias: Option<ParamId>,
    spec: Conv2dSpec,
}

setters!(SeparableConv2D: strides, padding, dilation_rate, depth_multiplier, activation, use_bias);
setters!(SeparableConv2D: depthwise, pointwise, bias, common);

impl SeparableConv2D {
    /// `filters` output channels and a window of `kernel_size`; strides 1, padding valid, one
    /// depthwise output a channel, no activation, with bias, kernels Glorot-uniform.
    #[must_use]
    pub fn new(filters: usize, kernel_size: impl Into<Size2>) -> SeparableConv2D {
        SeparableConv2D {
            filters,
            kernel_size: kernel_size.into(),
            strides: 1.into(),
            padding: Padding::Valid,
            dilation_rate: 1.into(),
            depth_multiplier: 1,
            activation: Activation::Linear,
            use_bias: true,
            depthwise: ParamSpec::new(Initializer::GlorotUniform),
            pointwise: ParamSpec::new(Initializer::GlorotUniform),
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
    SeparableConv2D = SeparableConv2D::new(0, 0);
    required filters kernel_size;
    optional strides padding dilation_rate depth_multiplier activation use_bias depthwise pointwise bias common;
    only "data_format" = "channels_last";
}

impl Layer for SeparableConv2D {
    layer!("SeparableConv2D");

    fn build(
        &mut self,
        input: &[usize],
        builder: &mut LayerBuilder<'_>,
    ) -> Result<Vec<usize>, NnError> {
        let (height, width, channels) = image(input)?;
        at_least_one("filters", self.filters)?;
        let (kh, kw) = self.kernel_size.positive("kernel_size")?;
        let spec = conv_spec(self.strides, self.padding, self.dilation_rate)?;
        let between = depthwise_conv2d::depthwise_outputs(channels, self.depth_multiplier)?;
        let [_, out_height, out_width, _] =
            spec.output_shape([1, height, width, channels], [kh, kw, channels, between])?;
        let depthwise = [kh, kw, channels, self.depth_multiplier];
        let pointwise = [1, 1, between, self.filters];
        self.built = Some(Built {
            depthwise: self
                .depthwise
                .add(builder, "depthwise_kernel", &depthwise)?,
            pointwise: self
                .pointwise
                .add(builder, "pointwise_kernel", &pointwise)?,
            bias: match self.use_bias {
                true => Some(self.bias.add(builder, "bias", &[self.filters])?),
                false => None,
            },
            spec,
        });
        Ok(vec![out_height, out_width, self.filters])
    }

    own_activation!();

    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        let built = self.built()?;
        let (depthwise, pointwise) = (pass.value(built.depthwise), pass.value(built.pointwise));
        let bias = built.bias.map(|id| pass.value(id));
        let (ws, spec) = (&mut *pass.workspace, &built.spec);
        let linear = kernels::Activation::Linear;
        let between = kernels::depthwise_conv2d(ws, x, depthwise, None, spec, linear)?;
        let fused = self.activation.fused();
        let spec = Conv2dSpec::default();
        let z = kernels::conv2d(ws, &between, pointwise, bias, &spec, fused)?;
        pass.save(x);
        pass.save(&between);
        self.activation.end_forward(z, pass)
    }

    fn backward(&self, dy: &Tensor, pass: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        let built = self.built()?;
        let (y, dz) = self.activation.start_backward(dy, pass)?;
        let (between, x) = (pass.restore()?, pass.restore()?);
        let (depthwise, pointwise) = (pass.value(built.depthwise), pass.value(built.pointwise));
        let bias_grad = built.bias.map(|id| pass.grad(id));
        let between_grad = kernels::conv2d_backward(
            pass.workspace,
            &between,
            pointwise,
            &y,
            &dz,
            &Conv2dSpec::default(),
            self.activation.fused(),
            pass.grad(built.pointwise),
            bias_grad,
            true,
        )?
        .ok_or(NnError::NoForward)?;
        pass.workspace.give(&dz);
        pass.workspace.give(&y);
        let dx = kernels::depthwise_conv2d_backward(
            pass.workspace,
            &x,
            depthwise,
            &between,
            &between_grad,
            &built.spec,
            kernels::Activation::Linear,
            pass.grad(built.depthwise),
            None,
            pass.wants_input_grad,
        )?;
        pass.workspace.give(&between_grad);
        pass.workspace.give(&between);
        Ok(dx)
    }
}
