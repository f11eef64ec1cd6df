//! Losses and metrics against numbers worked out by hand.

use crate::test_device::test_device;
use keros_nn::losses::{
    BinaryCrossentropy, BinaryFocalCrossentropy, CategoricalFocalCrossentropy, CategoricalHinge,
    CosineSimilarity, Dice, Hinge, Huber, KLDivergence, Tversky,
};
use keros_nn::metrics::{
    self, AccuracyByShape, Auc, CategoricalAccuracy, Curve, FBetaScore, LossMetric, MeanIoU,
    OneHotIoU, PearsonCorrelation, Precision, R2Score, Recall, RecallAtPrecision,
    SparseCategoricalAccuracy,
};
use keros_nn::{
    Activation, CategoricalCrossentropy, Loss, MeanSquaredError, Metric, NnError, Output,
    Reduction, SparseCategoricalCrossentropy, Target, TargetKind, WeightedMean,
};
use keros_tensor::access::read;
use keros_tensor::{Stream, Tensor, Workspace};

fn output(rows: &[[f32; 3]], activation: Activation) -> Output {
    Output {
        logits: Tensor::from_vec(rows.concat(), (rows.len(), 3), test_device()).unwrap(),
        activation,
    }
}

fn labels(labels: &[u32]) -> Target {
    Target::Labels(Tensor::new(labels, test_device()).unwrap())
}

fn values(rows: &[[f32; 3]]) -> Target {
    Target::Values(Tensor::from_vec(rows.concat(), (rows.len(), 3), test_device()).unwrap())
}

fn close(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (f, e) in found.iter().zip(expected) {
        assert!((f - e).abs() < 1e-6, "{found:?} is not {expected:?}");
    }
}

fn names_of_losses() -> Vec<&'static str> {
    match "none".parse::<Box<dyn Loss>>().map(drop) {
        Err(NnError::UnknownName { known, .. }) => known.to_vec(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn both_crossentropies_agree_and_do_not_clip() {
    let ws = &mut Workspace::new(test_device());
    // softmax([ln 1, ln 2, ln 5]) = [1/8, 2/8, 5/8]; the second row is a saturated miss.
    let rows = [[0.0, 2.0_f32.ln(), 5.0_f32.ln()], [40.0, 0.0, 0.0]];
    let out = output(&rows, Activation::Softmax);
    let weights = Tensor::new(&[1.0_f32, 0.5], test_device()).unwrap();
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
    let ws = &mut Workspace::new(test_device());
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
fn every_loss_is_a_metric_of_its_name() {
    let ws = &mut Workspace::new(test_device());
    for name in names_of_losses() {
        let metric: Box<dyn Metric> = name.parse().unwrap();
        assert_eq!(metric.name(), name);
    }
    let rows = [[0.6, 0.0, 0.8], [0.8, 0.6, 0.0], [0.0, 1.0, 0.0]];
    let out = output(&rows, Activation::Linear);
    let sequence = Output {
        logits: out.logits.reshape((1, 3, 3)).unwrap(),
        activation: Activation::Linear,
    };
    let one_label = Target::Labels(Tensor::new(&[[1_u32]], test_device()).unwrap());
    for (name, output, target) in [
        (
            "categorical_generalized_cross_entropy",
            &out,
            labels(&[0, 1, 1]),
        ),
        ("circle", &out, labels(&[0, 0, 1])),
        ("ctc", &sequence, one_label),
    ] {
        let loss: Box<dyn Loss> = name.parse().unwrap();
        let losses = loss.compute(ws, output, &target, None, 1.0).unwrap();
        let losses = read::<f32>(&losses.per_sample).unwrap().to_vec();
        let mean = loss.scale(output, &target, None).unwrap() as f32 * losses.iter().sum::<f32>();
        assert!(mean > 0.0);
        let mut metric: Box<dyn Metric> = name.parse().unwrap();
        metric.update(ws, output, &target, None).unwrap();
        close(&[metric.result() as f32], &[mean]);
    }
}

/// A loss that is a number where a prediction is none would hide it from `TerminateOnNaN`.
#[test]
fn every_loss_of_a_prediction_that_is_nan_is_nan() {
    let ws = &mut Workspace::new(test_device());
    let tensor = |values: &[f32], dims: &[usize]| {
        Tensor::from_vec(values.to_vec(), dims, test_device()).unwrap()
    };
    let one_hot = [0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0];
    for name in names_of_losses() {
        let loss: Box<dyn Loss> = name.parse().unwrap();
        let (dims, target): (&[usize], _) = match (name, loss.target_kind()) {
            ("ctc", _) => {
                let two = Tensor::new(&[[1_u32, 2]], test_device()).unwrap();
                (&[1, 4, 3], Target::Labels(two))
            }
            ("circle", _) => (&[4, 3], labels(&[0, 1, 1, 0])),
            (_, TargetKind::Labels) => (&[4, 3], labels(&[1, 0, 2, 0])),
            (_, TargetKind::Values) => (&[4, 3], Target::Values(tensor(&one_hot, &[4, 3]))),
        };
        for activation in [Activation::Linear, Activation::Sigmoid, Activation::Softmax] {
            if name == "ctc" && activation != Activation::Linear {
                continue;
            }
            for place in 0..12 {
                let mut predictions = [0.2, 0.7, 0.1].repeat(4);
                predictions[place] = f32::NAN;
                let logits = tensor(&predictions, dims);
                let output = Output { logits, activation };
                let result = loss.compute(ws, &output, &target, None, 1.0).unwrap();
                let losses = read::<f32>(&result.per_sample).unwrap().to_vec();
                let sample = place / 3 % losses.len();
                assert!(
                    losses[sample].is_nan(),
                    "{name} of {activation:?} values with NaN at {place}: {losses:?}"
                );
            }
        }
    }
}

#[test]
fn mean_squared_error_is_a_mean_over_values() {
    let ws = &mut Workspace::new(test_device());
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
    let ws = &mut Workspace::new(test_device());
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
    let weights = Tensor::new(&[3.0_f32, 0.0, 1.0, 0.0], test_device()).unwrap();
    let mut weighted = AccuracyByShape::new();
    weighted
        .update(ws, &out, &labels(&[1, 0, 0, 1]), Some(&weights))
        .unwrap();
    assert_eq!(weighted.result(), 0.75);
    // One value per sample: strictly above one half.
    let single = Output {
        logits: Tensor::new(&[[0.5_f32], [0.6], [0.2]], test_device()).unwrap(),
        activation: Activation::Linear,
    };
    let truth = Target::Values(Tensor::new(&[[1.0_f32], [1.0], [0.0]], test_device()).unwrap());
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

/// A tensor of random numbers in `[low, high)`.
fn random(dims: &[usize], stream: u64, low: f32, high: f32) -> Tensor {
    let mut values = vec![0.0; dims.iter().product()];
    Stream::new(5, stream).fill_uniform(0, low, high, &mut values);
    Tensor::from_vec(values, dims, test_device()).unwrap()
}

/// `scale · Σ weight · loss` in f64.
fn total(loss: &dyn Loss, output: &Output, target: &Target, weights: &Tensor) -> f64 {
    let ws = &mut Workspace::new(test_device());
    let scale = loss.scale(output, target, Some(weights)).unwrap();
    let result = loss
        .compute(ws, output, target, Some(weights), 1.0)
        .unwrap();
    let (losses, weights) = (
        read::<f32>(&result.per_sample).unwrap(),
        read::<f32>(weights).unwrap(),
    );
    let pairs = losses.iter().zip(weights.iter());
    let sum: f64 = pairs.map(|(l, w)| f64::from(*l) * f64::from(*w)).sum();
    scale * sum
}

/// Compares the gradient with central differences, as a whole.
fn check_gradient(loss: &dyn Loss, output: &Output, target: &Target) {
    let ws = &mut Workspace::new(test_device());
    let dims = output.logits.dims();
    let weights = random(&dims[..1], 9, 0.5, 2.0);
    let scale = loss.scale(output, target, Some(&weights)).unwrap();
    let result = loss
        .compute(ws, output, target, Some(&weights), scale as f32)
        .unwrap();
    let analytic = read::<f32>(&result.grad).unwrap().to_vec();
    let logits = read::<f32>(&output.logits).unwrap().to_vec();
    let step = 1.0 / 512.0;
    let (mut error, mut norm) = (0.0, 0.0);
    for (i, analytic) in analytic.iter().enumerate() {
        let at = |by: f32| {
            let mut moved = logits.clone();
            moved[i] += by;
            let moved = Output {
                logits: Tensor::from_vec(moved, dims, test_device()).unwrap(),
                activation: output.activation,
            };
            total(loss, &moved, target, &weights)
        };
        let numeric = (at(step) - at(-step)) / (2.0 * f64::from(step));
        error += (numeric - f64::from(*analytic)).powi(2);
        norm += numeric.powi(2);
    }
    let relative = (error / norm).sqrt();
    let what = (loss.name(), output.activation, dims);
    assert!(norm > 1e-9, "{what:?} has no gradient to compare with");
    // The losses are rounded to f32, which such a difference makes a thousandth of.
    assert!(relative < 5e-3, "{what:?}: gradient is off by {relative}");
}

/// One-hot rows.
fn one_hot(dims: &[usize]) -> Tensor {
    let width = dims[dims.len() - 1];
    let size: usize = dims.iter().product();
    let hot = |i: usize| f32::from(u8::from(i % width == (i / width * 7 + 1) % width));
    Tensor::from_vec((0..size).map(hot).collect::<Vec<_>>(), dims, test_device()).unwrap()
}

const ACTIVATIONS: [Activation; 3] = [Activation::Linear, Activation::Softmax, Activation::Sigmoid];

#[test]
fn gradients_of_losses_of_values_follow_differences() {
    let names = [
        "categorical_crossentropy",
        "categorical_focal_crossentropy",
        "binary_crossentropy",
        "binary_focal_crossentropy",
        "mse",
        "mae",
        "mape",
        "msle",
        "huber",
        "log_cosh",
        "kld",
        "poisson",
        "hinge",
        "squared_hinge",
        "categorical_hinge",
        "cosine_similarity",
        "dice",
        "tversky",
    ];
    for dims in [&[4, 5][..], &[3, 2, 4], &[2, 3, 2, 3]] {
        for activation in ACTIVATIONS {
            let output = Output {
                logits: random(dims, 1, 0.1, 0.9),
                activation,
            };
            for name in names {
                let loss: Box<dyn Loss> = name.parse().unwrap();
                // MAPE of a target 0 is a million times everything else.
                let target = match name {
                    "mape" => random(dims, 2, 0.9, 1.5),
                    _ => one_hot(dims),
                };
                check_gradient(loss.as_ref(), &output, &Target::Values(target));
            }
        }
    }
}

#[test]
fn gradients_with_arguments_follow_differences() {
    let dims = &[4, 2, 3];
    let target = Target::Values(one_hot(dims));
    let labels =
        Target::Labels(Tensor::new(&[[0_u32, 9], [1, 2], [9, 9], [2, 0]], test_device()).unwrap());
    for activation in ACTIVATIONS {
        let output = Output {
            logits: random(dims, 3, 0.1, 0.9),
            activation,
        };
        let check = |loss: &dyn Loss| check_gradient(loss, &output, &target);
        check(&CategoricalCrossentropy::new().label_smoothing(0.2).unwrap());
        check(&BinaryCrossentropy::new().label_smoothing(0.2).unwrap());
        let focal = BinaryFocalCrossentropy::new().apply_class_balancing(true);
        check(&focal.gamma(0.5).unwrap().alpha(0.4).unwrap());
        check(&CategoricalFocalCrossentropy::new().gamma(1.5).unwrap());
        check(&Dice::new().each_sample(true));
        check(&Tversky::new().alpha(0.3).unwrap().beta(0.8).unwrap());
        for reduction in [Reduction::Sum, Reduction::MeanWithSampleWeight] {
            check(&MeanSquaredError::new().with_reduction(reduction));
        }
        let ignoring = SparseCategoricalCrossentropy::new().ignore_class(9);
        check_gradient(&ignoring, &output, &labels);
    }
    let linear = Output {
        logits: random(dims, 4, -2.0, 2.0),
        activation: Activation::Linear,
    };
    check_gradient(
        &BinaryCrossentropy::new().from_logits(true),
        &linear,
        &target,
    );
    let focal = CategoricalFocalCrossentropy::new().from_logits(true);
    check_gradient(&focal, &linear, &target);
}

#[test]
fn inner_axes_are_averaged_and_reductions_divide_as_they_say() {
    let ws = &mut Workspace::new(test_device());
    let single = |values: &[f32]| Tensor::from_vec(values.to_vec(), (2, 2, 1), test_device());
    let out = Output {
        logits: single(&[1.0, 2.0, 3.0, 4.0]).unwrap(),
        activation: Activation::Linear,
    };
    let target = Target::Values(single(&[0.0; 4]).unwrap());
    let loss = MeanSquaredError::new();
    let result = loss.compute(ws, &out, &target, None, 1.0).unwrap();
    close(&read::<f32>(&result.per_sample).unwrap(), &[2.5, 12.5]);
    let weights = Tensor::new(&[1.0_f32, 3.0], test_device()).unwrap();
    let scale = |reduction, weights| {
        let loss = loss.with_reduction(reduction);
        loss.scale(&out, &target, weights).unwrap()
    };
    assert_eq!(scale(Reduction::SumOverBatchSize, Some(&weights)), 0.5);
    // Keras's sum is over four numbers, the two losses here are means of two.
    assert_eq!(scale(Reduction::Sum, Some(&weights)), 2.0);
    assert_eq!(scale(Reduction::MeanWithSampleWeight, Some(&weights)), 0.25);
    assert_eq!(scale(Reduction::MeanWithSampleWeight, None), 0.5);
    // With a class left out the divisor is the number of rows that count.
    let logits = output(&[[0.0; 3]; 4], Activation::Softmax);
    let sparse = SparseCategoricalCrossentropy::new().ignore_class(1);
    let some = labels(&[0, 1, 1, 1]);
    assert_eq!(sparse.scale(&logits, &some, None).unwrap(), 1.0);
    let none = labels(&[1, 1, 1, 1]);
    assert_eq!(sparse.scale(&logits, &none, None).unwrap(), 0.0);
}

#[test]
fn a_sigmoid_output_is_not_clipped_and_probabilities_are() {
    let ws = &mut Workspace::new(test_device());
    let out = |logit: f32, activation| Output {
        logits: Tensor::new(&[[logit]], test_device()).unwrap(),
        activation,
    };
    let truth = Target::Values(Tensor::new(&[[0.0_f32]], test_device()).unwrap());
    let loss = BinaryCrossentropy::new();
    let miss = out(40.0, Activation::Sigmoid);
    let result = loss.compute(ws, &miss, &truth, None, 1.0).unwrap();
    close(&read::<f32>(&result.per_sample).unwrap(), &[40.0]);
    close(&read::<f32>(&result.grad).unwrap(), &[1.0]);
    let miss = out(1.0, Activation::Linear);
    let result = loss.compute(ws, &miss, &truth, None, 1.0).unwrap();
    assert!((read::<f32>(&result.per_sample).unwrap()[0] - 15.942_385).abs() < 1e-4);
    close(&read::<f32>(&result.grad).unwrap(), &[0.0]);
    let error = loss
        .from_logits(true)
        .compute(ws, &out(1.0, Activation::Sigmoid), &truth, None, 1.0)
        .err()
        .unwrap();
    assert!(error.to_string().contains("from_logits"), "{error}");
}

/// Such as that of pixels which belong to nothing, which a loss ignores and a weight of 0 leaves out.
#[test]
fn a_label_that_names_no_class_is_a_miss() {
    let ws = &mut Workspace::new(test_device());
    let rows = output(&[[0.1, 0.2, 0.7]; 4], Activation::Softmax);
    let pixels = Output {
        logits: rows.logits.reshape((2, 2, 3)).unwrap(),
        activation: rows.activation,
    };
    let truth = [2_u32, 255, 2, 0];
    let of_rows = Tensor::new(&truth, test_device()).unwrap();
    let of_pixels = of_rows.reshape((2, 2)).unwrap();
    let numbers = Tensor::new(&truth.map(|label| label as f32), test_device()).unwrap();
    let counted = Tensor::new(&[1.0_f32, 0.0, 1.0, 1.0], test_device()).unwrap();
    for name in [
        "accuracy",
        "sparse_categorical_accuracy",
        "sparse_top_k_categorical_accuracy",
    ] {
        // Of three classes all are among the first five.
        let hits = if name.contains("top_k") { 3.0 } else { 2.0 };
        for (output, target, weights, rows) in [
            (&rows, Target::Labels(of_rows.clone()), None, 4.0),
            (&rows, Target::Values(numbers.clone()), None, 4.0),
            (&rows, Target::Labels(of_rows.clone()), Some(&counted), 3.0),
            (&pixels, Target::Labels(of_pixels.clone()), None, 4.0),
        ] {
            let mut metric: Box<dyn Metric> = name.parse().unwrap();
            metric.update(ws, output, &target, weights).unwrap();
            assert_eq!(metric.result(), hits / rows, "{name} {target:?}");
        }
    }
}

#[test]
fn arguments_out_of_range_and_wrong_targets_are_refused() {
    let error = Huber::new().delta(-1.0).unwrap_err().to_string();
    assert!(error.contains("delta") && error.contains("-1"), "{error}");
    assert!(
        CategoricalCrossentropy::new()
            .label_smoothing(f64::NAN)
            .is_err()
    );
    assert!(Precision::new().thresholds([0.5, 1.5]).is_err());
    assert!(Precision::new().top_k(0).is_err());
    assert!(Auc::new().num_thresholds(1).is_err());
    assert!(FBetaScore::new().beta(0.0).is_err());
    assert!(OneHotIoU::new(3, [0, 3]).is_err());
    let ws = &mut Workspace::new(test_device());
    let out = output(&[[0.1, 0.2, 0.7]; 2], Activation::Linear);
    let error = Recall::new()
        .class_id(3)
        .update(ws, &out, &values(&[[0.0; 3]; 2]), None)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("class_id") && error.contains("below 3"),
        "{error}"
    );
    let short = Tensor::new(&[1.0_f32], test_device()).unwrap();
    let truth = values(&[[0.0; 3]; 2]);
    for name in ["mse", "precision", "f1_score", "accuracy", "dice"] {
        let mut metric: Box<dyn Metric> = name.parse().unwrap();
        assert!(
            metric.update(ws, &out, &truth, Some(&short)).is_err(),
            "{name}"
        );
        let wrong = values(&[[0.0; 3]; 3]);
        assert!(metric.update(ws, &out, &wrong, None).is_err(), "{name}");
        assert_eq!(metric.result(), 0.0, "{name}");
    }
    let mut sparse = SparseCategoricalAccuracy::new();
    let half = Target::Values(Tensor::new(&[1.0_f32, 0.5], test_device()).unwrap());
    let error = sparse.update(ws, &out, &half, None).unwrap_err();
    assert!(error.to_string().contains("row 1"), "{error}");
    let classes = Output {
        logits: Tensor::new(&[1.0_f32, -1.0], test_device()).unwrap(),
        activation: Activation::Linear,
    };
    let mut iou = MeanIoU::new(3);
    let error = iou
        .update(ws, &classes, &labels(&[1, 1]), None)
        .unwrap_err();
    assert!(error.to_string().contains("below 3, found -1"), "{error}");
    assert_eq!(iou.result(), 0.0);
    let unknown = SparseCategoricalCrossentropy::new().ignore_class(7);
    let truth = labels(&[7, 3]);
    let computed = unknown.compute(ws, &out, &truth, None, 1.0);
    let mut errors = vec![unknown.check_target(&out, &truth).unwrap_err()];
    // A GPU looks at no label beforehand.
    errors.extend(computed.err());
    assert_eq!(errors.len(), 1 + usize::from(test_device().is_cpu()));
    for error in errors {
        let error = error.to_string();
        assert!(error.contains("sample 1") && error.contains('3'), "{error}");
    }
}

#[test]
fn metrics_have_the_names_they_are_given() {
    for name in [
        "mse",
        "huber",
        "auc",
        "precision",
        "top_k_categorical_accuracy",
    ] {
        let metric: Box<dyn Metric> = name.parse().unwrap();
        assert_eq!(metric.name(), name);
    }
    let metric: Box<dyn Metric> = "acc".parse().unwrap();
    assert_eq!(metric.name(), "accuracy");
    assert_eq!(Auc::new().with_name("area").name(), "area");
    assert!("precise".parse::<Box<dyn Metric>>().is_err());
}

#[test]
fn metrics_with_several_results_mean_them() {
    let ws = &mut Workspace::new(test_device());
    let out = output(&[[0.9, 0.4, 0.1], [0.2, 0.6, 0.8]], Activation::Linear);
    let truth = values(&[[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]]);
    let mut precision = Precision::new().thresholds([0.3, 0.5, 0.95]).unwrap();
    precision.update(ws, &out, &truth, None).unwrap();
    assert_eq!(precision.results(), [0.75, 1.0, 0.0]);
    assert!((precision.result() - 1.75 / 3.0).abs() < 1e-12);
    // Every positive is above every negative, whichever way the area is summed at its ends.
    for curve in [Curve::Roc, Curve::Pr] {
        let mut auc = Auc::new().curve(curve);
        auc.update(ws, &out, &truth, None).unwrap();
        assert!(
            (auc.result() - 1.0).abs() < 1e-6,
            "{curve:?}: {}",
            auc.result()
        );
    }
}

/// Keras: `squeeze_or_expand_to_same_rank`.
#[test]
fn a_last_axis_of_one_that_the_targets_lack_is_squeezed() {
    let ws = &mut Workspace::new(test_device());
    let (wide, flat) = (random(&[4, 3, 1], 1, 0.1, 0.9), &[4, 3][..]);
    let target = Target::Values(random(flat, 2, 0.1, 0.9));
    let weights = random(&[4], 3, 0.5, 1.5);
    let outputs = |activation| {
        let logits = [wide.clone(), wide.reshape(flat).unwrap()];
        logits.map(|logits| Output { logits, activation })
    };
    let numbers = |tensor: &Tensor| read::<f32>(tensor).unwrap().to_vec();
    let (linear, sigmoid) = (Activation::Linear, Activation::Sigmoid);
    let losses: [(Box<dyn Loss>, Activation); 8] = [
        (Box::new(CosineSimilarity::new()), linear),
        (Box::new(CosineSimilarity::new()), sigmoid),
        (Box::new(KLDivergence::new()), sigmoid),
        (Box::new(CategoricalHinge::new()), linear),
        (Box::new(CategoricalCrossentropy::new()), linear),
        (Box::new(Hinge::new()), linear),
        (
            Box::new(MeanSquaredError::new().with_reduction(Reduction::Sum)),
            linear,
        ),
        (
            Box::new(BinaryCrossentropy::new().with_reduction(Reduction::Sum)),
            sigmoid,
        ),
    ];
    for (loss, activation) in losses {
        let [wide, flat] = outputs(activation);
        let scales = [&wide, &flat].map(|o| loss.scale(o, &target, Some(&weights)).unwrap());
        assert_eq!(scales[0], scales[1], "{}", loss.name());
        let [wide, flat] = [wide, flat].map(|output| {
            let scale = scales[0] as f32;
            let result = loss.compute(ws, &output, &target, Some(&weights), scale);
            result.unwrap()
        });
        assert_eq!(wide.grad.dims(), [4, 3, 1]);
        assert_eq!(
            numbers(&wide.per_sample),
            numbers(&flat.per_sample),
            "{}",
            loss.name()
        );
        assert_eq!(numbers(&wide.grad), numbers(&flat.grad), "{}", loss.name());
        assert!(
            numbers(&wide.grad).iter().any(|grad| *grad != 0.0),
            "{}",
            loss.name()
        );
    }

    let ones: Vec<f32> = (0..12).map(|i| f32::from(u8::from(i % 2 == 0))).collect();
    let ones = Target::Values(Tensor::from_vec(ones, flat, test_device()).unwrap());
    let metrics: [fn() -> Box<dyn Metric>; 7] = [
        || Box::new(PearsonCorrelation::new()),
        || Box::new(metrics::CosineSimilarity::new()),
        || Box::new(CategoricalAccuracy::new()),
        || Box::new(LossMetric::new(KLDivergence::new())),
        || Box::new(Precision::new().class_id(2)),
        || Box::new(RecallAtPrecision::new(0.5).unwrap().class_id(2)),
        || Box::new(Auc::new().label_weights([1.0, 2.0, 3.0]).unwrap()),
    ];
    for make in metrics {
        let [wide, flat] = outputs(linear).map(|output| {
            let mut metric = make();
            metric.update(ws, &output, &ones, Some(&weights)).unwrap();
            metric.state()
        });
        assert_eq!(wide, flat, "{}", make().name());
    }
    // A target of one axis is a column instead.
    let [_, column] = outputs(linear);
    let column = Output {
        logits: column.logits.narrow(1, 0, 1).unwrap().contiguous().unwrap(),
        ..column
    };
    let target = Target::Values(random(&[4], 2, 0.1, 0.9));
    let result = CosineSimilarity::new().compute(ws, &column, &target, None, 1.0);
    close(&numbers(&result.unwrap().per_sample), &[-1.0; 4]);
}

/// Keras 3.15.1: 4.0295, with a gradient of zeros.
#[test]
fn probabilities_of_logits_are_clipped_for_the_focal_loss() {
    let ws = &mut Workspace::new(test_device());
    let target = values(&[[0.0, 1.0, 0.0]]);
    let loss = CategoricalFocalCrossentropy::new();
    for (loss, activation) in [
        (loss, Activation::Softmax),
        (loss.from_logits(true), Activation::Linear),
    ] {
        let miss = output(&[[40.0, 0.0, 0.0]], activation);
        let result = loss.compute(ws, &miss, &target, None, 1.0).unwrap();
        let found = read::<f32>(&result.per_sample).unwrap()[0];
        assert!((found - 4.029_523).abs() < 1e-5, "{found}");
        close(&read::<f32>(&result.grad).unwrap(), &[0.0; 3]);
        let hit = output(&[[0.0, 40.0, 0.0]], activation);
        let result = loss.compute(ws, &hit, &target, None, 1.0).unwrap();
        close(&read::<f32>(&result.grad).unwrap(), &[0.0; 3]);
    }
}

/// Keras multiplies the one number of a batch by each weight.
#[test]
fn a_sum_of_the_loss_of_a_batch_is_that_times_the_sum_of_the_weights() {
    let out = output(&[[0.2, 0.4, 0.6], [0.9, 0.1, 0.3]], Activation::Linear);
    let target = values(&[[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]]);
    let weights = Tensor::new(&[1.0_f32, 3.0], test_device()).unwrap();
    for loss in [
        Box::new(Dice::new().with_reduction(Reduction::Sum)) as Box<dyn Loss>,
        Box::new(Tversky::new().with_reduction(Reduction::Sum)),
    ] {
        assert_eq!(loss.scale(&out, &target, None).unwrap(), 0.5);
        assert_eq!(loss.scale(&out, &target, Some(&weights)).unwrap(), 1.0);
    }
    let each = Dice::new().each_sample(true).with_reduction(Reduction::Sum);
    assert_eq!(each.scale(&out, &target, Some(&weights)).unwrap(), 1.0);
}

#[test]
fn targets_that_are_all_equal_have_a_score_of_0() {
    let ws = &mut Workspace::new(test_device());
    let mut score_of = |targets: [f32; 3]| {
        let mut metric = R2Score::new();
        for batch in 0..100 {
            let out = output(&[[0.3, 0.5, 0.9]], Activation::Linear);
            let targets = targets.map(|y| y + if y > 1.0 { (batch % 2) as f32 } else { 0.0 });
            let weights = Tensor::new(&[0.7_f32], test_device()).unwrap();
            metric
                .update(ws, &out, &values(&[targets]), Some(&weights))
                .unwrap();
        }
        metric.result()
    };
    assert_eq!(score_of([0.1, 0.7, -0.3]), 0.0);
    // Those which differ by little have one that is right.
    let (mean, variance) = (4_000_000.5, 0.25);
    let errors = [0.3_f32, 0.5, 0.9].map(|p| (mean - f64::from(p)).powi(2) + variance);
    let expected = 1.0 - errors.iter().sum::<f64>() / 3.0 / variance;
    let found = score_of([4_000_000.0; 3]);
    assert!((found / expected - 1.0).abs() < 1e-12, "{found} {expected}");
}
