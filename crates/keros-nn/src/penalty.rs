//! A sum of penalties that a GPU may still be computing.

use crate::error::NnError;
use crate::regularizer::Regularizer;
use keros_tensor::access::read;
use keros_tensor::kernels::{self, L1L2, PenaltySums};
use keros_tensor::{Tensor, Workspace};

/// Penalties that are part of a loss: what is known of them at once, and sums that are still to be read.
/// On the CPU all is known.
#[derive(Debug, Clone, Default)]
pub struct Penalty {
    /// The sum of those that are known.
    pub known: f64,
    /// The others; their tensors are valid until the workspace that they are from is recycled.
    pub sums: Vec<PenaltySums>,
}

impl Penalty {
    /// The sum of all, for which a GPU is waited for.
    ///
    /// # Errors
    /// When the GPU fails.
    pub fn total(&self) -> Result<f64, NnError> {
        let mut total = self.known;
        for sums in &self.sums {
            total += sums.total(&read::<f64>(&sums.sums)?);
        }
        Ok(total)
    }

    /// Adds the penalty of a tensor, divided by `divisor`. One of Keras's own kind is not waited for; one
    /// of the user's own computes on the host.
    pub(crate) fn add(
        &mut self,
        workspace: &mut Workspace,
        regularizer: &dyn Regularizer,
        tensor: &Tensor,
        divisor: f64,
    ) -> Result<(), NnError> {
        match regularizer.l1_l2() {
            Some((l1, l2)) if !workspace.device().is_cpu() => {
                let (l1, l2) = (l1 / divisor, l2 / divisor);
                let sums = kernels::l1_l2_sums(workspace, &[L1L2 { tensor, l1, l2 }])?;
                self.sums.extend(sums);
            }
            _ => self.known += regularizer.penalty(tensor)? / divisor,
        }
        Ok(())
    }

    /// Adds those of another sum.
    pub fn extend(&mut self, other: Penalty) {
        self.known += other.known;
        self.sums.extend(other.sums);
    }
}
