//! Graphs of layers as configurations, which Keras calls functional.

use super::functional::Functional;
use super::sequential::{Chain, read_network, write_class, write_input, write_layer};
use super::{Config, Object, Registry, parse};
use crate::error::NnError;
use crate::graph::{Graph, Node, Op};
use crate::network::Network;
use keros_tensor::Device;
use serde_json::{Value, json};
use std::collections::HashMap;

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
    /// Inputs are called as their layers, and take `f32` in batches of any size, whatever type and size
    /// Keras was told; outputs are called as Keras calls them in a dictionary, or else as their layers,
    /// where a second output of a layer `x` is `x_1`, or the next number that no other output has.
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
        let mut graph = Graph::builder();
        if class == "Functional" {
            let network = Functional::read(arguments)?;
            let ends = network.add(&mut graph, registry, frozen)?;
            let outputs: Vec<(&str, Node)> =
                ends.iter().map(|(n, end)| (n.as_str(), *end)).collect();
            return graph.build(&outputs, device, seed);
        }
        let chain = Chain::read(arguments, registry, frozen)?;
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
