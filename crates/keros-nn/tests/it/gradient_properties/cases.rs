//! Random arguments and shapes of every layer.

use super::Case;
use crate::test_device::test_device;
use keros_nn::{Graph, NnError};
use proptest::prelude::*;
use serde_json::{Value, json};

const ACTIVATIONS: [&str; 18] = [
    "linear",
    "relu",
    "relu6",
    "leaky_relu",
    "elu",
    "selu",
    "gelu",
    "silu",
    "mish",
    "sigmoid",
    "hard_sigmoid",
    "hard_silu",
    "tanh",
    "softplus",
    "softsign",
    "exponential",
    "softmax",
    "log_softmax",
];

type Arguments = (Value, Vec<Vec<usize>>);

fn pair(range: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = [usize; 2]> {
    [range.clone(), range]
}

fn padding() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["valid", "same"])
}

fn activation() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["linear", "relu", "tanh", "softmax"])
}

/// The shape of a sample of one to three axes.
fn sample() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(1_usize..5, 1..=3)
}

fn image() -> impl Strategy<Value = Vec<usize>> {
    [1_usize..6, 1_usize..6, 1_usize..5].prop_map(|shape| shape.to_vec())
}

fn alone(shape: Vec<usize>) -> Vec<Vec<usize>> {
    vec![shape]
}

/// A window, how it moves, and an image that it fits on.
fn window() -> impl Strategy<Value = (Value, [usize; 2], Vec<usize>)> {
    let moves = prop_oneof![(pair(1..=3), Just([1, 1])), (Just([1, 1]), pair(1..=3)),];
    (pair(1..=3), moves, padding(), pair(0..=5), 1_usize..5).prop_map(
        |(kernel, (strides, dilation), padding, more, channels)| {
            let length = |axis: usize| match padding {
                "valid" => (kernel[axis] - 1) * dilation[axis] + 1 + more[axis],
                _ => 1 + more[axis],
            };
            let config = json!({
                "kernel_size": kernel, "strides": strides, "dilation_rate": dilation,
                "padding": padding,
            });
            (config, strides, vec![length(0), length(1), channels])
        },
    )
}

fn set(config: &mut Value, arguments: Value) {
    if let (Value::Object(config), Value::Object(arguments)) = (config, arguments) {
        config.extend(arguments);
    }
}

fn convolution() -> impl Strategy<Value = Arguments> {
    (
        window(),
        1_usize..4,
        1_usize..4,
        activation(),
        any::<bool>(),
    )
        .prop_map(
            |((mut config, _, mut shape), groups, filters, activation, use_bias)| {
                shape[2] *= groups;
                set(
                    &mut config,
                    json!({
                        "filters": filters * groups, "groups": groups, "activation": activation,
                        "use_bias": use_bias,
                    }),
                );
                (config, alone(shape))
            },
        )
}

fn convolution_of_series() -> impl Strategy<Value = Arguments> {
    (convolution(), any::<bool>()).prop_map(|((mut config, shapes), causal)| {
        for name in ["kernel_size", "strides", "dilation_rate"] {
            config[name] = json!([config[name][0]]);
        }
        if causal {
            config["padding"] = json!("causal");
        }
        (config, alone(vec![shapes[0][0], shapes[0][2]]))
    })
}

fn by_channel(separable: bool) -> impl Strategy<Value = Arguments> {
    (window(), 1_usize..4, 1_usize..4, activation(), any::<bool>()).prop_map(
        move |((mut config, strides, shape), multiplier, filters, activation, use_bias)| {
            // Keras has one stride for both axes here.
            config["strides"] = json!([strides[0], strides[0]]);
            set(&mut config, json!({
                "depth_multiplier": multiplier, "activation": activation, "use_bias": use_bias,
            }));
            if separable {
                config["filters"] = json!(filters);
            }
            (config, alone(shape))
        },
    )
}

fn transposed() -> impl Strategy<Value = Arguments> {
    (window(), 1_usize..4, activation(), any::<bool>()).prop_map(
        |((mut config, _, shape), filters, activation, use_bias)| {
            set(
                &mut config,
                json!({
                    "filters": filters, "activation": activation, "use_bias": use_bias,
                }),
            );
            (
                config,
                alone(vec![shape[0].min(4), shape[1].min(4), shape[2]]),
            )
        },
    )
}

fn pooling() -> impl Strategy<Value = Arguments> {
    (window(), pair(1..=3), any::<bool>()).prop_map(|((window, _, shape), strides, own)| {
        let pool_size = &window["kernel_size"];
        let mut config = json!({"pool_size": pool_size, "padding": window["padding"]});
        if own {
            config["strides"] = json!(strides);
        }
        (config, alone(shape))
    })
}

/// What [`pooling`] gives for images, for sequences.
fn pooling_of_series() -> impl Strategy<Value = Arguments> {
    pooling().prop_map(|(mut config, shapes)| {
        for name in ["pool_size", "strides"] {
            if !config[name].is_null() {
                config[name] = json!([config[name][0]]);
            }
        }
        (config, alone(vec![shapes[0][0], shapes[0][2]]))
    })
}

fn series() -> impl Strategy<Value = Vec<usize>> {
    [1_usize..6, 1_usize..5].prop_map(|shape| shape.to_vec())
}

fn same_shape(config: Value) -> impl Strategy<Value = Arguments> {
    sample().prop_map(move |shape| (config.clone(), alone(shape)))
}

/// Normalization over some axes of the sample.
fn normalization(several: bool) -> impl Strategy<Value = Arguments> {
    (
        sample(),
        any::<u8>(),
        any::<bool>(),
        any::<bool>(),
        0_usize..3,
    )
        .prop_map(move |(shape, which, center, scale, epsilon)| {
            let mut axes: Vec<usize> = (1..=shape.len()).filter(|i| which >> i & 1 == 1).collect();
            if axes.is_empty() {
                axes.push(shape.len());
            }
            let axis = if several { json!(axes) } else { json!(axes[0]) };
            let epsilon = [1e-3, 1e-2, 0.5][epsilon];
            let config = json!({
                "axis": axis, "center": center, "scale": scale, "epsilon": epsilon,
            });
            (config, alone(shape))
        })
}

fn groups() -> impl Strategy<Value = Arguments> {
    (
        1_usize..4,
        1_usize..4,
        sample(),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(groups, inside, mut shape, center, scale)| {
            let last = shape.len() - 1;
            shape[last] = groups * inside;
            let config = json!({
                "groups": groups, "center": center, "scale": scale, "epsilon": 0.01,
            });
            (config, alone(shape))
        })
}

fn borders(name: &'static str) -> impl Strategy<Value = Arguments> {
    (pair(0..=2), pair(0..=2), pair(1..=4), 1_usize..4).prop_map(
        move |(rows, columns, inside, channels)| {
            let height = inside[0] + rows[0] + rows[1];
            let width = inside[1] + columns[0] + columns[1];
            let config = json!({name: [rows, columns]});
            (config, alone(vec![height, width, channels]))
        },
    )
}

fn borders_of_series(name: &'static str) -> impl Strategy<Value = Arguments> {
    (pair(0..=2), 1_usize..=4, 1_usize..4).prop_map(move |(steps, inside, channels)| {
        let length = inside + steps[0] + steps[1];
        (json!({name: steps}), alone(vec![length, channels]))
    })
}

/// Two or three inputs, of one shape or with axes that repeat.
fn merged(most: usize) -> impl Strategy<Value = Arguments> {
    let repeats = prop::collection::vec(any::<u8>(), 2..=most);
    (sample(), repeats, any::<bool>()).prop_map(|(shape, repeats, alike)| {
        let short = |which: &u8| {
            let axis = |(i, n): (usize, &usize)| if which >> i & 1 == 1 { 1 } else { *n };
            match alike {
                true => shape.clone(),
                false => shape.iter().enumerate().map(axis).collect(),
            }
        };
        (json!({}), repeats.iter().map(short).collect())
    })
}

fn concatenated() -> impl Strategy<Value = Arguments> {
    let lengths = prop::collection::vec(1_usize..4, 2..=3);
    (sample(), lengths, any::<prop::sample::Index>()).prop_map(|(shape, lengths, axis)| {
        let axis = axis.index(shape.len());
        let long = |length: &usize| {
            let mut shape = shape.clone();
            shape[axis] = *length;
            shape
        };
        let inputs = lengths.iter().map(long).collect();
        (json!({"axis": axis + 1}), inputs)
    })
}

fn permuted() -> impl Strategy<Value = Arguments> {
    sample().prop_flat_map(|shape| {
        let dims: Vec<usize> = (1..=shape.len()).collect();
        Just(dims)
            .prop_shuffle()
            .prop_map(move |dims| (json!({"dims": dims}), alone(shape.clone())))
    })
}

fn reshaped() -> impl Strategy<Value = Arguments> {
    (sample(), any::<bool>()).prop_map(|(shape, infer)| {
        let mut target: Vec<i64> = shape.iter().rev().map(|n| *n as i64).collect();
        target.push(1);
        if infer {
            target[0] = -1;
        }
        (json!({"target_shape": target}), alone(shape))
    })
}

fn shared_slopes() -> impl Strategy<Value = Arguments> {
    (sample(), any::<u8>()).prop_map(|(shape, which)| {
        let axes: Vec<usize> = (1..=shape.len()).filter(|i| which >> i & 1 == 1).collect();
        let axes = if axes.is_empty() {
            Value::Null
        } else {
            json!(axes)
        };
        (json!({"shared_axes": axes}), alone(shape))
    })
}

fn rescaled() -> impl Strategy<Value = Arguments> {
    (sample(), any::<bool>()).prop_map(|(shape, by_channel)| {
        let channels = shape[shape.len() - 1];
        let each = |first: f64| {
            (0..channels)
                .map(|i| first + i as f64)
                .collect::<Vec<f64>>()
        };
        let config = match by_channel {
            true => json!({"scale": each(0.5), "offset": each(-1.0)}),
            false => json!({"scale": -0.7, "offset": 0.3}),
        };
        (config, alone(shape))
    })
}

fn normalized() -> impl Strategy<Value = Arguments> {
    let kinds = prop::sample::select(vec!["none", "one", "each"]);
    (sample(), kinds, any::<bool>()).prop_map(|(shape, kind, invert)| {
        let channels = shape[shape.len() - 1];
        let each = |first: f64| {
            (0..channels)
                .map(|i| first + i as f64)
                .collect::<Vec<f64>>()
        };
        let config = match kind {
            "none" => json!({"invert": invert}),
            "one" => json!({"mean": 0.4, "variance": 2.5, "axis": [], "invert": invert}),
            _ => json!({"mean": each(-1.0), "variance": each(0.5), "invert": invert}),
        };
        (config, alone(shape))
    })
}

fn dropped() -> impl Strategy<Value = Arguments> {
    let rates = prop::sample::select(vec![0.0, 0.25, 0.5, 0.9]);
    (sample(), rates, any::<u8>()).prop_map(|(shape, rate, which)| {
        let axes = shape
            .iter()
            .enumerate()
            .map(|(i, length)| match which >> (2 * i) & 3 {
                0 => json!(1),
                1 => json!(length),
                _ => Value::Null,
            });
        let noise_shape: Vec<Value> = [Value::Null].into_iter().chain(axes).collect();
        let config = match which {
            0..64 => json!({"rate": rate}),
            _ => json!({"rate": rate, "noise_shape": noise_shape}),
        };
        (config, alone(shape))
    })
}

macro_rules! gradients {
    ($($test:ident: $class:literal = $arguments:expr;)*) => {
        $(proptest! {
            #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

            #[test]
            fn $test((config, inputs) in $arguments, rows in 2_usize..4, seed in any::<u64>()) {
                Case { class: $class, config, rows, inputs, seed }.check();
            }
        })*

        const CHECKED: &[&str] = &[$($class),*];
    };
}

gradients! {
    activation_by_name: "Activation" = (sample(), prop::sample::select(&ACTIVATIONS[..]))
        .prop_map(|(shape, name)| (json!({"activation": name}), alone(shape)));
    activity_regularization: "ActivityRegularization" = same_shape(json!({"l1": 0.3, "l2": 0.2}));
    alpha_dropout: "AlphaDropout" = dropped();
    average_pooling1d: "AveragePooling1D" = pooling_of_series();
    average_pooling2d: "AveragePooling2D" = pooling();
    batch_normalization: "BatchNormalization" = normalization(false);
    conv1d: "Conv1D" = convolution_of_series();
    conv2d: "Conv2D" = convolution();
    conv2d_transpose: "Conv2DTranspose" = transposed();
    cropping1d: "Cropping1D" = borders_of_series("cropping");
    cropping2d: "Cropping2D" = borders("cropping");
    dense: "Dense" = (sample(), 1_usize..5, activation(), any::<bool>()).prop_map(
        |(shape, units, activation, use_bias)| {
            let config = json!({"units": units, "activation": activation, "use_bias": use_bias});
            (config, alone(shape))
        });
    depthwise_conv2d: "DepthwiseConv2D" = by_channel(false);
    dropout: "Dropout" = dropped();
    elu: "ELU" = same_shape(json!({"alpha": 0.7}));
    embedding: "Embedding" = (1_usize..6, 1_usize..4, 1_usize..5).prop_map(|(words, width, length)| {
        (json!({"input_dim": words, "output_dim": width}), alone(vec![length]))
    });
    flatten: "Flatten" = same_shape(json!({}));
    gaussian_dropout: "GaussianDropout" = (sample(), prop::sample::select(vec![0.0, 0.25, 0.9]))
        .prop_map(|(shape, rate)| (json!({"rate": rate}), alone(shape)));
    gaussian_noise: "GaussianNoise" = (sample(), prop::sample::select(vec![0.0, 0.5, 1.0]))
        .prop_map(|(shape, stddev)| (json!({"stddev": stddev}), alone(shape)));
    global_average_pooling1d: "GlobalAveragePooling1D" =
        (series(), any::<bool>()).prop_map(|(shape, keepdims)| {
            (json!({"keepdims": keepdims}), alone(shape))
        });
    global_average_pooling2d: "GlobalAveragePooling2D" =
        image().prop_map(|shape| (json!({}), alone(shape)));
    global_max_pooling1d: "GlobalMaxPooling1D" =
        (series(), any::<bool>()).prop_map(|(shape, keepdims)| {
            (json!({"keepdims": keepdims}), alone(shape))
        });
    global_max_pooling2d: "GlobalMaxPooling2D" =
        image().prop_map(|shape| (json!({}), alone(shape)));
    group_normalization: "GroupNormalization" = groups();
    layer_normalization: "LayerNormalization" = normalization(true);
    leaky_relu: "LeakyReLU" = same_shape(json!({"negative_slope": 0.4}));
    max_pooling1d: "MaxPooling1D" = pooling_of_series();
    max_pooling2d: "MaxPooling2D" = pooling();
    prelu: "PReLU" = shared_slopes();
    normalization_of_data: "Normalization" = normalized();
    permute: "Permute" = permuted();
    relu: "ReLU" =
        same_shape(json!({"max_value": 1.2, "negative_slope": 0.2, "threshold": 0.3}));
    repeat_vector: "RepeatVector" = (1_usize..5, 1_usize..5)
        .prop_map(|(n, length)| (json!({"n": n}), alone(vec![length])));
    rescaling: "Rescaling" = rescaled();
    reshape: "Reshape" = reshaped();
    separable_conv2d: "SeparableConv2D" = by_channel(true);
    softmax: "Softmax" = normalization(true).prop_map(|(config, shapes)| {
        (json!({"axis": config["axis"]}), shapes)
    });
    spatial_dropout1d: "SpatialDropout1D" = (1_usize..5, 1_usize..5)
        .prop_map(|(steps, channels)| (json!({"rate": 0.5}), alone(vec![steps, channels])));
    spatial_dropout2d: "SpatialDropout2D" =
        image().prop_map(|shape| (json!({"rate": 0.3}), alone(shape)));
    unit_normalization: "UnitNormalization" = normalization(true).prop_map(|(config, shapes)| {
        (json!({"axis": config["axis"]}), shapes)
    });
    up_sampling1d: "UpSampling1D" = (series(), 1_usize..4)
        .prop_map(|(shape, size)| (json!({"size": size}), alone(shape)));
    up_sampling2d: "UpSampling2D" = (image(), pair(1..=3), any::<bool>()).prop_map(
        |(shape, size, bilinear)| {
            let interpolation = if bilinear { "bilinear" } else { "nearest" };
            (json!({"size": size, "interpolation": interpolation}), alone(shape))
        });
    zero_padding1d: "ZeroPadding1D" = borders_of_series("padding");
    zero_padding2d: "ZeroPadding2D" = borders("padding");
    add: "Add" = merged(3);
    average: "Average" = merged(3);
    concatenate: "Concatenate" = concatenated();
    maximum: "Maximum" = merged(3);
    minimum: "Minimum" = merged(3);
    multiply: "Multiply" = merged(3);
    subtract: "Subtract" = merged(2);
}

#[test]
fn no_layer_is_left_out() {
    let layers = json!([
        {"class_name": "InputLayer", "config": {"batch_shape": [null, 1]}},
        {"class_name": "Nothing", "config": {}},
    ]);
    let network = json!({"class_name": "Sequential", "config": {"layers": layers}}).to_string();
    let mut error = Graph::from_json(&network, test_device(), 0).err().unwrap();
    while let NnError::Layer { source, .. } = error {
        error = *source;
    }
    let NnError::UnknownName { known, .. } = error else {
        panic!("{error}");
    };
    let unchecked: Vec<&&str> = known
        .iter()
        .filter(|class| !CHECKED.contains(class))
        .collect();
    assert_eq!((unchecked, CHECKED.len()), (vec![], known.len()));
}
