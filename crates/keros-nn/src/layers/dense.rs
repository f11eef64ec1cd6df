//! The fully connected layer.

use crate::activation::Activation;
use crate::error::NnError;
use crate::initializer::Initializer;
use crate::layer::{Layer, LayerBuilder, Pass};
use keros_tensor::{ParamId, Tensor, kernels};

/// `activation(x · kernel + bias)` on the last axis, Keras's `Dense`.
///
/// **Shapes**: `[N, …, in]` → `[N, …, units]`; parameters `kernel` `[in, units]` and `bias` `[units]`.
pub struct Dense {
    units: usize,
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
}

impl Dense {
    /// `units` outputs, no activation, with bias, kernel Glorot-uniform.
    #[must_use]
    pub fn new(units: usize) -> Dense {
        Dense {
            units,
            activation: Activation::Linear,
            use_bias: true,
            kernel_initializer: Initializer::GlorotUniform,
            bias_initializer: Initializer::Zeros,
            name: None,
            built: None,
        }
    }

    /// The function applied to the result.
    #[must_use]
    pub fn activation(mut self, activation: Activation) -> Dense {
        self.activation = activation;
        self
    }

    /// Whether a bias is added.
    #[must_use]
    pub fn use_bias(mut self, use_bias: bool) -> Dense {
        self.use_bias = use_bias;
        self
    }

    /// First values of the kernel.
    #[must_use]
    pub fn kernel_initializer(mut self, initializer: Initializer) -> Dense {
        self.kernel_initializer = initializer;
        self
    }

    /// First values of the bias.
    #[must_use]
    pub fn bias_initializer(mut self, initializer: Initializer) -> Dense {
        self.bias_initializer = initializer;
        self
    }

    /// A name of its own.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Dense {
        self.name = Some(name.into());
        self
    }

    fn built(&self) -> Result<&Built, NnError> {
        self.built.as_ref().ok_or(NnError::NotBuilt)
    }
}

impl Layer for Dense {
    fn class_name(&self) -> &'static str {
        "Dense"
    }

    fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    fn build(
        &mut self,
        input: &[usize],
        builder: &mut LayerBuilder<'_>,
    ) -> Result<Vec<usize>, NnError> {
        let Some((&features, leading)) = input.split_last() else {
            return Err(NnError::shape("input sample", "[…, features]", input));
        };
        if self.units == 0 {
            return Err(NnError::argument("units", "at least 1", self.units));
        }
        self.built = Some(Built {
            kernel: builder.param("kernel", &[features, self.units], self.kernel_initializer)?,
            bias: match self.use_bias {
                true => Some(builder.param("bias", &[self.units], self.bias_initializer)?),
                false => None,
            },
        });
        Ok([leading, &[self.units]].concat())
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
        let z = kernels::dense(pass.workspace, x, kernel, bias, self.activation.fused())?;
        pass.save(x);
        self.activation.end_forward(z, pass)
    }

    fn backward(&self, dy: &Tensor, pass: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        let built = self.built()?;
        let (y, dy) = self.activation.start_backward(dy, pass)?;
        let x = pass.restore()?;
        let (kernel, kernel_grad) = (pass.value(built.kernel), pass.grad(built.kernel));
        let bias_grad = built.bias.map(|id| pass.grad(id));
        let dx = kernels::dense_backward(
            pass.workspace,
            &x,
            kernel,
            &y,
            &dy,
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
