//! Learned vectors for whole numbers.

use super::common::{Common, ParamSpec};
use crate::error::NnError;
use crate::initializer::Initializer;
use crate::layer::{Layer, LayerBuilder, Pass};
use keros_tensor::{DType, ParamId, Tensor, kernels};

/// Row `x` of a table for each number `x`, Keras's `Embedding`.
///
/// The input holds whole numbers from 0 to `input_dim - 1` as `f32`; anything else is an error that
/// names the row of the batch. Its gradient is 0. Gradients of a row that occurs several times in a
/// batch add up.
///
/// **Shapes**: `[N, …]` → `[N, …, output_dim]`; parameter `embeddings` `[input_dim, output_dim]`.
pub struct Embedding {
    input_dim: usize,
    output_dim: usize,
    embeddings: ParamSpec,
    common: Common,
    built: Option<ParamId>,
}

/// From here on not every index is an `f32`.
const LIMIT: usize = 1 << 24;

setters!(Embedding: embeddings, common);

impl Embedding {
    /// A table of `input_dim` rows (at most 2²⁴, as `f32` holds no larger whole numbers exactly) of
    /// `output_dim` values, at first uniform in ±0.05.
    #[must_use]
    pub fn new(input_dim: usize, output_dim: usize) -> Embedding {
        Embedding {
            input_dim,
            output_dim,
            embeddings: ParamSpec::new(Initializer::RandomUniform {
                minval: -0.05,
                maxval: 0.05,
            }),
            common: Common::default(),
            built: None,
        }
    }

    fn embeddings(&self) -> Result<ParamId, NnError> {
        self.built.ok_or(NnError::NotBuilt)
    }
}

arguments! {
    Embedding = Embedding::new(0, 0);
    required input_dim output_dim;
    optional embeddings common;
    only "mask_zero" = false;
    accept "lora_rank" = null, "quantization_config" = null;
}

impl Layer for Embedding {
    layer!("Embedding");

    fn index_count(&self) -> Option<usize> {
        Some(self.input_dim)
    }

    fn build(
        &mut self,
        input: &[usize],
        builder: &mut LayerBuilder<'_>,
    ) -> Result<Vec<usize>, NnError> {
        if !(1..=LIMIT).contains(&self.input_dim) {
            let expected = format!("a number from 1 to {LIMIT}");
            return Err(NnError::argument("input_dim", expected, self.input_dim));
        }
        if self.output_dim == 0 {
            return Err(NnError::argument(
                "output_dim",
                "at least 1",
                self.output_dim,
            ));
        }
        let shape = [self.input_dim, self.output_dim];
        self.built = Some(self.embeddings.add(builder, "embeddings", &shape)?);
        Ok([input, &[self.output_dim]].concat())
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        let table = pass.value(self.embeddings()?);
        let (y, indices) = kernels::embedding(pass.workspace, x, table)?;
        pass.save(&indices);
        Ok(y)
    }

    fn backward(&self, dy: &Tensor, pass: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        let indices = pass.restore()?;
        let grad = pass.grad(self.embeddings()?);
        kernels::embedding_backward(pass.workspace, &indices, dy, grad)?;
        pass.workspace.give(dy);
        let dx = if pass.wants_input_grad() {
            let dx = pass.workspace.take(indices.dims(), DType::F32)?;
            kernels::fill(&dx, 0.0)?;
            Some(dx)
        } else {
            None
        };
        pass.workspace.give(&indices);
        Ok(dx)
    }
}
