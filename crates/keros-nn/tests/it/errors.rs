//! What is refused, and in which words.

use crate::test_device::test_device;
use keros_nn::layers::{Conv2D, Dense, Dropout, Flatten, MaxPooling2D};
use keros_nn::{
    Activation, Initializer, Layer, LayerBuilder, Loss, Mode, Network, NnError, Output, Pass,
    Sequential, SequentialBuilder, SparseCategoricalCrossentropy, Target,
};
use keros_tensor::{DType, Device, Tensor, Workspace};

fn refused(builder: SequentialBuilder) -> String {
    builder.build(test_device(), 0).err().unwrap().to_string()
}

#[test]
fn building_names_the_layer_the_expected_and_the_found() {
    let cases = [
        (
            Sequential::builder([8, 8]).layer(Conv2D::new(4, 3)),
            "layer `conv2d`: input sample: wrong shape (expected [height, width, channels], found [8, 8])",
        ),
        (
            Sequential::builder([8])
                .layer(Dense::new(3))
                .layer(Dense::new(0)),
            "layer `dense_1`: units: value out of range (expected at least 1, found 0)",
        ),
        (
            Sequential::builder([8]).layer(Dropout::new(1.0).name("drop")),
            "layer `drop`: rate: value out of range (expected a number in [0, 1), found 1)",
        ),
        (
            Sequential::builder([8, 8, 1]).layer(MaxPooling2D::new((2, 0))),
            "layer `max_pooling2d`: pool_size: value out of range (expected two numbers from 1, found (2, 0))",
        ),
        (
            Sequential::builder([8])
                .layer(Dense::new(2).name("a"))
                .layer(Dense::new(2).name("a")),
            "building the network: two layers are called `a`; give one of them another name",
        ),
        (
            Sequential::builder([8]).layer(Dense::new(2).name("a/b")),
            "the name of a layer Dense: value out of range (expected characters without `/`, found `a/b`)",
        ),
        (
            Sequential::builder([8]).layer(Dense::new(2).name("")),
            "the name of a layer Dense: value out of range (expected characters without `/`, found ``)",
        ),
        (
            Sequential::builder([8]),
            "building the network: value out of range (expected at least one layer and an input shape \
             without zeros, found 0 layers, input [8])",
        ),
    ];
    for (builder, expected) in cases {
        assert_eq!(refused(builder), expected);
    }
    let too_large = refused(Sequential::builder([2, 8, 1]).layer(Conv2D::new(4, 3)));
    assert!(too_large.starts_with("layer `conv2d`: "), "{too_large}");
}

#[test]
fn distributions_that_there_are_not_are_refused() {
    let uniform = |minval, maxval| Initializer::RandomUniform { minval, maxval };
    let normal = |mean, stddev| Initializer::RandomNormal { mean, stddev };
    let cut = |mean, stddev| Initializer::TruncatedNormal { mean, stddev };
    let nan = f32::NAN;
    for (initializer, expected) in [
        (
            uniform(nan, 1.0),
            "minval: value out of range (expected a finite number, found NaN)",
        ),
        (
            uniform(0.5, nan),
            "maxval: value out of range (expected at least minval, 0.5, and finitely far from it, found NaN)",
        ),
        (uniform(0.5, 0.25), "found 0.25"),
        (uniform(0.5, f32::INFINITY), "found inf"),
        (uniform(f32::MIN, f32::MAX), "maxval"),
        (
            normal(nan, 1.0),
            "mean: value out of range (expected a finite number, found NaN)",
        ),
        (
            normal(0.0, -1.0),
            "stddev: value out of range (expected a finite number from 0, found -1)",
        ),
        (cut(0.0, nan), "stddev"),
        (cut(f32::INFINITY, 1.0), "mean"),
    ] {
        let layer = Dense::new(2).kernel_initializer(initializer);
        let text = refused(Sequential::builder([3]).layer(layer));
        assert!(
            text.contains(expected) && text.contains("layer `dense`"),
            "{text}"
        );
    }
    let flat = Dense::new(2).kernel_initializer(uniform(0.5, 0.5));
    assert!(
        Sequential::builder([3])
            .layer(flat)
            .build(test_device(), 0)
            .is_ok()
    );
}

#[test]
fn an_input_of_another_shape_or_type_is_refused() {
    let mut network = Sequential::builder([4, 4, 1])
        .layer(Flatten::new())
        .layer(Dense::new(2).activation(Activation::Softmax))
        .build(test_device(), 0)
        .unwrap();
    let ws = &mut Workspace::new(test_device());
    for (shape, dtype) in [
        (vec![3, 4, 5, 1], DType::F32),
        (vec![3, 16], DType::F32),
        (vec![3, 4, 4, 1], DType::U8),
    ] {
        let x = Tensor::zeros(shape.clone(), dtype, test_device()).unwrap();
        let error = network.forward(ws, &[x], Mode::Inference).err().unwrap();
        assert_eq!(
            error.to_string(),
            format!(
                "input `input` of type {dtype:?}: wrong shape (expected F32 [N, 4, 4, 1], found {shape:?})"
            )
        );
    }
}

/// A GPU has other means: see `kernels::softmax_cross_entropy`.
#[test]
fn a_label_that_names_no_class_is_named() {
    let ws = &mut Workspace::new(&Device::Cpu);
    let output = Output {
        logits: Tensor::zeros((3, 4), DType::F32, &Device::Cpu).unwrap(),
        activation: Activation::Softmax,
    };
    let labels = Target::Labels(Tensor::new(&[0_u32, 3, 4], &Device::Cpu).unwrap());
    let loss = SparseCategoricalCrossentropy::new();
    let error = loss
        .compute(ws, &output, &labels, None, 1.0)
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("sample 2") && error.contains('4'), "{error}");
}

#[test]
fn unknown_names_list_the_known_ones() {
    let error = "sigmoidal".parse::<Activation>().unwrap_err();
    assert!(matches!(error, NnError::UnknownName { .. }));
    assert_eq!(
        error.to_string(),
        "unknown activation `sigmoidal` (expected one of linear, relu, relu6, leaky_relu, elu, selu, gelu, \
         silu, swish, mish, sigmoid, hard_sigmoid, hard_silu, hard_swish, tanh, softplus, softsign, exponential, \
         softmax, log_softmax)"
    );
    assert!("hinges".parse::<Box<dyn Loss>>().is_err());
}

/// A layer that has no gradient of its input, whoever asks.
struct Wall;

impl Layer for Wall {
    fn class_name(&self) -> &'static str {
        "Wall"
    }

    fn name(&self) -> Option<&str> {
        Some("wall")
    }

    fn build(&mut self, input: &[usize], _: &mut LayerBuilder<'_>) -> Result<Vec<usize>, NnError> {
        Ok(input.to_vec())
    }

    fn forward(&self, x: &Tensor, _: &mut Pass<'_>) -> Result<Tensor, NnError> {
        Ok(x.clone())
    }

    fn backward(&self, _: &Tensor, _: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        Ok(None)
    }
}

#[test]
fn a_layer_without_the_gradient_that_those_before_it_need_is_refused() {
    let mut network = Sequential::builder([3])
        .layer(Dense::new(2).name("first"))
        .layer(Wall)
        .layer(Dense::new(2).name("last"))
        .build(test_device(), 0)
        .unwrap();
    let ws = &mut Workspace::new(test_device());
    let x = Tensor::ones((4, 3), DType::F32, test_device()).unwrap();
    let mut run = |network: &mut Sequential| {
        let mode = Mode::Training { seed: 1, step: 0 };
        let outputs = network.forward(ws, std::slice::from_ref(&x), mode).unwrap();
        let grads = [outputs[0].logits.ones_like().unwrap()];
        network.backward(ws, &grads)
    };
    assert_eq!(
        run(&mut network).unwrap_err().to_string(),
        "layer `wall`: gradients of the inputs: value out of range (expected 1, found 0)"
    );
    // Nobody needs it where only the last layer learns.
    network.set_trainable("first", false).unwrap();
    run(&mut network).unwrap();
}
