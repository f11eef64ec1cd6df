//! What Keras calls a functional network: layers and their uses, from the configuration to a graph.

use super::sequential::{LayerEntry, Made, input_shape, take_layers};
use super::{Arguments, Registry};
use crate::error::NnError;
use crate::graph::{GraphBuilder, Node, SharedLayer};
use crate::layer::Merge;
use serde_json::{Value, json};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

/// The tensor that a use of a layer makes: the layer's name and the number of the use.
type Key = (String, usize);

/// A layer of a functional network, before and after it is made.
enum Place {
    Input(String, Vec<usize>),
    Layer(SharedLayer),
    Merge(Option<(Box<dyn Merge>, Option<String>)>),
    /// A layer that is cut off.
    Unused,
}

/// One use of a layer.
struct Call {
    place: usize,
    key: Key,
    inputs: Vec<Key>,
}

/// A functional network that is read, none of whose layers is made.
pub(super) struct Functional {
    /// The layers, and the shapes of inputs; none for a layer that is cut off.
    places: Vec<Option<(LayerEntry, Option<Vec<usize>>)>>,
    calls: Vec<Call>,
    inputs: Vec<Key>,
    outputs: Vec<(String, Key)>,
}

impl Functional {
    pub(super) fn read(mut arguments: Arguments) -> Result<Functional, NnError> {
        let mut places = Vec::new();
        let mut calls = Vec::new();
        for layer in take_layers(&mut arguments)? {
            let mut entry = LayerEntry::read(layer)?;
            let name = entry.name.clone().unwrap_or_else(|| entry.class.clone());
            let mut nodes = entry.rest.shift_remove("inbound_nodes");
            if let Some(nodes) = &mut nodes {
                calculation_with_a_number(&mut entry, nodes);
            }
            let mut nodes = read_nodes(nodes).map_err(|error| error.in_layer(&name))?;
            let mut shape = None;
            if entry.class == "InputLayer" {
                let found = input_shape(&mut entry.arguments);
                shape = Some(found.map_err(|error| error.in_layer(&name))?);
                nodes = vec![Vec::new()];
            }
            for (number, inputs) in nodes.into_iter().enumerate() {
                calls.push(Call {
                    place: places.len(),
                    key: (name.clone(), number),
                    inputs,
                });
            }
            places.push(Some((entry, shape)));
        }
        let inputs = named_keys("input_layers", arguments.value("input_layers"))?;
        let mut outputs = named_keys("output_layers", arguments.value("output_layers"))?;
        number_repeated(&mut outputs);
        arguments.finish()?;
        Ok(Functional {
            places,
            calls,
            inputs: inputs.into_iter().map(|(_, key)| key).collect(),
            outputs,
        })
    }

    /// Leaves what the outputs of these layers need, and makes them those of the network.
    pub(super) fn cut(&mut self, layers: &[&str]) -> Result<(), NnError> {
        self.outputs.clear();
        for name in layers {
            let uses = self.calls.iter().filter(|call| call.key.0 == *name).count();
            if uses != 1 {
                let expected = "a layer that is used once";
                let found = format!("`{name}`, used {uses} times");
                return Err(NnError::argument("including a network", expected, found));
            }
            self.outputs
                .push(((*name).to_owned(), ((*name).to_owned(), 0)));
        }
        let mut open: Vec<&Key> = self.outputs.iter().map(|(_, key)| key).collect();
        let mut needed = HashSet::new();
        while let Some(key) = open.pop() {
            if needed.insert(key.clone()) {
                let calls = self.calls.iter().filter(|call| call.key == *key);
                open.extend(calls.flat_map(|call| &call.inputs));
            }
        }
        self.calls.retain(|call| needed.contains(&call.key));
        self.inputs.retain(|key| needed.contains(key));
        for (index, place) in self.places.iter_mut().enumerate() {
            if !self.calls.iter().any(|call| call.place == index) {
                *place = None;
            }
        }
        Ok(())
    }

    /// Adds the network to a graph; returns its outputs.
    pub(super) fn add(
        self,
        graph: &mut GraphBuilder,
        registry: &Registry,
        frozen: bool,
    ) -> Result<Vec<(String, Node)>, NnError> {
        let calls = self.calls;
        let mut places = Vec::new();
        for place in self.places {
            let Some((entry, shape)) = place else {
                places.push(Place::Unused);
                continue;
            };
            places.push(match shape {
                Some(shape) => {
                    let name = entry.name.unwrap_or(entry.class);
                    let finished = entry.arguments.finish();
                    finished.map_err(|error| error.in_layer(&name))?;
                    Place::Input(name, shape)
                }
                None => match entry.make(registry, frozen)? {
                    Made::Layer(layer) => Place::Layer(graph.plan(layer)),
                    Made::Merge(merge, name) => Place::Merge(Some((merge, name))),
                },
            });
        }
        // The network takes its inputs in the order of `input_layers`.
        let mut nodes: HashMap<Key, Node> = HashMap::new();
        for key in &self.inputs {
            let place = calls.iter().find(|call| call.key == *key);
            match place.map(|call| &places[call.place]) {
                Some(Place::Input(name, shape)) => {
                    nodes.insert(key.clone(), graph.input(name.clone(), shape.clone()));
                }
                _ => return Err(NnError::config("input_layers", "input layers", &key.0)),
            }
        }
        connect(graph, &calls, &mut places, &mut nodes)?;
        let mut ends = Vec::new();
        for (name, key) in self.outputs {
            match nodes.get(&key) {
                Some(node) => ends.push((name, *node)),
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
        Ok(ends)
    }
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
            (Place::Input(..) | Place::Unused, _) => {
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

/// What Keras writes of `x + 3.0` and the like, an operation with a tensor and a number, is made a [`Rescaling`].
///
/// [`Rescaling`]: crate::layers::Rescaling
fn calculation_with_a_number(entry: &mut LayerEntry, nodes: &mut Value) {
    let module = entry.rest.get("module").and_then(Value::as_str);
    if !module.is_some_and(|module| module.starts_with("keras.src.ops.")) {
        return;
    }
    let args = nodes.get_mut(0).and_then(|node| node.get_mut("args"));
    let Some(args) = args.and_then(Value::as_array_mut) else {
        return;
    };
    let [first, second] = args.as_slice() else {
        return;
    };
    let (number, tensor, is_first) = match (first.as_f64(), second.as_f64()) {
        (None, Some(number)) => (number, first.clone(), false),
        (Some(number), None) => (number, second.clone(), true),
        _ => return,
    };
    let (scale, offset) = match (entry.class.as_str(), is_first) {
        ("Add", _) => (1.0, number),
        ("Multiply", _) => (number, 0.0),
        ("Subtract", false) => (1.0, -number),
        ("Subtract", true) => (-1.0, number),
        ("TrueDivide" | "Divide", false) => (1.0 / number, 0.0),
        _ => return,
    };
    *args = vec![tensor];
    entry.class = "Rescaling".to_owned();
    let arguments = [("scale", json!(scale)), ("offset", json!(offset))];
    let named = arguments.map(|(name, value)| (name.to_owned(), value));
    entry.arguments = Arguments::new(named.into_iter().collect());
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

/// Makes names different: of several outputs of a layer `x`, all but the first are `x_1`, `x_2`, …, as far as no
/// other output has these names.
fn number_repeated(outputs: &mut [(String, Key)]) {
    let mut taken: HashSet<String> = outputs.iter().map(|(name, _)| name.clone()).collect();
    let mut seen = HashSet::new();
    for (name, _) in outputs {
        if seen.insert(name.clone()) {
            continue;
        }
        let numbered = |number: u64| format!("{name}_{number}");
        let free = (1..).map(numbered).find(|free| taken.insert(free.clone()));
        if let Some(free) = free {
            *name = free;
        }
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
