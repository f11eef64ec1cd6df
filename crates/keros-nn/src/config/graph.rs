//! Graphs of layers as configurations, which Keras calls functional.

use super::sequential::{
    Chain, LayerEntry, Made, input_shape, read_network, take_layers, write_class, write_input,
    write_layer,
};
use super::{Arguments, Config, Object, Registry, parse};
use crate::error::NnError;
use crate::graph::{Graph, GraphBuilder, Node, Op, SharedLayer};
use crate::layer::Merge;
use crate::network::Network;
use keros_tensor::Device;
use serde_json::{Value, json};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

/// The tensor that a use of a layer makes: the layer's name and the number of the use.
type Key = (String, usize);

impl Graph {
    /// The layers, their arguments and connections as JSON with the names and in the form of Keras.
    /// The values of the parameters are not part of it.
    ///
    /// # Errors
    /// [`NnError::NoConfig`]: a layer of the user's own that has no
    /// [`config`](crate::Layer::config), or one with such a regularizer or constraint.
    pub fn to_json(&self) -> Result<String, NnError> {
        let mut uses: HashMap<&str, usize> = HashMap::new();
        let mut keys: Vec<Value> = Vec::new();
        let mut entries: Vec<(&str, Value)> = Vec::new();
        for step in &self.steps {
            let count = uses.entry(&step.name).or_insert(0);
            let first = *count == 0;
            keys.push(json!([step.name, *count, 0]));
            *count += 1;
            if first {
                let mut layer = match &step.op {
                    Op::Input(_) => write_input(&step.name, &step.shape),
                    Op::Layer(index) => write_layer(&self.layers[*index])?,
                    Op::Merge(merge) => {
                        let config = merge.config();
                        write_class(merge.class_name(), &step.name, true, config.as_ref())?
                    }
                };
                layer["name"] = json!(step.name);
                layer["inbound_nodes"] = json!([]);
                entries.push((&step.name, layer));
            }
            let tensors: Vec<Value> = step.inputs.iter().map(|&i| self.tensor(i, &keys)).collect();
            let arguments = match (&step.op, tensors.as_slice()) {
                (Op::Input(_), _) => continue,
                (Op::Layer(_), tensors) => json!(tensors),
                (Op::Merge(_), tensors) => json!([tensors]),
            };
            let entry = entries
                .iter_mut()
                .rev()
                .find(|(name, _)| *name == step.name);
            let nodes = entry.and_then(|(_, layer)| layer["inbound_nodes"].as_array_mut());
            if let Some(nodes) = nodes {
                nodes.push(json!({ "args": arguments, "kwargs": {} }));
            }
        }
        let inputs: Vec<Value> = self
            .inputs()
            .iter()
            .map(|port| json!([port.name, 0, 0]))
            .collect();
        let outputs = self.outputs().iter().zip(&self.ends);
        let outputs: Config = outputs
            .map(|(port, &(node, _))| (port.name.clone(), keys[node].clone()))
            .collect();
        let config = Config::from_iter([
            ("name".to_owned(), json!("functional")),
            ("trainable".to_owned(), json!(true)),
            (
                "layers".to_owned(),
                entries.into_iter().map(|(_, layer)| layer).collect(),
            ),
            ("input_layers".to_owned(), json!(inputs)),
            ("output_layers".to_owned(), Value::Object(outputs)),
        ]);
        Ok(Object::write("keras", "Functional", config).to_string())
    }

    /// What stands for the output of a step in the arguments of another.
    fn tensor(&self, step: usize, keys: &[Value]) -> Value {
        let lengths = self.steps[step].shape.iter().map(|&length| json!(length));
        let shape: Vec<Value> = std::iter::once(Value::Null).chain(lengths).collect();
        json!({
            "class_name": "__keras_tensor__",
            "config": { "shape": shape, "dtype": "float32", "keras_history": keys[step] },
        })
    }

    /// The network that [`to_json`](Self::to_json) has written, or Keras 3 with its method of this
    /// name, functional or sequential, with new parameters that start from `seed`.
    ///
    /// Inputs are called as their layers; outputs as Keras calls them in a dictionary, or else as
    /// their layers.
    ///
    /// # Errors
    /// Text that is no such network; a layer, by name, with an unknown class or argument, an argument
    /// of another type or value than is supported, or one that cannot be built; connections that do
    /// not fit.
    pub fn from_json(json: &str, device: &Device, seed: u64) -> Result<Graph, NnError> {
        Graph::from_json_with(json, &Registry::new(), device, seed)
    }

    /// As [`from_json`](Self::from_json), with layers of the user's own.
    ///
    /// # Errors
    /// As [`from_json`](Self::from_json).
    pub fn from_json_with(
        json: &str,
        registry: &Registry,
        device: &Device,
        seed: u64,
    ) -> Result<Graph, NnError> {
        let classes = ["Functional", "Sequential"];
        let (class, arguments, frozen) = read_network(parse(json)?, &classes)?;
        if class == "Functional" {
            return functional(arguments, registry, frozen, device, seed);
        }
        let chain = Chain::read(arguments, registry, frozen)?;
        let mut graph = Graph::builder();
        let mut node = graph.input(chain.input, chain.shape);
        let last = chain.layers.last();
        let own = last.and_then(|layer| layer.name()).map(str::to_owned);
        for layer in chain.layers {
            let layer = graph.plan(layer);
            node = graph.apply(layer, node);
        }
        let output = own.unwrap_or_else(|| "output".to_owned());
        graph.build(&[(&output, node)], device, seed)
    }
}

/// A layer of a functional network, before and after it is made.
enum Place {
    Input(String, Vec<usize>),
    Layer(SharedLayer),
    Merge(Option<(Box<dyn Merge>, Option<String>)>),
}

/// One use of a layer.
struct Call {
    place: usize,
    key: Key,
    inputs: Vec<Key>,
}

fn functional(
    mut arguments: Arguments,
    registry: &Registry,
    frozen: bool,
    device: &Device,
    seed: u64,
) -> Result<Graph, NnError> {
    let mut graph = Graph::builder();
    let mut places = Vec::new();
    let mut calls = Vec::new();
    for layer in take_layers(&mut arguments)? {
        let mut entry = LayerEntry::read(layer)?;
        let name = entry.name.clone().unwrap_or_else(|| entry.class.clone());
        let nodes = entry.rest.shift_remove("inbound_nodes");
        let nodes = read_nodes(nodes).map_err(|error| error.in_layer(&name))?;
        let place = places.len();
        if entry.class == "InputLayer" {
            let shape = input_shape(&mut entry.arguments)
                .and_then(|shape| entry.arguments.finish().map(|()| shape))
                .map_err(|error| error.in_layer(&name))?;
            places.push(Place::Input(name.clone(), shape));
            calls.push(Call {
                place,
                key: (name, 0),
                inputs: Vec::new(),
            });
            continue;
        }
        places.push(match entry.make(registry, frozen)? {
            Made::Layer(layer) => Place::Layer(graph.plan(layer)),
            Made::Merge(merge, name) => Place::Merge(Some((merge, name))),
        });
        for (number, inputs) in nodes.into_iter().enumerate() {
            calls.push(Call {
                place,
                key: (name.clone(), number),
                inputs,
            });
        }
    }
    let inputs = named_keys("input_layers", arguments.value("input_layers"))?;
    let outputs = named_keys("output_layers", arguments.value("output_layers"))?;
    arguments.finish()?;
    // The network takes its inputs in the order of `input_layers`.
    let mut nodes: HashMap<Key, Node> = HashMap::new();
    for (_, key) in &inputs {
        let place = calls.iter().find(|call| call.key == *key);
        match place.map(|call| &places[call.place]) {
            Some(Place::Input(name, shape)) => {
                nodes.insert(key.clone(), graph.input(name.clone(), shape.clone()));
            }
            _ => return Err(NnError::config("input_layers", "input layers", &key.0)),
        }
    }
    connect(&mut graph, &calls, &mut places, &mut nodes)?;
    let mut ends = Vec::new();
    for (name, key) in &outputs {
        match nodes.get(key) {
            Some(node) => ends.push((name.as_str(), *node)),
            None => {
                let found = format!("`{}` (use {})", key.0, key.1);
                return Err(NnError::config(
                    "output_layers",
                    "layers of the network",
                    found,
                ));
            }
        }
    }
    graph.build(&ends, device, seed)
}

/// Adds all uses of layers to the graph, each after those it depends on and otherwise in their order.
fn connect(
    graph: &mut GraphBuilder,
    calls: &[Call],
    places: &mut [Place],
    nodes: &mut HashMap<Key, Node>,
) -> Result<(), NnError> {
    let mut waiting: HashMap<&Key, Vec<usize>> = HashMap::new();
    let mut open: Vec<usize> = vec![0; calls.len()];
    let mut ready = BinaryHeap::new();
    for (i, call) in calls.iter().enumerate() {
        if nodes.contains_key(&call.key) {
            continue;
        }
        for input in call.inputs.iter().filter(|key| !nodes.contains_key(*key)) {
            waiting.entry(input).or_default().push(i);
            open[i] += 1;
        }
        if open[i] == 0 {
            ready.push(Reverse(i));
        }
    }
    let mut done = 0;
    let expected = calls
        .iter()
        .filter(|call| !nodes.contains_key(&call.key))
        .count();
    while let Some(Reverse(i)) = ready.pop() {
        let call = &calls[i];
        let inputs: Vec<Node> = call
            .inputs
            .iter()
            .filter_map(|key| nodes.get(key).copied())
            .collect();
        let wrong = |expected: &str, found: String| {
            NnError::config("inbound_nodes", expected, found).in_layer(&call.key.0)
        };
        let node = match (&mut places[call.place], inputs.as_slice()) {
            (Place::Layer(layer), [input]) => graph.apply(*layer, *input),
            (Place::Layer(_), inputs) => {
                return Err(wrong("one input", inputs.len().to_string()));
            }
            (Place::Merge(merge), inputs) => match merge.take() {
                Some((merge, name)) => graph.plan_merge(merge, name, inputs),
                None => return Err(wrong("one use of a merging layer", "several".to_owned())),
            },
            (Place::Input(..), _) => {
                return Err(wrong("an input of `input_layers`", "another".to_owned()));
            }
        };
        nodes.insert(call.key.clone(), node);
        done += 1;
        for &next in waiting.get(&call.key).into_iter().flatten() {
            open[next] = open[next].saturating_sub(1);
            if open[next] == 0 {
                ready.push(Reverse(next));
            }
        }
    }
    if done < expected {
        let stuck = calls.iter().find(|call| !nodes.contains_key(&call.key));
        let name = stuck.map_or("", |call| &call.key.0);
        let expected = "layers of the network, none of which depends on itself";
        return Err(NnError::config("inbound_nodes", expected, "another").in_layer(name));
    }
    Ok(())
}

/// The inputs of each use of a layer.
fn read_nodes(nodes: Option<Value>) -> Result<Vec<Vec<Key>>, NnError> {
    let nodes = nodes.unwrap_or_else(|| json!([]));
    let expected = "a list of uses with `args` and `kwargs`";
    let wrong = |found: &Value| NnError::config("inbound_nodes", expected, found);
    let uses = nodes.as_array().ok_or_else(|| wrong(&nodes))?;
    uses.iter()
        .map(|node| {
            // Keras says here whether the layer is to behave as in training; that is the pass's matter.
            let kwargs = node["kwargs"].as_object().ok_or_else(|| wrong(node))?;
            if let Some((name, value)) = kwargs
                .iter()
                .find(|(name, value)| !value.is_null() && (*name != "training" || **value != false))
            {
                return Err(NnError::config(
                    format!("argument {name} of a use"),
                    "null",
                    value,
                ));
            }
            let args = node["args"].as_array().ok_or_else(|| wrong(node))?;
            let tensors = match args.as_slice() {
                [Value::Array(tensors)] => tensors,
                _ => args,
            };
            tensors
                .iter()
                .map(|tensor| key(&tensor["config"]["keras_history"]).ok_or_else(|| wrong(tensor)))
                .collect()
        })
        .collect()
}

/// A layer's name, the number of its use and that of the output, of which there is one.
fn key(value: &Value) -> Option<Key> {
    match value.as_array()?.as_slice() {
        [Value::String(name), number, output] if output == 0 => {
            Some((name.clone(), usize::try_from(number.as_u64()?).ok()?))
        }
        _ => None,
    }
}

/// Tensors with their names: one, a list, or an object; without a name that of the layer.
fn named_keys(what: &str, value: Option<Value>) -> Result<Vec<(String, Key)>, NnError> {
    let value = value.unwrap_or_default();
    let own = |key: Key| (key.0.clone(), key);
    let keys = match &value {
        Value::Object(named) => named
            .iter()
            .map(|(name, value)| Some((name.clone(), key(value)?)))
            .collect(),
        value => match key(value) {
            Some(only) => Some(vec![own(only)]),
            None => value
                .as_array()
                .and_then(|list| list.iter().map(|value| key(value).map(own)).collect()),
        },
    };
    keys.ok_or_else(|| {
        let expected = "one, a list or an object of [name, number, 0]";
        NnError::config(what, expected, &value)
    })
}
