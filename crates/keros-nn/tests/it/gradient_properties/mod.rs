//! The gradient of every layer, whatever its arguments and shapes, against finite differences in f64.
//!
//! A layer is made as a configuration names it and run in a network in f32; the same function written
//! down in f64 ([`reference`]) has to give the same output, and its central differences the same
//! gradients of the input and of every parameter.

mod cases;
mod reference;
mod windows;

use crate::test_device::test_device;
use keros_nn::{Graph, Initializer, Layer, LayerBuilder, Mode, Network, NnError, Pass, Registry};
use keros_tensor::access::{read, write};
use keros_tensor::{ParamId, Stream, Tensor, Workspace};
use reference::Values;
use serde_json::{Value, json};

const MODE: Mode = Mode::Training { seed: 3, step: 5 };

/// A layer with its arguments and inputs.
#[derive(Clone, Debug)]
struct Case {
    class: &'static str,
    config: Value,
    rows: usize,
    /// Shapes of one sample of each input.
    inputs: Vec<Vec<usize>>,
    seed: u64,
}

/// An input as a parameter, so that the network computes its gradient.
struct Source {
    rows: usize,
    value: Option<ParamId>,
}

impl Layer for Source {
    fn class_name(&self) -> &'static str {
        "Source"
    }
    fn name(&self) -> Option<&str> {
        None
    }
    fn build(
        &mut self,
        input: &[usize],
        builder: &mut LayerBuilder<'_>,
    ) -> Result<Vec<usize>, NnError> {
        let shape = [&[self.rows], input].concat();
        self.value = Some(builder.param("value", &shape, Initializer::Zeros)?);
        Ok(input.to_vec())
    }
    fn forward(&self, _: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        Ok(pass.value(self.value.unwrap()).copy()?)
    }
    fn backward(&self, dy: &Tensor, pass: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        let dy = read::<f32>(dy)?.to_vec();
        write(pass.grad(self.value.unwrap()), |grad: &mut [f32]| {
            grad.copy_from_slice(&dy);
        })?;
        Ok(None)
    }
}

/// Keeps the network from giving the last activation to the loss.
struct End;

impl Layer for End {
    fn class_name(&self) -> &'static str {
        "End"
    }
    fn name(&self) -> Option<&str> {
        None
    }
    fn build(&mut self, input: &[usize], _: &mut LayerBuilder<'_>) -> Result<Vec<usize>, NnError> {
        Ok(input.to_vec())
    }
    fn forward(&self, x: &Tensor, _: &mut Pass<'_>) -> Result<Tensor, NnError> {
        Ok(x.clone())
    }
    fn backward(&self, dy: &Tensor, _: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        Ok(Some(dy.clone()))
    }
}

/// The configuration of a layer in a graph, with the names of the layers before it.
fn node(class: &str, name: &str, mut config: Value, from: &[String], merges: bool) -> Value {
    config["name"] = json!(name);
    let tensor = |name: &String| json!({"class_name": "__keras_tensor__", "config": {"keras_history": [name, 0, 0]}});
    let tensors: Vec<Value> = from.iter().map(tensor).collect();
    let arguments = match merges {
        true => json!([tensors]),
        false => json!(tensors),
    };
    let nodes = match from.is_empty() {
        true => json!([]),
        false => json!([{"args": arguments, "kwargs": {}}]),
    };
    json!({"class_name": class, "name": name, "config": config, "inbound_nodes": nodes})
}

/// The network of a layer behind a source for each input, or behind the inputs themselves.
fn network(
    class: &str,
    config: &Value,
    rows: usize,
    inputs: &[Vec<usize>],
    sources: bool,
) -> Graph {
    let mut layers = Vec::new();
    let (mut names, mut ends) = (Vec::new(), Vec::new());
    for (i, shape) in inputs.iter().enumerate() {
        let mut batch_shape = vec![Value::Null];
        batch_shape.extend(shape.iter().map(|n| json!(n)));
        let (input, source) = (format!("input{i}"), format!("source{i}"));
        let config = json!({"batch_shape": batch_shape});
        layers.push(node("InputLayer", &input, config, &[], false));
        if sources {
            let from = [input.clone()];
            layers.push(node("Source", &source, json!({}), &from, false));
            names.push(source);
        } else {
            names.push(input.clone());
        }
        ends.push(json!([input, 0, 0]));
    }
    let merges = inputs.len() > 1;
    layers.push(node(class, "layer", config.clone(), &names, merges));
    layers.push(node("End", "end", json!({}), &["layer".to_owned()], false));
    let config = json!({
        "layers": layers, "input_layers": ends, "output_layers": [["end", 0, 0]],
    });
    let json = json!({"class_name": "Functional", "config": config}).to_string();
    let mut registry = Registry::new();
    registry.layer("Source", move |_| Ok(Source { rows, value: None }));
    registry.layer("End", |_| Ok(End));
    Graph::from_json_with(&json, &registry, test_device(), 4).unwrap()
}

/// The output of a layer without parameters, and what its gradient, made of that by `dy`, makes of the input's.
pub(crate) fn output_and_gradient(
    class: &str,
    config: &Value,
    x: &Tensor,
    dy: impl Fn(&Tensor) -> Tensor,
) -> (Tensor, Vec<f32>) {
    let mut network = network(class, config, x.dims()[0], &[x.dims()[1..].to_vec()], true);
    let source = network.params().by_name("source0/value").unwrap();
    source.set(x).unwrap();
    let ws = &mut Workspace::new(test_device());
    let outputs = network.forward(ws, std::slice::from_ref(x), MODE).unwrap();
    let y = outputs[0].logits.copy().unwrap();
    network.backward(ws, &[dy(&y)]).unwrap();
    let source = network.params().by_name("source0/value").unwrap();
    let dx = read::<f32>(source.grad()).unwrap().to_vec();
    (y, dx)
}

impl Case {
    /// Random numbers with a name.
    fn random(&self, stream: u64, shape: &[usize]) -> Vec<f32> {
        let mut values = vec![0.0; shape.iter().product()];
        Stream::new(self.seed, stream).fill_uniform(0, -2.0, 2.0, &mut values);
        values
    }

    fn check(&self) {
        let indices = self.class == "Embedding";
        let mut network = network(self.class, &self.config, self.rows, &self.inputs, !indices);
        let inputs: Vec<Tensor> = self
            .inputs
            .iter()
            .map(|shape| {
                let shape = [&[self.rows], &shape[..]].concat();
                let mut values = self.random(99, &shape);
                let words = self.config["input_dim"].as_f64().unwrap_or_default() as f32;
                values
                    .iter_mut()
                    .for_each(|x| *x = ((*x + 2.0) / 4.0 * words).floor());
                Tensor::from_vec(values, shape, test_device()).unwrap()
            })
            .collect();
        let mut trained = Vec::new();
        for (i, (_, param)) in network.params().iter().enumerate() {
            if param.trainable() {
                let values = self.random(i as u64, param.value().dims());
                write(param.value(), |old: &mut [f32]| {
                    old.copy_from_slice(&values)
                })
                .unwrap();
                trained.push(param.name().to_owned());
            }
        }

        let ws = &mut Workspace::new(test_device());
        let outputs = network.forward(ws, &inputs, MODE).unwrap();
        let shape = outputs[0].logits.dims().to_vec();
        let y = to_f64(&outputs[0].logits);
        let penalty = network.activity_penalty().total().unwrap();
        let dy = self.random(77, &shape);
        let upstream = Tensor::from_vec(dy.clone(), shape, test_device()).unwrap();
        network.backward(ws, &[upstream]).unwrap();

        let param = |name: &String| network.params().by_name(name).unwrap();
        let mut values: Vec<Values> = trained
            .iter()
            .map(|name| Values::new(param(name).value().dims(), to_f64(param(name).value())))
            .collect();
        let (sources, given) = match indices {
            true => (0, vec![Values::new(inputs[0].dims(), to_f64(&inputs[0]))]),
            false => (self.inputs.len(), Vec::new()),
        };
        // What is random is no function of the input: it is taken from what the layer made of it.
        let lines: Option<Vec<(f64, f64)>> = ["Dropout", "Noise"]
            .iter()
            .any(|name| self.class.contains(name))
            .then(|| self.lines(&y, &values[0].data));
        let evaluate = |values: &[Values]| {
            let (x, params) = values.split_at(sources);
            let x = if indices { &given } else { x };
            let y = match &lines {
                Some(lines) => {
                    let pairs = x[0].data.iter().zip(lines);
                    pairs
                        .map(|(x, (slope, offset))| slope * x + offset)
                        .collect()
                }
                None => reference::forward(self.class, &self.config, params, x).data,
            };
            let penalty = reference::penalty(self.class, &self.config, &x[0]);
            (y, penalty)
        };
        let loss = |values: &[Values]| {
            let (y, penalty) = evaluate(values);
            let sum: f64 = y.iter().zip(&dy).map(|(y, dy)| y * f64::from(*dy)).sum();
            sum + penalty
        };

        let (expected, expected_penalty) = evaluate(&values);
        close("the output", &y, &expected, 2e-5);
        close("the penalty", &[penalty], &[expected_penalty], 1e-5);
        for (i, name) in trained.iter().enumerate() {
            let analytic = to_f64(param(name).grad());
            let mut numeric = analytic.clone();
            for (k, numeric) in numeric.iter_mut().enumerate() {
                const STEP: f64 = 1e-6;
                let here = loss(&values);
                let old = values[i].data[k];
                let mut at = |x: f64| {
                    values[i].data[k] = x;
                    loss(&values)
                };
                let (up, down) = (at(old + STEP), at(old - STEP));
                at(old);
                let (right, left) = ((up - here) / STEP, (here - down) / STEP);
                // At a kink any slope between the two is right.
                let bend = (right - left).abs();
                if bend < 1e-3 * (1.0 + right.abs()) {
                    *numeric = (up - down) / (2.0 * STEP);
                }
            }
            close(name, &analytic, &numeric, 1e-4);
        }
    }

    /// What noise of some kind has multiplied each element with, and what it has added to it.
    fn lines(&self, y: &[f64], x: &[f64]) -> Vec<(f64, f64)> {
        let rate = self.config["rate"].as_f64().unwrap_or_default();
        let keeps = 1.0 / (1.0 - rate);
        let saturation: f64 = -1.758_099_340_847_376_6;
        let scale = ((1.0 - rate) * (1.0 + rate * saturation * saturation)).powf(-0.5);
        let offset = -scale * saturation * rate;
        let line = |(y, x): (&f64, &f64)| match self.class {
            "GaussianNoise" => (1.0, y - x),
            "GaussianDropout" => (y / x, 0.0),
            "AlphaDropout" => match (y - (scale * x + offset)).abs() < 1e-5 {
                true => (scale, offset),
                false => (0.0, scale * saturation + offset),
            },
            _ if *y == 0.0 && *x != 0.0 => (0.0, 0.0),
            _ => (keeps, 0.0),
        };
        y.iter().zip(x).map(line).collect()
    }
}

fn to_f64(tensor: &Tensor) -> Vec<f64> {
    let values = read::<f32>(tensor).unwrap();
    values.iter().map(|x| f64::from(*x)).collect()
}

/// Whether two tensors differ by less than a part of their length.
fn close(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let length = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    let error = length(&mut found.iter().zip(expected).map(|(a, b)| a - b));
    let scale = length(&mut expected.iter().copied()) + 0.1 * (expected.len() as f64).sqrt();
    assert!(
        error <= tolerance * scale,
        "{what} is off by {:.1e} of its length: found {found:?}, expected {expected:?}",
        error / scale
    );
}
