//! The layers of sequences: Keras's numbers, what they hand on, and what they refuse.

use crate::gradient_properties::output_and_gradient;
use crate::test_device::test_device;
use keros_nn::layers::{
    AveragePooling1D, Cropping1D, GlobalAveragePooling1D, GlobalMaxPooling1D, MaxPooling1D,
    Padding, UpSampling1D, ZeroPadding1D,
};
use keros_nn::{Layer, Network, NnError, Sequential, summary};
use keros_tensor::Tensor;
use keros_tensor::access::read;
use serde_json::Value;

/// Outputs and gradients of Keras 3.15; README.md beside it tells how they were made.
const RECORDED: &str = include_str!("../keras/sequences.json");

fn floats(value: &Value) -> Vec<f32> {
    serde_json::from_value(value.clone()).unwrap()
}

fn close(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            (found - expected).abs() < 1e-6,
            "{what}: {found} is not {expected}"
        );
    }
}

#[test]
fn outputs_and_gradients_are_those_of_keras() {
    let recorded: Value = serde_json::from_str(RECORDED).unwrap();
    let x = Tensor::from_vec(floats(&recorded["x"]), (2, 7, 3), test_device()).unwrap();
    for case in recorded["cases"].as_array().unwrap() {
        let class = case["class_name"].as_str().unwrap();
        let weights = |y: &Tensor| {
            let weights = (0..y.elem_count()).map(|i| (i as f32).cos());
            Tensor::from_vec(weights.collect(), y.dims(), test_device()).unwrap()
        };
        let (y, dx) = output_and_gradient(class, &case["config"], &x, weights);
        let what = format!("{class} {}", case["config"]);
        let shape: Vec<usize> = serde_json::from_value(case["shape"].clone()).unwrap();
        assert_eq!(y.dims(), shape, "{what}");
        close(&what, &read::<f32>(&y).unwrap(), &floats(&case["y"]));
        close(&what, &dx, &floats(&case["dx"]));
    }
}

/// `sequences.keras`: every layer of sequences and of noise, some with seeds.
#[cfg(feature = "keras-files")]
#[test]
fn a_model_of_keras_predicts_the_same() {
    use keros_nn::{Graph, Mode, load_keras_model};
    use keros_tensor::Workspace;

    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keras/sequences.keras");
    let mut network = load_keras_model(file, test_device()).unwrap();
    let recorded: Value = serde_json::from_str(RECORDED).unwrap();
    let x = Tensor::from_vec(floats(&recorded["x"]), (2, 7, 3), test_device()).unwrap();
    let predict = |network: &mut Graph| {
        let ws = &mut Workspace::new(test_device());
        let x = std::slice::from_ref(&x);
        let outputs = network.forward(ws, x, Mode::Inference).unwrap();
        read::<f32>(&outputs[0].logits).unwrap().to_vec()
    };
    let found = predict(&mut network);
    close(
        "prediction",
        &found,
        &[0.823_122_6, 0.365_705, 0.728_747, 0.177_458_7],
    );
    let mut again = Graph::from_json(&network.to_json().unwrap(), test_device(), 2).unwrap();
    for (id, param) in network.params().iter() {
        again.params()[id].set(param.value()).unwrap();
    }
    assert_eq!(predict(&mut again), found);
}

fn built(input: &[usize], layer: impl Layer + 'static) -> Result<Sequential, NnError> {
    Sequential::builder(input)
        .layer(layer)
        .build(test_device(), 1)
}

#[test]
fn shapes_and_names_are_those_of_keras() {
    let shape = |layer: Box<dyn FnOnce() -> Result<Sequential, NnError>>| {
        let network = layer().unwrap();
        network.outputs()[0].shape.clone()
    };
    let same = Padding::Same;
    macro_rules! shape {
        ($layer:expr) => {
            shape(Box::new(|| built(&[7, 3], $layer)))
        };
    }
    assert_eq!(shape!(MaxPooling1D::new(2)), [3, 3]);
    assert_eq!(shape!(MaxPooling1D::new(2).padding(same)), [4, 3]);
    assert_eq!(shape!(AveragePooling1D::new(3).strides(1)), [5, 3]);
    assert_eq!(shape!(GlobalMaxPooling1D::new()), [3]);
    assert_eq!(shape!(GlobalMaxPooling1D::new().keepdims(true)), [1, 3]);
    assert_eq!(shape!(GlobalAveragePooling1D::new().keepdims(true)), [1, 3]);
    assert_eq!(shape!(ZeroPadding1D::default()), [9, 3]);
    assert_eq!(shape!(ZeroPadding1D::new((2, 0))), [9, 3]);
    assert_eq!(shape!(Cropping1D::default()), [5, 3]);
    assert_eq!(shape!(UpSampling1D::default()), [14, 3]);

    let network = Sequential::builder([9, 2])
        .layer(ZeroPadding1D::default())
        .layer(MaxPooling1D::new(2))
        .layer(UpSampling1D::default())
        .layer(GlobalAveragePooling1D::new())
        .build(test_device(), 1)
        .unwrap();
    let table = summary(&network).to_string();
    for name in [
        "zero_padding1d (ZeroPadding1D)",
        "max_pooling1d (MaxPooling1D)",
        "up_sampling1d (UpSampling1D)",
        "global_average_pooling1d",
    ] {
        assert!(table.contains(name), "{table}");
    }
}

#[test]
fn what_cannot_work_is_refused_in_words() {
    let refused = |result: Result<Sequential, NnError>| result.err().unwrap().to_string();
    let series = &[7, 3];
    assert_eq!(
        refused(built(&[7], MaxPooling1D::new(2))),
        "layer `max_pooling1d`: input sample: wrong shape (expected [steps, channels], found [7])"
    );
    assert_eq!(
        refused(built(series, AveragePooling1D::new(2).strides(0))),
        "layer `average_pooling1d`: strides: value out of range (expected at least 1, found 0)"
    );
    assert_eq!(
        refused(built(series, MaxPooling1D::new(2).padding(Padding::Causal))),
        "layer `max_pooling1d`: padding: value out of range (expected valid or same, found causal)"
    );
    assert_eq!(
        refused(built(series, Cropping1D::new((3, 4)))),
        "layer `cropping1d`: cropping: value out of range (expected less than 7 steps in all, found (3, 4))"
    );
    for result in [
        built(series, MaxPooling1D::new(0)),
        built(series, MaxPooling1D::new(8)),
        built(series, AveragePooling1D::new(usize::MAX)),
        built(&[7, 3, 1], GlobalMaxPooling1D::new()),
        built(&[7, 3, 1], GlobalAveragePooling1D::new()),
        built(series, Cropping1D::new(usize::MAX)),
        built(series, ZeroPadding1D::new((usize::MAX, 1))),
        built(series, ZeroPadding1D::new(usize::MAX / 4)),
        built(&[7], ZeroPadding1D::default()),
        built(series, UpSampling1D::new(0)),
        built(series, UpSampling1D::new(usize::MAX)),
    ] {
        let text = refused(result);
        assert!(
            text.starts_with("layer `") && text.contains("expected"),
            "{text}"
        );
    }
}
