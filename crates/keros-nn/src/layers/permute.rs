//! The axes of a sample in another order.

use super::common::Common;
use crate::error::NnError;
use crate::layer::{Layer, LayerBuilder, Pass};
use keros_tensor::{Tensor, kernels};

/// The axes of each sample in another order, Keras's `Permute`.
///
/// **Shapes**: `[N, a, b, …]` → `[N, …]`; axis `k` of the output is axis `dims[k]` of the input.
pub struct Permute {
    dims: Vec<usize>,
    common: Common,
}

impl Permute {
    /// The order of the axes, in which 1 is the first of a sample: `[2, 1]` swaps two.
    #[must_use]
    pub fn new(dims: impl Into<Vec<usize>>) -> Permute {
        Permute {
            dims: dims.into(),
            common: Common::default(),
        }
    }

    setter!(common);
}

arguments! {
    Permute = Permute::new([]);
    required dims;
    optional common;
}

impl Layer for Permute {
    layer!("Permute");

    fn build(&mut self, input: &[usize], _: &mut LayerBuilder<'_>) -> Result<Vec<usize>, NnError> {
        let mut sorted = self.dims.clone();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(1..=input.len()) {
            let expected = format!("each of 1 to {} once", input.len());
            return Err(NnError::argument(
                "dims",
                expected,
                format!("{:?}", self.dims),
            ));
        }
        Ok(self.dims.iter().map(|&axis| input[axis - 1]).collect())
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        let order = [&[0], &self.dims[..]].concat();
        Ok(kernels::permute(pass.workspace, x, &order)?)
    }

    fn backward(&self, dy: &Tensor, pass: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        let mut back = vec![0; self.dims.len() + 1];
        for (to, &from) in self.dims.iter().enumerate() {
            back[from] = to + 1;
        }
        let dx = kernels::permute(pass.workspace, dy, &back)?;
        pass.workspace.give(dy);
        Ok(Some(dx))
    }
}
