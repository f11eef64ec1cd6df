//! Building and running chains of layers.

use crate::test_device::test_device;
use keros_nn::layers::{Conv2D, Dense, Dropout, Flatten, MaxPooling2D};
use keros_nn::{Activation, Mode, Network, NnError, Sequential, SequentialBuilder};
use keros_tensor::access::read;
use keros_tensor::{DType, Device, Tensor, Workspace};

fn mnist_convnet() -> SequentialBuilder {
    Sequential::builder([28, 28, 1])
        .layer(Conv2D::new(32, 3).activation(Activation::Relu))
        .layer(MaxPooling2D::new(2))
        .layer(Conv2D::new(64, 3).activation(Activation::Relu))
        .layer(MaxPooling2D::new(2))
        .layer(Flatten::new())
        .layer(Dropout::new(0.5))
        .layer(Dense::new(10).activation(Activation::Softmax))
}

#[test]
fn parameters_have_keras_names_shapes_and_counts() {
    let network = mnist_convnet().build(test_device(), 1).unwrap();
    let found: Vec<(String, Vec<usize>)> = network
        .params()
        .iter()
        .map(|(_, param)| (param.name().to_owned(), param.value().dims().to_vec()))
        .collect();
    let expected = [
        ("conv2d/kernel", vec![3, 3, 1, 32]),
        ("conv2d/bias", vec![32]),
        ("conv2d_1/kernel", vec![3, 3, 32, 64]),
        ("conv2d_1/bias", vec![64]),
        ("dense/kernel", vec![1600, 10]),
        ("dense/bias", vec![10]),
    ];
    let expected = expected.map(|(name, shape)| (name.to_owned(), shape));
    assert_eq!(found, expected);
    assert_eq!(network.params().num_elements(true), 34_826);
    assert_eq!(network.inputs()[0].shape, [28, 28, 1]);
    assert_eq!(
        (
            network.outputs()[0].name.as_str(),
            &network.outputs()[0].shape[..]
        ),
        ("dense", &[10][..])
    );
}

#[test]
fn the_seed_fixes_the_parameters() {
    let values = |seed| {
        let network = mnist_convnet().build(test_device(), seed).unwrap();
        let kernel = network.params().by_name("conv2d_1/kernel").unwrap();
        read::<f32>(kernel.value()).unwrap().to_vec()
    };
    assert_eq!(values(5), values(5));
    assert_ne!(values(5), values(6));
}

#[test]
fn outputs_are_logits_with_their_activation_and_values_are_probabilities() {
    let mut network = mnist_convnet().build(test_device(), 1).unwrap();
    let ws = &mut Workspace::new(test_device());
    let x = Tensor::rand(0.0_f32, 1.0, (4, 28, 28, 1), &Device::Cpu)
        .and_then(|x| x.to_device(test_device()))
        .unwrap();
    let outputs = network.forward(ws, &[x], Mode::Inference).unwrap();
    assert_eq!(outputs[0].activation, Activation::Softmax);
    let values = outputs[0].values(ws).unwrap();
    for row in read::<f32>(&values).unwrap().chunks(10) {
        assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{row:?}");
    }
}

#[test]
fn dropout_depends_on_the_step_in_training_and_is_off_in_inference() {
    let mut network = mnist_convnet().build(test_device(), 1).unwrap();
    let ws = &mut Workspace::new(test_device());
    let x = Tensor::rand(0.0_f32, 1.0, (2, 28, 28, 1), &Device::Cpu)
        .and_then(|x| x.to_device(test_device()))
        .unwrap();
    let mut run = |mode| {
        ws.recycle();
        let outputs = network.forward(ws, std::slice::from_ref(&x), mode).unwrap();
        read::<f32>(&outputs[0].logits).unwrap().to_vec()
    };
    let step = |step| Mode::Training { seed: 4, step };
    assert_eq!(run(step(0)), run(step(0)));
    assert_ne!(run(step(0)), run(step(1)));
    assert_ne!(run(step(0)), run(Mode::Training { seed: 5, step: 0 }));
    assert_eq!(run(Mode::Inference), run(Mode::Inference));
}

#[test]
fn frozen_layers_get_no_gradient_and_no_work_is_done_below_them() {
    let mut network = mnist_convnet().build(test_device(), 1).unwrap();
    let ids: Vec<_> = network.params().iter().map(|(id, _)| id).collect();
    for id in &ids[..4] {
        network
            .params_mut()
            .get_mut(*id)
            .unwrap()
            .set_trainable(false);
    }
    assert_eq!(network.params().num_elements(true), 16_010);
    let ws = &mut Workspace::new(test_device());
    let x = Tensor::rand(0.0_f32, 1.0, (2, 28, 28, 1), &Device::Cpu)
        .and_then(|x| x.to_device(test_device()))
        .unwrap();
    let mode = Mode::Training { seed: 0, step: 0 };
    let outputs = network.forward(ws, &[x], mode).unwrap();
    let grad = outputs[0].logits.ones_like().unwrap();
    network.backward(ws, &[grad]).unwrap();
    let norm = |name| {
        let grad = network.params().by_name(name).unwrap().grad().clone();
        read::<f32>(&grad)
            .unwrap()
            .iter()
            .map(|g| g * g)
            .sum::<f32>()
    };
    assert_eq!((norm("conv2d/kernel"), norm("conv2d_1/kernel")), (0.0, 0.0));
    assert!(norm("dense/kernel") > 0.0);
}

#[test]
fn backward_needs_a_forward_pass_in_training_mode() {
    let mut network = mnist_convnet().build(test_device(), 1).unwrap();
    let ws = &mut Workspace::new(test_device());
    let grad = Tensor::zeros((1, 10), DType::F32, test_device()).unwrap();
    let x = Tensor::zeros((1, 28, 28, 1), DType::F32, test_device()).unwrap();
    network.forward(ws, &[x], Mode::Inference).unwrap();
    let error = network.backward(ws, &[grad]).unwrap_err();
    assert!(matches!(error, NnError::NoForward), "{error}");
}
