//! Losses and metrics against numbers worked out by hand.

use keros_nn::metrics::AccuracyByShape;
use keros_nn::{
    Activation, CategoricalCrossentropy, Loss, MeanSquaredError, Metric, Output,
    SparseCategoricalCrossentropy, Target, WeightedMean,
};
use keros_tensor::access::read;
use keros_tensor::{Device, Tensor, Workspace};

fn output(rows: &[[f32; 3]], activation: Activation) -> Output {
    Output {
        logits: Tensor::from_vec(rows.concat(), (rows.len(), 3), &Device::Cpu).unwrap(),
        activation,
    }
}

fn labels(labels: &[u32]) -> Target {
    Target::Labels(Tensor::new(labels, &Device::Cpu).unwrap())
}

fn values(rows: &[[f32; 3]]) -> Target {
    Target::Values(Tensor::from_vec(rows.concat(), (rows.len(), 3), &Device::Cpu).unwrap())
}

fn close(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (f, e) in found.iter().zip(expected) {
        assert!((f - e).abs() < 1e-6, "{found:?} is not {expected:?}");
    }
}

#[test]
fn both_crossentropies_agree_and_do_not_clip() {
    let ws = &mut Workspace::new(&Device::Cpu);
    // softmax([ln 1, ln 2, ln 5]) = [1/8, 2/8, 5/8]; the second row is a saturated miss.
    let rows = [[0.0, 2.0_f32.ln(), 5.0_f32.ln()], [40.0, 0.0, 0.0]];
    let out = output(&rows, Activation::Softmax);
    let weights = Tensor::new(&[1.0_f32, 0.5], &Device::Cpu).unwrap();
    let sparse = SparseCategoricalCrossentropy::new()
        .compute(ws, &out, &labels(&[1, 2]), Some(&weights), 0.5)
        .unwrap();
    close(
        &read::<f32>(&sparse.per_sample).unwrap(),
        &[4.0_f32.ln(), 40.0],
    );
    let expected = [0.0625, -0.375, 0.3125, 0.25, 0.0, -0.25];
    close(&read::<f32>(&sparse.grad).unwrap(), &expected);
    let one_hot = values(&[[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]);
    let dense = CategoricalCrossentropy::new()
        .compute(ws, &out, &one_hot, Some(&weights), 0.5)
        .unwrap();
    close(
        &read::<f32>(&dense.per_sample).unwrap(),
        &[4.0_f32.ln(), 40.0],
    );
    close(&read::<f32>(&dense.grad).unwrap(), &expected);
}

#[test]
fn crossentropy_tells_probabilities_from_logits() {
    let ws = &mut Workspace::new(&Device::Cpu);
    let linear = output(&[[0.0; 3]], Activation::Linear);
    let probabilities = SparseCategoricalCrossentropy::new();
    let logits = probabilities.from_logits(true);
    let loss = logits
        .compute(ws, &linear, &labels(&[0]), None, 1.0)
        .unwrap();
    close(&read::<f32>(&loss.per_sample).unwrap(), &[3.0_f32.ln()]);
    let linear = output(&[[0.5, 0.3, 0.2]], Activation::Linear);
    let loss = probabilities
        .compute(ws, &linear, &labels(&[0]), None, 1.0)
        .unwrap();
    close(&read::<f32>(&loss.per_sample).unwrap(), &[2.0_f32.ln()]);
    // Probabilities that are said to be logits are a mistake.
    let softmax = output(&[[0.0; 3]], Activation::Softmax);
    let error = logits
        .compute(ws, &softmax, &labels(&[0]), None, 1.0)
        .err()
        .unwrap();
    assert!(error.to_string().contains("from_logits"), "{error}");
}

#[test]
fn mean_squared_error_is_a_mean_over_values() {
    let ws = &mut Workspace::new(&Device::Cpu);
    let out = output(&[[1.0, 2.0, 3.0]], Activation::Linear);
    let loss = MeanSquaredError::new();
    let result = loss
        .compute(ws, &out, &values(&[[1.0, 0.0, 6.0]]), None, 1.0)
        .unwrap();
    close(&read::<f32>(&result.per_sample).unwrap(), &[13.0 / 3.0]);
    close(&read::<f32>(&result.grad).unwrap(), &[0.0, 4.0 / 3.0, -2.0]);
    let two = values(&[[0.0; 3], [0.0; 3]]);
    assert!(loss.compute(ws, &out, &two, None, 1.0).is_err());
}

#[test]
fn accuracy_resolves_by_the_shape_of_targets() {
    let ws = &mut Workspace::new(&Device::Cpu);
    let rows = [
        [0.1, 0.9, 0.0],
        [0.5, 0.5, 0.2],
        [0.0, 0.1, 0.3],
        [0.9, 0.1, 0.1],
    ];
    let out = output(&rows, Activation::Softmax);
    // The first of equal outputs is the prediction.
    let mut sparse = AccuracyByShape::new();
    sparse
        .update(ws, &out, &labels(&[1, 0, 0, 1]), None)
        .unwrap();
    assert_eq!(sparse.result(), 0.5);
    let mut dense = AccuracyByShape::new();
    let one_hot = values(&[
        [0.0, 1.0, 0.0],
        [1.0, 0.0, 0.0],
        [1.0, 0.0, 0.0],
        [0.0, 1.0, 0.0],
    ]);
    dense.update(ws, &out, &one_hot, None).unwrap();
    assert_eq!(dense.result(), 0.5);
    let weights = Tensor::new(&[3.0_f32, 0.0, 1.0, 0.0], &Device::Cpu).unwrap();
    let mut weighted = AccuracyByShape::new();
    weighted
        .update(ws, &out, &labels(&[1, 0, 0, 1]), Some(&weights))
        .unwrap();
    assert_eq!(weighted.result(), 0.75);
    // One value per sample: strictly above one half.
    let single = Output {
        logits: Tensor::new(&[[0.5_f32], [0.6], [0.2]], &Device::Cpu).unwrap(),
        activation: Activation::Linear,
    };
    let truth = Target::Values(Tensor::new(&[[1.0_f32], [1.0], [0.0]], &Device::Cpu).unwrap());
    let mut binary = AccuracyByShape::new();
    binary.update(ws, &single, &truth, None).unwrap();
    assert!((binary.result() - 2.0 / 3.0).abs() < 1e-9);
    binary.reset();
    assert_eq!(binary.result(), 0.0);
}

#[test]
fn means_are_weighted() {
    let mut mean = WeightedMean::default();
    assert_eq!(mean.result(), 0.0);
    mean.add(1.0, 32.0);
    mean.add(4.0, 16.0);
    assert_eq!(mean.result(), 2.0);
}
