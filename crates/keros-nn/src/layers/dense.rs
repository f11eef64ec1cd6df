//! The fully connected layer.

use super::common::{Common, ParamSpec};
use super::support::at_least_one;
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
    kernel: ParamSpec,
    bias: ParamSpec,
    common: Common,
    built: Option<Built>,
}

struct Built {
    kernel: ParamId,
    bias: Option<ParamId>,
}

setters!(Dense: activation, use_bias, kernel, bias, common);

impl Dense {
    /// `units` outputs, no activation, with bias, kernel Glorot-uniform.
    #[must_use]
    pub fn new(units: usize) -> Dense {
        Dense {
            units,
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
    Dense = Dense::new(0);
    required units;
    optional activation use_bias kernel bias common;
    accept "lora_rank" = null, "quantization_config" = null;
}

impl Layer for Dense {
    layer!(
        "Dense",
        mixed_precision | layer | layer.activation.is_elementwise()
    );

    fn build(
        &mut self,
        input: &[usize],
        builder: &mut LayerBuilder<'_>,
    ) -> Result<Vec<usize>, NnError> {
        let Some((&features, leading)) = input.split_last() else {
            return Err(NnError::shape("input sample", "[…, features]", input));
        };
        at_least_one("units", self.units)?;
        self.built = Some(Built {
            kernel: self
                .kernel
                .add(builder, "kernel", &[features, self.units])?,
            bias: match self.use_bias {
                true => Some(self.bias.add(builder, "bias", &[self.units])?),
                false => None,
            },
        });
        Ok([leading, &[self.units]].concat())
    }

    own_activation!();

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
        let (y, dz) = self.activation.start_backward(dy, pass)?;
        let x = pass.restore()?;
        let (kernel, kernel_grad) = (pass.value(built.kernel), pass.grad(built.kernel));
        let bias_grad = built.bias.map(|id| pass.grad(id));
        let dx = kernels::dense_backward(
            pass.workspace,
            &x,
            kernel,
            &y,
            &dz,
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
