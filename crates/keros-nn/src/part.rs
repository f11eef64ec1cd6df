//! A layer in its place in a network.

use crate::activation::Activation;
use crate::config::Config;
use crate::dtype_policy::DtypePolicy;
use crate::error::NnError;
use crate::layer::{Layer, LayerBuilder, Pass};
use crate::param_rules::ParamRules;
use crate::penalty::Penalty;
use crate::regularizer::Regularizer;
use keros_tensor::{
    DType, Device, ParamId, Params, Tensor, TensorError, Workspace, kernels, unrecorded,
};

/// A layer to be built, and what its configuration says of its place.
pub(crate) struct PlannedLayer {
    pub(crate) layer: Box<dyn Layer>,
    /// The layer's own name, if not this one.
    pub(crate) name: Option<String>,
    /// Whether it is trained; if not said, as the layer itself says.
    pub(crate) trainable: Option<bool>,
    /// The values that its parameters begin with, and whether each is trained; none for those of its
    /// initializers, trained as the layer is.
    pub(crate) values: Vec<(Tensor, bool)>,
}

impl PlannedLayer {
    pub(crate) fn new(layer: Box<dyn Layer>) -> PlannedLayer {
        PlannedLayer {
            layer,
            name: None,
            trainable: None,
            values: Vec::new(),
        }
    }

    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref().or(self.layer.name())
    }

    /// Builds the layer under its final name.
    pub(crate) fn build(
        self,
        name: String,
        input: &[usize],
        params: &mut Params,
        rules: &mut ParamRules,
        device: &Device,
        seed: u64,
    ) -> Result<Part, NnError> {
        let PlannedLayer {
            mut layer,
            trainable,
            values,
            ..
        } = self;
        let known = params.len();
        let mut builder = LayerBuilder::new(params, rules, &name, device, seed);
        let output = layer
            .check()
            .and_then(|()| layer.build(input, &mut builder))
            .and_then(|output| check_sample(&output).map(|()| output))
            .map_err(|error| error.in_layer(&name))?;
        let mut part = Part {
            params: params.iter().skip(known).map(|(id, _)| id).collect(),
            trainable: trainable.unwrap_or_else(|| layer.trainable()),
            config: layer.config(),
            input: input.to_vec(),
            computes: DType::F32,
            is_fused: false,
            name,
            output,
            layer,
        };
        if !part.trainable {
            part.set_trainable(params, rules, false);
        }
        for (id, (value, trainable)) in part.params.iter().zip(&values) {
            params[*id].set(&value.to_device(device).map_err(TensorError::from)?)?;
            if let Some(param) = params.get_mut(*id) {
                param.set_trainable(*trainable);
            }
        }
        Ok(part)
    }
}

/// Whether a sample of this shape can have an address.
pub(crate) fn check_sample(shape: &[usize]) -> Result<(), NnError> {
    const LIMIT: usize = isize::MAX as usize / 16;
    let size = shape.iter().try_fold(1_usize, |n, &dim| n.checked_mul(dim));
    match size.is_some_and(|size| size <= LIMIT) {
        true => Ok(()),
        false => Err(NnError::shape(
            "sample",
            format!("at most {LIMIT} values"),
            shape,
        )),
    }
}

/// A layer that is built.
pub(crate) struct Part {
    layer: Box<dyn Layer>,
    pub(crate) name: String,
    pub(crate) input: Vec<usize>,
    pub(crate) output: Vec<usize>,
    pub(crate) params: Vec<ParamId>,
    pub(crate) trainable: bool,
    /// What the layer wrote of itself before the network took anything from it.
    pub(crate) config: Option<Config>,
    /// The type of the values that it takes and hands on.
    computes: DType,
    /// Whether the layer before has taken over what this one does.
    is_fused: bool,
}

impl Part {
    pub(crate) fn class_name(&self) -> &'static str {
        self.layer.class_name()
    }

    /// As [`Layer::take_activation`]; a penalty of the output needs the activation in its place.
    pub(crate) fn take_activation(&mut self) -> Activation {
        match self.layer.activity_regularizer() {
            Some(_) => Activation::Linear,
            None => self.layer.take_activation(),
        }
    }

    /// Lets `before`, the only user of whose output this is, take over what this layer does if it is a
    /// ReLU; a penalty of an output needs the output itself.
    pub(crate) fn fuse_into(&mut self, before: impl FnOnce() -> bool) {
        let has_penalty = self.layer.activity_regularizer().is_some();
        self.is_fused = self.layer.is_relu() && !has_penalty && before();
    }

    /// As [`Layer::fuse_relu`].
    pub(crate) fn fuse_relu(&mut self) -> bool {
        self.layer.activity_regularizer().is_none() && self.layer.fuse_relu()
    }

    /// A penalty of the output is one of `f32`.
    pub(crate) fn set_dtype_policy(&mut self, policy: DtypePolicy) {
        let takes =
            self.layer.takes_mixed_precision() && self.layer.activity_regularizer().is_none();
        self.computes = policy.computes(takes);
    }

    /// As [`Layer::index_count`].
    pub(crate) fn index_count(&self) -> Option<usize> {
        self.layer.index_count()
    }

    /// Whether an optimizer changes any of its parameters.
    pub(crate) fn is_trained(&self, params: &Params) -> bool {
        self.params.iter().any(|id| params[*id].trainable())
    }

    /// Lets the layer learn, or not; what is no parameter to learn stays as it is.
    pub(crate) fn set_trainable(
        &mut self,
        params: &mut Params,
        rules: &ParamRules,
        trainable: bool,
    ) {
        self.trainable = trainable;
        for id in self.params.iter().filter(|id| !rules.is_fixed(**id)) {
            if let Some(param) = params.get_mut(*id) {
                param.set_trainable(trainable);
            }
        }
    }

    /// The output of a batch; adds the penalty of the output to `penalty`.
    pub(crate) fn forward(
        &self,
        x: &Tensor,
        pass: &mut Pass<'_>,
        penalty: &mut Penalty,
    ) -> Result<Tensor, NnError> {
        if self.is_fused {
            return Ok(x.clone());
        }
        pass.trainable = self.trainable;
        recorded_if(self.is_recordable(), || {
            let x = cast(pass.workspace, x, self.computes)?;
            let y = self.layer.forward(&x, pass)?;
            if let Some(regularizer) = self.layer.activity_regularizer() {
                penalty.add(pass.workspace, regularizer, &y, samples(&y))?;
                pass.save(&y);
            }
            Ok(y)
        })
    }

    /// A penalty may be a user's.
    fn is_recordable(&self) -> bool {
        self.layer.is_recordable() && self.layer.activity_regularizer().is_none()
    }

    /// As [`Layer::backward`].
    pub(crate) fn backward(
        &self,
        dy: &Tensor,
        pass: &mut Pass<'_>,
    ) -> Result<Option<Tensor>, NnError> {
        if self.is_fused {
            return Ok(Some(dy.clone()));
        }
        pass.trainable = self.trainable;
        recorded_if(self.is_recordable(), || {
            let dy = &cast_owned(pass.workspace, dy, self.computes)?;
            if let Some(regularizer) = self.layer.activity_regularizer() {
                let y = pass.restore()?;
                add_penalty(regularizer, &y, dy, pass)?;
            }
            self.layer.backward(dy, pass)
        })
    }

    /// As `backward`, adding the gradients of the parameters to those there.
    pub(crate) fn backward_again(
        &self,
        dy: &Tensor,
        pass: &mut Pass<'_>,
    ) -> Result<Option<Tensor>, NnError> {
        let mut before = Vec::new();
        for &id in &self.params {
            if !pass.is_trainable(id) {
                continue;
            }
            let grad = pass.grad(id);
            let before_grad = pass.workspace.take(grad.dims(), DType::F32)?;
            kernels::copy(grad, &before_grad)?;
            before.push((grad, before_grad));
        }
        let dx = self.backward(dy, pass)?;
        for (grad, before) in before {
            kernels::accumulate(&[(grad, &before)], 1.0)?;
            pass.workspace.give(&before);
        }
        Ok(dx)
    }
}

/// Does the work of a layer, with what it has a GPU do recorded only if it may be.
pub(crate) fn recorded_if<R>(
    is_recordable: bool,
    work: impl FnOnce() -> Result<R, NnError>,
) -> Result<R, NnError> {
    match is_recordable {
        true => work(),
        false => unrecorded(work)?,
    }
}

/// `x` of this type.
pub(crate) fn cast(ws: &mut Workspace, x: &Tensor, dtype: DType) -> Result<Tensor, NnError> {
    match x.dtype() == dtype {
        true => Ok(x.clone()),
        false => Ok(kernels::cast(ws, x, dtype)?),
    }
}

/// As [`cast`], and gives back `x` if it is another tensor.
pub(crate) fn cast_owned(ws: &mut Workspace, x: &Tensor, dtype: DType) -> Result<Tensor, NnError> {
    let y = cast(ws, x, dtype)?;
    if x.dtype() != dtype {
        ws.give(x);
    }
    Ok(y)
}

/// What a penalty of the output is divided by.
fn samples(y: &Tensor) -> f64 {
    y.dims().first().map_or(1.0, |&n| n.max(1) as f64)
}

/// Adds the gradient of the penalty of `y` to that of the loss.
fn add_penalty(
    regularizer: &dyn Regularizer,
    y: &Tensor,
    dy: &Tensor,
    pass: &mut Pass<'_>,
) -> Result<(), NnError> {
    let slope = pass.workspace.take(y.dims(), DType::F32)?;
    kernels::fill(&slope, 0.0)?;
    regularizer.add_gradient(y, &slope)?;
    kernels::accumulate(&[(dy, &slope)], pass.loss_scale / samples(y))?;
    pass.workspace.give(&slope);
    Ok(())
}
