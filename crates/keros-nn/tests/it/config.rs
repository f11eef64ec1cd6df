//! Networks to JSON and back, and what is refused on the way.

use crate::test_device::test_device;
use keros_nn::layers::{
    Activation as ActivationLayer, ActivityRegularization, Add, AlphaDropout, Average,
    AveragePooling1D, AveragePooling2D, BatchNormalization, Concatenate, Conv1D, Conv2D,
    Conv2DTranspose, Cropping1D, Cropping2D, Dense, DepthwiseConv2D, Dropout, ELU, Embedding,
    Flatten, GaussianDropout, GaussianNoise, GlobalAveragePooling1D, GlobalAveragePooling2D,
    GlobalMaxPooling1D, GlobalMaxPooling2D, GroupNormalization, Interpolation, LayerNormalization,
    LeakyReLU, MaxPooling1D, MaxPooling2D, Maximum, Minimum, Multiply, Normalization, PReLU,
    Padding, Permute, ReLU, RepeatVector, Rescaling, Reshape, SeparableConv2D, Softmax,
    SpatialDropout1D, SpatialDropout2D, Subtract, UnitNormalization, UpSampling1D, UpSampling2D,
    ZeroPadding1D, ZeroPadding2D,
};
use keros_nn::{
    Activation, Arguments, Config, Constraint, Distribution, DtypePolicy, Fan, Graph, Initializer,
    L1, L1L2, L2, Layer, LayerBuilder, MaxNorm, MinMaxNorm, Mode, Network, NnError, NonNeg,
    OrthogonalMode, OrthogonalRegularizer, Pass, Registry, Regularizer, Sequential,
    SequentialBuilder, UnitNorm, summary,
};
use keros_tensor::access::read;
use keros_tensor::{DType, Tensor, Workspace};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Chains that together have every layer of one input, with arguments that are not the defaults.
fn chains() -> Vec<SequentialBuilder> {
    vec![
        Sequential::builder([12, 12, 4])
            .layer(Rescaling::new([0.5, 0.3, 2.0, 1.0]).offset(-0.25))
            .layer(ZeroPadding2D::new(((1, 2), (0, 1))))
            .layer(Cropping2D::new((1, 0)))
            .layer(
                Conv2D::new(6, (3, 2))
                    .strides((1, 2))
                    .padding(Padding::Same)
                    .groups(2)
                    .activation("gelu")
                    .kernel_initializer("he_normal")
                    .bias_initializer(Initializer::Constant { value: 0.1 })
                    .kernel_regularizer(L2::new(0.02).unwrap())
                    .bias_regularizer("l1")
                    .activity_regularizer(L1L2::new(0.01, 0.02).unwrap())
                    .kernel_constraint(MaxNorm::new(1.5).unwrap().axes([0, 1, 2]))
                    .bias_constraint("non_neg")
                    .name("first"),
            )
            .layer(BatchNormalization::new().momentum(0.9).scale(false))
            .layer(
                DepthwiseConv2D::new(3)
                    .depth_multiplier(2)
                    .depthwise_regularizer("l2"),
            )
            .layer(GroupNormalization::new().groups(3).gamma_regularizer("l2"))
            .layer(
                SeparableConv2D::new(5, 2)
                    .dilation_rate(2)
                    .pointwise_initializer("lecun_uniform")
                    .pointwise_constraint(UnitNorm::default()),
            )
            .layer(LayerNormalization::new().axis([1, 2, 3]).epsilon(1e-5))
            .layer(PReLU::new().shared_axes([1, 2]).alpha_initializer("ones"))
            .layer(
                Conv2DTranspose::new(3, 3)
                    .strides(2)
                    .output_padding(1)
                    .use_bias(false),
            )
            .layer(UpSampling2D::new((2, 1)).interpolation(Interpolation::Bilinear))
            .layer(MaxPooling2D::new((2, 1)).strides(1).padding(Padding::Same))
            .layer(AveragePooling2D::new(2))
            .layer(
                ReLU::new()
                    .max_value(3.0)
                    .negative_slope(0.1)
                    .threshold(0.2),
            )
            .layer(GlobalAveragePooling2D::new().keepdims(true))
            .layer(GlobalMaxPooling2D::new())
            .layer(UnitNormalization::new())
            .layer(RepeatVector::new(3))
            .layer(Permute::new([2, 1]))
            .layer(Reshape::new([-1, 3]))
            .layer(
                Conv1D::new(4, 2)
                    .padding(Padding::Causal)
                    .dilation_rate(2)
                    .trainable(false),
            )
            .layer(LeakyReLU::new().negative_slope(0.15))
            .layer(ELU::new().alpha(0.7))
            .layer(ActivationLayer::new("tanh"))
            .layer(Softmax::new().axis(1))
            .layer(
                ActivityRegularization::new(0.0, 0.01)
                    .unwrap()
                    .name("penalty"),
            )
            .layer(Flatten::new())
            .layer(Dropout::new(0.3))
            .layer(Dropout::new(0.2).noise_shape([1]))
            .layer(Dense::new(2).activation(Activation::Softmax)),
        Sequential::builder([6, 5, 2])
            .layer(Normalization::new().mean(0.5).variance([2.0, 3.5]))
            .layer(SpatialDropout2D::new(0.25))
            .layer(Dropout::new(0.1).noise_shape([1, 5, 1]))
            .layer(Reshape::new([-1, 2]))
            .layer(SpatialDropout1D::new(0.5).name("whole"))
            .layer(Normalization::new().invert(true)),
        Sequential::builder([12, 3])
            .layer(GaussianNoise::new(0.3).seed(4))
            .layer(ZeroPadding1D::new((2, 1)))
            .layer(Cropping1D::new((0, 2)))
            .layer(MaxPooling1D::new(3).strides(2).padding(Padding::Same))
            .layer(UpSampling1D::new(3))
            .layer(AveragePooling1D::new(2))
            .layer(GaussianDropout::new(0.25))
            .layer(AlphaDropout::new(0.1).noise_shape([1, 3]).seed(u64::MAX))
            .layer(GlobalMaxPooling1D::new().keepdims(true))
            .layer(SpatialDropout1D::new(0.5).seed(1))
            .layer(GlobalAveragePooling1D::new())
            .layer(Dropout::new(0.5).seed(7)),
        Sequential::builder([5])
            .layer(
                Embedding::new(7, 3)
                    .embeddings_initializer(Initializer::Orthogonal { gain: 0.5 })
                    .embeddings_constraint(MinMaxNorm::new(0.1, 0.9).unwrap()),
            )
            .layer(Softmax::new().axes([1, 2]))
            .layer(
                BatchNormalization::new()
                    .unbiased_moving_variance(true)
                    .trainable(false),
            ),
    ]
}

fn zero_to_six(network: &dyn Network) -> Vec<Tensor> {
    let inputs = network.inputs().iter().map(|port| {
        let shape = [&[2], &port.shape[..]].concat();
        let values = (0..shape.iter().product()).map(|i: usize| (i * 5 % 7) as f32);
        Tensor::from_vec(values.collect::<Vec<f32>>(), shape, test_device()).unwrap()
    });
    inputs.collect()
}

fn predict(network: &mut dyn Network) -> Vec<Vec<f32>> {
    let ws = &mut Workspace::new(test_device());
    let inputs = zero_to_six(network);
    let outputs = network.forward(ws, &inputs, Mode::Inference).unwrap();
    let values = outputs.iter().map(|output| output.values(ws).unwrap());
    values
        .map(|values| read::<f32>(&values).unwrap().to_vec())
        .collect()
}

/// Whether two networks are the same but for the values of their parameters.
fn assert_same(first: &mut dyn Network, second: &mut dyn Network) {
    assert_eq!(summary(first), summary(second));
    let names = |network: &dyn Network| -> Vec<(String, Vec<usize>, bool)> {
        let params = network.params().iter();
        let params = params.map(|(_, param)| {
            let shape = param.value().dims().to_vec();
            (param.name().to_owned(), shape, param.trainable())
        });
        params.collect()
    };
    assert_eq!(names(first), names(second));
    assert_eq!(first.inputs(), second.inputs());
    assert_eq!(first.outputs(), second.outputs());
    for (id, param) in first.params().iter() {
        second.params()[id].set(param.value()).unwrap();
    }
    assert_eq!(predict(first), predict(second));
    let penalty = |network: &dyn Network| {
        let rules = network.param_rules().penalty(network.params()).unwrap();
        (rules, network.activity_penalty().total().unwrap())
    };
    assert_eq!(penalty(first), penalty(second));
}

#[test]
fn every_layer_survives_the_way_to_json_and_back() {
    let mut seen = BTreeSet::new();
    for chain in chains() {
        let mut network = chain.build(test_device(), 1).unwrap();
        let json = network.to_json().unwrap();
        let mut again = Sequential::from_json(&json, test_device(), 2).unwrap();
        assert_same(&mut network, &mut again);
        assert_eq!(again.to_json().unwrap(), json);
        seen.extend(network.layers().iter().map(|layer| layer.class_name));
        let graph = Graph::from_json(&json, test_device(), 3).unwrap();
        assert_eq!(graph.layers().len(), network.layers().len() + 1);
    }
    let mut graph = joined();
    let json = graph.to_json().unwrap();
    let mut again = Graph::from_json(&json, test_device(), 2).unwrap();
    assert_same(&mut graph, &mut again);
    assert_eq!(again.to_json().unwrap(), json);
    seen.extend(graph.layers().iter().map(|layer| layer.class_name));
    seen.remove("InputLayer");
    let error = Sequential::from_json(&chain_of("Unknown", json!({})), test_device(), 1).map(drop);
    let Err(NnError::Layer { source, .. }) = error else {
        panic!("{error:?}");
    };
    let NnError::UnknownName { known, .. } = *source else {
        panic!("{source}");
    };
    assert_eq!(known.iter().copied().collect::<BTreeSet<_>>(), seen);
}

/// A graph with a shared layer, every merge, and outputs that are not called as their layers.
fn joined() -> Graph {
    let mut g = Graph::builder();
    let (left, right) = (g.input("left", [4]), g.input("right", [4]));
    let shared = g.shared(Dense::new(3).activation("relu").trainable(false));
    let (a, b) = (g.apply(shared, left), g.apply(shared, right));
    let both = [a, b];
    let merged = [
        g.merge(Add::new(), &both),
        g.merge(Subtract::new(), &both),
        g.merge(Multiply::new(), &both),
        g.merge(Average::new(), &both),
        g.merge(Maximum::new(), &both),
        g.merge(Minimum::new().name("smallest"), &[a, b, a]),
    ];
    let all = g.merge(Concatenate::new(1), &merged);
    let same = g.layer(Dense::new(1).activation("sigmoid"), all);
    g.build(&[("same", same), ("features", all)], test_device(), 1)
        .unwrap()
}

#[test]
fn configurations_have_the_names_of_keras() {
    let network = Sequential::builder([4])
        .layer(Dense::new(3).activation("relu").kernel_regularizer("l2"))
        .build(test_device(), 1)
        .unwrap();
    let json: Value = serde_json::from_str(&network.to_json().unwrap()).unwrap();
    assert_eq!(json["class_name"], "Sequential");
    let layers = &json["config"]["layers"];
    assert_eq!(layers[0]["class_name"], "InputLayer");
    assert_eq!(layers[0]["config"]["batch_shape"], json!([null, 4]));
    assert_eq!(layers[1]["module"], "keras.layers");
    assert_eq!(
        layers[1]["config"],
        json!({
            "name": "dense",
            "trainable": true,
            "dtype": "float32",
            "units": 3,
            "activation": "relu",
            "use_bias": true,
            "kernel_initializer": {
                "module": "keras.initializers",
                "class_name": "GlorotUniform",
                "config": { "seed": null },
                "registered_name": null,
            },
            "kernel_regularizer": {
                "module": "keras.regularizers",
                "class_name": "L2",
                "config": { "l2": 0.01 },
                "registered_name": null,
            },
            "kernel_constraint": null,
            "bias_initializer": {
                "module": "keras.initializers",
                "class_name": "Zeros",
                "config": {},
                "registered_name": null,
            },
            "bias_regularizer": null,
            "bias_constraint": null,
        })
    );
}

#[test]
fn initializers_regularizers_and_constraints_come_back() {
    let (mode, distribution) = (Fan::Out, Distribution::UntruncatedNormal);
    for initializer in [
        Initializer::Constant { value: 0.3 },
        Initializer::RandomNormal {
            mean: 0.1,
            stddev: 0.2,
        },
        Initializer::TruncatedNormal {
            mean: 0.0,
            stddev: 0.2,
        },
        Initializer::RandomUniform {
            minval: -0.3,
            maxval: 0.1,
        },
        Initializer::VarianceScaling {
            scale: 0.7,
            mode,
            distribution,
        },
        Initializer::Orthogonal { gain: 1.1 },
        Initializer::Identity { gain: 2.0 },
        Initializer::LecunNormal,
        Initializer::HeUniform,
    ] {
        assert_eq!(
            Initializer::from_config(initializer.config()).unwrap(),
            initializer
        );
    }
    assert_eq!(
        "glorot_normal".parse::<Initializer>().unwrap(),
        Initializer::GlorotNormal
    );
    let regularizers: [Box<dyn Regularizer>; 4] = [
        Box::new(L1::new(0.2).unwrap()),
        Box::new(L2::new(0.3).unwrap()),
        Box::new(L1L2::new(0.2, 0.1).unwrap()),
        Box::new(OrthogonalRegularizer::new(0.2, OrthogonalMode::Columns).unwrap()),
    ];
    for regularizer in regularizers {
        let config = regularizer.config().unwrap();
        let again = <dyn Regularizer>::from_config(config.clone()).unwrap();
        assert_eq!(again.config().unwrap(), config);
    }
    let constraints: [Box<dyn Constraint>; 4] = [
        Box::new(MaxNorm::new(3.0).unwrap().axes([0, 1])),
        Box::new(NonNeg),
        Box::new(UnitNorm::default()),
        Box::new(MinMaxNorm::new(0.5, 3.0).unwrap().rate(0.5).unwrap()),
    ];
    for constraint in constraints {
        let config = constraint.config().unwrap();
        let again = <dyn Constraint>::from_config(config.clone()).unwrap();
        assert_eq!(again.config().unwrap(), config);
    }
}

/// A chain of one layer for samples of 4 values.
fn chain_of(class: &str, config: Value) -> String {
    json!({
        "class_name": "Sequential",
        "config": { "layers": [
            { "class_name": "InputLayer", "config": { "batch_shape": [null, 4] } },
            { "class_name": class, "config": config },
        ] },
    })
    .to_string()
}

#[test]
fn what_is_wrong_is_told_by_layer_and_argument() {
    for (class, config, expected) in [
        (
            "Dense",
            json!({ "name": "head", "units": "many" }),
            "layer `head`: reading the configuration: units (expected a whole number from 0, found \
             \"many\")",
        ),
        (
            "Dense",
            json!({ "activation": "relu" }),
            "layer `Dense`: reading the configuration: units (expected a whole number from 0, found \
             nothing)",
        ),
        (
            "Dense",
            json!({ "units": 3, "unites": 4 }),
            "layer `Dense`: reading the configuration: unites (expected no argument of this name, \
             found 4)",
        ),
        (
            "Dense",
            json!({ "units": 3, "dtype": "float16" }),
            "layer `Dense`: reading the configuration: dtype (expected float32, mixed_bfloat16 or \
             mixed_float16, found \"float16\")",
        ),
        (
            "Dense",
            json!({ "units": 3, "kernel_regularizer": "l3" }),
            "layer `Dense`: reading the configuration: kernel_regularizer (expected one of l1, l2, \
             l1_l2, orthogonal_regularizer, found l3)",
        ),
        (
            "Dense",
            json!({ "units": 3, "bias_constraint": { "class_name": "MaxNorm", "config": { "max": 1 } } }),
            "layer `Dense`: reading the configuration: bias_constraint: max (expected no argument of \
             this name, found 1)",
        ),
        (
            "BatchNormalization",
            json!({ "synchronized": true }),
            "layer `BatchNormalization`: reading the configuration: synchronized (expected false, \
             found true)",
        ),
    ] {
        let error = Sequential::from_json(&chain_of(class, config), test_device(), 1).map(drop);
        assert_eq!(error.unwrap_err().to_string(), expected);
    }
}

#[test]
fn hostile_text_is_refused() {
    let mut g = Graph::builder();
    let (four, one) = (g.input("four", [4]), g.input("one", [1]));
    let sum = g.merge(Add::new(), &[four, one]);
    let graph = g.build(&[("sum", sum)], test_device(), 1).unwrap();
    let added = graph.to_json().unwrap();
    assert!(added.contains("[null,4]"));
    let texts = [
        String::new(),
        "[".repeat(100_000),
        json!({ "class_name": "Sequential", "config": { "layers": [] } }).to_string(),
        json!({ "class_name": "Sequential", "config": { "layers": [7] } }).to_string(),
        json!({ "class_name": "Model", "config": {} }).to_string(),
        chain_of("Dense", json!({ "units": u64::MAX })),
        chain_of("Dense", json!({ "units": 1_u64 << 50 })),
        chain_of("Dense", json!({ "units": 1e300 })),
        chain_of("Dropout", json!({ "rate": 1e300 })),
        chain_of("Reshape", json!({ "target_shape": [i64::MIN, 4] })),
        chain_of("RepeatVector", json!({ "n": u32::MAX })),
        chain_of("Softmax", json!({ "axis": i64::MIN })),
        chain_of(
            "Embedding",
            json!({ "input_dim": 1 << 24, "output_dim": 1_u64 << 40 }),
        ),
        chain_of("Dense", json!({ "units": 1 }))
            .replace("[null,4]", "[null,4611686018427387904,16]"),
        chain_of("Flatten", json!({})).replace("[null,4]", "[null,4294967296,4294967296,8]"),
        chain_of("Flatten", json!({})).replace("[null,4]", "[null,-1]"),
        chain_of("PReLU", json!({ "shared_axes": [1] }))
            .replace("[null,4]", "[null,1099511627776]"),
        chain_of("Dropout", json!({ "rate": 0.5, "noise_shape": [null, 1] }))
            .replace("[null,4]", "[null,1099511627776]"),
        chain_of("SpatialDropout1D", json!({ "rate": 0.5 }))
            .replace("[null,4]", "[null,1099511627776,1]"),
        added.replace("[null,4]", "[null,1099511627776]"),
    ];
    for text in texts {
        let start: String = text.chars().take(200).collect();
        assert!(
            Sequential::from_json(&text, test_device(), 1).is_err(),
            "{start}"
        );
        assert!(
            Graph::from_json(&text, test_device(), 1).is_err(),
            "{start}"
        );
    }
}

#[test]
fn numbers_too_large_for_images_are_refused() {
    for (class, argument, config) in [
        (
            "Conv2D",
            "kernel_size",
            json!({ "filters": 2, "kernel_size": 1 }),
        ),
        (
            "Conv2D",
            "filters",
            json!({ "filters": 2, "kernel_size": 1 }),
        ),
        (
            "Conv2D",
            "dilation_rate",
            json!({ "filters": 2, "kernel_size": 2 }),
        ),
        (
            "Conv2D",
            "groups",
            json!({ "filters": 2, "kernel_size": 2 }),
        ),
        (
            "Conv2DTranspose",
            "kernel_size",
            json!({ "filters": 2, "kernel_size": 1 }),
        ),
        (
            "Conv2DTranspose",
            "strides",
            json!({ "filters": 2, "kernel_size": 1 }),
        ),
        (
            "Conv2DTranspose",
            "dilation_rate",
            json!({ "filters": 2, "kernel_size": 2 }),
        ),
        (
            "DepthwiseConv2D",
            "kernel_size",
            json!({ "kernel_size": 1 }),
        ),
        (
            "DepthwiseConv2D",
            "depth_multiplier",
            json!({ "kernel_size": 1 }),
        ),
        (
            "SeparableConv2D",
            "depth_multiplier",
            json!({ "filters": 2, "kernel_size": 1 }),
        ),
        ("MaxPooling2D", "pool_size", json!({})),
        ("AveragePooling2D", "pool_size", json!({})),
        ("ZeroPadding2D", "padding", json!({})),
        ("Cropping2D", "cropping", json!({})),
        ("UpSampling2D", "size", json!({})),
        ("GroupNormalization", "groups", json!({})),
        ("PReLU", "shared_axes", json!({})),
        ("Permute", "dims", json!({})),
        ("BatchNormalization", "axis", json!({})),
        ("LayerNormalization", "axis", json!({})),
    ] {
        for large in [u64::MAX, i64::MAX as u64, 1 << 62, 1 << 40] {
            let mut config = config.clone();
            config[argument] = match argument {
                "shared_axes" | "dims" => json!([large]),
                _ => json!(large),
            };
            let text = chain_of(class, config).replace("[null,4]", "[null,6,6,2]");
            let found = Sequential::from_json(&text, test_device(), 1).map(drop);
            assert!(found.is_err(), "{class} {argument} {large}");
        }
    }
}

#[test]
fn graphs_with_wrong_connections_are_refused() {
    let good = joined().to_json().unwrap();
    for (from, to) in [
        (r#"["dense",0,0]"#, r#"["dense",7,0]"#),
        (r#"["left",0,0]"#, r#"["nobody",0,0]"#),
        (r#"["left",0,0]"#, r#"["add",0,0]"#),
        (r#"["left",0,0]"#, r#"["left",0,1]"#),
        (r#""kwargs":{}"#, r#""kwargs":{"mask":3}"#),
        (r#""inbound_nodes":[]"#, r#""inbound_nodes":3"#),
    ] {
        let bad = good.replace(from, to);
        assert_ne!(bad, good);
        assert!(
            Graph::from_json(&bad, test_device(), 1).is_err(),
            "{from} {to}"
        );
    }
}

/// A network of Keras's that calculates with an input `x` of 2 values, by an operation of these uses.
fn calculation(class: &str, inbound_nodes: Value) -> Value {
    let input = json!({
        "class_name": "InputLayer", "config": {"batch_shape": [null, 2], "name": "x"}, "name": "x", "inbound_nodes": [],
    });
    let operation = json!({
        "module": "keras.src.ops.numpy", "class_name": class, "config": {"name": "op"}, "name": "op",
        "registered_name": class, "inbound_nodes": inbound_nodes,
    });
    json!({"class_name": "Functional", "config": {
        "layers": [input, operation], "input_layers": [["x", 0, 0]], "output_layers": [["op", 0, 0]],
    }})
}

#[test]
fn what_keras_calculates_with_numbers_is_read() {
    let tensor = |name: &str| {
        let history = json!([name, 0, 0]);
        json!({"class_name": "__keras_tensor__", "config": {"shape": [null, 2], "keras_history": history}})
    };
    let model = |class: &str, args: Value| {
        calculation(class, json!([{"args": args, "kwargs": {}}])).to_string()
    };
    let x = || tensor("x");
    for (class, args, expected) in [
        ("Add", json!([x(), 3.0]), [7.0, 1.0]),
        ("Add", json!([1, x()]), [5.0, -1.0]),
        ("Multiply", json!([x(), 0.5]), [2.0, -1.0]),
        ("Subtract", json!([x(), 3.0]), [1.0, -5.0]),
        ("Subtract", json!([3.0, x()]), [-1.0, 5.0]),
        ("TrueDivide", json!([x(), 4.0]), [1.0, -0.5]),
        ("Add", json!([x(), x()]), [8.0, -4.0]),
    ] {
        let mut network = Graph::from_json(&model(class, args.clone()), test_device(), 1).unwrap();
        let ws = &mut Workspace::new(test_device());
        let x = Tensor::new(&[[4.0_f32, -2.0]], test_device()).unwrap();
        let outputs = network.forward(ws, &[x], Mode::Inference).unwrap();
        let found = read::<f32>(&outputs[0].logits).unwrap().to_vec();
        assert_eq!(found, expected, "{class} {args}");
    }
    for (class, args) in [
        ("TrueDivide", json!([4.0, x()])),
        ("Power", json!([x(), 2.0])),
    ] {
        let error = Graph::from_json(&model(class, args), test_device(), 1)
            .err()
            .unwrap();
        assert!(error.to_string().contains("op"), "{error}");
    }
}

/// As Keras writes `Model([left, right], [encoder(left), encoder(right), encoder_1(left)])`.
#[test]
fn several_outputs_of_a_layer_are_numbered() {
    let tensor = |name: &str| json!({"class_name": "__keras_tensor__", "config": {"keras_history": [name, 0, 0]}});
    let input = |name: &str| json!({"class_name": "InputLayer", "config": {"batch_shape": [null, 2], "name": name}, "inbound_nodes": []});
    let encoder = |name: &str, inputs: &[&str]| {
        let nodes = inputs
            .iter()
            .map(|&input| json!({"args": [tensor(input)], "kwargs": {}}));
        let nodes: Vec<Value> = nodes.collect();
        json!({"class_name": "Dense", "config": {"units": 3, "name": name}, "inbound_nodes": nodes})
    };
    let text = json!({"class_name": "Functional", "config": {
        "layers": [
            input("left"), input("right"), encoder("encoder", &["left", "right"]), encoder("encoder_1", &["left"]),
        ],
        "input_layers": [["left", 0, 0], ["right", 0, 0]],
        "output_layers": [["encoder", 0, 0], ["encoder", 1, 0], ["encoder_1", 0, 0]],
    }})
    .to_string();
    let mut network = Graph::from_json(&text, test_device(), 1).unwrap();
    let names = |network: &Graph| {
        let ports = network.outputs().iter();
        ports.map(|port| port.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(&network), ["encoder", "encoder_2", "encoder_1"]);
    assert_eq!(network.params().num_elements(true), 2 * (2 * 3 + 3));
    let json = network.to_json().unwrap();
    let mut again = Graph::from_json(&json, test_device(), 2).unwrap();
    assert_same(&mut network, &mut again);
}

/// The paths of all values in one.
fn paths(value: &Value, path: &str, found: &mut Vec<String>) {
    found.push(path.to_owned());
    match value {
        Value::Object(members) => members
            .iter()
            .for_each(|(name, value)| paths(value, &format!("{path}/{name}"), found)),
        Value::Array(values) => values
            .iter()
            .enumerate()
            .for_each(|(i, value)| paths(value, &format!("{path}/{i}"), found)),
        _ => {}
    }
}

#[test]
fn a_value_in_the_place_of_another_is_read_or_refused() {
    let policy = json!({"class_name": "DTypePolicy", "config": {"name": "float32"}});
    let mut networks = vec![
        calculation("Add", json!([{"args": [0.5, 3.0], "kwargs": {}}])),
        serde_json::from_str(&chain_of("Dense", json!({"units": 2, "dtype": policy}))).unwrap(),
        serde_json::from_str(&joined().to_json().unwrap()).unwrap(),
    ];
    for chain in chains() {
        let network = chain.build(test_device(), 1).unwrap();
        networks.push(serde_json::from_str(&network.to_json().unwrap()).unwrap());
    }
    let others = [
        json!(null),
        json!(true),
        json!(3),
        json!(-1),
        json!(0.5),
        json!("x"),
        json!([]),
        json!([3]),
        json!([[["x", 0, 0, {}]]]),
        json!({}),
    ];
    for mut network in networks {
        let mut places = Vec::new();
        paths(&network, "", &mut places);
        for place in places {
            for other in &others {
                let value = network.pointer_mut(&place).unwrap();
                let before = std::mem::replace(value, other.clone());
                let text = network.to_string();
                let read = || Graph::from_json(&text, test_device(), 1).map(drop);
                let read = std::panic::catch_unwind(read);
                assert!(read.is_ok(), "{other} in the place of {place}");
                *network.pointer_mut(&place).unwrap() = before;
            }
        }
    }
}

/// A layer of the user's own.
struct Twice {
    times: f32,
}

impl Layer for Twice {
    fn class_name(&self) -> &'static str {
        "Twice"
    }

    fn name(&self) -> Option<&str> {
        None
    }

    fn config(&self) -> Option<Config> {
        Some(Config::from_iter([("times".to_owned(), json!(self.times))]))
    }

    fn build(&mut self, input: &[usize], _: &mut LayerBuilder<'_>) -> Result<Vec<usize>, NnError> {
        Ok(input.to_vec())
    }

    fn forward(&self, x: &Tensor, _: &mut Pass<'_>) -> Result<Tensor, NnError> {
        Ok((x * f64::from(self.times))?)
    }

    fn backward(&self, dy: &Tensor, _: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        Ok(Some((dy * f64::from(self.times))?))
    }
}

#[test]
fn layers_of_the_users_own_are_made_by_a_registry() {
    let mut network = Sequential::builder([4])
        .layer(Twice { times: 2.5 })
        .layer(Dense::new(2))
        .build(test_device(), 1)
        .unwrap();
    let json = network.to_json().unwrap();
    assert!(Sequential::from_json(&json, test_device(), 1).is_err());
    let mut registry = Registry::new();
    registry.layer("Twice", |arguments: &mut Arguments| {
        let times = arguments.required("times")?;
        Ok(Twice { times })
    });
    let mut again = Sequential::from_json_with(&json, &registry, test_device(), 2).unwrap();
    assert_same(&mut network, &mut again);
    let wrong = json.replace("2.5", "\"x\"");
    let error = Sequential::from_json_with(&wrong, &registry, test_device(), 2).map(drop);
    let text = error.unwrap_err().to_string();
    assert!(text.contains("twice") && text.contains("times"), "{text}");
}

/// As Keras writes a model that was made under a mixed policy, whose parameters are `f32`.
#[test]
fn layers_of_a_mixed_policy_are_read() {
    for policy in ["mixed_float16", "mixed_bfloat16"] {
        let config = json!({ "units": 3, "dtype": {
            "module": "keras",
            "class_name": "DTypePolicy",
            "config": { "name": policy },
            "registered_name": null,
        }});
        let network = Sequential::from_json(&chain_of("Dense", config), test_device(), 1);
        let network = network.unwrap();
        assert_eq!(network.dtype_policy(), DtypePolicy::Float32);
        assert!(
            network
                .params()
                .iter()
                .all(|(_, param)| param.value().dtype() == DType::F32)
        );
    }
}

/// A network is for batches of `f32` of any size, whatever the type and size that Keras was told.
#[test]
fn inputs_of_every_type_and_of_batches_of_a_size_are_read() {
    let chain = |dtype: Value, batch: Value| {
        let text = chain_of("Rescaling", json!({ "scale": 0.5 }));
        let mut network: Value = serde_json::from_str(&text).unwrap();
        network["config"]["layers"][0]["config"] =
            json!({ "batch_shape": [batch, 4], "dtype": dtype });
        network.to_string()
    };
    let policy = json!({ "class_name": "DTypePolicy", "config": { "name": "float16" } });
    for dtype in [json!("int32"), json!("uint8"), json!("float16"), policy] {
        for batch in [json!(null), json!(32)] {
            let text = chain(dtype.clone(), batch);
            let mut network = Sequential::from_json(&text, test_device(), 1).unwrap();
            assert_eq!(predict(&mut network)[0][1], 2.5);
            let mut graph = Graph::from_json(&text, test_device(), 1).unwrap();
            assert_eq!(predict(&mut graph)[0][1], 2.5);
            assert_eq!(graph.inputs()[0].shape, [4]);
        }
    }
    for (dtype, batch, expected) in [
        (
            "string",
            json!(null),
            "layer `InputLayer`: reading the configuration: dtype (expected a type of numbers, such \
             as float32 or uint8, found \"string\")",
        ),
        (
            "int32",
            json!(-1),
            "layer `InputLayer`: reading the configuration: batch_shape (expected a list of null or \
             a whole number, for the batch, and whole numbers, found [-1,4])",
        ),
    ] {
        let text = chain(json!(dtype), batch);
        let error = Sequential::from_json(&text, test_device(), 1).map(drop);
        assert_eq!(error.unwrap_err().to_string(), expected);
    }
}

#[test]
fn freezing_is_written_too() {
    let mut network = chains().remove(0).build(test_device(), 1).unwrap();
    network.set_trainable("first", false).unwrap();
    let again = Sequential::from_json(&network.to_json().unwrap(), test_device(), 1).unwrap();
    assert!(!again.params().by_name("first/kernel").unwrap().trainable());
    assert_eq!(summary(&again), summary(&network));
}

#[test]
fn the_input_of_a_chain_keeps_its_name_in_a_graph() {
    let chain = Sequential::builder([4]).layer(Dense::new(2));
    let chain = chain.build(test_device(), 1).unwrap();
    let graph = Graph::from_json(&chain.to_json().unwrap(), test_device(), 1).unwrap();
    assert_eq!(graph.inputs()[0].name, chain.inputs()[0].name);
}
