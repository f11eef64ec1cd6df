//! A network of named inputs and outputs, with branches, merges and shared layers.

use crate::activation::Activation;
use crate::error::NnError;
use crate::layer::{Layer, LayerBuilder, Merge, Pass};
use crate::network::{LayerInfo, Mode, Network, Output, Port};
use crate::param_rules::ParamRules;
use crate::sequential::default_name;
use keros_tensor::parallel::{chunks_mut, for_each_part};
use keros_tensor::{DType, Device, ParamId, Params, Tensor, Workspace, access, kernels};
use std::collections::{HashMap, HashSet};

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
    layers: Vec<Box<dyn Layer>>,
}

struct Planned {
    source: Source,
    inputs: Vec<usize>,
}

enum Source {
    Input { name: String, shape: Vec<usize> },
    Layer(usize),
    Merge(Box<dyn Merge>),
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
        self.layers.push(Box::new(layer));
        SharedLayer(self.layers.len() - 1)
    }

    /// Lets a layer work on `input`.
    pub fn apply(&mut self, layer: SharedLayer, input: Node) -> Node {
        self.add(Source::Layer(layer.0), vec![input.0])
    }

    /// Adds a layer that makes one tensor of several.
    pub fn merge(&mut self, merge: impl Merge + 'static, inputs: &[Node]) -> Node {
        let inputs = inputs.iter().map(|node| node.0).collect();
        self.add(Source::Merge(Box::new(merge)), inputs)
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
    /// inputs or layers of one name, or two outputs; no output; an input or layer that leads to no
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
        let mut layers = self.layers;
        let mut built: Vec<Option<Built>> = layers.iter().map(|_| None).collect();
        let mut steps: Vec<Step> = Vec::new();
        let mut inputs = Vec::new();
        for planned in self.nodes {
            let mut shapes = planned
                .inputs
                .iter()
                .map(|&input| steps[input].shape.clone());
            let (op, name, shape) = match planned.source {
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
                    let built = match &mut built[index] {
                        Some(built) => built,
                        first => {
                            let layer = &mut layers[index];
                            let name = names.take(layer.name(), layer.class_name())?;
                            let known = params.len();
                            let mut builder =
                                LayerBuilder::new(&mut params, &mut rules, &name, device, seed);
                            let output = layer
                                .build(&input, &mut builder)
                                .map_err(|error| error.in_layer(&name))?;
                            first.insert(Built {
                                name,
                                input: input.clone(),
                                output,
                                params: params.iter().skip(known).map(|(id, _)| id).collect(),
                            })
                        }
                    };
                    built.check(&input)?;
                    (Op::Layer(index), built.name.clone(), built.output.clone())
                }
                Source::Merge(mut merge) => {
                    let name = names.take(merge.name(), merge.class_name())?;
                    let shapes: Vec<Vec<usize>> = shapes.collect();
                    let shape = merge
                        .build(&shapes)
                        .map_err(|error| error.in_layer(&name))?;
                    (Op::Merge(merge), name, shape)
                }
            };
            steps.push(Step {
                op,
                name,
                inputs: planned.inputs,
                shape,
            });
        }
        let mut layers: Vec<Part> = layers
            .into_iter()
            .zip(built)
            .map(|(layer, built)| Part {
                layer,
                params: built.map_or_else(Vec::new, |built| built.params),
            })
            .collect();
        let ends: Vec<usize> = outputs.iter().map(|(_, node)| node.0).collect();
        let activations = take_activations(&steps, &mut layers, &ends);
        let ports = outputs.iter().map(|(name, node)| Port {
            name: (*name).to_owned(),
            shape: steps[node.0].shape.clone(),
        });
        Ok(Graph {
            inputs,
            outputs: ports.collect(),
            ends: ends.into_iter().zip(activations).collect(),
            tapes: steps.iter().map(|_| Vec::new()).collect(),
            steps,
            layers,
            params,
            rules,
            training: None,
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
                    Source::Layer(layer) => self.layers[*layer].class_name().to_owned(),
                    Source::Merge(merge) => merge.class_name().to_owned(),
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
                _ => {}
            }
        }
        match used.iter().position(|used| !used) {
            Some(layer) => {
                let found = self.layers[layer].class_name();
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

/// The names given so far.
#[derive(Default)]
struct Names {
    taken: HashSet<String>,
    counts: HashMap<String, usize>,
}

impl Names {
    fn take(&mut self, own: Option<&str>, class: &str) -> Result<String, NnError> {
        let name = match own {
            Some(name) => name.to_owned(),
            None => default_name(class, &mut self.counts),
        };
        match self.taken.insert(name.clone()) {
            true => Ok(name),
            false => Err(NnError::DuplicateLayer { name }),
        }
    }
}

/// A layer as its first use has built it.
struct Built {
    name: String,
    input: Vec<usize>,
    output: Vec<usize>,
    params: Vec<ParamId>,
}

impl Built {
    fn check(&self, input: &[usize]) -> Result<(), NnError> {
        if self.input != input {
            let expected = format!("{:?}, as at its first use", self.input);
            return Err(NnError::shape("input sample", expected, input).in_layer(&self.name));
        }
        Ok(())
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
                true => part.layer.take_activation(),
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

/// One node, after those it depends on.
struct Step {
    op: Op,
    name: String,
    inputs: Vec<usize>,
    shape: Vec<usize>,
}

enum Op {
    Input(usize),
    Layer(usize),
    Merge(Box<dyn Merge>),
}

impl Step {
    fn is_use_of(&self, layer: usize) -> bool {
        matches!(self.op, Op::Layer(index) if index == layer)
    }
}

struct Part {
    layer: Box<dyn Layer>,
    params: Vec<ParamId>,
}

/// A network of named inputs and outputs, made by a [`GraphBuilder`].
///
/// A layer whose softmax or sigmoid ends in outputs alone gives it to the [`Output`], as the last
/// layer of a [`Sequential`](crate::Sequential) does.
pub struct Graph {
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    steps: Vec<Step>,
    layers: Vec<Part>,
    /// The node of each output, and the activation that was taken from it.
    ends: Vec<(usize, Activation)>,
    params: Params,
    rules: ParamRules,
    /// What each step saved: a part of the graph that is not trained leaves its tape alone.
    tapes: Vec<Vec<Tensor>>,
    training: Option<(u64, u64)>,
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
                Op::Layer(index) => {
                    let mut params = self.layers[index].params.iter();
                    params.any(|id| self.params[*id].trainable())
                }
                Op::Input(_) | Op::Merge(_) => false,
            };
            trained.push(own || step.inputs.iter().any(|&input| trained[input]));
        }
        trained
    }

    fn check_inputs(&self, inputs: &[Tensor]) -> Result<(), NnError> {
        if inputs.len() != self.inputs.len() {
            let expected = self.inputs.len().to_string();
            return Err(NnError::argument(
                "inputs of the network",
                expected,
                inputs.len(),
            ));
        }
        let samples = inputs.first().and_then(|input| input.dims().first());
        for (port, input) in self.inputs.iter().zip(inputs) {
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
}

impl Network for Graph {
    fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    fn param_rules(&self) -> &ParamRules {
        &self.rules
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
            let (class_name, params) = match &step.op {
                Op::Input(_) => ("InputLayer", &[][..]),
                Op::Layer(index) => {
                    if !seen.insert(*index) {
                        continue;
                    }
                    let part = &self.layers[*index];
                    (part.layer.class_name(), &part.params[..])
                }
                Op::Merge(merge) => (merge.class_name(), &[][..]),
            };
            infos.push(LayerInfo {
                name: &step.name,
                class_name,
                output_shape: &step.shape,
                params,
            });
        }
        infos
    }

    fn forward(
        &mut self,
        workspace: &mut Workspace,
        inputs: &[Tensor],
        mode: Mode,
    ) -> Result<Vec<Output>, NnError> {
        self.check_inputs(inputs)?;
        self.training = mode.training();
        let mut values: Vec<Tensor> = Vec::with_capacity(self.steps.len());
        for (i, (step, tape)) in self.steps.iter().zip(&mut self.tapes).enumerate() {
            tape.clear();
            let mut pass = Pass {
                workspace,
                params: &self.params,
                tape,
                training: self.training,
                keeps: self.training.is_some(),
                layer: i as u64,
                wants_input_grad: false,
            };
            let value = match &step.op {
                Op::Input(index) => Ok(inputs[*index].clone()),
                Op::Layer(index) => {
                    let layer = &self.layers[*index].layer;
                    layer.forward(&values[step.inputs[0]], &mut pass)
                }
                Op::Merge(merge) => {
                    let inputs: Vec<Tensor> =
                        step.inputs.iter().map(|&k| values[k].clone()).collect();
                    merge.forward(&inputs, &mut pass)
                }
            };
            values.push(value.map_err(|error| error.in_layer(&step.name))?);
        }
        let outputs = self.ends.iter().map(|&(node, activation)| Output {
            logits: values[node].clone(),
            activation,
        });
        Ok(outputs.collect())
    }

    fn backward(&mut self, workspace: &mut Workspace, grads: &[Tensor]) -> Result<(), NnError> {
        let training = self.training.take().ok_or(NnError::NoForward)?;
        if grads.len() != self.ends.len() {
            let expected = self.ends.len().to_string();
            return Err(NnError::argument("output gradients", expected, grads.len()));
        }
        let trained = self.trained();
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
            };
            let result = match &step.op {
                Op::Input(_) => Ok(Vec::new()),
                Op::Layer(index) => {
                    let repeated = std::mem::replace(&mut written[*index], true);
                    self.layers[*index].backward(&dy, repeated, &mut pass)
                }
                Op::Merge(merge) => merge.backward(&dy, &mut pass),
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
        Ok(())
    }
}

impl Part {
    /// The layer's backward pass; adds its parameters' gradients to those there if it is `repeated`.
    fn backward(
        &self,
        dy: &Tensor,
        repeated: bool,
        pass: &mut Pass<'_>,
    ) -> Result<Vec<Tensor>, NnError> {
        let mut before = Vec::new();
        if repeated {
            let params = self.params.iter();
            for &id in params.filter(|id| pass.params[**id].trainable()) {
                let grad = pass.grad(id);
                before.push((grad, kernels::map(pass.workspace, grad, |grad| grad)?));
            }
        }
        let dx = self.layer.backward(dy, pass)?;
        for (grad, before) in before {
            add_to(grad, &before)?;
            pass.workspace.give(&before);
        }
        Ok(dx.into_iter().collect())
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
            let next = kernels::zip_map(workspace, &first, grad, |a, b| a + b)?;
            workspace.give(&first);
            workspace.give(grad);
            next
        }
    };
    *sum = Some(next);
    Ok(())
}

/// `target += values`.
fn add_to(target: &Tensor, values: &Tensor) -> Result<(), NnError> {
    const CHUNK: usize = 16 * 1024;
    let values = access::read::<f32>(values)?;
    let values = &*values;
    access::write(target, |target: &mut [f32]| {
        for_each_part(chunks_mut(target, CHUNK), |i, target: &mut [f32]| {
            for (target, value) in target.iter_mut().zip(&values[i * CHUNK..]) {
                *target += value;
            }
        });
    })?;
    Ok(())
}
