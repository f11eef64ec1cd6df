//! A part of a network in another: its outputs, its parameters, and what cannot be taken apart.

use keros_nn::layers::{
    Add, BatchNormalization, Concatenate, Conv2D, Dense, Flatten, Lambda, MaxPooling2D,
};
use keros_nn::{Graph, Mode, Network, Node, Sequential};
use keros_tensor::access::read;
use keros_tensor::{Device, Tensor, Workspace};

fn sample(shape: &[usize]) -> Tensor {
    let count: usize = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|i| (i as f32 * 0.37).sin()).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn outputs(network: &mut dyn Network, inputs: &[Tensor]) -> Vec<Vec<f32>> {
    let ws = &mut Workspace::new(&Device::Cpu);
    let outputs = network.forward(ws, inputs, Mode::Inference).unwrap();
    let values = outputs.iter().map(|output| output.values(ws).unwrap());
    let values: Vec<Tensor> = values.collect();
    let values = values.iter();
    values
        .map(|values| read::<f32>(values).unwrap().to_vec())
        .collect()
}

fn names(network: &dyn Network) -> Vec<String> {
    let params = network.params().iter();
    params.map(|(_, param)| param.name().to_owned()).collect()
}

fn cut(network: &dyn Network, layer: &str) -> Graph {
    let mut g = Graph::builder();
    let [end] = g.include(network, [layer]).unwrap();
    g.build(&[(layer, end)], &Device::Cpu, 99).unwrap()
}

/// Two inputs, a shared layer, two branches and a head, all of whose inner tensors are outputs too.
fn whole() -> Graph {
    let mut g = Graph::builder();
    let (left, right) = (g.input("left", [6, 6, 1]), g.input("right", [6, 6, 1]));
    let shared = g.shared(Conv2D::new(4, 3).activation("relu").name("edges"));
    let (a, b) = (g.apply(shared, left), g.apply(shared, right));
    let sum = g.merge(Add::new().name("sum"), &[a, b]);
    let norm = g.layer(BatchNormalization::new().name("norm"), sum);
    let pooled = g.layer(MaxPooling2D::new(2).name("pool"), norm);
    let flat = g.layer(Flatten::new().name("flat"), pooled);
    let side = g.layer(Dense::new(2).activation("tanh").name("side"), flat);
    let joined = g.merge(Concatenate::new(-1).name("joined"), &[flat, side]);
    let head = g.layer(Dense::new(3).activation("softmax").name("head"), joined);
    let ends: [(&str, Node); 5] = [
        ("sum", sum),
        ("norm", norm),
        ("side", side),
        ("joined", joined),
        ("head", head),
    ];
    g.build(&ends, &Device::Cpu, 5).unwrap()
}

#[test]
fn outputs_of_a_graph_are_those_of_its_layers() {
    let mut whole = whole();
    let inputs = [sample(&[3, 6, 6, 1]), sample(&[3, 6, 6, 1])];
    let inner = outputs(&mut whole, &inputs);
    for (i, name) in ["sum", "norm", "side", "joined", "head"].iter().enumerate() {
        let mut part = cut(&whole, name);
        assert_eq!(outputs(&mut part, &inputs)[0], inner[i], "{name}");
    }
    let part = cut(&whole, "side");
    assert!(!names(&part).contains(&"head/kernel".to_owned()));
    assert_eq!(
        part.params().num_elements(true),
        10 * 4 + 2 * 4 + (4 * 4 + 1) * 2
    );
}

#[test]
fn several_layers_can_be_ends_and_inputs_that_are_not_needed_are_left_out() {
    let mut g = Graph::builder();
    let (left, right) = (g.input("left", [4]), g.input("right", [4]));
    let a = g.layer(Dense::new(3).activation("relu").name("a"), left);
    let b = g.layer(Dense::new(3).name("b"), a);
    let c = g.layer(Dense::new(3).name("c"), right);
    let sum = g.merge(Add::new().name("sum"), &[b, c]);
    let mut whole = g
        .build(&[("a", a), ("b", b), ("sum", sum)], &Device::Cpu, 1)
        .unwrap();
    let mut g = Graph::builder();
    let [b, a] = g.include(&whole, ["b", "a"]).unwrap();
    let mut part = g.build(&[("a", a), ("b", b)], &Device::Cpu, 1).unwrap();
    assert_eq!(part.inputs().len(), 1);
    let x = sample(&[2, 4]);
    let inner = outputs(&mut whole, &[x.clone(), x.clone()]);
    assert_eq!(outputs(&mut part, &[x]), inner[..2]);
}

fn chain() -> Sequential {
    Sequential::builder([6, 6, 1])
        .layer(Conv2D::new(4, 3).activation("relu").name("edges"))
        .layer(Flatten::new())
        .layer(Dense::new(5).activation("tanh").name("features"))
        .layer(Dense::new(3).activation("softmax").name("head"))
        .build(&Device::Cpu, 3)
        .unwrap()
}

#[test]
fn a_chain_ends_where_it_is_cut() {
    let (mut whole, x) = (chain(), sample(&[2, 6, 6, 1]));
    let mut rebuilt = Sequential::builder([6, 6, 1])
        .layer(Conv2D::new(4, 3).activation("relu").name("edges"))
        .layer(Flatten::new())
        .layer(Dense::new(5).activation("tanh").name("features"))
        .build(&Device::Cpu, 3)
        .unwrap();
    let mut part = cut(&whole, "features");
    assert_eq!(names(&part), names(&rebuilt));
    let x = std::slice::from_ref(&x);
    assert_eq!(outputs(&mut part, x), outputs(&mut rebuilt, x));
    let mut all = cut(&whole, "head");
    assert_eq!(outputs(&mut all, x), outputs(&mut whole, x));
}

#[test]
fn parameters_are_copies_with_their_values_and_frozen_as_they_were() {
    let mut whole = chain();
    whole.set_trainable("edges", false).unwrap();
    assert!(whole.set_trainable("nothing", false).is_err());
    let part = cut(&whole, "features");
    let kernel = |network: &dyn Network| {
        let param = network.params().by_name("edges/kernel").unwrap();
        assert!(!param.trainable());
        read::<f32>(param.value()).unwrap().to_vec()
    };
    let before = kernel(&whole);
    assert_eq!(kernel(&part), before);
    let features = part.params().by_name("features/kernel").unwrap();
    assert!(features.trainable());
    // What is done to one of them is not done to the other.
    let param = part.params().by_name("edges/kernel").unwrap();
    param.set(&param.value().zeros_like().unwrap()).unwrap();
    assert_eq!(kernel(&whole), before);
    // One parameter of a layer that is trained besides, and one of a frozen layer that is not.
    for (name, trainable) in [("features/bias", false), ("edges/bias", true)] {
        let id = whole.params().id(name).unwrap();
        whole
            .params_mut()
            .get_mut(id)
            .unwrap()
            .set_trainable(trainable);
    }
    let part = cut(&whole, "features");
    for (_, param) in part.params().iter() {
        let expected = ["features/kernel", "edges/bias"].contains(&param.name());
        assert_eq!(param.trainable(), expected, "{}", param.name());
    }
}

#[test]
fn a_new_head_is_trained_on_a_frozen_part() {
    let whole = chain();
    let mut g = Graph::builder();
    let [features] = g.include(&whole, ["features"]).unwrap();
    let head = g.layer(Dense::new(2).name("two"), features);
    let mut network = g.build(&[("two", head)], &Device::Cpu, 8).unwrap();
    let layers = whole.layers();
    for layer in &layers[..layers.len() - 1] {
        network.set_trainable(layer.name, false).unwrap();
    }
    assert_eq!(network.params().num_elements(true), (5 + 1) * 2);
    let ws = &mut Workspace::new(&Device::Cpu);
    let mode = Mode::Training { seed: 1, step: 0 };
    let x = sample(&[2, 6, 6, 1]);
    let outputs = network.forward(ws, &[x], mode).unwrap();
    let grads = [outputs[0].logits.copy().unwrap()];
    network.backward(ws, &grads).unwrap();
    let grad = network.params().by_name("two/kernel").unwrap().grad();
    assert!(read::<f32>(grad).unwrap().iter().any(|value| *value != 0.0));
}

#[test]
fn all_that_is_in_a_graph_can_be_frozen_by_its_name() {
    let mut network = whole();
    let names: Vec<String> = network
        .layers()
        .iter()
        .map(|layer| layer.name.to_owned())
        .collect();
    assert!(names.contains(&"left".to_owned()) && names.contains(&"sum".to_owned()));
    for name in names {
        network.set_trainable(&name, false).unwrap();
    }
    assert_eq!(network.params().num_elements(true), 0);
}

#[test]
fn what_cannot_be_taken_apart_is_refused_by_name() {
    let refused = |network: &dyn Network, layer: &str, words: &str| {
        let mut g = Graph::builder();
        let error = g.include(network, [layer]).unwrap_err().to_string();
        assert!(error.contains(words), "{error} does not say {words}");
    };
    refused(&chain(), "nothing", "unknown layer `nothing`");
    refused(&whole(), "nothing", "joined");
    refused(&whole(), "edges", "`edges`, used 2 times");
    let lambda = Sequential::builder([4])
        .layer(Lambda::new(|x| x.sqr()).name("square"))
        .build(&Device::Cpu, 1)
        .unwrap();
    refused(&lambda, "square", "configuration");
    let mut g = Graph::builder();
    let [first] = g.include(&chain(), ["features"]).unwrap();
    let [second] = g.include(&chain(), ["features"]).unwrap();
    let error = g.build(&[("a", first), ("b", second)], &Device::Cpu, 1);
    let error = error.err().unwrap().to_string();
    assert!(error.contains("`input`"), "{error}");
}
