//! Normalizations, softmax and losses start kernels only.

use keros_tensor::kernels::{
    Activation, BatchNorm, Circle, ElementLoss, LabelLoss, NormLayout, NormParams, Overlap,
    RowLoss, batch_norm, batch_norm_backward, categorical_cross_entropy, channel_statistics,
    circle_loss, correct, ctc_loss, element_loss, hinge_targets, label_loss, log_softmax,
    log_softmax_backward, normalize, normalize_backward, overlap_loss, row_loss, softmax,
    softmax_backward, softmax_cross_entropy, unit_normalize, unit_normalize_backward,
};

use super::stays_on_the_gpu;
use crate::support::{labels, random};

#[test]
fn normalization_stays_on_the_gpu() {
    let (x, dy, c) = (
        random(1, &[6, 4, 8]),
        random(2, &[6, 4, 8]),
        random(3, &[8]),
    );
    let (channels, params) = (Some(&c), [random(4, &[8]), random(5, &[8])]);
    let (dgamma, dbeta) = (Some(&params[0]), Some(&params[1]));
    stays_on_the_gpu(|ws| {
        let (mean, variance) = channel_statistics(ws, &x, 2).unwrap();
        for activation in [Activation::Linear, Activation::Relu] {
            let norm = BatchNorm {
                gamma: channels,
                beta: channels,
                activation,
                ..BatchNorm::new(2, &mean, &variance, 1e-3)
            };
            batch_norm(ws, &x, &norm).unwrap();
            batch_norm_backward(ws, &x, &dy, &norm, true, dgamma, dbeta, true).unwrap();
        }
        let groups = NormLayout {
            outer: 6,
            before: 4,
            kept: 2,
            after: 4,
        };
        let layers = NormLayout {
            outer: 24,
            before: 1,
            kept: 1,
            after: 8,
        };
        for (layout, params) in [
            (groups, NormParams::Trailing),
            (layers, NormParams::Normalized),
        ] {
            let (_, statistics) =
                normalize(ws, &x, &layout, channels, channels, params, 1e-3).unwrap();
            normalize_backward(
                ws,
                &x,
                &statistics,
                &dy,
                &layout,
                channels,
                params,
                dgamma,
                dbeta,
                true,
            )
            .unwrap();
            let (y, factors) = unit_normalize(ws, &x, &layout).unwrap();
            unit_normalize_backward(ws, &y, &factors, &dy, &layout).unwrap();
        }
    });
}

#[test]
fn softmax_and_losses_stay_on_the_gpu() {
    let (x, dy, weights) = (random(1, &[6, 5]), random(2, &[6, 5]), random(3, &[6]));
    let truth = labels(&[0, 1, 2, 3, 4, 0]);
    let (similarities, sequences) = (random(4, &[6, 6]), random(5, &[6, 4, 5]));
    let of_sequences = truth.reshape((6, 1)).unwrap();
    let weights = Some(&weights);
    stays_on_the_gpu(|ws| {
        let y = softmax(ws, &x).unwrap();
        softmax_backward(ws, &y, &dy).unwrap();
        let y = log_softmax(ws, &x).unwrap();
        log_softmax_backward(ws, &y, &dy).unwrap();
        softmax_cross_entropy(ws, &x, &truth, weights, 0.5).unwrap();
        categorical_cross_entropy(ws, &x, &dy, weights, 0.5).unwrap();
        correct(ws, &x, &truth).unwrap();
        element_loss(ws, ElementLoss::SquaredError, &x, &dy, weights, 0.5).unwrap();
        let y = hinge_targets(ws, &dy).unwrap();
        element_loss(ws, ElementLoss::Hinge, &x, &y, weights, 0.5).unwrap();
        row_loss(ws, RowLoss::CosineSimilarity, &x, &dy, weights, 0.5).unwrap();
        let crossentropy = LabelLoss::Crossentropy {
            logits: true,
            ignored: Some(0),
        };
        label_loss(ws, crossentropy, &x, &truth, weights, 0.5).unwrap();
        let circle = Circle {
            gamma: 80.0,
            margin: 0.4,
            remove_diagonal: true,
        };
        circle_loss(ws, circle, &similarities, &truth, weights, 0.5).unwrap();
        ctc_loss(ws, &sequences, &of_sequences, weights, 0.5).unwrap();
        let overlap = Overlap {
            missed: 0.5,
            excess: 0.5,
            fuzz: 1e-7,
            each_sample: true,
        };
        overlap_loss(ws, overlap, &x, &dy, weights, 0.5).unwrap();
    });
}
