//! What the trainer needs of a network, whatever it is made of.

use crate::activation::Activation;
use crate::dtype_policy::DtypePolicy;
use crate::error::NnError;
use crate::param_rules::{NO_RULES, ParamRules};
use crate::penalty::Penalty;
use keros_tensor::{DType, ParamId, Params, Tensor, Workspace};

/// How a batch runs through a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing random, nothing saved.
    Inference,
    /// With dropout, and with everything kept that the reverse pass needs.
    Training {
        /// Seed of everything random.
        seed: u64,
        /// Number of the step; the same seed and step give the same random numbers.
        step: u64,
    },
}

impl Mode {
    /// Seed and step of a training pass.
    pub(crate) fn training(self) -> Option<(u64, u64)> {
        match self {
            Mode::Inference => None,
            Mode::Training { seed, step } => Some((seed, step)),
        }
    }
}

/// A named input or output: the shape of one sample, without the batch axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Name, as in named arrays of a batch.
    pub name: String,
    /// Shape of one sample.
    pub shape: Vec<usize>,
}

impl Port {
    /// A port for samples of this shape, without the batch axis.
    pub fn new(name: impl Into<String>, shape: impl Into<Vec<usize>>) -> Port {
        Port {
            name: name.into(),
            shape: shape.into(),
        }
    }
}

/// A layer of a network, for tables and for matching files.
#[derive(Clone, Copy, Debug)]
pub struct LayerInfo<'a> {
    /// Name, the first part of the names of its parameters.
    pub name: &'a str,
    /// Keras's name of the class, such as `Conv2D`.
    pub class_name: &'static str,
    /// Shape of the output of one sample, without the batch axis.
    pub output_shape: &'a [usize],
    /// Its parameters.
    pub params: &'a [ParamId],
    /// Whether it learns, as [`Network::set_trainable`] or else its own argument says.
    pub trainable: bool,
}

/// What a layer takes: the output of one use of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection<'a> {
    /// The name of the layer, or of the input.
    pub layer: &'a str,
    /// Which of its uses it is, counted from 0.
    pub call: usize,
}

/// An input that a layer takes for indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexInput<'a> {
    /// Which of the [`Network::inputs`] it is.
    pub port: usize,
    /// The layer's name.
    pub layer: &'a str,
    /// Its values are whole numbers from 0 to below this.
    pub count: usize,
}

/// An output of a batch before the network's final activation.
#[derive(Clone, Debug)]
pub struct Output {
    /// `[N, …]`: the values before the activation, the logits of a classifier.
    pub logits: Tensor,
    /// The activation that turns them into what the network promises.
    pub activation: Activation,
}

impl Output {
    /// The output with the activation applied.
    ///
    /// # Errors
    /// When the kernel fails.
    pub fn values(&self, workspace: &mut Workspace) -> Result<Tensor, NnError> {
        self.activation.apply(workspace, &self.logits)
    }
}

/// A trainable function of named inputs to named outputs.
///
/// All tensors are from the workspace: outputs are valid until `backward` or until the workspace is
/// recycled. The caller recycles it between steps, never between `forward` and `backward`.
pub trait Network {
    /// The inputs, in the order in which `forward` takes them.
    fn inputs(&self) -> &[Port];

    /// The outputs, in the order in which `forward` returns them.
    fn outputs(&self) -> &[Port];

    /// The inputs that layers take for indices, as they come, by [`Layer::index_count`](crate::Layer::index_count).
    /// Default: none.
    fn index_inputs(&self) -> Vec<IndexInput<'_>> {
        Vec::new()
    }

    /// The layers in the order in which they were added; none for a network without layers.
    fn layers(&self) -> Vec<LayerInfo<'_>> {
        Vec::new()
    }

    /// What each of the [`layers`](Self::layers) takes, one use after the other; none if each takes the output of the one
    /// before.
    fn connections(&self) -> Vec<Vec<Connection<'_>>> {
        Vec::new()
    }

    /// The layers, their arguments and connections as text from which
    /// [`Graph::from_json`](crate::Graph::from_json) makes the network again; `None`, the default, for
    /// a network that cannot be written.
    fn config(&self) -> Option<String> {
        None
    }

    /// The parameters and their gradients.
    fn params(&self) -> &Params;

    /// The parameters, to freeze or load them.
    fn params_mut(&mut self) -> &mut Params;

    /// The regularizers and constraints of the parameters. The caller adds their penalties to the
    /// loss and to the gradients, and lets the constraints hold after each update. Default: none.
    fn param_rules(&self) -> &ParamRules {
        &NO_RULES
    }

    /// Lets the layer of this name learn, or freezes it; its moving statistics are never trained.
    ///
    /// # Errors
    /// [`NnError::UnknownLayer`].
    fn set_trainable(&mut self, layer: &str, trainable: bool) -> Result<(), NnError> {
        let layers = self.layers();
        let Some(info) = layers.iter().find(|info| info.name == layer) else {
            return Err(unknown_layer(layer, &layers));
        };
        let learnt = info.params.iter().copied();
        let learnt: Vec<ParamId> = learnt
            .filter(|id| !self.param_rules().is_fixed(*id))
            .collect();
        for id in learnt {
            if let Some(param) = self.params_mut().get_mut(id) {
                param.set_trainable(trainable);
            }
        }
        Ok(())
    }

    /// Chooses the types in which batches are computed from now on. Default: only `float32`, in which
    /// every network computes until it is told otherwise.
    ///
    /// # Errors
    /// A policy that this kind of network or its device does not have.
    fn set_dtype_policy(&mut self, policy: DtypePolicy) -> Result<(), NnError> {
        match policy {
            DtypePolicy::Float32 => Ok(()),
            _ => {
                let expected = "`float32` for a network of this kind";
                let found = format!("`{policy}`");
                Err(NnError::argument("dtype policy", expected, found))
            }
        }
    }

    /// The policy that was chosen.
    fn dtype_policy(&self) -> DtypePolicy {
        DtypePolicy::Float32
    }

    /// Says what the gradients of the next calls of `backward` have been multiplied with, a
    /// positive number: a network that adds gradients of its own, as those of
    /// [`activity_penalty`](Self::activity_penalty), multiplies them too. Default: nothing happens,
    /// for a network that adds none.
    fn set_loss_scale(&mut self, scale: f64) {
        let _ = scale;
    }

    /// The penalties of the layers' outputs in the last `forward`, a part of the loss; `backward`
    /// adds their gradients. Default: none.
    fn activity_penalty(&self) -> Penalty {
        Penalty::default()
    }

    /// Runs a batch; each input is `[N, …]` of its port's shape, f32.
    ///
    /// # Errors
    /// When an input has another shape, or a kernel fails.
    fn forward(
        &mut self,
        workspace: &mut Workspace,
        inputs: &[Tensor],
        mode: Mode,
    ) -> Result<Vec<Output>, NnError>;

    /// Writes the gradients of all trainable parameters for the batch of the last `forward` in
    /// training mode, given those of the outputs' logits; the latter may be overwritten.
    ///
    /// # Errors
    /// [`NnError::NoForward`], or when a kernel fails.
    fn backward(&mut self, workspace: &mut Workspace, grads: &[Tensor]) -> Result<(), NnError>;
}

/// The error of a name that none of these layers has.
pub(crate) fn unknown_layer(name: &str, layers: &[LayerInfo<'_>]) -> NnError {
    NnError::UnknownLayer {
        name: name.to_owned(),
        known: layers.iter().map(|info| info.name.to_owned()).collect(),
    }
}

/// Whether the inputs are batches of one size for these ports.
pub(crate) fn check_inputs(ports: &[Port], inputs: &[Tensor]) -> Result<(), NnError> {
    if inputs.len() != ports.len() {
        let expected = ports.len().to_string();
        return Err(NnError::argument(
            "inputs of the network",
            expected,
            inputs.len(),
        ));
    }
    let samples = inputs.first().and_then(|input| input.dims().first());
    for (port, input) in ports.iter().zip(inputs) {
        let fits = input.dims().split_first().is_some_and(|(n, sample)| {
            Some(n) == samples && sample == port.shape && input.dtype() == DType::F32
        });
        if !fits {
            let samples = samples.map_or_else(|| "N".to_owned(), ToString::to_string);
            let dims = port.shape.iter().map(|dim| format!(", {dim}"));
            return Err(NnError::shape(
                format!("input `{}` of type {:?}", port.name, input.dtype()),
                format!("F32 [{samples}{}]", dims.collect::<String>()),
                input.dims(),
            ));
        }
    }
    Ok(())
}
