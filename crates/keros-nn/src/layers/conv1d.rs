//! 1-D convolution.

use super::support::at_least_one;
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
    kernel_size: usize,
    strides: usize,
    padding: Padding,
    dilation_rate: usize,
    groups: usize,
    activation: Activation,
    use_bias: bool,
    kernel_initializer: Initializer,
    bias_initializer: Initializer,
    name: Option<String>,
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
setters!(Conv1D: kernel_initializer, bias_initializer, name);

impl Conv1D {
    /// `filters` output channels and a window of `kernel_size` steps; strides 1, padding valid, one
    /// group, no activation, with bias, kernel Glorot-uniform.
    #[must_use]
    pub fn new(filters: usize, kernel_size: usize) -> Conv1D {
        Conv1D {
            filters,
            kernel_size,
            strides: 1,
            padding: Padding::Valid,
            dilation_rate: 1,
            groups: 1,
            activation: Activation::Linear,
            use_bias: true,
            kernel_initializer: Initializer::GlorotUniform,
            bias_initializer: Initializer::Zeros,
            name: None,
            built: None,
        }
    }

    /// Distance of the window from one output to the next.
    #[must_use]
    pub fn strides(mut self, strides: usize) -> Conv1D {
        self.strides = strides;
        self
    }

    /// Distance of the window's cells. With a distance above 1 strides must be 1, as in Keras.
    #[must_use]
    pub fn dilation_rate(mut self, dilation_rate: usize) -> Conv1D {
        self.dilation_rate = dilation_rate;
        self
    }

    fn built(&self) -> Result<&Built, NnError> {
        self.built.as_ref().ok_or(NnError::NotBuilt)
    }
}

/// `[N, steps, channels]` as images of height 1.
fn as_images(x: &Tensor) -> Result<Tensor, NnError> {
    Ok(x.unsqueeze(1)?)
}

impl Layer for Conv1D {
    names!("Conv1D");

    fn build(
        &mut self,
        input: &[usize],
        builder: &mut LayerBuilder<'_>,
    ) -> Result<Vec<usize>, NnError> {
        let &[steps, channels] = input else {
            return Err(NnError::shape("input sample", "[steps, channels]", input));
        };
        for (what, number) in [
            ("filters", self.filters),
            ("kernel_size", self.kernel_size),
            ("strides", self.strides),
            ("dilation_rate", self.dilation_rate),
        ] {
            at_least_one(what, number)?;
        }
        if self.strides > 1 && self.dilation_rate > 1 {
            let expected = format!("1 with strides of {}", self.strides);
            let found = self.dilation_rate;
            return Err(NnError::argument("dilation_rate", expected, found));
        }
        let spec = Conv2dSpec {
            strides: (1, self.strides),
            padding: self.padding,
            dilation: (1, self.dilation_rate),
            groups: conv2d::group_count(self.groups, channels, self.filters)?,
        };
        let kernel = [self.kernel_size, channels / self.groups, self.filters];
        let kernel_shape = [1, kernel[0], kernel[1], kernel[2]];
        let [_, _, out_steps, _] = spec.output_shape([1, 1, steps, channels], kernel_shape)?;
        self.built = Some(Built {
            kernel: builder.param("kernel", &kernel, self.kernel_initializer)?,
            bias: match self.use_bias {
                true => Some(builder.param("bias", &[self.filters], self.bias_initializer)?),
                false => None,
            },
            spec,
            kernel_shape,
        });
        Ok(vec![out_steps, self.filters])
    }

    fn take_activation(&mut self) -> Activation {
        self.activation.take_final()
    }

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
