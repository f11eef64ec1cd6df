//! The same values in another shape.

use super::common::Common;
use crate::error::NnError;
use crate::layer::{Layer, LayerBuilder, Pass};
use keros_tensor::Tensor;

/// Each sample in row-major order in another shape, Keras's `Reshape`.
///
/// **Shapes**: `[N, …]` → `[N, target_shape]`, with as many values.
pub struct Reshape {
    target_shape: Vec<isize>,
    common: Common,
    built: Option<Built>,
}

struct Built {
    input: Vec<usize>,
    output: Vec<usize>,
}

impl Reshape {
    /// To this shape of a sample, in which one -1 may stand for whatever is left.
    #[must_use]
    pub fn new(target_shape: impl Into<Vec<isize>>) -> Reshape {
        Reshape {
            target_shape: target_shape.into(),
            common: Common::default(),
            built: None,
        }
    }

    setter!(common);

    fn built(&self) -> Result<&Built, NnError> {
        self.built.as_ref().ok_or(NnError::NotBuilt)
    }

    /// The target with its -1 filled in.
    fn resolve(&self, size: usize) -> Option<Vec<usize>> {
        let lengths = || {
            self.target_shape
                .iter()
                .map(|&length| usize::try_from(length))
        };
        let known = lengths()
            .flatten()
            .try_fold(1_usize, |product, length| product.checked_mul(length))?;
        let open = self.target_shape.iter().filter(|length| **length == -1);
        let rest = match open.count() {
            0 => 1,
            1 => size.checked_div(known)?,
            _ => return None,
        };
        let negative = self.target_shape.iter().any(|length| *length < -1);
        let fits = !negative && known.checked_mul(rest) == Some(size);
        fits.then(|| lengths().map(|length| length.unwrap_or(rest)).collect())
    }
}

arguments! {
    Reshape = Reshape::new([]);
    required target_shape;
    optional common;
}

impl Layer for Reshape {
    layer!("Reshape", mixed_precision);

    fn build(&mut self, input: &[usize], _: &mut LayerBuilder<'_>) -> Result<Vec<usize>, NnError> {
        let size = input.iter().product();
        let output = self.resolve(size).ok_or_else(|| {
            let expected = format!("a shape of {size} values, with at most one -1");
            NnError::argument("target_shape", expected, format!("{:?}", self.target_shape))
        })?;
        self.built = Some(Built {
            input: input.to_vec(),
            output: output.clone(),
        });
        Ok(output)
    }

    fn forward(&self, x: &Tensor, _: &mut Pass<'_>) -> Result<Tensor, NnError> {
        Ok(x.reshape([&[x.dim(0)?], &self.built()?.output[..]].concat())?)
    }

    fn backward(&self, dy: &Tensor, _: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        let shape = [&[dy.dim(0)?], &self.built()?.input[..]].concat();
        Ok(Some(dy.reshape(shape)?))
    }
}
