//! 2-D convolution.

use super::common::{Common, ParamSpec};
use super::support::{at_least_one, conv_spec};
use super::{Padding, Size2, image};
use crate::activation::Activation;
use crate::error::NnError;
use crate::initializer::Initializer;
use crate::layer::{Layer, LayerBuilder, Pass};
use keros_tensor::kernels::{self, Conv2dSpec};
use keros_tensor::{ParamId, Tensor};

/// Convolution (cross-correlation) over height and width, Keras's `Conv2D`.
///
/// **Shapes**: `[N, H, W, in]` → `[N, H', W', filters]`; parameters `kernel`
/// `[kh, kw, in / groups, filters]` and `bias` `[filters]`.
pub struct Conv2D {
    filters: usize,
    kernel_size: Size2,
    strides: Size2,
    padding: Padding,
    dilation_rate: Size2,
    groups: usize,
    activation: Activation,
    use_bias: bool,
    kernel: ParamSpec,
    bias: ParamSpec,
    common: Common,
    built: Option<Built>,
}

struct Built {
    kernel: ParamId,
    bias: Option<ParamId>,
    spec: Conv2dSpec,
}

setters!(Conv2D: strides, padding, dilation_rate, groups, activation, use_bias);
setters!(Conv2D: kernel, bias, common);

impl Conv2D {
    /// `filters` output channels and a window of `kernel_size`; strides 1, padding valid, one
    /// group, no activation, with bias, kernel Glorot-uniform.
    #[must_use]
    pub fn new(filters: usize, kernel_size: impl Into<Size2>) -> Conv2D {
        Conv2D {
            filters,
            kernel_size: kernel_size.into(),
            strides: 1.into(),
            padding: Padding::Valid,
            dilation_rate: 1.into(),
            groups: 1,
            activation: Activation::Linear,
            use_bias: true,
            kernel: ParamSpec::new(Initializer::GlorotUniform),
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
    Conv2D = Conv2D::new(0, 0);
    required filters kernel_size;
    optional strides padding dilation_rate groups activation use_bias kernel bias common;
    only "data_format" = "channels_last";
    accept "lora_rank" = null, "quantization_config" = null;
}

impl Layer for Conv2D {
    layer!(
        "Conv2D",
        mixed_precision | layer | layer.activation.is_elementwise()
    );

    fn build(
        &mut self,
        input: &[usize],
        builder: &mut LayerBuilder<'_>,
    ) -> Result<Vec<usize>, NnError> {
        let (height, width, channels) = image(input)?;
        at_least_one("filters", self.filters)?;
        let (kh, kw) = self.kernel_size.positive("kernel_size")?;
        let spec = Conv2dSpec {
            groups: group_count(self.groups, channels, self.filters)?,
            ..conv_spec(self.strides, self.padding, self.dilation_rate)?
        };
        let kernel = [kh, kw, channels / self.groups, self.filters];
        let [_, out_height, out_width, _] =
            spec.output_shape([1, height, width, channels], kernel)?;
        self.built = Some(Built {
            kernel: self.kernel.add(builder, "kernel", &kernel)?,
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
        let (kernel, bias) = (
            pass.value(built.kernel),
            built.bias.map(|id| pass.value(id)),
        );
        let fused = self.activation.fused();
        let z = kernels::conv2d(pass.workspace, x, kernel, bias, &built.spec, fused)?;
        pass.save(x);
        self.activation.end_forward(z, pass)
    }

    fn backward(&self, dy: &Tensor, pass: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        let built = self.built()?;
        let (y, dz) = self.activation.start_backward(dy, pass)?;
        let x = pass.restore()?;
        let (kernel, kernel_grad) = (pass.value(built.kernel), pass.grad(built.kernel));
        let bias_grad = built.bias.map(|id| pass.grad(id));
        let dx = kernels::conv2d_backward(
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

/// The number of groups, if it divides input channels and filters.
pub(super) fn group_count(
    groups: usize,
    channels: usize,
    filters: usize,
) -> Result<usize, NnError> {
    if groups == 0 || !channels.is_multiple_of(groups) || !filters.is_multiple_of(groups) {
        let expected = format!("a divisor of {channels} input channels and {filters} filters");
        return Err(NnError::argument("groups", expected, groups));
    }
    Ok(groups)
}
