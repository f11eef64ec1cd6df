//! Gaussian noise and dropouts: what they make of a batch, seeds of their own, and what is refused.

use crate::test_device::test_device;
use keros_nn::layers::{
    AlphaDropout, Dropout, GaussianDropout, GaussianNoise, SpatialDropout1D, SpatialDropout2D,
};
use keros_nn::{Layer, Mode, Network, NnError, Sequential};
use keros_tensor::access::{host_copies, read};
use keros_tensor::{Tensor, Workspace};

/// A batch of training.
fn training(seed: u64, step: u64) -> Mode {
    Mode::Training { seed, step }
}

fn built(input: &[usize], layer: impl Layer + 'static) -> Result<Sequential, NnError> {
    Sequential::builder(input)
        .layer(layer)
        .build(test_device(), 3)
}

fn output(network: &mut Sequential, x: &Tensor, mode: Mode) -> Vec<f32> {
    let ws = &mut Workspace::new(test_device());
    let outputs = network.forward(ws, std::slice::from_ref(x), mode).unwrap();
    read::<f32>(&outputs[0].logits).unwrap().to_vec()
}

/// Mean and standard deviation.
fn moments(values: &[f32]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().map(|x| f64::from(*x)).sum::<f64>() / n;
    let squares = values.iter().map(|x| (f64::from(*x) - mean).powi(2));
    (mean, (squares.sum::<f64>() / n).sqrt())
}

/// 100,000 values of a batch, all of them `value`.
fn constant(value: f32) -> Tensor {
    Tensor::from_vec(vec![value; 100_000], (20, 50, 100), test_device()).unwrap()
}

#[test]
fn noise_has_its_moments_in_training_only() {
    let x = constant(2.0);
    let mut added = built(&[50, 100], GaussianNoise::new(0.3)).unwrap();
    let mut factor = built(&[50, 100], GaussianDropout::new(0.2)).unwrap();
    // √(0.2 / 0.8) of 2.
    for (network, deviation) in [(&mut added, 0.3), (&mut factor, 1.0)] {
        assert_eq!(output(network, &x, Mode::Inference), vec![2.0; 100_000]);
        let y = output(network, &x, training(5, 3));
        let (mean, found) = moments(&y);
        assert!((mean - 2.0).abs() < 0.02 * deviation, "{mean}");
        assert!((found / deviation - 1.0).abs() < 0.02, "{found}");
        assert_eq!(output(network, &x, training(5, 3)), y);
        assert_ne!(output(network, &x, training(5, 4)), y);
        assert_ne!(output(network, &x, training(6, 3)), y);
    }
    for mut network in [
        built(&[50, 100], GaussianNoise::new(0.0)).unwrap(),
        built(&[50, 100], GaussianDropout::new(0.0)).unwrap(),
        built(&[50, 100], AlphaDropout::new(0.0)).unwrap(),
    ] {
        assert_eq!(output(&mut network, &x, training(5, 3)), vec![2.0; 100_000]);
    }
}

/// The two numbers that Keras 3.15 makes of 2 with a rate of 0.3.
#[test]
fn alpha_dropout_saturates_and_keeps_the_moments() {
    let mut network = built(&[50, 100], AlphaDropout::new(0.3)).unwrap();
    let y = output(&mut network, &constant(2.0), training(5, 3));
    let (kept, dropped) = (2.175_997_3, -1.059_548_1);
    let count = y.iter().filter(|y| (**y - dropped).abs() < 1e-6).count();
    assert!((count as f64 / 1e5 - 0.3).abs() < 0.01, "{count}");
    let rest = y.iter().filter(|y| (**y - kept).abs() < 1e-6).count();
    assert_eq!(count + rest, y.len());

    // Values of mean 0 and variance 1 keep both.
    let mut noise = built(&[50, 100], GaussianNoise::new(1.0)).unwrap();
    let normal = output(&mut noise, &constant(0.0), training(1, 1));
    let normal = Tensor::from_vec(normal, (20, 50, 100), test_device()).unwrap();
    let (mean, deviation) = moments(&output(&mut network, &normal, training(5, 3)));
    assert!(
        mean.abs() < 0.02 && (deviation - 1.0).abs() < 0.02,
        "{mean} {deviation}"
    );

    let whole = AlphaDropout::new(0.5).noise_shape([1, 100]);
    let y = output(
        &mut built(&[50, 100], whole).unwrap(),
        &constant(1.0),
        training(5, 3),
    );
    for sample in y.chunks(50 * 100) {
        let first = &sample[..100];
        assert!(sample.chunks(100).all(|step| step == first));
        assert!(first.iter().any(|y| *y != first[0]));
    }
}

#[test]
fn a_seed_of_its_own_takes_the_place_of_the_trainings() {
    let x = constant(1.0);
    macro_rules! check {
        ($($layer:expr),*) => {$({
            let of = |seed| output(&mut built(&[50, 100], $layer.seed(seed)).unwrap(), &x, training(8, 2));
            let other = output(&mut built(&[50, 100], $layer.seed(7)).unwrap(), &x, training(9, 2));
            assert_eq!(of(7), other);
            assert_ne!(of(8), other);
            // It is a seed as that of a training is.
            assert_eq!(of(8), output(&mut built(&[50, 100], $layer).unwrap(), &x, training(8, 2)));
            let next = output(&mut built(&[50, 100], $layer.seed(7)).unwrap(), &x, training(9, 3));
            assert_ne!(next, other);
        })*};
    }
    check!(
        Dropout::new(0.5),
        SpatialDropout1D::new(0.5),
        GaussianNoise::new(0.5),
        GaussianDropout::new(0.5),
        AlphaDropout::new(0.5)
    );
}

#[test]
fn rates_and_deviations_out_of_range_are_refused() {
    let refused = |result: Result<Sequential, NnError>, words: &str| {
        let error = result.err().unwrap().to_string();
        assert!(error.contains(words), "{error} does not say {words}");
    };
    let deviation = "stddev: value out of range (expected a number in [0, 1], found ";
    for stddev in [-0.1, 1.1, f32::NAN] {
        refused(built(&[4], GaussianNoise::new(stddev)), deviation);
    }
    let rate = "rate: value out of range (expected a number in [0, 1), found ";
    for wrong in [-0.1, 1.0, f32::NAN] {
        refused(built(&[4], GaussianDropout::new(wrong)), rate);
        refused(built(&[4], AlphaDropout::new(wrong)), rate);
        refused(built(&[4, 4, 2], SpatialDropout2D::new(wrong)), rate);
    }
    refused(
        built(&[4], AlphaDropout::new(0.5).noise_shape([3])),
        "noise_shape: wrong shape (expected for each axis of [4] its length or 1",
    );
}

#[test]
fn a_training_pass_stays_on_the_gpu() {
    let mut network = Sequential::builder([50, 100])
        .layer(GaussianNoise::new(0.5))
        .layer(GaussianDropout::new(0.5))
        .layer(AlphaDropout::new(0.5))
        .layer(AlphaDropout::new(0.5).noise_shape([1, 100]))
        .build(test_device(), 1)
        .unwrap();
    let (x, before) = (constant(1.0), host_copies());
    let ws = &mut Workspace::new(test_device());
    let y = network.forward(ws, &[x], training(1, 1)).unwrap();
    let dy = y[0].logits.clone();
    network.backward(ws, &[dy]).unwrap();
    assert_eq!(host_copies(), before);
}
