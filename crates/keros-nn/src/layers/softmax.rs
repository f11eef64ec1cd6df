//! The softmax along any axes.

use super::common::Common;
use super::{Axes, axis_of_batch};
use crate::activation::Activation;
use crate::error::NnError;
use crate::layer::{Layer, LayerBuilder, Pass};
use keros_tensor::{Tensor, Workspace, kernels};

/// `exp(x) / Σ exp(x)` along one or several axes, Keras's `Softmax`.
///
/// **Shapes**: `[N, …]` → the same.
pub struct Softmax {
    axis: Axes,
    common: Common,
    built: Option<Built>,
}

struct Built {
    /// Axes of a batch, those of the sum last; empty if they are already there.
    order: Vec<usize>,
    /// The order that undoes it.
    back: Vec<usize>,
    /// How many axes the sum runs over.
    summed: usize,
    /// Whether another layer or a loss applies it.
    taken: bool,
}

impl Default for Softmax {
    fn default() -> Self {
        Softmax::new()
    }
}

impl Softmax {
    /// Along the last axis.
    #[must_use]
    pub fn new() -> Softmax {
        Softmax {
            axis: Axes::from(-1),
            common: Common::default(),
            built: None,
        }
    }

    /// The axis: 1 is the first of a sample, negative numbers count from the end.
    #[must_use]
    pub fn axis(mut self, axis: isize) -> Softmax {
        self.axis = axis.into();
        self
    }

    /// Several axes, over all of which the sum runs.
    #[must_use]
    pub fn axes(mut self, axes: impl Into<Vec<isize>>) -> Softmax {
        self.axis = axes.into().into();
        self
    }

    setter!(common);

    fn built(&self) -> Result<&Built, NnError> {
        self.built.as_ref().ok_or(NnError::NotBuilt)
    }
}

impl Built {
    /// A batch with the axes of the sum last and made one.
    fn gather(&self, workspace: &mut Workspace, x: &Tensor) -> Result<Tensor, NnError> {
        let x = match self.order.is_empty() {
            true => x.clone(),
            false => kernels::permute(workspace, x, &self.order)?,
        };
        let kept = x.rank() - self.summed;
        let mut shape = x.dims().to_vec();
        let row = shape.drain(kept..).product();
        shape.push(row);
        Ok(x.reshape(shape)?)
    }

    /// The reverse of `gather`, for a batch of the shape of `like`.
    fn scatter(
        &self,
        workspace: &mut Workspace,
        y: &Tensor,
        like: &Tensor,
    ) -> Result<Tensor, NnError> {
        if self.order.is_empty() {
            return Ok(y.reshape(like.shape())?);
        }
        let shape: Vec<usize> = self.order.iter().map(|&axis| like.dims()[axis]).collect();
        Ok(kernels::permute(workspace, &y.reshape(shape)?, &self.back)?)
    }
}

arguments! {
    Softmax = Softmax::new();
    required;
    optional axis common;
}

impl Layer for Softmax {
    layer!("Softmax");

    fn build(&mut self, input: &[usize], _: &mut LayerBuilder<'_>) -> Result<Vec<usize>, NnError> {
        let mut summed = Vec::new();
        for &axis in &self.axis.0 {
            let axis = axis_of_batch(axis, input)?;
            if summed.contains(&axis) {
                return Err(NnError::argument("axes", "each axis once", axis));
            }
            summed.push(axis);
        }
        if summed.is_empty() {
            return Err(NnError::argument("axes", "at least one", 0));
        }
        summed.sort_unstable();
        let kept = (0..=input.len()).filter(|axis| !summed.contains(axis));
        let mut order: Vec<usize> = kept.chain(summed.iter().copied()).collect();
        let mut back = vec![0; order.len()];
        for (to, &from) in order.iter().enumerate() {
            back[from] = to;
        }
        if order.is_sorted() {
            order.clear();
        }
        self.built = Some(Built {
            order,
            back,
            summed: summed.len(),
            taken: false,
        });
        Ok(input.to_vec())
    }

    fn take_activation(&mut self) -> Activation {
        match &mut self.built {
            Some(built) if built.order.is_empty() && built.summed == 1 => {
                built.taken = true;
                Activation::Softmax
            }
            _ => Activation::Linear,
        }
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        let built = self.built()?;
        if built.taken {
            return Ok(x.clone());
        }
        let rows = built.gather(pass.workspace, x)?;
        let y = kernels::softmax(pass.workspace, &rows)?;
        pass.save(&y);
        if !built.order.is_empty() {
            pass.workspace.give(&rows);
        }
        built.scatter(pass.workspace, &y, x)
    }

    fn backward(&self, dy: &Tensor, pass: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        let built = self.built()?;
        if built.taken {
            return Ok(Some(dy.clone()));
        }
        let y = pass.restore()?;
        let rows = built.gather(pass.workspace, dy)?;
        let gathered = kernels::softmax_backward(pass.workspace, &y, &rows)?;
        let dx = built.scatter(pass.workspace, &gathered, dy)?;
        if !built.order.is_empty() {
            pass.workspace.give(&rows);
            pass.workspace.give(&gathered);
        }
        pass.workspace.give(dy);
        pass.workspace.give(&y);
        Ok(Some(dx))
    }
}
