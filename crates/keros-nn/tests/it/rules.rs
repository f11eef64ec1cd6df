//! Penalties, constraints and freezing as arguments of layers.

use crate::test_device::test_device;
use keros_nn::layers::{ActivityRegularization, BatchNormalization, Dense};
use keros_nn::{
    Graph, L1L2, L2, MaxNorm, Mode, Network, NnError, Regularizer, Sequential, summary,
};
use keros_tensor::access::read;
use keros_tensor::{Tensor, Workspace};

const TRAINING: Mode = Mode::Training { seed: 1, step: 0 };

fn batch(rows: usize, columns: usize) -> Tensor {
    let values = (0..rows * columns).map(|i| (1.3 * i as f32 + 0.2).sin());
    Tensor::from_vec(values.collect::<Vec<f32>>(), (rows, columns), test_device()).unwrap()
}

#[test]
fn arguments_become_the_rules_of_the_parameters() {
    let layer = Dense::new(3)
        .kernel_initializer("ones")
        .bias_initializer("ones")
        .kernel_regularizer(L2::new(0.5).unwrap())
        .bias_regularizer("l1")
        .kernel_constraint(MaxNorm::new(1.0).unwrap());
    let network = Sequential::builder([4])
        .layer(layer)
        .build(test_device(), 1)
        .unwrap();
    let (rules, params) = (network.param_rules(), network.params());
    let penalty = rules.penalty(params).unwrap();
    assert!(
        (penalty - (0.5 * 12.0 + 0.01 * 3.0)).abs() < 1e-9,
        "{penalty}"
    );
    rules.constrain(params).unwrap();
    let kernel = params.by_name("dense/kernel").unwrap();
    for value in read::<f32>(kernel.value()).unwrap().iter() {
        assert!((value - 0.5).abs() < 1e-6);
    }
}

#[test]
fn the_penalty_is_the_sum_of_all_of_every_kind() {
    let layer = |regularizer: &'static str| {
        Dense::new(3)
            .kernel_regularizer(regularizer)
            .bias_regularizer("l2")
            .bias_initializer("ones")
    };
    let network = Sequential::builder([4])
        .layer(layer("l1"))
        .layer(layer("orthogonal_regularizer"))
        .layer(layer("l2"))
        .build(test_device(), 1)
        .unwrap();
    let mut expected = 3.0 * 3.0 * 0.01;
    for (name, regularizer) in [
        ("dense", "l1"),
        ("dense_1", "orthogonal_regularizer"),
        ("dense_2", "l2"),
    ] {
        let regularizer: Box<dyn Regularizer> = regularizer.parse().unwrap();
        let kernel = network.params().by_name(&format!("{name}/kernel")).unwrap();
        expected += regularizer.penalty(kernel.value()).unwrap();
    }
    let found = network.param_rules().penalty(network.params()).unwrap();
    assert!((found - expected).abs() < 1e-9, "{found} {expected}");
}

#[test]
fn unknown_names_are_told_when_the_network_is_built() {
    let wrong = [
        Dense::new(2).kernel_initializer("he_nrmal"),
        Dense::new(2).activation("rellu"),
        Dense::new(2).bias_regularizer("l3"),
        Dense::new(2).activity_regularizer("l3"),
        Dense::new(2).kernel_constraint("norm"),
    ];
    for layer in wrong {
        let error = Sequential::builder([4])
            .layer(layer.name("head"))
            .build(test_device(), 1)
            .map(drop);
        let Err(NnError::Layer { layer, source }) = error else {
            panic!("{error:?}");
        };
        assert_eq!(layer, "head");
        assert!(matches!(*source, NnError::UnknownName { .. }), "{source}");
    }
}

/// The penalty of a network's outputs for a batch, and the gradient of a parameter if nothing else
/// is in the loss.
fn penalty_and_gradient(network: &mut dyn Network, name: &str) -> (f64, Vec<f32>) {
    let ws = &mut Workspace::new(test_device());
    let inputs: Vec<Tensor> = network
        .inputs()
        .iter()
        .map(|port| batch(5, port.shape[0]))
        .collect();
    let outputs = network.forward(ws, &inputs, TRAINING).unwrap();
    let penalty = network.activity_penalty().total().unwrap();
    let zeros: Vec<Tensor> = outputs
        .iter()
        .map(|output| output.logits.zeros_like().unwrap())
        .collect();
    network.backward(ws, &zeros).unwrap();
    let grad = network.params().by_name(name).unwrap().grad();
    (penalty, read::<f32>(grad).unwrap().to_vec())
}

/// Compares the gradient of the penalty with differences.
fn check(network: &mut dyn Network, name: &str) {
    let (_, found) = penalty_and_gradient(network, name);
    let param = network
        .params()
        .by_name(name)
        .unwrap()
        .value()
        .as_tensor()
        .clone();
    let values = read::<f32>(&param).unwrap().to_vec();
    for (i, found) in found.iter().enumerate() {
        let mut at = |change: f32| {
            let mut values = values.clone();
            values[i] += change;
            let changed = Tensor::from_vec(values.clone(), param.shape(), test_device()).unwrap();
            network
                .params()
                .by_name(name)
                .unwrap()
                .set(&changed)
                .unwrap();
            let (penalty, _) = penalty_and_gradient(network, name);
            (penalty, f64::from(values[i]))
        };
        let ((above, right), (below, left)) = (at(1e-3), at(-1e-3));
        let slope = (above - below) / (right - left);
        assert!(
            (slope - f64::from(*found)).abs() < 1e-3,
            "{name} at {i}: {slope}, {found}"
        );
    }
}

#[test]
fn penalties_of_outputs_are_divided_by_the_samples_and_have_gradients() {
    let l2 = || L2::new(0.3).unwrap();
    let mut chain = Sequential::builder([4])
        .layer(Dense::new(3).activation("tanh").activity_regularizer(l2()))
        .layer(ActivityRegularization::new(0.1, 0.2).unwrap())
        .layer(
            Dense::new(2)
                .activation("softmax")
                .activity_regularizer("l2"),
        )
        .build(test_device(), 3)
        .unwrap();
    check(&mut chain, "dense/kernel");
    check(&mut chain, "dense_1/kernel");

    let mut g = Graph::builder();
    let (left, right) = (g.input("left", [4]), g.input("right", [4]));
    let shared = g.shared(Dense::new(3).activity_regularizer(L1L2::new(0.1, 0.2).unwrap()));
    let (a, b) = (g.apply(shared, left), g.apply(shared, right));
    let mut graph = g.build(&[("a", a), ("b", b)], test_device(), 3).unwrap();
    check(&mut graph, "dense/kernel");

    let mut plain = Sequential::builder([4])
        .layer(
            Dense::new(3)
                .kernel_initializer("identity")
                .activity_regularizer(l2()),
        )
        .build(test_device(), 1);
    assert!(plain.is_ok());
    let ws = &mut Workspace::new(test_device());
    let x = batch(5, 4);
    let network = plain.as_mut().unwrap();
    let outputs = network
        .forward(ws, std::slice::from_ref(&x), Mode::Inference)
        .unwrap();
    let squares: f32 = read::<f32>(&outputs[0].logits)
        .unwrap()
        .iter()
        .map(|y| y * y)
        .sum();
    let expected = 0.3 * f64::from(squares) / 5.0;
    assert!((network.activity_penalty().total().unwrap() - expected).abs() < 1e-6);
}

#[test]
fn layers_are_frozen_by_their_names() {
    let mut network = Sequential::builder([4])
        .layer(Dense::new(3))
        .layer(BatchNormalization::new().center(false).scale(false))
        .layer(Dense::new(2).trainable(false))
        .build(test_device(), 1)
        .unwrap();
    let counts = |network: &Sequential| {
        let text = summary(network);
        let lines = text.lines().filter(|line| line.contains("rainable params"));
        lines.map(|line| line.trim().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        counts(&network),
        [
            "Trainable params: 15 (60.00 B)",
            "Non-trainable params: 14 (56.00 B)"
        ]
    );
    network.set_trainable("dense_1", true).unwrap();
    network.set_trainable("dense", false).unwrap();
    network.set_trainable("batch_normalization", true).unwrap();
    assert_eq!(
        counts(&network),
        [
            "Trainable params: 8 (32.00 B)",
            "Non-trainable params: 21 (84.00 B)"
        ]
    );
    let error = network.set_trainable("dense_2", false).unwrap_err();
    assert_eq!(
        error.to_string(),
        "unknown layer `dense_2` (the network has dense, batch_normalization, dense_1)"
    );
    // Frozen, the normalization leaves its moving statistics alone.
    let moving = |network: &Sequential| {
        let mean = network
            .params()
            .by_name("batch_normalization/moving_mean")
            .unwrap();
        read::<f32>(mean.value()).unwrap().to_vec()
    };
    let ws = &mut Workspace::new(test_device());
    network.set_trainable("batch_normalization", false).unwrap();
    network.forward(ws, &[batch(5, 4)], TRAINING).unwrap();
    assert_eq!(moving(&network), [0.0; 3]);
    network.set_trainable("batch_normalization", true).unwrap();
    network.forward(ws, &[batch(5, 4)], TRAINING).unwrap();
    assert_ne!(moving(&network), [0.0; 3]);
}
