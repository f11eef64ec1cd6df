//! Dropout of what belongs together, and normalization by what is known of the data.

use crate::test_device::test_device;
use keros_nn::layers::{Dropout, Normalization, SpatialDropout1D, SpatialDropout2D};
use keros_nn::{Layer, Mode, Network, NnError, Sequential, load_keras_model};
use keros_tensor::access::read;
use keros_tensor::{Tensor, Workspace};
use std::path::Path;

const TRAINING: Mode = Mode::Training { seed: 5, step: 3 };

fn built(input: &[usize], layer: impl Layer + 'static) -> Result<Sequential, NnError> {
    Sequential::builder(input.to_vec())
        .layer(layer)
        .build(test_device(), 3)
}

fn output(network: &mut Sequential, x: &Tensor, mode: Mode) -> Vec<f32> {
    let ws = &mut Workspace::new(test_device());
    let outputs = network.forward(ws, std::slice::from_ref(x), mode).unwrap();
    read::<f32>(&outputs[0].logits).unwrap().to_vec()
}

type Ones = Box<dyn Fn(usize, usize, usize) -> f32>;

/// What each of the ones has become, by sample, place and channel.
fn of_ones(layer: impl Layer + 'static, shape: [usize; 4]) -> Ones {
    let [samples, height, width, channels] = shape;
    let x = Tensor::ones(&shape, keros_tensor::DType::F32, test_device()).unwrap();
    let mut network = built(&shape[1..], layer).unwrap();
    let y = output(&mut network, &x, TRAINING);
    assert_eq!(output(&mut network, &x, TRAINING), y);
    assert_eq!(
        output(&mut network, &x, Mode::Inference),
        vec![1.0; y.len()]
    );
    assert_eq!(y.len(), samples * height * width * channels);
    Box::new(move |sample, place, channel| {
        y[(sample * height * width + place) * channels + channel]
    })
}

#[test]
fn what_shares_a_place_of_the_mask_is_dropped_together() {
    let shape = [40, 3, 5, 8];
    let places = || 0..15;
    let whole_images = of_ones(Dropout::new(0.25).noise_shape([1, 1, 1]), shape);
    let dropped = (0..40)
        .filter(|sample| whole_images(*sample, 0, 0) == 0.0)
        .count();
    assert!((3..20).contains(&dropped), "{dropped} of 40");
    for sample in 0..40 {
        let first = whole_images(sample, 0, 0);
        assert!(first == 0.0 || (first - 4.0 / 3.0).abs() < 1e-6);
        assert!(places().all(|place| (0..8).all(|c| whole_images(sample, place, c) == first)));
    }
    for y in [
        of_ones(SpatialDropout2D::new(0.5), shape),
        of_ones(Dropout::new(0.5).noise_shape([1, 1, 8]), shape),
    ] {
        let mut dropped = 0;
        for sample in 0..40 {
            for channel in 0..8 {
                let first = y(sample, 0, channel);
                assert!(first == 0.0 || first == 2.0);
                assert!(places().all(|place| y(sample, place, channel) == first));
                dropped += usize::from(first == 0.0);
            }
        }
        assert!((120..200).contains(&dropped), "{dropped} of 320");
    }
    // The mask of a sample that is as large as the sample is that without one.
    let all = of_ones(Dropout::new(0.5).noise_shape([3, 5, 8]), shape);
    let each = of_ones(Dropout::new(0.5), shape);
    assert!((0..40).all(|n| places().all(|p| (0..8).all(|c| all(n, p, c) == each(n, p, c)))));
}

#[test]
fn shapes_and_rates_that_do_not_fit_are_refused() {
    let refused = |result: Result<Sequential, NnError>, words: &str| {
        let error = result.err().unwrap().to_string();
        assert!(error.contains(words), "{error} does not say {words}");
    };
    let expected = "noise_shape: wrong shape (expected for each axis of [4, 4, 3] its length or 1, found [1, 2, 3])";
    refused(
        built(&[4, 4, 3], Dropout::new(0.5).noise_shape([1, 2, 3])),
        expected,
    );
    refused(
        built(&[4, 4, 3], Dropout::new(0.5).noise_shape([1, 3])),
        "found [1, 3]",
    );
    refused(
        built(&[4, 4, 3], Dropout::new(1.0)),
        "rate: value out of range (expected a number in [0, 1)",
    );
    refused(
        built(&[4, 3], SpatialDropout2D::new(0.5)),
        "expected 2 axes and channels, found [4, 3]",
    );
    refused(
        built(&[4, 4, 3], SpatialDropout1D::new(0.5)),
        "expected 1 axes and channels, found [4, 4, 3]",
    );
    refused(
        built(&[3], Normalization::new().mean(1.0)),
        "expected both mean and variance, or data",
    );
    refused(
        built(&[3], Normalization::new().mean([1.0, 2.0]).variance(1.0)),
        "expected 1 or 3 numbers, found 2",
    );
    refused(
        built(&[3], Normalization::new().mean(1.0).variance(-1.0)),
        "expected numbers from 0, found -1",
    );
    let two = Tensor::new(&[[1.0_f32, 2.0]], test_device()).unwrap();
    let adapted = Normalization::new().adapt(&two).unwrap();
    refused(built(&[3], adapted), "expected 3 channels, found [2]");
    let none = Tensor::zeros((0, 2), keros_tensor::DType::F32, test_device()).unwrap();
    assert!(Normalization::new().adapt(&none).is_err());
}

fn numbers() -> Tensor {
    let values: Vec<f32> = (0..36).map(|i| (i * 7 % 23) as f32).collect();
    Tensor::from_vec(values, (2, 3, 3, 2), test_device()).unwrap()
}

#[test]
fn adapted_values_have_mean_0_and_variance_1_and_come_back() {
    let x = numbers();
    let adapted = || Normalization::new().adapt(&x).unwrap();
    let mut network = built(&[3, 3, 2], adapted()).unwrap();
    let y = output(&mut network, &x, TRAINING);
    for channel in 0..2 {
        let values = || y.iter().skip(channel).step_by(2).map(|y| f64::from(*y));
        let mean = values().sum::<f64>() / 18.0;
        let variance = values().map(|y| y * y).sum::<f64>() / 18.0;
        assert!(
            mean.abs() < 1e-6 && (variance - 1.0).abs() < 1e-5,
            "{mean}, {variance}"
        );
    }
    assert_eq!(
        network
            .params()
            .iter()
            .filter(|(_, param)| param.trainable())
            .count(),
        0
    );
    let count = network.params().by_name("normalization/count").unwrap();
    assert_eq!(read::<f32>(count.value()).unwrap().to_vec(), [18.0]);

    let mut back = built(&[3, 3, 2], adapted().invert(true)).unwrap();
    let y = Tensor::from_vec(y, (2, 3, 3, 2), test_device()).unwrap();
    let again = output(&mut back, &y, TRAINING);
    for (found, expected) in again.iter().zip(read::<f32>(&x).unwrap().iter()) {
        assert!((found - expected).abs() < 1e-4, "{again:?}");
    }
}

/// Numbers of Keras 3.15 on JAX.
#[test]
fn given_numbers_are_applied_as_in_keras() {
    let x = numbers();
    let known = Normalization::new().mean([1.0, 2.0]).variance([4.0, 0.0]);
    let y = output(&mut built(&[3, 3, 2], known).unwrap(), &x, Mode::Inference);
    assert_eq!(y[..6], [-0.5, 5e7, 6.5, 1.9e8, 2.0, 1e8]);
    let back = Normalization::new().mean(3.0).variance(4.0).invert(true);
    let y = output(&mut built(&[3, 3, 2], back).unwrap(), &x, Mode::Inference);
    assert_eq!(y[..6], [3.0, 17.0, 31.0, 45.0, 13.0, 27.0]);
}

/// Networks whose normalization Keras has adapted to the numbers, on JAX and on TensorFlow.
#[test]
fn a_model_of_keras_brings_its_numbers() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keras");
    for (file, expected_count) in [
        ("normalized.keras", 0.0),
        ("normalized_tensorflow.keras", 18.0),
    ] {
        let mut network = load_keras_model(folder.join(file), test_device()).unwrap();
        let count = network.params().by_name("normalization/count").unwrap();
        let count = read::<f32>(count.value()).unwrap().to_vec();
        assert_eq!(count, [expected_count]);
        let ws = &mut Workspace::new(test_device());
        let outputs = network.forward(ws, &[numbers()], Mode::Inference).unwrap();
        let found = read::<f32>(&outputs[0].logits).unwrap().to_vec();
        let expected = [-0.05914184, 0.13333333, 0.05914174, -0.13333334];
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
        }
    }
}
