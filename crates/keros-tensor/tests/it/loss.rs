//! Softmax, cross-entropy and accuracy against naive formulas and finite differences.

use keros_tensor::kernels::{
    categorical_cross_entropy, correct, count_correct, softmax, softmax_backward,
    softmax_cross_entropy,
};
use keros_tensor::{TensorError, Workspace};
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
            let soft = flat64(&random(4, &[samples, classes]).abs().unwrap());
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
    let mut ws = Workspace::new(test_device());
    let x = random(1, &[3, 10]);
    let bad = labels(&[9, 10, 11]);
    let error = softmax_cross_entropy(&mut ws, &x, &bad, None, 1.0).unwrap_err();
    assert_eq!(
        error.to_string(),
        "softmax cross-entropy: label of sample 1 is out of range (expected 0..10, found 10)"
    );
    for error in [
        correct(&mut ws, &x, &bad).unwrap_err(),
        count_correct(&x, &bad).unwrap_err(),
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
    assert_eq!(count_correct(&x, &labels(&[0, 1, 0])).unwrap(), 3);
    assert_eq!(count_correct(&x, &labels(&[1, 2, 2])).unwrap(), 0);
    let hits = correct(&mut ws, &x, &labels(&[0, 2, 0])).unwrap();
    assert_eq!(flat(&hits), [1.0, 0.0, 1.0]);
}
