//! Whole networks against finite differences.

use crate::test_device::test_device;
use keros_nn::layers::{Conv2D, Dense, Dropout, Flatten, MaxPooling2D, Padding};
use keros_nn::{
    Activation, Loss, Mode, Network, Sequential, SequentialBuilder, SparseCategoricalCrossentropy,
    Target,
};
use keros_tensor::access::{read, write};
use keros_tensor::{Stream, Tensor, Workspace};

const MODE: Mode = Mode::Training { seed: 3, step: 5 };

pub(crate) fn random(shape: &[usize], stream: u64) -> Tensor {
    let mut values = vec![0.0; shape.iter().product()];
    Stream::new(11, stream).fill_uniform(0, -1.0, 1.0, &mut values);
    Tensor::from_vec(values, shape, test_device()).unwrap()
}

/// Mean loss of the batch, in f64.
fn loss(network: &mut Sequential, ws: &mut Workspace, x: &Tensor, labels: &Target) -> f64 {
    ws.recycle();
    let outputs = network.forward(ws, std::slice::from_ref(x), MODE).unwrap();
    let loss = SparseCategoricalCrossentropy::new();
    let result = loss.compute(ws, &outputs[0], labels, None, 1.0).unwrap();
    let losses = read::<f32>(&result.per_sample).unwrap();
    losses.iter().map(|loss| f64::from(*loss)).sum::<f64>() / losses.len() as f64
}

/// Compares the gradient of every parameter with central differences, as a whole: kinks of ReLU and
/// maximum make single differences wrong now and then.
pub(crate) fn check(builder: SequentialBuilder, input: &[usize], classes: u32) {
    check_with_step(builder, input, classes, 5e-4);
}

/// As [`check`], for networks without kinks: a large step makes less of the rounding of a loss.
pub(crate) fn check_smooth(builder: SequentialBuilder, input: &[usize], classes: u32) {
    check_with_step(builder, input, classes, 2e-3);
}

fn check_with_step(builder: SequentialBuilder, input: &[usize], classes: u32, step: f32) {
    let mut network = builder.build(test_device(), 9).unwrap();
    let ws = &mut Workspace::new(test_device());
    let batch = 3;
    let x = random(&[&[batch], input].concat(), 1);
    let labels: Vec<u32> = (0..batch as u32).map(|n| (7 * n + 1) % classes).collect();
    let labels = Target::Labels(Tensor::new(labels, test_device()).unwrap());

    ws.recycle();
    let outputs = network.forward(ws, std::slice::from_ref(&x), MODE).unwrap();
    let scale = 1.0 / batch as f32;
    let result = SparseCategoricalCrossentropy::new()
        .compute(ws, &outputs[0], &labels, None, scale)
        .unwrap();
    network.backward(ws, &[result.grad]).unwrap();
    let names: Vec<String> = network
        .params()
        .iter()
        .filter(|(_, p)| p.trainable())
        .map(|(_, p)| p.name().to_owned())
        .collect();
    for name in names {
        let param = network.params().by_name(&name).unwrap();
        let analytic = read::<f32>(param.grad()).unwrap().to_vec();
        let (mut error, mut norm) = (0.0, 0.0);
        for i in 0..analytic.len() {
            let mut nudge = |network: &mut Sequential, by: f32| {
                let value = network.params().by_name(&name).unwrap().value();
                write(value.as_tensor(), |values: &mut [f32]| values[i] += by).unwrap();
                loss(network, ws, &x, &labels)
            };
            let up = nudge(&mut network, step);
            let down = nudge(&mut network, -2.0 * step);
            nudge(&mut network, step);
            let numeric = (up - down) / (2.0 * f64::from(step));
            error += (numeric - f64::from(analytic[i])).powi(2);
            norm += numeric.powi(2);
        }
        assert!(norm > 1e-8, "{name} has no gradient to compare with");
        let relative = (error / norm).sqrt();
        assert!(
            relative < 0.02,
            "{name}: gradient is off by {relative:.4} of its length"
        );
    }
}

#[test]
fn mlp() {
    let network = Sequential::builder([5])
        .layer(Dense::new(7).activation(Activation::Relu))
        .layer(Dense::new(6).activation(Activation::Softmax))
        .layer(Dense::new(4).activation(Activation::Softmax));
    check(network, &[5], 4);
}

#[test]
fn convnet() {
    let network = Sequential::builder([9, 8, 2])
        .layer(Conv2D::new(3, 3).activation(Activation::Relu))
        .layer(MaxPooling2D::new(2))
        .layer(
            Conv2D::new(4, (2, 3))
                .padding(Padding::Same)
                .use_bias(false),
        )
        .layer(Flatten::new())
        .layer(Dropout::new(0.4))
        .layer(Dense::new(3).activation(Activation::Softmax));
    check(network, &[9, 8, 2], 3);
}

#[test]
fn strides_dilation_and_overlapping_windows() {
    let network = Sequential::builder([11, 10, 1])
        .layer(Conv2D::new(2, 3).dilation_rate(2).padding(Padding::Same))
        .layer(MaxPooling2D::new(3).strides(2).padding(Padding::Same))
        .layer(
            Conv2D::new(3, 3)
                .strides((2, 1))
                .activation(Activation::Relu),
        )
        .layer(Flatten::new())
        .layer(Dense::new(3).activation(Activation::Softmax));
    check(network, &[11, 10, 1], 3);
}
