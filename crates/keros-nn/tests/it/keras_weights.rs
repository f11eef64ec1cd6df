//! Files that Keras wrote: the same predictions here, and what is said of files that do not fit.

use crate::test_device::test_device;
use keros_nn::layers::{Conv2D, Dense, Flatten, MaxPooling2D};
use keros_nn::{
    Activation, Mode, Network, Sequential, SequentialBuilder, load_keras_model, load_keras_weights,
};
use keros_tensor::access::read;
use keros_tensor::{Tensor, Workspace};
use std::fs;
use std::path::{Path, PathBuf};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/keras")
        .join(name)
}

fn trunk() -> SequentialBuilder {
    Sequential::builder([8, 8, 2])
        .layer(Conv2D::new(3, 3).activation(Activation::Relu))
        .layer(MaxPooling2D::new(2))
        .layer(Conv2D::new(4, 2).name("another_name"))
        .layer(Flatten::new())
        .layer(Dense::new(5).activation(Activation::Relu))
}

fn small() -> Sequential {
    let head = Dense::new(3).activation(Activation::Softmax);
    trunk().layer(head).build(test_device(), 1).unwrap()
}

fn all_values(network: &Sequential) -> Vec<f32> {
    let params = network.params().iter();
    params
        .flat_map(|(_, p)| read::<f32>(p.value()).unwrap().to_vec())
        .collect()
}

#[test]
fn predictions_are_those_of_keras() {
    let recorded: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(file("small.json")).unwrap()).unwrap();
    let floats = |key: &str| -> Vec<f32> { serde_json::from_value(recorded[key].clone()).unwrap() };
    for name in ["small.weights.h5", "small.keras"] {
        let mut network = small();
        load_keras_weights(&network, file(name)).unwrap();
        let ws = &mut Workspace::new(test_device());
        let x = Tensor::from_vec(floats("x"), (4, 8, 8, 2), test_device()).unwrap();
        let outputs = network.forward(ws, &[x], Mode::Inference).unwrap();
        let found = outputs[0].values(ws).unwrap();
        for (found, expected) in read::<f32>(&found).unwrap().iter().zip(floats("y")) {
            assert!(
                (found - expected).abs() < 1e-6,
                "{name}: {found} is not {expected}"
            );
        }
    }
}

#[test]
fn what_does_not_match_is_listed_by_name_and_nothing_changes() {
    let refused = |builder: SequentialBuilder| {
        let network = builder.build(test_device(), 1).unwrap();
        let before = all_values(&network);
        let error = load_keras_weights(&network, file("small.weights.h5")).unwrap_err();
        assert_eq!(all_values(&network), before);
        error.to_string()
    };
    let wider = refused(trunk().layer(Dense::new(4)));
    assert!(
        wider.contains("dense_1/kernel") && wider.contains("[5, 4]"),
        "{wider}"
    );
    let longer = refused(
        trunk()
            .layer(Dense::new(3))
            .layer(Dense::new(2).name("extra")),
    );
    assert!(
        longer.contains("extra/kernel") && longer.contains("extra/bias"),
        "{longer}"
    );
    let shorter = refused(trunk());
    assert!(shorter.contains("dense_1"), "{shorter}");
    let no_bias = refused(trunk().layer(Dense::new(3).use_bias(false)));
    assert!(no_bias.contains("dense_1/vars/1"), "{no_bias}");
}

#[test]
fn damaged_files_are_refused_and_nothing_changes() {
    let folder = tempfile::tempdir().unwrap();
    let network = small();
    let before = all_values(&network);
    for name in ["small.weights.h5", "small.keras"] {
        let whole = fs::read(file(name)).unwrap();
        let path = folder.path().join(name);
        for part in 0..24 {
            fs::write(&path, &whole[..whole.len() * part / 24]).unwrap();
            let error = load_keras_weights(&network, &path).unwrap_err().to_string();
            assert!(error.contains(name), "{part}/24 of {name}: {error}");
        }
        // One byte changed: an error or other values, but no panic and no half-filled network.
        for place in (0..whole.len()).step_by(97) {
            let mut bytes = whole.clone();
            bytes[place] ^= 0x5a;
            fs::write(&path, &bytes).unwrap();
            if load_keras_weights(&network, &path).is_err() {
                assert_eq!(all_values(&network), before, "byte {place} of {name}");
            } else {
                load_keras_weights(&network, file(name)).unwrap();
                let fresh = small();
                let pairs = network.params().iter().zip(fresh.params().iter());
                for ((_, param), (_, original)) in pairs {
                    param.set(original.value()).unwrap();
                }
            }
        }
    }
    let missing = load_keras_weights(&network, folder.path().join("none.h5")).unwrap_err();
    assert!(missing.to_string().contains("none.h5"), "{missing}");
    assert_eq!(all_values(&network), before);
}

#[test]
fn groups_in_two_places_or_too_deep_are_refused() {
    let network = small();
    for (name, expected) in [
        (
            "cycle.weights.h5",
            "layers/a/again: the group is in another place too",
        ),
        ("shared.weights.h5", "the group is in another place too"),
        ("deep.weights.h5", "more than 64 groups deep"),
    ] {
        let error = load_keras_weights(&network, file(name)).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(name) && text.contains(expected), "{text}");
    }
}

#[test]
fn a_file_of_keras_is_a_whole_network() {
    let recorded: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(file("small.json")).unwrap()).unwrap();
    let floats = |key: &str| -> Vec<f32> { serde_json::from_value(recorded[key].clone()).unwrap() };
    let mut network = load_keras_model(file("small.keras"), test_device()).unwrap();
    let names: Vec<&str> = network.layers().iter().map(|layer| layer.name).collect();
    let expected = [
        "input_layer",
        "first",
        "max_pooling2d",
        "conv2d",
        "flatten",
        "dense",
        "head",
    ];
    assert_eq!(names, expected);
    assert_eq!(network.outputs()[0].name, "head");
    let ws = &mut Workspace::new(test_device());
    let x = Tensor::from_vec(floats("x"), (4, 8, 8, 2), test_device()).unwrap();
    let outputs = network.forward(ws, &[x], Mode::Inference).unwrap();
    let found = outputs[0].values(ws).unwrap();
    for (found, expected) in read::<f32>(&found).unwrap().iter().zip(floats("y")) {
        assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
    }
    for name in ["small.weights.h5", "nothing.keras"] {
        let error = load_keras_model(file(name), test_device())
            .map(drop)
            .unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    }
}
