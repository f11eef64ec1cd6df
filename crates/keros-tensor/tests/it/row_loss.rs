//! Losses of rows and of groups: gradients against differences, means, weights and scale.
//!
//! What each loss is in Keras is tested where the losses have its names.

use keros_tensor::kernels::{
    Circle, ElementLoss, LabelLoss, Overlap, RowLoss, circle_loss, element_loss, hinge_targets,
    label_loss, overlap_loss, row_loss,
};
use keros_tensor::{Tensor, TensorError, Workspace};

use crate::support::{check_close, flat, flat64, labels, same_bits_on_every_path, tensor, values};
use crate::test_device::test_device;

fn all() -> Vec<RowLoss> {
    let mut all = vec![
        RowLoss::CategoricalHinge,
        RowLoss::KlDivergence,
        RowLoss::CosineSimilarity,
    ];
    for logits in [false, true] {
        for label_smoothing in [0.0, 0.1] {
            all.push(RowLoss::CategoricalCrossentropy {
                logits,
                label_smoothing,
            });
        }
        all.push(RowLoss::CategoricalFocalCrossentropy {
            logits,
            label_smoothing: 0.1,
            alpha: 0.25,
            gamma: 2.0,
        });
    }
    all
}

fn crossentropy(logits: bool, ignored: Option<u32>) -> LabelLoss {
    LabelLoss::Crossentropy { logits, ignored }
}

/// Between 0.1 and 0.9, which suits them all.
fn inside(seed: u64, len: usize) -> Vec<f32> {
    values(seed, len).iter().map(|v| 0.5 + 0.4 * v).collect()
}

/// A few rows, several for each sample, and rows that a team of threads and a block share.
const SHAPES: [&[usize]; 4] = [&[5, 3], &[3, 2, 4], &[2, 50], &[2, 700]];

pub(crate) type Computed = Result<(Tensor, Tensor), TensorError>;

/// The losses are those without weights, and the gradient is that of `0.5 Σ weight · loss`.
pub(crate) fn check(
    name: &str,
    shape: &[usize],
    compute: impl Fn(&mut Workspace, &Tensor, Option<&Tensor>, f32) -> Computed,
) {
    let ws = &mut Workspace::new(test_device());
    let len = shape.iter().product();
    let weights = tensor(&inside(3, shape[0]), &shape[..1]);
    let predictions = tensor(&inside(2, len), shape);
    let (losses, grads) = compute(ws, &predictions, Some(&weights), 0.5).unwrap();
    assert_eq!(
        (losses.dims(), grads.dims()),
        (&shape[..1], shape),
        "{name}"
    );
    let plain = compute(ws, &predictions, None, 1.0).unwrap().0;
    assert_eq!(flat(&losses), flat(&plain), "{name}");
    let weights = flat64(&weights);
    let total = |p: &[f64]| {
        let p: Vec<f32> = p.iter().map(|p| *p as f32).collect();
        let ws = &mut Workspace::new(test_device());
        let losses = compute(ws, &tensor(&p, shape), None, 1.0).unwrap().0;
        let pairs = flat64(&losses).into_iter().zip(&weights);
        pairs.map(|(loss, weight)| 0.5 * loss * weight).sum::<f64>()
    };
    let (all, found) = (flat64(&predictions), flat64(&grads));
    // Each value by itself, or where there are many all of them in one direction.
    let directions: Vec<Vec<f64>> = match len {
        0..=32 => (0..len)
            .map(|i| (0..len).map(|k| f64::from(u8::from(i == k))).collect())
            .collect(),
        _ => vec![values(9, len).iter().map(|d| f64::from(*d)).collect()],
    };
    let step = 2e-3;
    for (i, direction) in directions.iter().enumerate() {
        let moved = |step: f64| {
            let pairs = all.iter().zip(direction);
            total(&pairs.map(|(p, d)| p + step * d).collect::<Vec<_>>())
        };
        let expected = (moved(step) - moved(-step)) / (2.0 * step);
        let found: f64 = found.iter().zip(direction).map(|(g, d)| g * d).sum();
        let slack = 1e-2 * expected.abs().max(0.02);
        let close = (found - expected).abs() < slack;
        assert!(close, "{name} at {i}: {found}, not {expected}");
    }
}

#[test]
fn gradients_of_rows_follow_differences() {
    same_bits_on_every_path(|| {
        for loss in all() {
            for shape in SHAPES {
                let len = shape.iter().product();
                let targets = tensor(&inside(1, len), shape);
                check(
                    &format!("{loss:?} of {shape:?}"),
                    shape,
                    |ws, p, weights, scale| row_loss(ws, loss, p, &targets, weights, scale),
                );
            }
        }
    });
}

#[test]
fn gradients_of_labels_follow_differences() {
    same_bits_on_every_path(|| {
        let generalized = |logits, q| LabelLoss::GeneralizedCrossentropy { logits, q };
        for loss in [
            crossentropy(false, None),
            crossentropy(true, None),
            crossentropy(true, Some(1)),
            crossentropy(false, Some(1)),
            generalized(true, 0.3),
            generalized(false, 0.7),
        ] {
            for shape in SHAPES {
                let rows = shape[..shape.len() - 1].iter().product::<usize>();
                let truth: Vec<u32> = (0..rows as u32).map(|n| n % 3).collect();
                let truth = labels(&truth);
                let name = format!("{loss:?} of {shape:?}");
                check(&name, shape, |ws, p, weights, scale| {
                    label_loss(ws, loss, p, &truth, weights, scale)
                });
            }
        }
    });
}

#[test]
fn gradients_of_circles_follow_differences() {
    same_bits_on_every_path(|| {
        for (remove_diagonal, margin) in [(true, 0.4), (false, 0.25)] {
            let circle = Circle {
                gamma: 4.0,
                margin,
                remove_diagonal,
            };
            for n in [5, 70, 300] {
                // One sample is alone in its class.
                let truth: Vec<u32> = (0..n as u32)
                    .map(|i| if i == 1 { 9 } else { i % 3 })
                    .collect();
                let truth = labels(&truth);
                let name = format!("{circle:?} of {n}");
                check(&name, &[n, n], |ws, p, weights, scale| {
                    circle_loss(ws, circle, p, &truth, weights, scale)
                });
            }
        }
    });
}

#[test]
fn a_circle_needs_pairs_of_both_kinds() {
    let ws = &mut Workspace::new(test_device());
    let circle = Circle {
        gamma: 80.0,
        margin: 0.4,
        remove_diagonal: true,
    };
    let s = tensor(&inside(4, 9), &[3, 3]);
    for (truth, zeros) in [([0, 0, 0], 0..3), ([0, 1, 2], 0..3), ([0, 0, 1], 2..3)] {
        let (losses, grads) = circle_loss(ws, circle, &s, &labels(&truth), None, 1.0).unwrap();
        let (losses, grads) = (flat(&losses), flat(&grads));
        for sample in 0..3 {
            let is_zero = zeros.contains(&sample);
            assert_eq!(losses[sample] == 0.0, is_zero, "{truth:?}: {losses:?}");
            let row = &grads[3 * sample..][..3];
            assert_eq!(
                row.iter().all(|grad| *grad == 0.0),
                is_zero,
                "{truth:?}: {grads:?}"
            );
        }
    }
    let two = labels(&[0, 1]);
    assert!(circle_loss(ws, circle, &s, &two, None, 1.0).is_err());
    let wide = tensor(&inside(4, 12), &[3, 4]);
    assert!(circle_loss(ws, circle, &wide, &labels(&[0, 1, 1]), None, 1.0).is_err());
}

#[test]
fn gradients_of_overlaps_follow_differences() {
    same_bits_on_every_path(|| {
        for (missed, excess, each_sample) in [(0.5, 0.5, false), (0.3, 0.7, true)] {
            let overlap = Overlap {
                missed,
                excess,
                fuzz: 1e-7,
                each_sample,
            };
            for shape in [&[5, 3][..], &[3, 2, 4], &[2, 9000], &[6]] {
                let len = shape.iter().product();
                let targets = tensor(&inside(1, len), shape);
                check(
                    &format!("{overlap:?} of {shape:?}"),
                    shape,
                    |ws, p, weights, scale| overlap_loss(ws, overlap, p, &targets, weights, scale),
                );
            }
        }
    });
}

/// One group of everything: each sample has the loss of all.
#[test]
fn an_overlap_is_that_of_its_group() {
    let ws = &mut Workspace::new(test_device());
    let y = tensor(&[1.0, 0.0, 1.0, 1.0], &[2, 2]);
    let p = tensor(&[0.5, 0.5, 1.0, 0.0], &[2, 2]);
    let overlap = |each_sample| Overlap {
        missed: 0.5,
        excess: 0.25,
        fuzz: 0.0,
        each_sample,
    };
    let all = overlap_loss(ws, overlap(false), &p, &y, None, 1.0)
        .unwrap()
        .0;
    let expected = 1.0 - 1.5 / (1.5 + 0.5 * 1.5 + 0.25 * 0.5);
    check_close("all", &all, &[expected, expected], 1e-6);
    let each = overlap_loss(ws, overlap(true), &p, &y, None, 1.0)
        .unwrap()
        .0;
    let expected = [
        1.0 - 0.5 / (0.5 + 0.5 * 0.5 + 0.25 * 0.5),
        1.0 - 1.0 / (1.0 + 0.5),
    ];
    check_close("each", &each, &expected, 1e-6);
}

#[test]
fn targets_of_hinges_are_one_and_minus_one() {
    same_bits_on_every_path(|| {
        let ws = &mut Workspace::new(test_device());
        let binary = tensor(&[0.0, 1.0, 1.0], &[3]);
        assert_eq!(flat(&hinge_targets(ws, &binary).unwrap()), [-1.0, 1.0, 1.0]);
        let mut many = vec![0.0; 70_000];
        many[69_999] = -1.0;
        for other in [vec![1.0, 0.5, 0.0], vec![-1.0, 1.0, 0.0], many] {
            let targets = tensor(&other, &[other.len()]);
            assert_eq!(flat(&hinge_targets(ws, &targets).unwrap()), other);
        }
        let y = hinge_targets(ws, &binary).unwrap();
        let p = tensor(&[-2.0, 0.5, -1.0], &[3]);
        let (losses, grads) = element_loss(ws, ElementLoss::Hinge, &p, &y, None, 1.0).unwrap();
        assert_eq!(flat(&losses), [0.0, 0.5, 2.0]);
        assert_eq!(flat(&grads), [0.0, -1.0, -1.0]);
        let squared = ElementLoss::SquaredHinge;
        let (losses, grads) = element_loss(ws, squared, &p, &y, None, 1.0).unwrap();
        assert_eq!(flat(&losses), [0.0, 0.25, 4.0]);
        assert_eq!(flat(&grads), [0.0, -1.0, -4.0]);
    });
}

#[test]
fn far_logits_stay_finite_and_nan_stays() {
    let ws = &mut Workspace::new(test_device());
    let y = tensor(&[1.0, 0.0, 0.0, 1.0, 1.0, 0.0], &[3, 2]);
    let p = tensor(&[500.0, -500.0, 500.0, -500.0, f32::NAN, 0.0], &[3, 2]);
    let loss = RowLoss::CategoricalCrossentropy {
        logits: true,
        label_smoothing: 0.0,
    };
    let truth = labels(&[0, 1, 0]);
    for (losses, grads) in [
        row_loss(ws, loss, &p, &y, None, 1.0).unwrap(),
        label_loss(ws, crossentropy(true, None), &p, &truth, None, 1.0).unwrap(),
    ] {
        let (losses, grads) = (flat(&losses), flat(&grads));
        assert_eq!(losses[..2], [0.0, 1000.0]);
        assert_eq!(grads[..4], [0.0, 0.0, 1.0, -1.0]);
        assert!(losses[2].is_nan() && grads[4].is_nan());
    }
}

#[test]
fn wrong_shapes_and_labels_are_errors() {
    let ws = &mut Workspace::new(test_device());
    let p = tensor(&inside(1, 6), &[2, 3]);
    let short = tensor(&inside(1, 4), &[2, 2]);
    let overlap = Overlap {
        missed: 0.5,
        excess: 0.5,
        fuzz: 1e-7,
        each_sample: false,
    };
    let loss = RowLoss::KlDivergence;
    let weights = tensor(&inside(2, 3), &[3]);
    assert!(row_loss(ws, loss, &p, &short, None, 1.0).is_err());
    assert!(row_loss(ws, loss, &p, &p, Some(&weights), 1.0).is_err());
    assert!(overlap_loss(ws, overlap, &p, &short, None, 1.0).is_err());
    assert!(overlap_loss(ws, overlap, &p, &p, Some(&weights), 1.0).is_err());
    let three = labels(&[0, 1, 2]);
    let crossentropy_of_logits = crossentropy(true, None);
    assert!(label_loss(ws, crossentropy_of_logits, &p, &three, None, 1.0).is_err());
    let empty = tensor(&[], &[2, 0]);
    assert!(row_loss(ws, loss, &empty, &empty, None, 1.0).is_err());
    let none = tensor(&[], &[0, 3]);
    let (losses, grads) = row_loss(ws, loss, &none, &none, None, 1.0).unwrap();
    assert_eq!((losses.dims(), grads.dims()), (&[0][..], &[0, 3][..]));
    let (losses, grads) = overlap_loss(ws, overlap, &none, &none, None, 1.0).unwrap();
    assert_eq!((losses.dims(), grads.dims()), (&[0][..], &[0, 3][..]));

    // The label to ignore need not name a class; another that names none is told or shows.
    let truth = labels(&[7, 3]);
    for logits in [true, false] {
        match label_loss(ws, crossentropy(logits, Some(7)), &p, &truth, None, 1.0) {
            Err(TensorError::Label { sample, label, .. }) => {
                assert!(test_device().is_cpu());
                assert_eq!((sample, label), (1, 3));
            }
            Err(error) => panic!("{error}"),
            Ok((losses, grads)) => {
                let (losses, grads) = (flat(&losses), flat(&grads));
                assert!(losses[0] == 0.0 && losses[1].is_nan());
                assert!(grads[..3] == [0.0; 3] && grads[3..].iter().all(|g| g.is_nan()));
            }
        }
    }
}
