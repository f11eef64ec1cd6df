//! A layer of the user's own that has a forward pass only.

use super::common::Common;
use crate::autograd::{gradients, write_gradient};
use crate::config::Config;
use crate::error::NnError;
use crate::layer::{Layer, LayerBuilder, Pass};
use keros_tensor::{DType, ParamId, Stream, Tensor, Var};
use std::ops::Index;

/// What a layer computes, in candle's operations; [`Autograd`] makes a layer of it.
///
/// ```
/// use keros_nn::layers::{Autograd, Dense, ForwardOnly, Values};
/// use keros_nn::{Initializer, LayerBuilder, NnError, Sequential};
/// use keros_tensor::{Device, ParamId, Tensor};
///
/// #[derive(Default)]
/// struct Scale {
///     factor: Option<ParamId>,
/// }
///
/// impl ForwardOnly for Scale {
///     fn class_name(&self) -> &'static str {
///         "Scale"
///     }
///
///     fn build(
///         &mut self,
///         input: &[usize],
///         builder: &mut LayerBuilder<'_>,
///     ) -> Result<Vec<usize>, NnError> {
///         self.factor = Some(builder.param("factor", &[1], Initializer::Ones)?);
///         Ok(input.to_vec())
///     }
///
///     fn forward(&self, x: &Tensor, values: &Values) -> candle_core::Result<Tensor> {
///         self.factor.map_or(Ok(x.clone()), |factor| x.broadcast_mul(&values[factor]))
///     }
/// }
///
/// let network = Sequential::builder([4])
///     .layer(Autograd::new(Scale::default()))
///     .layer(Dense::new(2))
///     .build(&Device::Cpu, 1)?;
/// # Ok::<(), NnError>(())
/// ```
pub trait ForwardOnly {
    /// The name of the class, such as `Conv2D`.
    fn class_name(&self) -> &'static str;

    /// As [`Layer::build`].
    ///
    /// # Errors
    /// A shape the layer cannot take, or an argument out of range.
    fn build(
        &mut self,
        input: &[usize],
        builder: &mut LayerBuilder<'_>,
    ) -> Result<Vec<usize>, NnError>;

    /// The output of a batch, computed from `x` and the parameters in operations that candle can
    /// go back through.
    ///
    /// # Errors
    /// When an operation fails.
    fn forward(&self, x: &Tensor, values: &Values) -> candle_core::Result<Tensor>;

    /// As [`Layer::config`].
    fn config(&self) -> Option<Config> {
        None
    }
}

/// The parameters of a [`ForwardOnly`] layer in one pass.
pub struct Values {
    first: usize,
    values: Vec<Tensor>,
    training: bool,
    stream: Option<Stream>,
}

impl Values {
    /// Whether dropout drops.
    #[must_use]
    pub fn is_training(&self) -> bool {
        self.training
    }

    /// Random numbers of this layer in this training step; `None` in inference.
    #[must_use]
    pub fn stream(&self) -> Option<&Stream> {
        self.stream.as_ref()
    }
}

impl Index<ParamId> for Values {
    type Output = Tensor;

    /// The value of a parameter.
    ///
    /// # Panics
    /// The parameter is another layer's.
    fn index(&self, id: ParamId) -> &Tensor {
        &self.values[id.index() - self.first]
    }
}

/// A layer whose reverse pass is candle's autograd.
///
/// It costs a copy of the input and candle's own allocations in each step; a layer that also has its
/// reverse pass written out, a [`Layer`], does without.
pub struct Autograd<F> {
    inner: F,
    common: Common,
    built: Option<Built>,
}

struct Built {
    params: Vec<ParamId>,
    output: Vec<usize>,
}

impl<F: ForwardOnly> Autograd<F> {
    /// The layer that computes this.
    #[must_use]
    pub fn new(inner: F) -> Autograd<F> {
        Autograd {
            inner,
            common: Common::default(),
            built: None,
        }
    }

    setter!(common);

    fn built(&self) -> Result<&Built, NnError> {
        self.built.as_ref().ok_or(NnError::NotBuilt)
    }
}

impl<F: ForwardOnly> Layer for Autograd<F> {
    own_layer!();

    fn class_name(&self) -> &'static str {
        self.inner.class_name()
    }

    fn config(&self) -> Option<Config> {
        self.inner.config()
    }

    fn build(
        &mut self,
        input: &[usize],
        builder: &mut LayerBuilder<'_>,
    ) -> Result<Vec<usize>, NnError> {
        let known = builder.params.len();
        let output = self.inner.build(input, builder)?;
        let added = builder.params.iter().skip(known);
        self.built = Some(Built {
            params: added.map(|(id, _)| id).collect(),
            output: output.clone(),
        });
        Ok(output)
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        let built = self.built()?;
        let value = |id: &ParamId| match pass.keeps && pass.is_trainable(*id) {
            true => pass.value(*id).clone(),
            false => pass.value(*id).detach(),
        };
        let values = Values {
            first: built.params.first().map_or(0, |id| id.index()),
            values: built.params.iter().map(value).collect(),
            training: pass.is_training(),
            stream: pass.stream(),
        };
        forward(x, pass, &built.output, |x| self.inner.forward(x, &values))
    }

    fn backward(&self, dy: &Tensor, pass: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        backward(dy, pass, &self.built()?.params)
    }
}

/// Runs `function` so that [`backward`] can go back through it.
pub(super) fn forward(
    x: &Tensor,
    pass: &mut Pass<'_>,
    output: &[usize],
    function: impl FnOnce(&Tensor) -> candle_core::Result<Tensor>,
) -> Result<Tensor, NnError> {
    let samples = x.dim(0)?;
    let kept = match pass.keeps {
        true => Some(Var::from_tensor(x)?),
        false => None,
    };
    let y = function(kept.as_ref().map_or(x, Var::as_tensor))?.contiguous()?;
    check_output(&y, samples, output)?;
    if let Some(x) = kept {
        pass.save(&x);
        pass.save(&y);
    }
    Ok(y.detach())
}

/// What networks rely on.
pub(crate) fn check_output(y: &Tensor, samples: usize, output: &[usize]) -> Result<(), NnError> {
    let fits = y
        .dims()
        .split_first()
        .is_some_and(|(n, sample)| *n == samples && sample == output);
    if fits && y.dtype() == DType::F32 {
        return Ok(());
    }
    let expected = [&[samples], output].concat();
    Err(NnError::shape(
        format!("output of type {:?}", y.dtype()),
        format!("F32 {expected:?}"),
        y.dims(),
    ))
}

/// Goes back through what [`forward`] has run, to the input and these parameters.
pub(super) fn backward(
    dy: &Tensor,
    pass: &mut Pass<'_>,
    params: &[ParamId],
) -> Result<Option<Tensor>, NnError> {
    let (y, x) = (pass.restore()?, pass.restore()?);
    let grads = gradients(&[(y, dy)])?;
    for &id in params.iter().filter(|id| pass.is_trainable(**id)) {
        write_gradient(&grads, pass.value(id), pass.grad(id))?;
    }
    let dx = match pass.wants_input_grad {
        true => {
            let dx = pass.workspace.take(x.dims(), DType::F32)?;
            write_gradient(&grads, &x, &dx)?;
            Some(dx)
        }
        false => None,
    };
    pass.workspace.give(dy);
    Ok(dx)
}
