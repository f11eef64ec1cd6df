//! A chain of layers.

use crate::activation::Activation;
use crate::dtype_policy::DtypePolicy;
use crate::error::NnError;
use crate::layer::{Layer, Pass};
use crate::names::Names;
use crate::network::{IndexInput, LayerInfo, Mode, Network, Output, Port, unknown_layer};
use crate::param_rules::ParamRules;
use crate::part::{Part, PlannedLayer, cast, check_sample};
use crate::penalty::Penalty;
use keros_tensor::{DType, Device, Params, Recording, Tensor, Workspace};

/// Layers to be built as a [`Sequential`].
pub struct SequentialBuilder {
    input: Vec<usize>,
    layers: Vec<PlannedLayer>,
}

impl SequentialBuilder {
    /// Adds a layer at the end.
    #[must_use]
    pub fn layer(mut self, layer: impl Layer + 'static) -> SequentialBuilder {
        self.push(PlannedLayer::new(Box::new(layer)));
        self
    }

    pub(crate) fn push(&mut self, layer: PlannedLayer) {
        self.layers.push(layer);
    }

    /// Builds every layer on `device` for the shape before it; parameters start from `seed`.
    ///
    /// # Errors
    /// The first layer that cannot take its input or has an argument out of range, by name; two
    /// layers of one name, or a name with a `/`; no layers.
    pub fn build(self, device: &Device, seed: u64) -> Result<Sequential, NnError> {
        if self.layers.is_empty() || self.input.contains(&0) {
            let expected = "at least one layer and an input shape without zeros";
            let found = format!("{} layers, input {:?}", self.layers.len(), self.input);
            return Err(NnError::argument("building the network", expected, found));
        }
        let mut params = Params::new();
        let mut rules = ParamRules::default();
        let mut parts: Vec<Part> = Vec::new();
        let mut names = Names::default();
        check_sample(&self.input)?;
        let mut shape = self.input.clone();
        for layer in self.layers {
            let name = names.take(layer.name(), layer.layer.class_name())?;
            let part = layer.build(name, &shape, &mut params, &mut rules, device, seed)?;
            shape.clone_from(&part.output);
            parts.push(part);
        }
        let activation = match parts.last_mut() {
            Some(last) => last.take_activation(),
            None => Activation::Linear,
        };
        for i in 1..parts.len() {
            let (before, after) = parts.split_at_mut(i);
            if let (Some(before), Some(after)) = (before.last_mut(), after.first_mut()) {
                after.fuse_into(|| before.fuse_relu());
            }
        }
        let port = |name: Option<&Part>, shape| Port {
            name: name.map_or_else(|| "input".to_owned(), |part| part.name.clone()),
            shape,
        };
        Ok(Sequential {
            inputs: [port(None, self.input)],
            outputs: [port(parts.last(), shape)],
            parts,
            params,
            rules,
            activation,
            penalty: Penalty::default(),
            tape: Vec::new(),
            training: None,
            policy: DtypePolicy::default(),
            loss_scale: 1.0,
        })
    }
}

/// A chain of layers with one input, named `input`, and one output, named after the last layer.
pub struct Sequential {
    pub(crate) inputs: [Port; 1],
    outputs: [Port; 1],
    pub(crate) parts: Vec<Part>,
    params: Params,
    rules: ParamRules,
    activation: Activation,
    /// Of the outputs of the last batch.
    penalty: Penalty,
    tape: Vec<Tensor>,
    training: Option<(u64, u64)>,
    policy: DtypePolicy,
    loss_scale: f64,
}

impl Sequential {
    /// Begins a chain for samples of this shape, without the batch axis.
    #[must_use]
    pub fn builder(input_shape: impl Into<Vec<usize>>) -> SequentialBuilder {
        SequentialBuilder {
            input: input_shape.into(),
            layers: Vec::new(),
        }
    }
}

impl Network for Sequential {
    fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    fn layers(&self) -> Vec<LayerInfo<'_>> {
        self.parts
            .iter()
            .map(|part| LayerInfo {
                name: &part.name,
                class_name: part.class_name(),
                output_shape: &part.output,
                params: &part.params,
                trainable: part.trainable,
            })
            .collect()
    }

    fn config(&self) -> Option<String> {
        self.to_json().ok()
    }

    fn params(&self) -> &Params {
        &self.params
    }

    fn params_mut(&mut self) -> &mut Params {
        &mut self.params
    }

    fn index_inputs(&self) -> Vec<IndexInput<'_>> {
        let first = self.parts.first();
        let input = first.and_then(|part| {
            let (port, layer) = (0, part.name.as_str());
            let count = part.index_count()?;
            Some(IndexInput { port, layer, count })
        });
        input.into_iter().collect()
    }

    fn param_rules(&self) -> &ParamRules {
        &self.rules
    }

    fn set_trainable(&mut self, layer: &str, trainable: bool) -> Result<(), NnError> {
        match self.parts.iter_mut().find(|part| part.name == layer) {
            Some(part) => {
                part.set_trainable(&mut self.params, &self.rules, trainable);
                Ok(())
            }
            None => Err(unknown_layer(layer, &self.layers())),
        }
    }

    fn set_dtype_policy(&mut self, policy: DtypePolicy) -> Result<(), NnError> {
        policy.check(&self.params)?;
        for part in &mut self.parts {
            part.set_dtype_policy(policy);
        }
        self.policy = policy;
        Ok(())
    }

    fn dtype_policy(&self) -> DtypePolicy {
        self.policy
    }

    fn set_loss_scale(&mut self, scale: f64) {
        self.loss_scale = scale;
    }

    fn activity_penalty(&self) -> Penalty {
        self.penalty.clone()
    }

    fn forward(
        &mut self,
        workspace: &mut Workspace,
        inputs: &[Tensor],
        mode: Mode,
    ) -> Result<Vec<Output>, NnError> {
        self.tape.clear();
        self.training = mode.training();
        self.penalty = Penalty::default();
        let mut x = check_input(&self.inputs[0], inputs)?.clone();
        let recording = Recording::start(workspace);
        for (i, part) in self.parts.iter().enumerate() {
            let mut pass = Pass {
                workspace,
                params: &self.params,
                tape: &mut self.tape,
                training: self.training,
                keeps: self.training.is_some(),
                layer: i as u64,
                wants_input_grad: false,
                trainable: true,
                loss_scale: self.loss_scale,
            };
            x = part
                .forward(&x, &mut pass, &mut self.penalty)
                .map_err(|error| error.in_layer(&part.name))?;
        }
        let logits = cast(workspace, &x, DType::F32)?;
        recording.finish()?;
        Ok(vec![Output {
            logits,
            activation: self.activation,
        }])
    }

    fn backward(&mut self, workspace: &mut Workspace, grads: &[Tensor]) -> Result<(), NnError> {
        let training = self.training.take().ok_or(NnError::NoForward)?;
        let [grad] = grads else {
            return Err(NnError::argument("output gradients", "1", grads.len()));
        };
        let is_trained = |part: &Part| part.is_trained(&self.params);
        let Some(first) = self.parts.iter().position(is_trained) else {
            return Ok(());
        };
        let recording = Recording::start(workspace);
        let mut dy = grad.clone();
        for (i, part) in self.parts.iter().enumerate().skip(first).rev() {
            let mut pass = Pass {
                workspace,
                params: &self.params,
                tape: &mut self.tape,
                training: Some(training),
                keeps: true,
                layer: i as u64,
                wants_input_grad: i > first,
                trainable: true,
                loss_scale: self.loss_scale,
            };
            let dx = part
                .backward(&dy, &mut pass)
                .map_err(|error| error.in_layer(&part.name))?;
            match dx {
                Some(dx) => dy = dx,
                None if i > first => {
                    let error = NnError::argument("gradients of the inputs", "1", 0);
                    return Err(error.in_layer(&part.name));
                }
                None => {}
            }
        }
        Ok(recording.finish()?)
    }
}

fn check_input<'a>(port: &Port, inputs: &'a [Tensor]) -> Result<&'a Tensor, NnError> {
    let [input] = inputs else {
        return Err(NnError::argument(
            "inputs of the network",
            "1",
            inputs.len(),
        ));
    };
    let found = input.dims();
    if found.split_first().map(|(_, sample)| sample) != Some(&port.shape[..])
        || input.dtype() != DType::F32
    {
        return Err(NnError::shape(
            format!("input `{}` of type {:?}", port.name, input.dtype()),
            format!("F32 [N, {}]", join(&port.shape)),
            found,
        ));
    }
    Ok(input)
}

fn join(shape: &[usize]) -> String {
    let texts: Vec<String> = shape.iter().map(ToString::to_string).collect();
    texts.join(", ")
}
