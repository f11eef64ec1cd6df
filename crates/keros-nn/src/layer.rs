//! What a layer is: built once for a shape, run forward and backward on batches.

use crate::activation::Activation;
use crate::config::Config;
use crate::error::NnError;
use crate::initializer::Initializer;
use crate::network::Mode;
use crate::param_rules::{ParamOptions, ParamRules};
use crate::regularizer::Regularizer;
use keros_tensor::{DType, Device, ParamId, Params, Stream, Tensor, Var, Workspace};

/// A part of a network.
///
/// `forward` and `backward` come in pairs: what `forward` [saves](Pass::save) in training mode,
/// `backward` of the same batch [restores](Pass::restore) in reverse order. A layer holds no state
/// of a batch itself, so that one layer may stand in several places.
pub trait Layer {
    /// Keras's name of the class, such as `Conv2D`.
    fn class_name(&self) -> &'static str;

    /// The name the user gave this layer; `None` for one derived from the class.
    fn name(&self) -> Option<&str>;

    /// Whether the layer learns when it is new. Default: true.
    fn trainable(&self) -> bool {
        true
    }

    /// A penalty of the output, divided by the number of samples, that the network adds to the loss
    /// and its gradient. Default: none.
    fn activity_regularizer(&self) -> Option<&dyn Regularizer> {
        None
    }

    /// Whether `forward` and `backward` also work on values of type `bf16` and `f16`, as those of
    /// [`kernels`](keros_tensor::kernels) that say so; parameters and their gradients are `f32` in any
    /// case. Default: false.
    fn takes_mixed_precision(&self) -> bool {
        false
    }

    /// Whether `forward` and `backward` work on tensors by what `keros_tensor` has for it alone, rather than by
    /// candle's operations: then a GPU may be told of their work later ([`Recording`](keros_tensor::Recording)).
    /// Default: false.
    fn is_recordable(&self) -> bool {
        false
    }

    /// How many indices there are, if the layer takes its input for indices. A trainer then looks at those that come
    /// straight from a batch while they are on the host, because a GPU cannot refuse a value without being waited for.
    /// Default: it does not.
    fn index_count(&self) -> Option<usize> {
        None
    }

    /// What is wrong with the arguments whatever the shape, such as an unknown name; the network asks
    /// before it builds. Default: nothing.
    ///
    /// # Errors
    /// The first argument that cannot be used.
    fn check(&mut self) -> Result<(), NnError> {
        Ok(())
    }

    /// The arguments by Keras's names, for a [`Registry`](crate::Registry) to make the layer again;
    /// the name and whether it is trained are not among them. Default: `None`, the layer cannot be
    /// written.
    fn config(&self) -> Option<Config> {
        None
    }

    /// Checks the shape of one input sample (without the batch axis), makes the parameters and
    /// returns the shape of one output sample.
    ///
    /// # Errors
    /// A shape the layer cannot take, or an argument out of range.
    fn build(
        &mut self,
        input: &[usize],
        builder: &mut LayerBuilder<'_>,
    ) -> Result<Vec<usize>, NnError>;

    /// Gives a final softmax or sigmoid away: the network asks its last layer, so that the loss can
    /// work on logits. From then on the layer does not apply it.
    fn take_activation(&mut self) -> Activation {
        Activation::Linear
    }

    /// Whether the layer is `max(x, 0)` and nothing else, which the layer before it may
    /// [take over](Self::fuse_relu). Default: false.
    fn is_relu(&self) -> bool {
        false
    }

    /// Takes over the ReLU that follows, because one walk through memory is faster than two: the network
    /// asks if nothing else uses the output. If it returns true, `forward` and `backward` include the
    /// ReLU from then on, and that layer hands on what it is given. Default: false.
    fn fuse_relu(&mut self) -> bool {
        false
    }

    /// The output of a batch.
    ///
    /// # Shapes
    /// `[N]` followed by the shapes of `build`.
    ///
    /// # Errors
    /// When a kernel fails.
    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError>;

    /// Writes the gradients of the layer's parameters and returns that of its input; `None` is
    /// allowed if [`Pass::wants_input_grad`] is false.
    ///
    /// `dy`, the gradient of the output, may be overwritten.
    ///
    /// # Errors
    /// When a kernel fails, or nothing was saved.
    fn backward(&self, dy: &Tensor, pass: &mut Pass<'_>) -> Result<Option<Tensor>, NnError>;
}

/// A part of a network that makes one tensor out of several, and has no parameters.
///
/// What [`Layer`] says about `forward` and `backward` holds here too.
pub trait Merge {
    /// Keras's name of the class, such as `Concatenate`.
    fn class_name(&self) -> &'static str;

    /// The name the user gave this layer; `None` for one derived from the class.
    fn name(&self) -> Option<&str>;

    /// The arguments, as [`Layer::config`].
    fn config(&self) -> Option<Config> {
        None
    }

    /// As [`Layer::takes_mixed_precision`].
    fn takes_mixed_precision(&self) -> bool {
        false
    }

    /// As [`Layer::is_recordable`].
    fn is_recordable(&self) -> bool {
        false
    }

    /// As [`Layer::fuse_relu`].
    fn fuse_relu(&mut self) -> bool {
        false
    }

    /// Checks the shapes of one sample of each input (without the batch axis) and returns that of
    /// one output sample.
    ///
    /// # Errors
    /// Shapes the layer cannot take together, or an argument out of range.
    fn build(&mut self, inputs: &[Vec<usize>]) -> Result<Vec<usize>, NnError>;

    /// The output of a batch.
    ///
    /// # Shapes
    /// `[N]` followed by the shapes of `build`.
    ///
    /// # Errors
    /// When a kernel fails.
    fn forward(&self, inputs: &[Tensor], pass: &mut Pass<'_>) -> Result<Tensor, NnError>;

    /// The gradient of each input. No two share their memory; one of them may be `dy`, which may
    /// be overwritten.
    ///
    /// # Errors
    /// When a kernel fails, or nothing was saved.
    fn backward(&self, dy: &Tensor, pass: &mut Pass<'_>) -> Result<Vec<Tensor>, NnError>;
}

/// Makes the parameters of one layer.
pub struct LayerBuilder<'a> {
    pub(crate) params: &'a mut Params,
    pub(crate) rules: &'a mut ParamRules,
    pub(crate) layer: &'a str,
    pub(crate) device: &'a Device,
    pub(crate) seed: u64,
}

impl<'a> LayerBuilder<'a> {
    /// Adds the parameters `layer/…` to `params` and what holds for them to `rules`.
    pub fn new(
        params: &'a mut Params,
        rules: &'a mut ParamRules,
        layer: &'a str,
        device: &'a Device,
        seed: u64,
    ) -> LayerBuilder<'a> {
        LayerBuilder {
            params,
            rules,
            layer,
            device,
            seed,
        }
    }

    /// Adds the trainable parameter `layer/name`. Its values are a function of the seed, the shape
    /// and the number of parameters before it.
    ///
    /// # Errors
    /// When the parameter cannot be made.
    pub fn param(
        &mut self,
        name: &str,
        shape: &[usize],
        initializer: Initializer,
    ) -> Result<ParamId, NnError> {
        self.param_with(name, shape, initializer, ParamOptions::default())
    }

    /// Adds `layer/name`, which no optimizer changes: what a layer keeps besides what it learns, or
    /// a frozen parameter. Its values are drawn as those of [`param`](Self::param).
    ///
    /// # Errors
    /// When the parameter cannot be made.
    pub fn state(
        &mut self,
        name: &str,
        shape: &[usize],
        initializer: Initializer,
    ) -> Result<ParamId, NnError> {
        let options = ParamOptions {
            trainable: false,
            ..ParamOptions::default()
        };
        self.param_with(name, shape, initializer, options)
    }

    /// As [`param`](Self::param), with a regularizer, with a constraint or not trainable.
    ///
    /// # Errors
    /// When the parameter cannot be made, or the regularizer or constraint is not defined for its
    /// shape.
    pub fn param_with(
        &mut self,
        name: &str,
        shape: &[usize],
        initializer: Initializer,
        options: ParamOptions,
    ) -> Result<ParamId, NnError> {
        let elements = shape.iter().try_fold(1_usize, |n, &dim| n.checked_mul(dim));
        if elements.is_none_or(|elements| elements > MAX_ELEMENTS) {
            let expected = format!("at most {MAX_ELEMENTS} elements");
            return Err(NnError::shape(
                format!("parameter `{name}`"),
                expected,
                shape,
            ));
        }
        ParamRules::check(&options, shape)?;
        let stream = Stream::new(self.seed, INITIALIZERS | self.params.len() as u64);
        let value = initializer.tensor(shape, &stream, self.device)?;
        let name = format!("{}/{name}", self.layer);
        let id = self.params.add(&name, &value, options.trainable)?;
        self.rules.add(id, options);
        Ok(id)
    }
}

impl LayerBuilder<'_> {
    /// Adds a variable that exists already as `layer/name`: all clones of it are the parameter.
    ///
    /// # Errors
    /// A variable of another type than f32 or on another device, or a name that is taken.
    pub fn var(&mut self, name: &str, var: &Var, trainable: bool) -> Result<ParamId, NnError> {
        check_var(name, var)?;
        if !var.device().same_device(self.device) {
            let expected = format!("{:?}", self.device.location());
            let found = format!("{:?}", var.device().location());
            return Err(NnError::argument(
                format!("device of `{name}`"),
                expected,
                found,
            ));
        }
        let name = format!("{}/{name}", self.layer);
        let id = self.params.add_var(&name, var.clone(), trainable)?;
        let options = ParamOptions {
            trainable,
            ..ParamOptions::default()
        };
        self.rules.add(id, options);
        Ok(id)
    }
}

/// Parameters are of type f32.
pub(crate) fn check_var(name: &str, var: &Var) -> Result<(), NnError> {
    match var.dtype() {
        DType::F32 => Ok(()),
        found => Err(NnError::argument(
            format!("type of `{name}`"),
            "F32",
            format!("{found:?}"),
        )),
    }
}

/// Elements of a parameter: a TiB, which no machine has to spare, though some systems promise it.
const MAX_ELEMENTS: usize = 1 << 38;

/// Random streams of one seed: those of initializers have the top bit set, those of the layers in a
/// training step hold the layer in bits 48 to 62 and the step below.
const INITIALIZERS: u64 = 1 << 63;
const LAYER_SHIFT: u32 = 48;

/// One pass of a batch through a layer: the buffers, parameters and tape of its network.
pub struct Pass<'a> {
    /// Where intermediate values come from.
    pub workspace: &'a mut Workspace,
    pub(crate) params: &'a Params,
    pub(crate) tape: &'a mut Vec<Tensor>,
    /// Seed and step of a training pass; `None` in inference.
    pub(crate) training: Option<(u64, u64)>,
    /// Whether a backward pass will come.
    pub(crate) keeps: bool,
    pub(crate) layer: u64,
    pub(crate) wants_input_grad: bool,
    /// Whether the layer may learn.
    pub(crate) trainable: bool,
    pub(crate) loss_scale: f64,
}

impl<'a> Pass<'a> {
    /// A pass through a layer that is in no network. `backward` may follow in inference mode too,
    /// and returns the gradient of the input.
    pub fn new(
        workspace: &'a mut Workspace,
        params: &'a Params,
        tape: &'a mut Vec<Tensor>,
        mode: Mode,
    ) -> Pass<'a> {
        Pass {
            workspace,
            params,
            tape,
            training: mode.training(),
            keeps: true,
            layer: 0,
            wants_input_grad: true,
            trainable: true,
            loss_scale: 1.0,
        }
    }

    /// Whether dropout drops and gradients will be asked for.
    #[must_use]
    pub fn is_training(&self) -> bool {
        self.training.is_some()
    }

    /// Whether `backward` has to return the gradient of the input.
    #[must_use]
    pub fn wants_input_grad(&self) -> bool {
        self.wants_input_grad
    }

    /// What the gradients that reach `backward` have been multiplied with. A layer that adds one of
    /// its own, which does not depend on `dy`, multiplies it too.
    #[must_use]
    pub fn loss_scale(&self) -> f64 {
        self.loss_scale
    }

    /// The value of a parameter.
    #[must_use]
    pub fn value(&self, id: ParamId) -> &'a Tensor {
        self.params[id].value().as_tensor()
    }

    /// Whether an optimizer may change a parameter.
    #[must_use]
    pub fn is_trainable(&self, id: ParamId) -> bool {
        self.params[id].trainable()
    }

    /// The gradient of a parameter, to be written.
    #[must_use]
    pub fn grad(&self, id: ParamId) -> &'a Tensor {
        self.params[id].grad()
    }

    /// Random numbers of this layer in this training step; `None` in inference.
    #[must_use]
    pub fn stream(&self) -> Option<Stream> {
        self.stream_of(None)
    }

    /// As [`stream`](Self::stream), but of a seed of the layer's own if it has one.
    #[must_use]
    pub fn stream_of(&self, seed: Option<u64>) -> Option<Stream> {
        self.training
            .map(|(own, step)| Stream::new(seed.unwrap_or(own), self.layer << LAYER_SHIFT | step))
    }

    /// Keeps a tensor for `backward`; does nothing if none will come, as in a network's inference.
    pub fn save(&mut self, tensor: &Tensor) {
        if self.keeps {
            self.tape.push(tensor.clone());
        }
    }

    /// Takes back what was saved last.
    ///
    /// # Errors
    /// [`NnError::NoForward`] if nothing is left.
    pub fn restore(&mut self) -> Result<Tensor, NnError> {
        self.tape.pop().ok_or(NnError::NoForward)
    }
}
