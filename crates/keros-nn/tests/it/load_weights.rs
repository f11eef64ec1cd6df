//! Files of Keras for networks that are not quite theirs: what fits is loaded, the rest is told.

use keros_nn::layers::{Conv2D, Dense, Flatten, MaxPooling2D, Padding};
use keros_nn::{
    LoadKeras, Network, Sequential, SequentialBuilder, load_keras_weights, load_keras_weights_with,
};
use keros_tensor::access::read;
use keros_tensor::{Device, LoadedWeights, SkipReason};
use std::path::{Path, PathBuf};

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keras/small.weights.h5")
}

/// The network of the file under Keras's own names for its layers there: `first`, `conv2d`, `dense`,
/// `head`.
fn trunk() -> SequentialBuilder {
    Sequential::builder([8, 8, 2])
        .layer(Conv2D::new(3, 3).activation("relu").name("first"))
        .layer(MaxPooling2D::new(2))
        .layer(Conv2D::new(4, 2))
        .layer(Flatten::new())
        .layer(Dense::new(5).activation("relu"))
}

fn build(builder: SequentialBuilder) -> Sequential {
    builder.build(&Device::Cpu, 1).unwrap()
}

fn value(network: &Sequential, name: &str) -> Vec<f32> {
    let param = network.params().by_name(name).unwrap();
    read::<f32>(param.value()).unwrap().to_vec()
}

fn whole() -> Sequential {
    let network = build(trunk().layer(Dense::new(3).name("head")));
    load_keras_weights(&network, file()).unwrap();
    network
}

fn reasons(loaded: &LoadedWeights) -> Vec<(&str, &'static str)> {
    let reason = |reason: &SkipReason| match reason {
        SkipReason::Missing => "missing",
        SkipReason::Different(_) => "different",
        SkipReason::Layer => "layer",
        _ => "another",
    };
    let skipped = loaded.skipped.iter();
    skipped
        .map(|param| (param.name.as_str(), reason(&param.reason)))
        .collect()
}

const SKIP: LoadKeras = LoadKeras {
    by_name: false,
    skip_mismatch: true,
};
const BY_NAME: LoadKeras = LoadKeras {
    by_name: true,
    skip_mismatch: false,
};

const TRUNK: [&str; 6] = [
    "first/kernel",
    "first/bias",
    "conv2d/kernel",
    "conv2d/bias",
    "dense/kernel",
    "dense/bias",
];

/// The elements of a terabyte that the file has beside its layers would not fit into memory.
#[test]
fn only_what_fills_a_parameter_is_read() {
    let vast = file().with_file_name("vast.weights.h5");
    let network = build(trunk().layer(Dense::new(3).name("head")));
    for options in [BY_NAME, SKIP] {
        let loaded = load_keras_weights_with(&network, &vast, options).unwrap();
        assert_eq!(loaded.loaded.len(), 8);
        assert_eq!(loaded.unused, ["extra/vars/0"]);
    }
    assert_eq!(
        value(&network, "head/kernel"),
        value(&whole(), "head/kernel")
    );
    let error = load_keras_weights(&network, &vast).unwrap_err().to_string();
    assert!(error.contains("extra/vars/0"), "{error}");
}

#[test]
fn a_head_of_another_shape_is_skipped_and_reported() {
    let (network, whole) = (build(trunk().layer(Dense::new(4).name("head"))), whole());
    let head = value(&network, "head/kernel");
    let loaded = load_keras_weights_with(&network, file(), SKIP).unwrap();
    assert_eq!(loaded.loaded, TRUNK);
    let expected = [("head/kernel", "different"), ("head/bias", "different")];
    assert_eq!(reasons(&loaded), expected);
    assert_eq!(loaded.unused, ["dense_1/vars/0", "dense_1/vars/1"]);
    for name in TRUNK {
        assert_eq!(value(&network, name), value(&whole, name), "{name}");
    }
    assert_eq!(value(&network, "head/kernel"), head);
    assert_eq!(
        loaded.to_string(),
        "loaded: first/kernel, first/bias, conv2d/kernel, conv2d/bias, dense/kernel, dense/bias\n\
         skipped: head/kernel (expected F32 [5, 4], found F32 [5, 3]), \
         head/bias (expected F32 [4], found F32 [3])\n\
         unused: dense_1/vars/0, dense_1/vars/1"
    );
}

#[test]
fn a_layer_is_filled_as_a_whole_or_not_at_all() {
    // The kernel would fit.
    let network = build(trunk().layer(Dense::new(3).use_bias(false).name("head")));
    let head = value(&network, "head/kernel");
    let loaded = load_keras_weights_with(&network, file(), SKIP).unwrap();
    assert_eq!(loaded.loaded, TRUNK);
    assert_eq!(reasons(&loaded), [("head/kernel", "layer")]);
    assert_eq!(value(&network, "head/kernel"), head);
    let text = loaded.to_string();
    assert!(
        text.contains("head/kernel (its layer does not fit)"),
        "{text}"
    );

    let longer = build(
        trunk()
            .layer(Dense::new(3))
            .layer(Dense::new(2).name("more")),
    );
    let loaded = load_keras_weights_with(&longer, file(), SKIP).unwrap();
    assert_eq!(loaded.loaded.len(), 8);
    let expected = [("more/kernel", "missing"), ("more/bias", "missing")];
    assert_eq!(reasons(&loaded), expected);
    assert!(loaded.unused.is_empty());
}

#[test]
fn layers_of_the_same_name_go_together_wherever_they_are() {
    // Another depth: by class and count nothing but the first layer would be found in its place.
    let builder = Sequential::builder([8, 8, 2])
        .layer(Conv2D::new(3, 3).padding(Padding::Same).name("new"))
        .layer(Conv2D::new(2, 1).name("other"))
        .layer(Conv2D::new(3, 3).name("first"))
        .layer(Flatten::new())
        .layer(Dense::new(6).name("features"));
    let (network, whole) = (build(builder), whole());
    let loaded = load_keras_weights_with(&network, file(), BY_NAME).unwrap();
    assert_eq!(loaded.loaded, ["first/kernel", "first/bias"]);
    assert_eq!(
        value(&network, "first/kernel"),
        value(&whole, "first/kernel")
    );
    assert!(
        reasons(&loaded)
            .iter()
            .all(|(_, reason)| *reason == "missing")
    );
    assert_eq!(loaded.unused.len(), 6, "{loaded}");
}

#[test]
fn by_name_a_layer_of_another_shape_is_an_error_unless_it_is_to_be_skipped() {
    let network = build(trunk().layer(Dense::new(4).name("head")));
    let before = value(&network, "first/kernel");
    let error = load_keras_weights_with(&network, file(), BY_NAME).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("\"head/kernel\" differs"), "{error}");
    assert_eq!(value(&network, "first/kernel"), before);
    let both = LoadKeras {
        skip_mismatch: true,
        ..BY_NAME
    };
    let loaded = load_keras_weights_with(&network, file(), both).unwrap();
    assert_eq!(loaded.loaded, TRUNK);
}
