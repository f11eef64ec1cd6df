//! 2-D convolution.

use super::{Padding, Size2, image};
use crate::activation::Activation;
use crate::error::NnError;
use crate::initializer::Initializer;
use crate::layer::{Layer, LayerBuilder, Pass};
use keros_tensor::kernels::{self, Conv2dSpec};
use keros_tensor::{ParamId, Tensor};

/// Convolution (cross-correlation) over height and width, Keras's `Conv2D`.
///
/// **Shapes**: `[N, H, W, in]` → `[N, H', W', filters]`; parameters `kernel` `[kh, kw, in, filters]`
/// and `bias` `[filters]`.
pub struct Conv2D {
    filters: usize,
    kernel_size: Size2,
    strides: Size2,
    padding: Padding,
    dilation_rate: Size2,
    activation: Activation,
    use_bias: bool,
    kernel_initializer: Initializer,
    bias_initializer: Initializer,
    name: Option<String>,
    built: Option<Built>,
}

struct Built {
    kernel: ParamId,
    bias: Option<ParamId>,
    spec: Conv2dSpec,
}

impl Conv2D {
    /// `filters` output channels and a window of `kernel_size`; strides 1, padding valid, no
    /// activation, with bias, kernel Glorot-uniform.
    #[must_use]
    pub fn new(filters: usize, kernel_size: impl Into<Size2>) -> Conv2D {
        Conv2D {
            filters,
            kernel_size: kernel_size.into(),
            strides: 1.into(),
            padding: Padding::Valid,
            dilation_rate: 1.into(),
            activation: Activation::Linear,
            use_bias: true,
            kernel_initializer: Initializer::GlorotUniform,
            bias_initializer: Initializer::Zeros,
            name: None,
            built: None,
        }
    }

    /// Steps of the window over height and width.
    #[must_use]
    pub fn strides(mut self, strides: impl Into<Size2>) -> Conv2D {
        self.strides = strides.into();
        self
    }

    /// Whether the input is padded with zeros.
    #[must_use]
    pub fn padding(mut self, padding: Padding) -> Conv2D {
        self.padding = padding;
        self
    }

    /// Distance of the window's cells.
    #[must_use]
    pub fn dilation_rate(mut self, dilation_rate: impl Into<Size2>) -> Conv2D {
        self.dilation_rate = dilation_rate.into();
        self
    }

    /// The function applied to the result.
    #[must_use]
    pub fn activation(mut self, activation: Activation) -> Conv2D {
        self.activation = activation;
        self
    }

    /// Whether a bias is added.
    #[must_use]
    pub fn use_bias(mut self, use_bias: bool) -> Conv2D {
        self.use_bias = use_bias;
        self
    }

    /// First values of the kernel.
    #[must_use]
    pub fn kernel_initializer(mut self, initializer: Initializer) -> Conv2D {
        self.kernel_initializer = initializer;
        self
    }

    /// First values of the bias.
    #[must_use]
    pub fn bias_initializer(mut self, initializer: Initializer) -> Conv2D {
        self.bias_initializer = initializer;
        self
    }

    /// A name of its own.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Conv2D {
        self.name = Some(name.into());
        self
    }

    fn built(&self) -> Result<&Built, NnError> {
        self.built.as_ref().ok_or(NnError::NotBuilt)
    }
}

impl Layer for Conv2D {
    fn class_name(&self) -> &'static str {
        "Conv2D"
    }

    fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    fn build(
        &mut self,
        input: &[usize],
        builder: &mut LayerBuilder<'_>,
    ) -> Result<Vec<usize>, NnError> {
        let (height, width, channels) = image(input)?;
        if self.filters == 0 {
            return Err(NnError::argument("filters", "at least 1", self.filters));
        }
        let (kh, kw) = self.kernel_size.positive("kernel_size")?;
        let spec = Conv2dSpec {
            strides: self.strides.positive("strides")?,
            padding: self.padding,
            dilation: self.dilation_rate.positive("dilation_rate")?,
            ..Conv2dSpec::default()
        };
        let kernel = [kh, kw, channels, self.filters];
        let [_, out_height, out_width, _] =
            spec.output_shape([1, height, width, channels], kernel)?;
        self.built = Some(Built {
            kernel: builder.param("kernel", &kernel, self.kernel_initializer)?,
            bias: match self.use_bias {
                true => Some(builder.param("bias", &[self.filters], self.bias_initializer)?),
                false => None,
            },
            spec,
        });
        Ok(vec![out_height, out_width, self.filters])
    }

    fn take_activation(&mut self) -> Activation {
        self.activation.take_final()
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        let built = self.built()?;
        let (kernel, bias) = (
            pass.value(built.kernel),
            built.bias.map(|id| pass.value(id)),
        );
        let activation = self.activation.fused();
        let z = kernels::conv2d(pass.workspace, x, kernel, bias, &built.spec, activation)?;
        pass.save(x);
        self.activation.end_forward(z, pass)
    }

    fn backward(&self, dy: &Tensor, pass: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        let built = self.built()?;
        let (y, dy) = self.activation.start_backward(dy, pass)?;
        let x = pass.restore()?;
        let (kernel, kernel_grad) = (pass.value(built.kernel), pass.grad(built.kernel));
        let bias_grad = built.bias.map(|id| pass.grad(id));
        let dx = kernels::conv2d_backward(
            pass.workspace,
            &x,
            kernel,
            &y,
            &dy,
            &built.spec,
            self.activation.fused(),
            kernel_grad,
            bias_grad,
            pass.wants_input_grad,
        )?;
        pass.workspace.give(&dy);
        pass.workspace.give(&y);
        Ok(dx)
    }
}
