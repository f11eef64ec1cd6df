//! Graphs: branches, merges, shared layers, several inputs and outputs.

use crate::test_device::test_device;
use keros_nn::layers::{
    Activation as ActivationLayer, Add, Concatenate, Conv2D, Dense, Dropout, Flatten, MaxPooling2D,
    Multiply,
};
use keros_nn::{Activation, Graph, Mode, Network, NnError, Sequential};
use keros_tensor::access::{read, write};
use keros_tensor::{Stream, Tensor, Workspace};

const MODE: Mode = Mode::Training { seed: 3, step: 5 };

fn random(shape: &[usize], stream: u64) -> Tensor {
    let mut values = vec![0.0; shape.iter().product()];
    Stream::new(23, stream).fill_uniform(0, -1.0, 1.0, &mut values);
    Tensor::from_vec(values, shape, test_device()).unwrap()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    read::<f32>(tensor).unwrap().to_vec()
}

/// `Σ logits · upstream` over all outputs.
fn loss(graph: &mut Graph, ws: &mut Workspace, inputs: &[Tensor], upstream: &[Tensor]) -> f64 {
    ws.recycle();
    let outputs = graph.forward(ws, inputs, MODE).unwrap();
    let mut sum = 0.0;
    for (output, upstream) in outputs.iter().zip(upstream) {
        let (logits, upstream) = (values(&output.logits), values(upstream));
        let products = logits.iter().zip(&upstream);
        sum += products
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum::<f64>();
    }
    sum
}

/// Compares the gradient of every parameter with central differences, as a whole.
fn check(graph: &mut Graph) {
    let ws = &mut Workspace::new(test_device());
    let batch = |shape: &[usize], stream| random(&[&[3], shape].concat(), stream);
    let inputs: Vec<Tensor> = (0..)
        .zip(graph.inputs())
        .map(|(i, p)| batch(&p.shape, i))
        .collect();
    let upstream: Vec<Tensor> = (50..)
        .zip(graph.outputs())
        .map(|(i, p)| batch(&p.shape, i))
        .collect();
    // Twice: what the first step leaves behind must not reach the second.
    for _ in 0..2 {
        loss(graph, ws, &inputs, &upstream);
        let grads: Vec<Tensor> = upstream.iter().map(|u| u.copy().unwrap()).collect();
        graph.backward(ws, &grads).unwrap();
    }
    let all: Vec<_> = graph
        .params()
        .iter()
        .map(|(id, p)| (id, values(p.grad())))
        .collect();
    for (id, analytic) in all {
        let name = graph.params()[id].name().to_owned();
        let step = 1e-3;
        let (mut error, mut norm) = (0.0, 0.0);
        for (i, analytic) in analytic.iter().enumerate() {
            let mut nudged = |by: f32| {
                let value = graph.params()[id].value();
                write(value.as_tensor(), |value: &mut [f32]| value[i] += by).unwrap();
                loss(graph, ws, &inputs, &upstream)
            };
            let up = nudged(step);
            let down = nudged(-2.0 * step);
            nudged(step);
            let numeric = (up - down) / (2.0 * f64::from(step));
            error += (numeric - f64::from(*analytic)).powi(2);
            norm += numeric.powi(2);
        }
        assert!(norm > 1e-8, "{name} has no gradient to compare with");
        let relative = (error / norm).sqrt();
        assert!(
            relative < 0.01,
            "{name} is off by {relative:.4} of its length"
        );
    }
}

#[test]
fn branches_and_several_inputs_and_outputs() {
    let mut g = Graph::builder();
    let image = g.input("image", [6, 6, 1]);
    let facts = g.input("facts", [4]);
    let conv = g.layer(Conv2D::new(2, 3).activation(Activation::Tanh), image);
    let pooled = g.layer(MaxPooling2D::new(2), conv);
    let flat = g.layer(Flatten::new(), pooled);
    let facts = g.layer(Dense::new(8).activation(Activation::Silu), facts);
    let dropped = g.layer(Dropout::new(0.3), facts);
    let residual = g.merge(Add::new(), &[facts, dropped, flat]);
    let gated = g.merge(Multiply::new(), &[residual, facts]);
    let joined = g.merge(Concatenate::new(-1), &[gated, flat, residual]);
    let class = g.layer(
        Dense::new(3).activation(Activation::Softmax).name("class"),
        joined,
    );
    let hidden = g.layer(ActivationLayer::new(Activation::Tanh), joined);
    let score = g.layer(Dense::new(1).activation(Activation::Sigmoid), hidden);
    let outputs = [("class", class), ("score", score), ("inner", residual)];
    let mut graph = g.build(&outputs, test_device(), 7).unwrap();

    let names: Vec<&str> = graph.layers().iter().map(|layer| layer.name).collect();
    assert_eq!(
        names,
        [
            "image",
            "facts",
            "conv2d",
            "max_pooling2d",
            "flatten",
            "dense",
            "dropout",
            "add",
            "multiply",
            "concatenate",
            "class",
            "activation",
            "dense_1"
        ]
    );
    assert_eq!(graph.inputs()[1].name, "facts");
    assert_eq!(graph.outputs()[0].shape, [3]);
    let ws = &mut Workspace::new(test_device());
    let inputs = [random(&[2, 6, 6, 1], 1), random(&[2, 4], 2)];
    let outputs = graph.forward(ws, &inputs, Mode::Inference).unwrap();
    let activations = [Activation::Softmax, Activation::Sigmoid, Activation::Linear];
    assert_eq!([0, 1, 2].map(|i| outputs[i].activation), activations);
    check(&mut graph);
}

#[test]
fn gradients_of_shared_layers_add_up() {
    let mut g = Graph::builder();
    let (a, b) = (g.input("a", [5]), g.input("b", [5]));
    let encoder = g.shared(Dense::new(5).activation(Activation::Gelu).name("encoder"));
    let once = g.apply(encoder, a);
    let twice = g.apply(encoder, once);
    let other = g.apply(encoder, b);
    let squared = g.merge(Multiply::new(), &[twice, twice]);
    let joined = g.merge(Concatenate::new(1), &[squared, other, once]);
    let y = g.layer(Dense::new(2), joined);
    let mut graph = g
        .build(&[("y", y), ("code", other)], test_device(), 3)
        .unwrap();
    assert_eq!(graph.params().len(), 4);
    check(&mut graph);
}

#[test]
fn a_shared_layer_gives_its_softmax_away_only_if_all_its_uses_are_outputs() {
    let activation = |inner: bool| {
        let mut g = Graph::builder();
        let (a, b) = (g.input("a", [3]), g.input("b", [3]));
        let head = g.shared(Dense::new(3).activation(Activation::Softmax));
        let (x, y) = (g.apply(head, a), g.apply(head, b));
        let z = if inner { g.layer(Dense::new(1), y) } else { y };
        let mut graph = g.build(&[("x", x), ("z", z)], test_device(), 3).unwrap();
        let ws = &mut Workspace::new(test_device());
        let inputs = [random(&[2, 3], 1), random(&[2, 3], 2)];
        let outputs = graph.forward(ws, &inputs, Mode::Inference).unwrap();
        let sum: f32 = values(&outputs[0].values(ws).unwrap()).iter().sum();
        assert!((sum - 2.0).abs() < 1e-5, "{sum}");
        outputs[0].activation
    };
    assert_eq!(activation(false), Activation::Softmax);
    assert_eq!(activation(true), Activation::Linear);
}

#[test]
fn a_frozen_branch_costs_no_work_and_the_others_are_trained() {
    let mut g = Graph::builder();
    let x = g.input("x", [4]);
    let frozen = g.layer(Dense::new(3).activation(Activation::Relu).name("frozen"), x);
    let trained = g.layer(
        Dense::new(3).activation(Activation::Relu).name("trained"),
        x,
    );
    let late = g.layer(
        Dense::new(3).activation(Activation::Tanh).name("late"),
        frozen,
    );
    let sum = g.merge(Add::new(), &[trained, late]);
    let mut graph = g.build(&[("sum", sum)], test_device(), 1).unwrap();
    for name in ["frozen/kernel", "frozen/bias", "late/kernel", "late/bias"] {
        let id = graph.params().id(name).unwrap();
        graph.params_mut().get_mut(id).unwrap().set_trainable(false);
    }
    let ws = &mut Workspace::new(test_device());
    let outputs = graph.forward(ws, &[random(&[2, 4], 1)], MODE).unwrap();
    let grad = outputs[0].logits.ones_like().unwrap();
    graph.backward(ws, &[grad]).unwrap();
    let squares = |name| -> f32 {
        let grad = values(graph.params().by_name(name).unwrap().grad());
        grad.iter().map(|g| g * g).sum()
    };
    assert_eq!(
        (squares("frozen/kernel"), squares("late/kernel")),
        (0.0, 0.0)
    );
    assert!(squares("trained/kernel") > 0.0);
}

#[test]
fn a_chain_is_the_same_as_a_sequential() {
    let dense = || Dense::new(4).activation(Activation::Selu);
    let mut sequential = Sequential::builder([3])
        .layer(dense())
        .layer(Dropout::new(0.0))
        .layer(Dense::new(2))
        .build(test_device(), 5)
        .unwrap();
    let mut g = Graph::builder();
    let x = g.input("x", [3]);
    let h = g.layer(dense(), x);
    let h = g.layer(Dropout::new(0.0), h);
    let y = g.layer(Dense::new(2), h);
    let mut graph = g.build(&[("y", y)], test_device(), 5).unwrap();
    let run = |network: &mut dyn Network| {
        let ws = &mut Workspace::new(test_device());
        let outputs = network.forward(ws, &[random(&[6, 3], 1)], MODE).unwrap();
        let y = values(&outputs[0].logits);
        network.backward(ws, &[random(&[6, 2], 2)]).unwrap();
        let params = network.params().iter();
        let grads: Vec<_> = params
            .map(|(_, p)| (p.name().to_owned(), values(p.grad())))
            .collect();
        (y, grads)
    };
    assert_eq!(run(&mut sequential), run(&mut graph));
}

#[test]
fn backward_needs_a_forward_pass_in_training_mode() {
    let mut g = Graph::builder();
    let x = g.input("x", [3]);
    let y = g.layer(Dense::new(1), x);
    let mut graph = g.build(&[("y", y)], test_device(), 5).unwrap();
    let ws = &mut Workspace::new(test_device());
    graph
        .forward(ws, &[random(&[2, 3], 1)], Mode::Inference)
        .unwrap();
    let error = graph.backward(ws, &[random(&[2, 1], 1)]).unwrap_err();
    assert!(matches!(error, NnError::NoForward), "{error}");
}
