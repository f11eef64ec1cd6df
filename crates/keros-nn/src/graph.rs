//! A network of named inputs and outputs, with branches, merges and shared layers.

use crate::activation::Activation;
use crate::dtype_policy::DtypePolicy;
use crate::error::NnError;
use crate::layer::{Layer, Merge, Pass};
use crate::names::Names;
use crate::network::{
    Connection, IndexInput, LayerInfo, Mode, Network, Output, Port, check_inputs, unknown_layer,
};
use crate::param_rules::ParamRules;
use crate::part::{Part, PlannedLayer, cast, cast_owned, check_sample, recorded_if};
use crate::penalty::Penalty;
use keros_tensor::kernels::{self, MergeOp};
use keros_tensor::{DType, Device, Params, Recording, Tensor, Workspace};
use std::collections::HashSet;

/// A tensor of a graph that is being built: an input, or what a layer makes. See [`GraphBuilder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node(usize);

/// A layer of a graph that is being built. See [`GraphBuilder::shared`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedLayer(usize);

/// Inputs, layers and merges to be built as a [`Graph`]. What is wrong with them,
/// [`build`](Self::build) tells.
///
/// ```
/// use keros_nn::layers::{Concatenate, Dense};
/// use keros_nn::{Activation, Graph, Network};
/// use keros_tensor::Device;
///
/// let mut g = Graph::builder();
/// let (left, right) = (g.input("left", [8]), g.input("right", [8]));
/// let encoder = g.shared(Dense::new(4).activation(Activation::Relu));
/// let halves = [g.apply(encoder, left), g.apply(encoder, right)];
/// let joined = g.merge(Concatenate::new(-1), &halves);
/// let same = g.layer(Dense::new(1).activation(Activation::Sigmoid), joined);
/// let network = g.build(&[("same", same)], &Device::Cpu, 42)?;
/// assert_eq!(network.params().num_elements(true), (8 + 1) * 4 + 8 + 1);
/// # Ok::<(), keros_nn::NnError>(())
/// ```
#[derive(Default)]
pub struct GraphBuilder {
    nodes: Vec<Planned>,
    pub(crate) layers: Vec<PlannedLayer>,
}

struct Planned {
    source: Source,
    inputs: Vec<usize>,
}

enum Source {
    Input {
        name: String,
        shape: Vec<usize>,
    },
    Layer(usize),
    /// With the name of its place, if it has one.
    Merge(Box<dyn Merge>, Option<String>),
}

impl GraphBuilder {
    /// Adds an input of this name for samples of this shape, without the batch axis. The network
    /// takes its inputs in the order in which they are added.
    pub fn input(&mut self, name: impl Into<String>, shape: impl Into<Vec<usize>>) -> Node {
        let source = Source::Input {
            name: name.into(),
            shape: shape.into(),
        };
        self.add(source, Vec::new())
    }

    /// Adds a layer that works on `input`.
    pub fn layer(&mut self, layer: impl Layer + 'static, input: Node) -> Node {
        let layer = self.shared(layer);
        self.apply(layer, input)
    }

    /// Adds a layer that [`apply`](Self::apply) may use several times, on inputs of one shape. All
    /// uses have the same parameters, whose gradients add up.
    pub fn shared(&mut self, layer: impl Layer + 'static) -> SharedLayer {
        self.plan(PlannedLayer::new(Box::new(layer)))
    }

    pub(crate) fn plan(&mut self, layer: PlannedLayer) -> SharedLayer {
        self.layers.push(layer);
        SharedLayer(self.layers.len() - 1)
    }

    /// Lets a layer work on `input`.
    pub fn apply(&mut self, layer: SharedLayer, input: Node) -> Node {
        self.add(Source::Layer(layer.0), vec![input.0])
    }

    /// Adds a layer that makes one tensor of several.
    pub fn merge(&mut self, merge: impl Merge + 'static, inputs: &[Node]) -> Node {
        self.plan_merge(Box::new(merge), None, inputs)
    }

    pub(crate) fn plan_merge(
        &mut self,
        merge: Box<dyn Merge>,
        name: Option<String>,
        inputs: &[Node],
    ) -> Node {
        let inputs = inputs.iter().map(|node| node.0).collect();
        self.add(Source::Merge(merge, name), inputs)
    }

    fn add(&mut self, source: Source, inputs: Vec<usize>) -> Node {
        self.nodes.push(Planned { source, inputs });
        Node(self.nodes.len() - 1)
    }

    /// Builds every layer on `device`; parameters start from `seed`. The network returns the outputs
    /// in this order, under these names.
    ///
    /// # Errors
    /// The first layer that cannot take its input or has an argument out of range, by name; two
    /// inputs or layers of one name, or two outputs; a name with a `/`; no output; an input or layer that leads to no
    /// output; a node or layer of another builder.
    pub fn build(
        self,
        outputs: &[(&str, Node)],
        device: &Device,
        seed: u64,
    ) -> Result<Graph, NnError> {
        self.check(outputs)?;
        let mut params = Params::new();
        let mut rules = ParamRules::default();
        let mut names = Names::default();
        let mut planned: Vec<Option<PlannedLayer>> = self.layers.into_iter().map(Some).collect();
        let mut places: Vec<usize> = vec![0; planned.len()];
        let mut layers: Vec<Part> = Vec::new();
        let mut steps: Vec<Step> = Vec::new();
        let mut inputs = Vec::new();
        for node in self.nodes {
            let mut shapes = node.inputs.iter().map(|&input| steps[input].shape.clone());
            let (op, name, shape) = match node.source {
                Source::Input { name, shape } => {
                    let name = names.take(Some(&name), "InputLayer")?;
                    inputs.push(Port {
                        name: name.clone(),
                        shape: shape.clone(),
                    });
                    (Op::Input(inputs.len() - 1), name, shape)
                }
                Source::Layer(index) => {
                    let input = shapes.next().unwrap_or_default();
                    if let Some(layer) = planned[index].take() {
                        let name = names.take(layer.name(), layer.layer.class_name())?;
                        let part =
                            layer.build(name, &input, &mut params, &mut rules, device, seed)?;
                        places[index] = layers.len();
                        layers.push(part);
                    }
                    let place = places[index];
                    let part = &layers[place];
                    if part.input != input {
                        let expected = format!("{:?}, as at its first use", part.input);
                        let error = NnError::shape("input sample", expected, &input);
                        return Err(error.in_layer(&part.name));
                    }
                    (Op::Layer(place), part.name.clone(), part.output.clone())
                }
                Source::Merge(mut merge, name) => {
                    let own = name.as_deref().or(merge.name());
                    let name = names.take(own, merge.class_name())?;
                    let shapes: Vec<Vec<usize>> = shapes.collect();
                    let shape = merge
                        .build(&shapes)
                        .and_then(|shape| check_sample(&shape).map(|()| shape))
                        .map_err(|error| error.in_layer(&name))?;
                    (Op::Merge(merge), name, shape)
                }
            };
            steps.push(Step {
                op,
                name,
                inputs: node.inputs,
                shape,
            });
        }
        let ends: Vec<usize> = outputs.iter().map(|(_, node)| node.0).collect();
        let activations = take_activations(&steps, &mut layers, &ends);
        fuse_relus(&mut steps, &mut layers, &ends);
        let ports = outputs.iter().map(|(name, node)| Port {
            name: (*name).to_owned(),
            shape: steps[node.0].shape.clone(),
        });
        Ok(Graph {
            inputs,
            outputs: ports.collect(),
            ends: ends.into_iter().zip(activations).collect(),
            penalty: Penalty::default(),
            tapes: steps.iter().map(|_| Vec::new()).collect(),
            steps,
            layers,
            params,
            rules,
            training: None,
            policy: DtypePolicy::default(),
            loss_scale: 1.0,
        })
    }

    /// Whether the nodes refer to nodes before them, and all of them lead to an output.
    fn check(&self, outputs: &[(&str, Node)]) -> Result<(), NnError> {
        let wrong = |expected: &str, found: String| {
            Err(NnError::argument("building the graph", expected, found))
        };
        let mut names = HashSet::new();
        for (name, node) in outputs {
            if !names.insert(name) {
                return wrong("outputs of different names", format!("two called `{name}`"));
            }
            if node.0 >= self.nodes.len() {
                return wrong(
                    "nodes of this builder",
                    format!("another for output `{name}`"),
                );
            }
        }
        let mut leads: Vec<bool> = (0..self.nodes.len())
            .map(|i| outputs.iter().any(|(_, node)| node.0 == i))
            .collect();
        let mut used = vec![false; self.layers.len()];
        for (i, planned) in self.nodes.iter().enumerate().rev() {
            let known = match planned.source {
                Source::Layer(layer) => layer < self.layers.len(),
                _ => true,
            };
            if !known || planned.inputs.iter().any(|&input| input >= i) {
                return wrong("nodes and layers of this builder", "another".to_owned());
            }
            if !leads[i] {
                let found = match &planned.source {
                    Source::Input { name, .. } => format!("input `{name}`"),
                    Source::Layer(layer) => self.layers[*layer].layer.class_name().to_owned(),
                    Source::Merge(merge, _) => merge.class_name().to_owned(),
                };
                let found = format!("{found} (node {i}) that does not");
                return wrong("nodes that lead to an output", found);
            }
            planned.inputs.iter().for_each(|&input| leads[input] = true);
            match &planned.source {
                Source::Layer(layer) => used[*layer] = true,
                Source::Input { name, shape } if shape.contains(&0) => {
                    let found = format!("{shape:?} for `{name}`");
                    return wrong("input shapes without zeros", found);
                }
                Source::Input { shape, .. } => check_sample(shape)?,
                _ => {}
            }
        }
        match used.iter().position(|used| !used) {
            Some(layer) => {
                let found = self.layers[layer].layer.class_name();
                wrong(
                    "shared layers that are applied",
                    format!("{found} that is not"),
                )
            }
            None if outputs.is_empty() => wrong("at least one output", "none".to_owned()),
            None => Ok(()),
        }
    }
}

/// Takes the final activation of every layer all of whose uses are outputs and nothing else;
/// returns that of each output.
fn take_activations(steps: &[Step], layers: &mut [Part], ends: &[usize]) -> Vec<Activation> {
    let is_final = |node: usize| {
        ends.iter().filter(|&&end| end == node).count() == 1
            && !steps.iter().any(|step| step.inputs.contains(&node))
    };
    let taken: Vec<Activation> = layers
        .iter_mut()
        .enumerate()
        .map(|(index, part)| {
            let mut uses = (0..steps.len()).filter(|&node| steps[node].is_use_of(index));
            match uses.all(is_final) {
                true => part.take_activation(),
                false => Activation::Linear,
            }
        })
        .collect();
    ends.iter()
        .map(|&end| match steps[end].op {
            Op::Layer(index) => taken[index],
            Op::Input(_) | Op::Merge(_) => Activation::Linear,
        })
        .collect()
}

/// Lets layers and merges take over the ReLU that follows, where nothing else uses their output and each is used once.
fn fuse_relus(steps: &mut [Step], layers: &mut [Part], ends: &[usize]) {
    let mut uses = vec![0; layers.len()];
    let mut users = vec![0; steps.len()];
    for step in &*steps {
        if let Op::Layer(index) = step.op {
            uses[index] += 1;
        }
        step.inputs.iter().for_each(|&input| users[input] += 1);
    }
    ends.iter().for_each(|&end| users[end] += 1);
    for i in 0..steps.len() {
        let (before, rest) = steps.split_at_mut(i);
        let (Op::Layer(index), [input]) = (&rest[0].op, &rest[0].inputs[..]) else {
            continue;
        };
        if uses[*index] > 1 || users[*input] > 1 {
            continue;
        }
        match &mut before[*input].op {
            Op::Input(_) => {}
            Op::Layer(other) if uses[*other] > 1 => {}
            // A layer is built before those that follow.
            Op::Layer(other) => {
                let (layers, after) = layers.split_at_mut(*index);
                after[0].fuse_into(|| layers[*other].fuse_relu());
            }
            Op::Merge(merge) => layers[*index].fuse_into(|| merge.fuse_relu()),
        }
    }
}

/// One node, after those it depends on.
pub(crate) struct Step {
    pub(crate) op: Op,
    pub(crate) name: String,
    pub(crate) inputs: Vec<usize>,
    pub(crate) shape: Vec<usize>,
}

pub(crate) enum Op {
    Input(usize),
    Layer(usize),
    Merge(Box<dyn Merge>),
}

impl Step {
    fn is_use_of(&self, layer: usize) -> bool {
        matches!(self.op, Op::Layer(index) if index == layer)
    }
}

/// A network of named inputs and outputs, made by a [`GraphBuilder`].
///
/// A layer whose softmax or sigmoid ends in outputs alone gives it to the [`Output`], as the last
/// layer of a [`Sequential`](crate::Sequential) does.
pub struct Graph {
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    pub(crate) steps: Vec<Step>,
    /// In the order of their first use.
    pub(crate) layers: Vec<Part>,
    /// The node of each output, and the activation that was taken from it.
    pub(crate) ends: Vec<(usize, Activation)>,
    /// Of the outputs of the last batch.
    penalty: Penalty,
    params: Params,
    rules: ParamRules,
    /// What each step saved: a part of the graph that is not trained leaves its tape alone.
    tapes: Vec<Vec<Tensor>>,
    training: Option<(u64, u64)>,
    policy: DtypePolicy,
    loss_scale: f64,
}

impl Graph {
    /// Begins a graph without nodes.
    #[must_use]
    pub fn builder() -> GraphBuilder {
        GraphBuilder::default()
    }

    /// Whether each node depends on a parameter that is trained.
    fn trained(&self) -> Vec<bool> {
        let mut trained = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            let own = match step.op {
                Op::Layer(index) => self.layers[index].is_trained(&self.params),
                Op::Input(_) | Op::Merge(_) => false,
            };
            trained.push(own || step.inputs.iter().any(|&input| trained[input]));
        }
        trained
    }
}

impl Network for Graph {
    fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    fn index_inputs(&self) -> Vec<IndexInput<'_>> {
        let inputs = self.steps.iter().filter_map(|step| {
            let Op::Layer(index) = step.op else {
                return None;
            };
            let Op::Input(port) = self.steps[step.inputs[0]].op else {
                return None;
            };
            let (layer, count) = (step.name.as_str(), self.layers[index].index_count()?);
            Some(IndexInput { port, layer, count })
        });
        inputs.collect()
    }

    fn param_rules(&self) -> &ParamRules {
        &self.rules
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

    /// Inputs, layers and merges in the order of their first use.
    fn layers(&self) -> Vec<LayerInfo<'_>> {
        let mut seen = HashSet::new();
        let mut infos = Vec::new();
        for step in &self.steps {
            let (class_name, params, trainable) = match &step.op {
                Op::Input(_) => ("InputLayer", &[][..], true),
                Op::Layer(index) => {
                    if !seen.insert(*index) {
                        continue;
                    }
                    let part = &self.layers[*index];
                    (part.class_name(), &part.params[..], part.trainable)
                }
                Op::Merge(merge) => (merge.class_name(), &[][..], true),
            };
            infos.push(LayerInfo {
                name: &step.name,
                class_name,
                output_shape: &step.shape,
                params,
                trainable,
            });
        }
        infos
    }

    fn connections(&self) -> Vec<Vec<Connection<'_>>> {
        let mut layers: Vec<(&str, Vec<Connection<'_>>)> = Vec::new();
        let mut calls: Vec<Connection<'_>> = Vec::new();
        for step in &self.steps {
            let takes = step.inputs.iter().map(|&input| calls[input]);
            let known = layers.iter_mut().find(|(name, _)| *name == step.name);
            let layer = step.name.as_str();
            let call = calls.iter().filter(|call| call.layer == layer).count();
            match known {
                Some((_, connections)) => connections.extend(takes),
                None => layers.push((layer, takes.collect())),
            }
            calls.push(Connection { layer, call });
        }
        let in_turn = |(i, step): (usize, &Step)| step.inputs.iter().copied().eq(i.checked_sub(1));
        match layers.len() == self.steps.len() && self.steps.iter().enumerate().all(in_turn) {
            true => Vec::new(),
            false => layers.into_iter().map(|(_, takes)| takes).collect(),
        }
    }

    fn set_trainable(&mut self, layer: &str, trainable: bool) -> Result<(), NnError> {
        match self.layers.iter_mut().find(|part| part.name == layer) {
            Some(part) => {
                part.set_trainable(&mut self.params, &self.rules, trainable);
                Ok(())
            }
            // An input or a merge, which has nothing to learn.
            None if self.steps.iter().any(|step| step.name == layer) => Ok(()),
            None => Err(unknown_layer(layer, &self.layers())),
        }
    }

    fn set_dtype_policy(&mut self, policy: DtypePolicy) -> Result<(), NnError> {
        policy.check(&self.params)?;
        for part in &mut self.layers {
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
        check_inputs(&self.inputs, inputs)?;
        self.training = mode.training();
        self.penalty = Penalty::default();
        // All of them at once: after a batch that did not fit, the next one needs their memory.
        self.tapes.iter_mut().for_each(Vec::clear);
        let recording = Recording::start(workspace);
        let mut values: Vec<Tensor> = Vec::with_capacity(self.steps.len());
        for (i, (step, tape)) in self.steps.iter().zip(&mut self.tapes).enumerate() {
            let mut pass = Pass {
                workspace,
                params: &self.params,
                tape,
                training: self.training,
                keeps: self.training.is_some(),
                layer: i as u64,
                wants_input_grad: false,
                trainable: true,
                loss_scale: self.loss_scale,
            };
            let value = match &step.op {
                Op::Input(index) => Ok(inputs[*index].clone()),
                Op::Layer(index) => {
                    let part = &self.layers[*index];
                    part.forward(&values[step.inputs[0]], &mut pass, &mut self.penalty)
                }
                Op::Merge(merge) => {
                    let dtype = self.policy.computes(merge.takes_mixed_precision());
                    recorded_if(merge.is_recordable(), || {
                        let inputs = step.inputs.iter();
                        let inputs: Result<Vec<Tensor>, NnError> = inputs
                            .map(|&k| cast(pass.workspace, &values[k], dtype))
                            .collect();
                        merge.forward(&inputs?, &mut pass)
                    })
                }
            };
            values.push(value.map_err(|error| error.in_layer(&step.name))?);
        }
        let outputs = self.ends.iter().map(|&(node, activation)| {
            let logits = cast(workspace, &values[node], DType::F32)?;
            Ok(Output { logits, activation })
        });
        let outputs = outputs.collect::<Result<Vec<Output>, NnError>>()?;
        recording.finish()?;
        Ok(outputs)
    }

    fn backward(&mut self, workspace: &mut Workspace, grads: &[Tensor]) -> Result<(), NnError> {
        let training = self.training.take().ok_or(NnError::NoForward)?;
        if grads.len() != self.ends.len() {
            let expected = self.ends.len().to_string();
            return Err(NnError::argument("output gradients", expected, grads.len()));
        }
        let trained = self.trained();
        let recording = Recording::start(workspace);
        let mut sums: Vec<Option<Tensor>> = vec![None; self.steps.len()];
        for (grad, &(node, _)) in grads.iter().zip(&self.ends) {
            accumulate(workspace, &mut sums[node], grad)?;
        }
        let mut written = vec![false; self.layers.len()];
        let steps = self.steps.iter().zip(&mut self.tapes).enumerate();
        for (i, (step, tape)) in steps.rev().filter(|(i, _)| trained[*i]) {
            let Some(dy) = sums[i].take() else { continue };
            let mut pass = Pass {
                workspace,
                params: &self.params,
                tape,
                training: Some(training),
                keeps: true,
                layer: i as u64,
                wants_input_grad: step.inputs.iter().any(|&input| trained[input]),
                trainable: true,
                loss_scale: self.loss_scale,
            };
            let result = match &step.op {
                Op::Input(_) => Ok(Vec::new()),
                Op::Layer(index) => {
                    let part = &self.layers[*index];
                    let dx = match std::mem::replace(&mut written[*index], true) {
                        true => part.backward_again(&dy, &mut pass),
                        false => part.backward(&dy, &mut pass),
                    };
                    dx.map(|dx| dx.into_iter().collect())
                }
                Op::Merge(merge) => {
                    let dtype = self.policy.computes(merge.takes_mixed_precision());
                    recorded_if(merge.is_recordable(), || {
                        let dy = cast_owned(pass.workspace, &dy, dtype)?;
                        merge.backward(&dy, &mut pass)
                    })
                }
            };
            let found = result.map_err(|error| error.in_layer(&step.name))?;
            if found.len() != step.inputs.len() && pass.wants_input_grad {
                let expected = step.inputs.len().to_string();
                let error = NnError::argument("gradients of the inputs", expected, found.len());
                return Err(error.in_layer(&step.name));
            }
            for (grad, &input) in found.iter().zip(&step.inputs) {
                match trained[input] {
                    true => accumulate(workspace, &mut sums[input], grad)?,
                    false => workspace.give(grad),
                }
            }
        }
        Ok(recording.finish()?)
    }
}

/// Adds `grad` to `sum` and gives back what is no longer needed.
fn accumulate(
    workspace: &mut Workspace,
    sum: &mut Option<Tensor>,
    grad: &Tensor,
) -> Result<(), NnError> {
    let next = match sum.take() {
        None => grad.clone(),
        Some(first) => {
            // One of a layer of another type is as exact as it can be in that of the first.
            let grad = cast_owned(workspace, grad, first.dtype())?;
            let both = [first, grad];
            let next = kernels::merge(workspace, &both, MergeOp::Add, kernels::Activation::Linear)?;
            both.iter().for_each(|grad| workspace.give(grad));
            next
        }
    };
    *sum = Some(next);
    Ok(())
}
