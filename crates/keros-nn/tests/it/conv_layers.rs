//! Convolutions, poolings and normalizations as layers: gradients through networks, what they keep,
//! and what they refuse.

use crate::gradients::{check, check_smooth};
use crate::test_device::test_device;
use keros_nn::layers::{
    AveragePooling2D, BatchNormalization, Conv1D, Conv2D, Conv2DTranspose, Dense, DepthwiseConv2D,
    Flatten, GlobalAveragePooling2D, GlobalMaxPooling2D, GroupNormalization, LayerNormalization,
    MaxPooling2D, Padding, SeparableConv2D, UnitNormalization,
};
use keros_nn::{Activation, Layer, Mode, Network, Sequential};
use keros_tensor::access::read;
use keros_tensor::{DType, Tensor, Workspace};

#[test]
fn convolutions() {
    let network = Sequential::builder([7, 6, 2])
        .layer(
            DepthwiseConv2D::new((3, 2))
                .depth_multiplier(2)
                .padding(Padding::Same)
                .strides((2, 1)),
        )
        .layer(Conv2D::new(6, 3).groups(2).activation(Activation::Softmax))
        .layer(Conv2DTranspose::new(3, 3).strides(2).padding(Padding::Same))
        .layer(SeparableConv2D::new(4, 3).depth_multiplier(2))
        .layer(AveragePooling2D::new(3).strides(2).padding(Padding::Same))
        .layer(Flatten::new())
        .layer(Dense::new(3).activation(Activation::Softmax));
    check_smooth(network, &[7, 6, 2], 3);
}

#[test]
fn global_means() {
    let network = Sequential::builder([5, 4, 2])
        .layer(Conv2D::new(4, 3).activation(Activation::Relu))
        .layer(GlobalAveragePooling2D::new())
        .layer(Dense::new(3).activation(Activation::Softmax));
    check(network, &[5, 4, 2], 3);
}

#[test]
fn sequences() {
    let network = Sequential::builder([11, 3])
        .layer(Conv1D::new(4, 3).padding(Padding::Causal).dilation_rate(2))
        .layer(LayerNormalization::new())
        .layer(
            Conv1D::new(4, 4)
                .groups(2)
                .strides(2)
                .activation(Activation::Relu),
        )
        .layer(UnitNormalization::new().axis([1, 2]))
        .layer(Flatten::new())
        .layer(Dense::new(3).activation(Activation::Softmax));
    check(network, &[11, 3], 3);
}

#[test]
fn normalizations() {
    let network = Sequential::builder([5, 4, 3])
        .layer(Conv2D::new(6, 2).use_bias(false))
        .layer(BatchNormalization::new())
        .layer(GroupNormalization::new().groups(2))
        .layer(GroupNormalization::new().groups(2).axis(1).epsilon(0.1))
        .layer(LayerNormalization::new().axis([1, 3]).epsilon(0.1))
        .layer(BatchNormalization::new().axis(2).scale(false).epsilon(0.1))
        .layer(GlobalMaxPooling2D::new().keepdims(true))
        .layer(Flatten::new())
        .layer(Dense::new(3).activation(Activation::Softmax));
    check(network, &[5, 4, 3], 3);
}

fn values(network: &Sequential, name: &str) -> Vec<f32> {
    let param = network.params().by_name(name).unwrap();
    read::<f32>(param.value().as_tensor()).unwrap().to_vec()
}

/// One training step of data with mean 2.5 and biased variance 1.25.
fn batch_norm_after(layer: BatchNormalization, freeze: bool) -> (Vec<f32>, Vec<f32>) {
    let mut network = Sequential::builder([1])
        .layer(layer.name("bn").momentum(0.5))
        .build(test_device(), 1)
        .unwrap();
    if freeze {
        for name in ["bn/gamma", "bn/beta"] {
            let id = network.params().id(name).unwrap();
            network
                .params_mut()
                .get_mut(id)
                .unwrap()
                .set_trainable(false);
        }
    }
    let x = Tensor::from_slice(&[1.0_f32, 2.0, 3.0, 4.0], (4, 1), test_device()).unwrap();
    let ws = &mut Workspace::new(test_device());
    let mode = Mode::Training { seed: 1, step: 0 };
    network.forward(ws, &[x], mode).unwrap();
    (
        values(&network, "bn/moving_mean"),
        values(&network, "bn/moving_variance"),
    )
}

/// Added one after the other in 32 bits they would lose three digits.
#[test]
fn gradients_of_a_channel_with_many_values_are_exact() {
    let many = 1 << 15;
    let mut network = Sequential::builder([1, many])
        .layer(GroupNormalization::new().groups(1).axis(1).name("group"))
        .build(test_device(), 1)
        .unwrap();
    let ws = &mut Workspace::new(test_device());
    let x: Vec<f32> = (0..many).map(|i| (i % 7) as f32).collect();
    let x = Tensor::from_vec(x, (1, 1, many), test_device()).unwrap();
    let grad = Tensor::from_vec(vec![0.1_f32; many], (1, 1, many), test_device()).unwrap();
    let mode = Mode::Training { seed: 1, step: 0 };
    network.forward(ws, &[x], mode).unwrap();
    network.backward(ws, &[grad]).unwrap();
    let beta = network.params().by_name("group/beta").unwrap().grad();
    let beta = read::<f32>(beta).unwrap()[0];
    assert!((beta / (0.1 * many as f32) - 1.0).abs() < 1e-6, "{beta}");
}

/// In 32 bits 1 - 0.9999 is wrong in the fourth digit.
#[test]
fn momentums_near_1_keep_their_digits() {
    let mut network = Sequential::builder([1])
        .layer(BatchNormalization::new().momentum(0.9999).name("bn"))
        .build(test_device(), 1)
        .unwrap();
    let json = network.to_json().unwrap();
    assert!(json.contains("\"momentum\":0.9999,"), "{json}");
    let x = Tensor::from_slice(&[1.0_f32, 2.0, 3.0, 4.0], (4, 1), test_device()).unwrap();
    let ws = &mut Workspace::new(test_device());
    let mode = Mode::Training { seed: 1, step: 0 };
    network.forward(ws, &[x], mode).unwrap();
    let mean = values(&network, "bn/moving_mean")[0];
    assert!((mean / 2.5e-4 - 1.0).abs() < 1e-6, "{mean}");
}

#[test]
fn batch_normalization_moves_its_statistics_unless_it_is_frozen() {
    let moved = batch_norm_after(BatchNormalization::new(), false);
    assert_eq!(moved, (vec![1.25], vec![0.5 + 0.5 * 1.25]));
    let (_, variance) = batch_norm_after(
        BatchNormalization::new().unbiased_moving_variance(true),
        false,
    );
    assert!((variance[0] - (0.5 + 0.5 * 5.0 / 3.0)).abs() < 1e-6);
    let still = (vec![0.0], vec![1.0]);
    let frozen = batch_norm_after(BatchNormalization::new().trainable(false), false);
    assert_eq!(frozen, still);
    assert_eq!(batch_norm_after(BatchNormalization::new(), true), still);

    let network = Sequential::builder([3])
        .layer(BatchNormalization::new())
        .build(test_device(), 1)
        .unwrap();
    assert_eq!(network.params().num_elements(true), 6);
    assert_eq!(network.params().num_elements(false), 12);
}

/// Channels on another axis are the same computation on transposed data.
#[test]
fn the_axis_of_the_channels_may_be_any() {
    fn run(layer: impl Layer + 'static, x: &Tensor) -> Vec<f32> {
        let builder = Sequential::builder(&x.dims()[1..]).layer(layer);
        let mut network = builder.build(test_device(), 1).unwrap();
        for (k, name) in ["gamma", "beta"].iter().enumerate() {
            let (_, param) = network
                .params()
                .iter()
                .find(|(_, param)| param.name().ends_with(name))
                .unwrap();
            let values: Vec<f32> = (0..4).map(|i| (3 * k + i) as f32 * 0.3 - 0.7).collect();
            let values = Tensor::from_vec(values, 4, test_device()).unwrap();
            param.set(&values).unwrap();
        }
        let ws = &mut Workspace::new(test_device());
        let mode = Mode::Training { seed: 1, step: 0 };
        let outputs = network.forward(ws, std::slice::from_ref(x), mode).unwrap();
        // Back to channels last, if they were first.
        let y = match x.dim(1).unwrap() {
            4 => outputs[0].logits.permute((0, 2, 3, 1)).unwrap(),
            _ => outputs[0].logits.clone(),
        };
        y.flatten_all().unwrap().to_vec1().unwrap()
    }
    let last = crate::gradients::random(&[3, 5, 6, 4], 8);
    let first = last.permute((0, 3, 1, 2)).unwrap().contiguous().unwrap();
    let pairs = [
        (
            run(GroupNormalization::new().groups(2), &last),
            run(GroupNormalization::new().groups(2).axis(1), &first),
        ),
        (
            run(BatchNormalization::new(), &last),
            run(BatchNormalization::new().axis(1), &first),
        ),
    ];
    for (last, first) in pairs {
        assert_eq!(last.len(), first.len());
        for (a, b) in last.iter().zip(&first) {
            assert!((a - b).abs() < 1e-5, "{a} and {b}");
        }
    }
}

#[test]
fn output_shapes_are_those_of_keras() {
    fn shape(input: &[usize], layer: impl Layer + 'static) -> Vec<usize> {
        let builder = Sequential::builder(input).layer(layer);
        let mut network = builder.build(test_device(), 1).unwrap();
        let dims = [&[2], input].concat();
        let x = Tensor::zeros(dims, DType::F32, test_device()).unwrap();
        let ws = &mut Workspace::new(test_device());
        let outputs = network.forward(ws, &[x], Mode::Inference).unwrap();
        let promised = network.outputs()[0].shape.clone();
        assert_eq!(outputs[0].logits.dims()[1..], promised);
        promised
    }
    let same = Padding::Same;
    let up = || Conv2DTranspose::new(4, 3).strides(2);
    assert_eq!(shape(&[4, 5, 3], up()), [9, 11, 4]);
    assert_eq!(shape(&[4, 5, 3], up().padding(same)), [8, 10, 4]);
    assert_eq!(shape(&[4, 5, 3], up().output_padding((0, 1))), [9, 12, 4]);
    assert_eq!(
        shape(&[4, 5, 3], up().padding(same).output_padding((1, 0))),
        [8, 9, 4]
    );
    assert_eq!(
        shape(&[4, 5, 3], Conv2DTranspose::new(4, 2).strides(3)),
        [12, 15, 4]
    );
    assert_eq!(
        shape(&[9, 3], Conv1D::new(4, 3).padding(Padding::Causal)),
        [9, 4]
    );
    assert_eq!(
        shape(&[4, 5, 3], GlobalMaxPooling2D::new().keepdims(true)),
        [1, 1, 3]
    );
    assert_eq!(shape(&[4, 5, 3], AveragePooling2D::new(2)), [2, 2, 3]);
}

#[test]
fn what_cannot_work_is_refused_in_words() {
    fn refused(input: &[usize], layer: impl Layer + 'static) -> String {
        let builder = Sequential::builder(input).layer(layer);
        builder.build(test_device(), 0).err().unwrap().to_string()
    }
    let image = &[8, 8, 4];
    assert_eq!(
        refused(image, Conv2D::new(4, 3).strides(2).dilation_rate(2)),
        "layer `conv2d`: dilation_rate: value out of range (expected 1 with strides of (2, 2), found (2, 2))"
    );
    assert_eq!(
        refused(image, Conv2D::new(6, 3).groups(4)),
        "layer `conv2d`: groups: value out of range (expected a divisor of 4 input channels and 6 filters, found 4)"
    );
    assert_eq!(
        refused(image, MaxPooling2D::new(2).padding(Padding::Causal)),
        "layer `max_pooling2d`: padding: value out of range (expected valid or same, found causal)"
    );
    assert_eq!(
        refused(image, GroupNormalization::new()),
        "layer `group_normalization`: groups: value out of range (expected a divisor of 4 channels, found 32)"
    );
    assert_eq!(
        refused(image, BatchNormalization::new().axis(0)),
        "layer `batch_normalization`: axis: value out of range (expected 1 to 3 or -3 to -1, found 0)"
    );
    assert_eq!(
        refused(&[4], Conv1D::new(4, 3)),
        "layer `conv1d`: input sample: wrong shape (expected [steps, channels], found [4])"
    );
    assert_eq!(
        refused(
            image,
            Conv2DTranspose::new(4, 3).strides(2).output_padding(2)
        ),
        "layer `conv2d_transpose`: output_padding: value out of range (expected less than the strides of (2, 2), found (2, 2))"
    );
    for text in [
        refused(image, DepthwiseConv2D::new(3).depth_multiplier(0)),
        refused(image, DepthwiseConv2D::new(9)),
        refused(image, SeparableConv2D::new(0, 3)),
        refused(image, Conv1D::new(4, 3)),
        refused(&[8, 4], Conv1D::new(4, 3).strides(2).dilation_rate(2)),
        refused(&[8, 4], Conv1D::new(4, usize::MAX).padding(Padding::Causal)),
        refused(image, Conv2DTranspose::new(4, 3).strides(usize::MAX)),
        refused(image, AveragePooling2D::new(9)),
        refused(&[8], GlobalAveragePooling2D::new()),
        refused(image, LayerNormalization::new().axis([1, 1])),
        refused(image, LayerNormalization::new().axis(vec![])),
        refused(&[2, 3, 4, 5], LayerNormalization::new().axis([1, 3])),
        refused(image, UnitNormalization::new().axis(4)),
        refused(image, LayerNormalization::new().epsilon(-1.0)),
        refused(image, BatchNormalization::new().momentum(1.5)),
        refused(image, BatchNormalization::new().epsilon(f32::NAN)),
    ] {
        assert!(
            text.starts_with("layer `") && text.contains("expected"),
            "{text}"
        );
    }
}
