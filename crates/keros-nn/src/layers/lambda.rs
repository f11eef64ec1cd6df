//! A function of the user's own as a layer.

use super::autograd;
use super::common::Common;
use crate::error::NnError;
use crate::layer::{Layer, LayerBuilder, Pass};
use keros_tensor::{DType, Tensor};

/// A function without parameters, in candle's operations, Keras's `Lambda`. candle's autograd goes
/// back through it, and it has no configuration to be written.
///
/// **Shapes**: `[N, …]` → `[N, …]`, whatever the function makes of it.
///
/// ```
/// use keros_nn::Sequential;
/// use keros_nn::layers::{Dense, Lambda};
///
/// let network = Sequential::builder([4])
///     .layer(Lambda::new(|x| x.sqr()?.sum_keepdim(1)))
///     .layer(Dense::new(2))
///     .build(&keros_tensor::Device::Cpu, 1)?;
/// # Ok::<(), keros_nn::NnError>(())
/// ```
pub struct Lambda {
    function: Box<Function>,
    common: Common,
    output: Option<Vec<usize>>,
}

type Function = dyn Fn(&Tensor) -> candle_core::Result<Tensor>;

impl Lambda {
    /// The layer of this function, which gets a batch and keeps the number of its samples. Building
    /// runs it on one sample of zeros to learn the shape of its output.
    #[must_use]
    pub fn new(function: impl Fn(&Tensor) -> candle_core::Result<Tensor> + 'static) -> Lambda {
        Lambda {
            function: Box::new(function),
            common: Common::default(),
            output: None,
        }
    }

    setter!(common);
}

impl Layer for Lambda {
    own_layer!();

    fn class_name(&self) -> &'static str {
        "Lambda"
    }

    fn build(
        &mut self,
        input: &[usize],
        builder: &mut LayerBuilder<'_>,
    ) -> Result<Vec<usize>, NnError> {
        let zeros = Tensor::zeros([&[1], input].concat(), DType::F32, builder.device)?;
        let output = output_shape(&(self.function)(&zeros)?)?;
        self.output = Some(output.clone());
        Ok(output)
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        let output = self.output.as_ref().ok_or(NnError::NotBuilt)?;
        autograd::forward(x, pass, output, &self.function)
    }

    fn backward(&self, dy: &Tensor, pass: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        autograd::backward(dy, pass, &[])
    }
}

/// The shape of one output sample, from the output of one.
pub(super) fn output_shape(y: &Tensor) -> Result<Vec<usize>, NnError> {
    match y.dims() {
        [1, output @ ..] => Ok(output.to_vec()),
        found => Err(NnError::shape("output of one sample", "[1, …]", found)),
    }
}
