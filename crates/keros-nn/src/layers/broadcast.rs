//! Samples that are repeated along some axes until they are as large as others.

use super::enlargement;
use crate::error::NnError;
use keros_tensor::kernels::{self, Taps};
use keros_tensor::{Tensor, Workspace};

/// How the sample of one input gets the shape of the output.
pub(super) struct Broadcast {
    input: Vec<usize>,
    /// The input's shape with axes of length 1 in front, as many as the output has.
    aligned: Vec<usize>,
    /// Axes of a batch, with what repeats along them and what sums over them.
    repeats: Vec<(usize, Taps, Taps)>,
}

impl Broadcast {
    /// From samples of one shape to those of another, to which they broadcast.
    ///
    /// # Errors
    /// An axis that would become too long.
    pub(super) fn new(input: &[usize], output: &[usize]) -> Result<Broadcast, NnError> {
        let mut aligned = vec![1; output.len() - input.len()];
        aligned.extend(input);
        let repeats = aligned
            .iter()
            .zip(output)
            .enumerate()
            .filter(|(_, (from, to))| from != to)
            .map(|(axis, (_, &length))| {
                let repeat = Taps::repeat(1, enlargement("broadcasting", 1, length)?);
                let sum = repeat.transposed();
                Ok((axis + 1, repeat, sum))
            })
            .collect::<Result<_, NnError>>()?;
        Ok(Broadcast {
            input: input.to_vec(),
            aligned,
            repeats,
        })
    }

    /// Whether it changes no length.
    pub(super) fn is_plain(&self) -> bool {
        self.repeats.is_empty()
    }

    /// The shape of so many samples before.
    pub(super) fn of_batch(&self, samples: usize) -> Vec<usize> {
        batch(samples, &self.input)
    }

    pub(super) fn forward(&self, workspace: &mut Workspace, x: &Tensor) -> Result<Tensor, NnError> {
        let mut x = x.reshape(batch(x.dim(0)?, &self.aligned))?;
        for (axis, repeat, _) in &self.repeats {
            x = kernels::resample(workspace, &x, *axis, repeat)?;
        }
        Ok(x)
    }

    pub(super) fn backward(
        &self,
        workspace: &mut Workspace,
        mut dx: Tensor,
    ) -> Result<Tensor, NnError> {
        for (axis, _, sum) in self.repeats.iter().rev() {
            let next = kernels::resample(workspace, &dx, *axis, sum)?;
            workspace.give(&dx);
            dx = next;
        }
        Ok(dx.reshape(batch(dx.dim(0)?, &self.input))?)
    }
}

fn batch(samples: usize, shape: &[usize]) -> Vec<usize> {
    [&[samples], shape].concat()
}
