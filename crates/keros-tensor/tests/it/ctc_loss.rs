//! CTC against the sum over all ways to read labels out of a sequence, and against differences.

use keros_tensor::kernels::{check_ctc_labels, ctc_loss};
use keros_tensor::{Tensor, TensorError, Workspace};

use crate::row_loss::check;
use crate::support::{flat, same_bits_on_every_path, tensor, values};
use crate::test_device::test_device;

fn labels(of_samples: &[&[u32]]) -> Tensor {
    let shape = (of_samples.len(), of_samples[0].len());
    Tensor::from_vec(of_samples.concat(), shape, test_device()).unwrap()
}

/// What is left of a sequence of classes.
fn collapsed(sequence: &[usize]) -> Vec<u32> {
    let mut left = sequence.to_vec();
    left.dedup();
    left.retain(|class| *class != 0);
    left.into_iter().map(|class| class as u32).collect()
}

/// `-log` of the sum over all sequences of classes that are read so.
fn by_definition(logits: &[f32], classes: usize, labels: &[u32]) -> f64 {
    let rows: Vec<Vec<f64>> = logits
        .chunks(classes)
        .map(|row| {
            let total: f64 = row.iter().map(|z| f64::from(*z).exp()).sum();
            row.iter().map(|z| f64::from(*z).exp() / total).collect()
        })
        .collect();
    let mut sum = 0.0;
    for number in 0..classes.pow(rows.len() as u32) {
        let digit = |step: usize| number / classes.pow(step as u32) % classes;
        let sequence: Vec<usize> = (0..rows.len()).map(digit).collect();
        if collapsed(&sequence) == labels {
            let ways = sequence.iter().zip(&rows).map(|(class, row)| row[*class]);
            sum += ways.product::<f64>();
        }
    }
    -sum.ln()
}

#[test]
fn the_loss_is_that_of_all_ways_to_read_the_labels() {
    let (steps, classes) = (5, 4);
    let all: [&[u32]; 6] = [
        &[1, 2, 3],
        &[1, 1, 0],
        &[2, 0, 0],
        &[0, 0, 0],
        &[3, 3, 3],
        &[1, 2, 1],
    ];
    let logits: Vec<f32> = values(1, all.len() * steps * classes)
        .iter()
        .map(|z| 3.0 * z)
        .collect();
    let z = tensor(&logits, &[all.len(), steps, classes]);
    same_bits_on_every_path(|| {
        let ws = &mut Workspace::new(test_device());
        let (losses, grads) = ctc_loss(ws, &z, &labels(&all), None, 1.0).unwrap();
        let of_samples = logits.chunks(steps * classes).zip(all);
        for ((found, (logits, labels)), grads) in flat(&losses)
            .iter()
            .zip(of_samples)
            .zip(flat(&grads).chunks(steps * classes))
        {
            let labels: Vec<u32> = labels.iter().copied().filter(|label| *label > 0).collect();
            let expected = by_definition(logits, classes, &labels);
            assert!(
                (f64::from(*found) - expected).abs() < 1e-5 * expected.max(1.0),
                "{labels:?}: {found}, {expected}"
            );
            // A softmax is moved, not stretched.
            for row in grads.chunks(classes) {
                assert!(row.iter().sum::<f32>().abs() < 1e-5, "{labels:?}: {row:?}");
            }
        }
    });
}

#[test]
fn gradients_follow_differences() {
    same_bits_on_every_path(|| {
        let short = labels(&[&[1, 2, 0], &[2, 2, 1]]);
        check("short", &[2, 5, 3], |ws, z, weights, scale| {
            ctc_loss(ws, z, &short, weights, scale)
        });
        let long: Vec<u32> = (0..40).map(|i| 1 + i * i % 29).collect();
        let long = labels(&[&long, &[&long[..30], &[0; 10]].concat()]);
        check("long", &[2, 130, 30], |ws, z, weights, scale| {
            ctc_loss(ws, z, &long, weights, scale)
        });
    });
}

#[test]
fn without_labels_all_is_blank() {
    let ws = &mut Workspace::new(test_device());
    let z = tensor(&[0.0; 6], &[1, 3, 2]);
    let none = Tensor::zeros((1, 0), keros_tensor::DType::U32, test_device()).unwrap();
    let (losses, _) = ctc_loss(ws, &z, &none, None, 1.0).unwrap();
    assert!((flat(&losses)[0] - 3.0 * 2.0_f32.ln()).abs() < 1e-6);
}

#[test]
fn labels_that_cannot_be_read_are_told_or_show() {
    let ws = &mut Workspace::new(test_device());
    let z = tensor(&values(2, 24), &[2, 3, 4]);
    let refused = |of_second: [u32; 3], words: &str| {
        let all = [[1, 2, 3], of_second].concat();
        let error = check_ctc_labels("ctc", &all, 3, 3, 4).unwrap_err();
        assert!(
            error.to_string().contains(words),
            "{error} does not say {words}"
        );
    };
    refused(
        [1, 4, 0],
        "label of sample 1 is out of range (expected 0..4, found 4)",
    );
    refused(
        [1, 0, 2],
        "expected zeros only behind the labels, found 2 after a 0 in sample 1",
    );
    refused(
        [1, 1, 2],
        "expected at least 4, one for each label and between equal ones, found 3 for sample 1",
    );
    check_ctc_labels("ctc", &[1, 2, 1, 1, 1, 0], 3, 3, 4).unwrap();

    for wrong in [[1, 4, 0], [1, 0, 2], [1, 1, 2]] {
        match ctc_loss(ws, &z, &labels(&[&[1, 2, 3], &wrong]), None, 1.0) {
            Err(TensorError::Label { .. } | TensorError::Argument { .. }) => {
                assert!(test_device().is_cpu());
            }
            Err(error) => panic!("{error}"),
            Ok((losses, grads)) => {
                assert!(!test_device().is_cpu());
                let (losses, grads) = (flat(&losses), flat(&grads));
                assert!(losses[0].is_finite() && losses[1].is_nan());
                assert!(grads[..12].iter().all(|grad| grad.is_finite()));
                assert!(grads[12..].iter().all(|grad| grad.is_nan()));
            }
        }
    }
    assert!(ctc_loss(ws, &z, &labels(&[&[1, 2, 3]]), None, 1.0).is_err());
    let flat = z.reshape((2, 12)).unwrap();
    assert!(ctc_loss(ws, &flat, &labels(&[&[1], &[1]]), None, 1.0).is_err());
}
