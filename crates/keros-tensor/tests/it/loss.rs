//! Softmax, cross-entropy and accuracy against naive formulas and finite differences.

use keros_tensor::kernels::{
    categorical_cross_entropy, check_labels, correct, log_softmax, softmax, softmax_backward,
    softmax_cross_entropy,
};
use keros_tensor::{Device, Tensor, TensorError, Workspace};
use proptest::prelude::*;

use crate::support::{
    check_close, finite_differences, flat, flat64, labels, random, same_bits_on_every_path, tensor,
};
use crate::test_device::test_device;

fn naive_softmax(x: &[f64], classes: usize) -> Vec<f64> {
    x.chunks(classes)
        .flat_map(|row| {
            let sum: f64 = row.iter().map(|v| v.exp()).sum();
            row.iter().map(move |v| v.exp() / sum).collect::<Vec<_>>()
        })
        .collect()
}

/// The losses `-Σ t log softmax(x)`.
fn naive_cross_entropy(x: &[f64], targets: &[f64], classes: usize) -> Vec<f64> {
    let p = naive_softmax(x, classes);
    p.chunks(classes)
        .zip(targets.chunks(classes))
        .map(|(p, t)| -p.iter().zip(t).map(|(p, t)| t * p.ln()).sum::<f64>())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn softmax_matches_the_formula(samples in 0usize..9, classes in 1usize..12) {
        same_bits_on_every_path(|| {
            let mut ws = Workspace::new(test_device());
            let x = (random(1, &[samples, classes]) * 5.0).unwrap();
            let y = softmax(&mut ws, &x).unwrap();
            check_close("y", &y, &naive_softmax(&flat64(&x), classes), 1e-6);

            let dy = random(2, &[samples, classes]);
            let dy64 = flat64(&dy);
            let expected = finite_differences(&flat64(&x), |x| {
                naive_softmax(x, classes).iter().zip(&dy64).map(|(y, dy)| y * dy).sum()
            });
            let dx = softmax_backward(&mut ws, &y, &dy).unwrap();
            check_close("dx", &dx, &expected, 1e-6);
        });
    }

    #[test]
    fn cross_entropy_matches_the_formula(
        samples in 0usize..9,
        classes in 1usize..12,
        weighted in any::<bool>(),
        scale in 0.1f32..3.0,
    ) {
        same_bits_on_every_path(|| {
            let mut ws = Workspace::new(test_device());
            let x = (random(1, &[samples, classes]) * 5.0).unwrap();
            let truth: Vec<u32> = (0..samples).map(|n| (n * 7 % classes) as u32).collect();
            let weights = random(3, &[samples]);
            let weights64 = if weighted { flat64(&weights) } else { vec![1.0; samples] };
            let weights = weighted.then_some(&weights);
            let mut onehot = vec![0.0; samples * classes];
            for (n, &label) in truth.iter().enumerate() {
                onehot[n * classes + label as usize] = 1.0;
            }
            let soft: Vec<f64> = flat64(&random(4, &[samples, classes])).into_iter().map(f64::abs).collect();
            let check = |targets: &[f64], losses, grads| {
                let expected = naive_cross_entropy(&flat64(&x), targets, classes);
                check_close("losses", losses, &expected, 1e-6);
                let expected = finite_differences(&flat64(&x), |x| {
                    let losses = naive_cross_entropy(x, targets, classes);
                    f64::from(scale) * losses.iter().zip(&weights64).map(|(l, w)| l * w).sum::<f64>()
                });
                check_close("gradient", grads, &expected, 2e-6);
            };
            let (losses, grads) =
                softmax_cross_entropy(&mut ws, &x, &labels(&truth), weights, scale).unwrap();
            check(&onehot, &losses, &grads);
            let soft_tensor = tensor(
                &soft.iter().map(|&v| v as f32).collect::<Vec<_>>(),
                &[samples, classes],
            );
            let (losses, grads) =
                categorical_cross_entropy(&mut ws, &x, &soft_tensor, weights, scale).unwrap();
            check(&soft, &losses, &grads);
        });
    }
}

/// Many rows, so that several tasks share them.
#[test]
fn long_batches_match_the_formula() {
    let mut ws = Workspace::new(test_device());
    let (samples, classes) = (1000, 10);
    let x = random(1, &[samples, classes]);
    let y = softmax(&mut ws, &x).unwrap();
    check_close("y", &y, &naive_softmax(&flat64(&x), classes), 1e-6);
    let truth: Vec<u32> = (0..samples as u32).map(|n| n % 10).collect();
    let (losses, _) = softmax_cross_entropy(&mut ws, &x, &labels(&truth), None, 1.0).unwrap();
    let mut onehot = vec![0.0; samples * classes];
    for (n, &label) in truth.iter().enumerate() {
        onehot[n * classes + label as usize] = 1.0;
    }
    let expected = naive_cross_entropy(&flat64(&x), &onehot, classes);
    check_close("losses", &losses, &expected, 1e-6);
}

#[test]
fn large_logits_do_not_overflow() {
    let mut ws = Workspace::new(test_device());
    let x = tensor(&[1000.0, -1000.0, 1000.0, -1000.0], &[2, 2]);
    let (losses, grads) = softmax_cross_entropy(&mut ws, &x, &labels(&[0, 1]), None, 1.0).unwrap();
    assert_eq!(flat(&losses), [0.0, 2000.0]);
    assert_eq!(flat(&grads), [0.0, 0.0, 1.0, -1.0]);
    let targets = tensor(&[1.0, 0.0, 0.0, 1.0], &[2, 2]);
    let (losses, _) = categorical_cross_entropy(&mut ws, &x, &targets, None, 1.0).unwrap();
    assert_eq!(flat(&losses), [0.0, 2000.0]);
}

#[test]
fn a_label_out_of_range_is_named() {
    let mut ws = Workspace::new(&Device::Cpu);
    let x = random(1, &[3, 10]).to_device(&Device::Cpu).unwrap();
    let bad = Tensor::new(&[9u32, 10, 11], &Device::Cpu).unwrap();
    let error = softmax_cross_entropy(&mut ws, &x, &bad, None, 1.0).unwrap_err();
    assert_eq!(
        error.to_string(),
        "softmax cross-entropy: label of sample 1 is out of range (expected 0..10, found 10)"
    );
    for error in [
        correct(&mut ws, &x, &bad).unwrap_err(),
        check_labels("reading labels", &[1, 2, 9, 10, 11], 2, 10, None).unwrap_err(),
    ] {
        assert!(matches!(
            error,
            TensorError::Label {
                sample: 1,
                label: 10,
                classes: 10,
                ..
            }
        ));
    }
    check_labels("reading labels", &[9, 0], 1, 10, None).unwrap();
    check_labels("reading labels", &[9, 255], 1, 10, Some(255)).unwrap();
}

/// Kernels on a GPU cannot refuse, but what they make of a bad label cannot be overlooked.
#[test]
fn a_label_out_of_range_is_nan_on_a_gpu() {
    let device = test_device();
    if device.is_cpu() {
        return;
    }
    let mut ws = Workspace::new(device);
    let (x, bad) = (random(1, &[3, 10]), labels(&[9, 10, 0]));
    let (losses, grads) = softmax_cross_entropy(&mut ws, &x, &bad, None, 1.0).unwrap();
    let nan = |values: &[f32]| values.iter().map(|v| v.is_nan()).collect::<Vec<_>>();
    assert_eq!(nan(&flat(&losses)), [false, true, false]);
    let rows = flat(&grads);
    assert!(nan(&rows[10..20]).into_iter().all(|nan| nan));
    assert!(!nan(&rows[..10]).contains(&true) && !nan(&rows[20..]).contains(&true));
    let hits = correct(&mut ws, &x, &bad).unwrap();
    assert_eq!(nan(&flat(&hits)), [false, true, false]);
}

/// Rows of a sample are averaged, and share its weight.
#[test]
fn samples_of_several_rows_have_their_mean() {
    let mut ws = Workspace::new(test_device());
    let (samples, rows, classes) = (3, 4, 5);
    let x = random(1, &[samples, rows, classes]);
    let truth: Vec<u32> = (0..12).map(|n| n * 7 % 5).collect();
    let onehot: Vec<f32> = truth
        .iter()
        .flat_map(|&label| (0..5).map(move |class| f32::from(u8::from(class == label))))
        .collect();
    let weights = tensor(&[0.5, 2.0, 1.0], &[samples]);
    let of_rows = tensor(
        &[0.5, 0.5, 0.5, 0.5, 2.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0],
        &[12],
    );
    let flat_x = x.reshape((12, classes)).unwrap();
    let (losses, grads) =
        softmax_cross_entropy(&mut ws, &flat_x, &labels(&truth), Some(&of_rows), 0.25).unwrap();
    let means: Vec<f64> = flat64(&losses)
        .chunks(rows)
        .map(|losses| losses.iter().sum::<f64>() / 4.0)
        .collect();
    let grads = flat64(&grads);
    let targets = tensor(&onehot, &[samples, rows, classes]);
    let truth = labels(&truth).reshape((samples, rows)).unwrap();
    let w = Some(&weights);
    for (losses, found) in [
        softmax_cross_entropy(&mut ws, &x, &truth, w, 1.0).unwrap(),
        categorical_cross_entropy(&mut ws, &x, &targets, w, 1.0).unwrap(),
    ] {
        assert_eq!((losses.dims(), found.dims()), (&[samples][..], x.dims()));
        check_close("losses", &losses, &means, 1e-6);
        check_close("gradient", &found, &grads, 1e-6);
    }
}

/// Rows that a warp and a block share, and more rows than a block has warps.
#[test]
fn long_rows_match_the_formula() {
    let mut ws = Workspace::new(test_device());
    for (samples, classes) in [(9, 33), (2, 1024), (3, 1500)] {
        let x = random(1, &[samples, classes]);
        let y = softmax(&mut ws, &x).unwrap();
        let expected = naive_softmax(&flat64(&x), classes);
        check_close("y", &y, &expected, 1e-6);
        let logs = log_softmax(&mut ws, &x).unwrap();
        let expected: Vec<f64> = expected.into_iter().map(f64::ln).collect();
        check_close("logarithms", &logs, &expected, 2e-6);
        let values = flat(&x);
        let best = |row: &[f32]| {
            let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            row.iter().position(|&v| v == largest).unwrap() as u32
        };
        let mut truth: Vec<u32> = values.chunks(classes).map(best).collect();
        truth[1] = (truth[1] + 1) % classes as u32;
        let hits = correct(&mut ws, &x, &labels(&truth)).unwrap();
        let expected: Vec<f32> = (0..samples).map(|n| f32::from(u8::from(n != 1))).collect();
        assert_eq!(flat(&hits), expected);
    }
}

#[test]
fn wrong_shapes_and_types_are_errors() {
    let mut ws = Workspace::new(test_device());
    let x = random(1, &[3, 10]);
    assert!(softmax_cross_entropy(&mut ws, &x, &labels(&[0, 1]), None, 1.0).is_err());
    assert!(softmax_cross_entropy(&mut ws, &x, &random(1, &[3]), None, 1.0).is_err());
    let weights = random(2, &[2]);
    let truth = labels(&[0, 1, 2]);
    assert!(softmax_cross_entropy(&mut ws, &x, &truth, Some(&weights), 1.0).is_err());
    let empty = random(1, &[0, 0]);
    assert!(softmax_cross_entropy(&mut ws, &empty, &labels(&[]), None, 1.0).is_err());
    assert!(softmax(&mut ws, &empty).is_err());
    assert!(categorical_cross_entropy(&mut ws, &x, &random(2, &[3, 9]), None, 1.0).is_err());
}

#[test]
fn the_first_largest_logit_is_the_prediction() {
    let mut ws = Workspace::new(test_device());
    let x = tensor(&[1.0, 1.0, 0.0, 0.0, 2.0, 2.0, -1.0, -3.0, -1.0], &[3, 3]);
    for (truth, expected) in [
        ([0, 1, 0], [1.0, 1.0, 1.0]),
        ([1, 2, 2], [0.0; 3]),
        ([0, 2, 0], [1.0, 0.0, 1.0]),
    ] {
        let hits = correct(&mut ws, &x, &labels(&truth)).unwrap();
        assert_eq!(flat(&hits), expected);
    }
    let (nan, low) = (f32::NAN, f32::NEG_INFINITY);
    let x = tensor(&[nan, 1.0, 2.0, low, nan, low, -0.0, 0.0, nan], &[3, 3]);
    let hits = correct(&mut ws, &x, &labels(&[0, 0, 0])).unwrap();
    assert_eq!(flat(&hits), [1.0; 3]);
}
