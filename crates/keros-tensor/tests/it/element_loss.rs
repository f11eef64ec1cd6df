//! Losses of single values: gradients against differences, means, weights and scale.
//!
//! What each loss is in Keras is tested where the losses have its names.

use keros_tensor::Workspace;
use keros_tensor::kernels::{ElementLoss, element_loss};

use crate::support::{check_close, flat64, random, same_bits_on_every_path, tensor, values};
use crate::test_device::test_device;

fn all() -> Vec<ElementLoss> {
    let mut all = vec![
        ElementLoss::SquaredError,
        ElementLoss::AbsoluteError,
        ElementLoss::AbsolutePercentageError,
        ElementLoss::SquaredLogarithmicError,
        ElementLoss::Huber { delta: 0.25 },
        ElementLoss::LogCosh,
        ElementLoss::Poisson,
    ];
    for logits in [false, true] {
        let label_smoothing = 0.1;
        all.push(ElementLoss::BinaryCrossentropy {
            logits,
            label_smoothing,
        });
        for alpha in [None, Some(0.25)] {
            all.push(ElementLoss::BinaryFocalCrossentropy {
                logits,
                label_smoothing,
                gamma: 2.0,
                alpha,
            });
        }
    }
    all
}

/// Between 0.1 and 0.9, which suits them all.
fn inside(seed: u64, len: usize) -> Vec<f32> {
    values(seed, len).iter().map(|v| 0.5 + 0.4 * v).collect()
}

#[test]
fn gradients_follow_differences() {
    same_bits_on_every_path(|| {
        let ws = &mut Workspace::new(test_device());
        for loss in all() {
            // Samples of a few values, and of more than one block has.
            for shape in [vec![3], vec![4, 2, 3], vec![2, 9000]] {
                let len = shape.iter().product();
                let (y, p) = (inside(1, len), inside(2, len));
                let weights = tensor(&inside(3, shape[0]), &shape[..1]);
                let (targets, predictions) = (tensor(&y, &shape), tensor(&p, &shape));
                let (losses, grads) =
                    element_loss(ws, loss, &predictions, &targets, Some(&weights), 0.5).unwrap();
                assert_eq!(losses.dims(), &shape[..1]);
                assert_eq!(grads.dims(), shape);
                let (weights, size) = (flat64(&weights), len / shape[0]);

                // Each value alone, a little to both sides.
                let step = 1e-2;
                let single = |ws: &mut Workspace, p: Vec<f32>| {
                    let (p, y) = (tensor(&p, &[len]), tensor(&y, &[len]));
                    flat64(&element_loss(ws, loss, &p, &y, None, 1.0).unwrap().0)
                };
                let at = single(ws, p.clone());
                let means: Vec<f64> = at
                    .chunks(size)
                    .map(|c| c.iter().sum::<f64>() / size as f64)
                    .collect();
                check_close(&format!("{loss:?}"), &losses, &means, 1e-6);
                let above = single(ws, p.iter().map(|p| p + step as f32).collect());
                let below = single(ws, p.iter().map(|p| p - step as f32).collect());
                let found = flat64(&grads);
                for (i, grad) in found.into_iter().enumerate() {
                    // Neither where a square becomes a line nor where a distance turns.
                    let (above, below) = ((above[i] - at[i]) / step, (at[i] - below[i]) / step);
                    let factor = 0.5 * weights[i / size] / size as f64;
                    let (low, high) = (above.min(below) * factor, above.max(below) * factor);
                    let slack = 1e-2 * factor * (1.0 + low.abs().max(high.abs()) / factor);
                    assert!(
                        (low - slack..=high + slack).contains(&grad),
                        "{loss:?} of {shape:?} at {i}: {grad} is not in {low}..{high}"
                    );
                }
            }
        }
    });
}

#[test]
fn far_values_stay_finite_and_nan_stays() {
    let ws = &mut Workspace::new(test_device());
    let y = tensor(&[0.0, 1.0, 0.0, 1.0], &[4]);
    let logits = ElementLoss::BinaryCrossentropy {
        logits: true,
        label_smoothing: 0.0,
    };
    let p = tensor(&[200.0, -200.0, -200.0, f32::NAN], &[4]);
    let (losses, grads) = element_loss(ws, logits, &p, &y, None, 1.0).unwrap();
    assert_eq!(flat64(&losses)[..3], [200.0, 200.0, 0.0]);
    assert_eq!(flat64(&grads)[..2], [1.0, -1.0]);
    assert!(flat64(&losses)[3].is_nan() && flat64(&grads)[3].is_nan());
    // Probabilities are clipped, and there the gradient is 0.
    let clipped = ElementLoss::BinaryCrossentropy {
        logits: false,
        label_smoothing: 0.0,
    };
    let p = tensor(&[1.0, 0.0, 0.0, 1.0], &[4]);
    let (losses, grads) = element_loss(ws, clipped, &p, &y, None, 1.0).unwrap();
    check_close("losses", &losses, &[15.9424, 16.1181, 0.0, 0.0], 1e-4);
    check_close("gradient", &grads, &[0.0; 4], 0.0);
    let p = tensor(&[1e4, -1e4, f32::NAN, 1.0], &[4]);
    let (losses, grads) = element_loss(ws, ElementLoss::LogCosh, &p, &y, None, 1.0).unwrap();
    assert!(
        flat64(&losses)[..2]
            .iter()
            .all(|loss| (9998.0..10001.0).contains(loss))
    );
    assert_eq!(flat64(&grads)[..2], [1.0, -1.0]);
    assert!(flat64(&losses)[2].is_nan());
    check_close(
        "at the target",
        &grads.narrow(0, 3, 1).unwrap(),
        &[0.0],
        0.0,
    );
}

#[test]
fn empty_batches_and_wrong_shapes() {
    let ws = &mut Workspace::new(test_device());
    let squared = ElementLoss::SquaredError;
    let empty = tensor(&[], &[0, 3]);
    let (losses, grads) = element_loss(ws, squared, &empty, &empty, None, 1.0).unwrap();
    assert_eq!((losses.dims(), grads.dims()), (&[0][..], &[0, 3][..]));
    let x = random(1, &[2, 3]);
    let weights = random(2, &[3]);
    assert!(element_loss(ws, squared, &x, &random(1, &[2, 2]), None, 1.0).is_err());
    assert!(element_loss(ws, squared, &x, &x, Some(&weights), 1.0).is_err());
    let nothing = tensor(&[], &[2, 0]);
    assert!(element_loss(ws, squared, &nothing, &nothing, None, 1.0).is_err());
}
