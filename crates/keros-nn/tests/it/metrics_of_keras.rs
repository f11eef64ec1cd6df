//! Metrics against what Keras 3.15.1 gives for the same two batches, without and with weights.

use crate::test_device::test_device;
use keros_nn::metrics::{
    Auc, BinaryIoU, ConcordanceCorrelation, Curve, MeanMetricWrapper, PearsonCorrelation,
    PrecisionAtRecall, RecallAtPrecision, SensitivityAtSpecificity, SparseTopKCategoricalAccuracy,
    SpecificityAtSensitivity, SummationMethod,
};
use keros_nn::{Activation, Metric, NnError, Output, Target};
use keros_tensor::{Tensor, Workspace};

const PREDICTIONS: [[f32; 3]; 6] = [
    [0.1, 0.8, 0.35],
    [0.6, 0.3, 0.55],
    [0.45, 0.75, 0.2],
    [0.9, 0.15, 0.65],
    [0.25, 0.5, 0.85],
    [0.7, 0.4, 0.05],
];
const TARGETS: [[f32; 3]; 6] = [
    [0.0, 1.0, 0.0],
    [1.0, 0.0, 0.0],
    [0.0, 1.0, 1.0],
    [1.0, 0.0, 1.0],
    [1.0, 0.0, 1.0],
    [0.0, 1.0, 0.0],
];
const WEIGHTS: [f32; 6] = [1.0, 0.5, 2.0, 1.5, 0.25, 3.0];

fn tensor(rows: &[[f32; 3]]) -> Tensor {
    Tensor::from_vec(rows.concat(), (rows.len(), 3), test_device()).unwrap()
}

fn update(metric: &mut dyn Metric, predictions: &[[f32; 3]; 6], weighted: bool) {
    let ws = &mut Workspace::new(test_device());
    for rows in [0..4, 4..6] {
        let output = Output {
            logits: tensor(&predictions[rows.clone()]),
            activation: Activation::Linear,
        };
        let target = Target::Values(tensor(&TARGETS[rows.clone()]));
        let weights = Tensor::new(&WEIGHTS[rows], test_device()).unwrap();
        let weights = weighted.then_some(&weights);
        metric.update(ws, &output, &target, weights).unwrap();
    }
}

fn check_on(metric: &mut dyn Metric, predictions: &[[f32; 3]; 6], expected: [f64; 2]) {
    for (weighted, expected) in [(false, expected[0]), (true, expected[1])] {
        metric.reset();
        assert_eq!(metric.result(), 0.0, "{}", metric.name());
        update(metric, predictions, weighted);
        let found = metric.result();
        let name = metric.name();
        assert!(
            (found - expected).abs() < 1e-6,
            "{name}: {found}, not {expected}"
        );
    }
}

fn check(mut metric: impl Metric, expected: [f64; 2]) {
    check_on(&mut metric, &PREDICTIONS, expected);
}

#[test]
fn the_best_of_one_ratio_where_another_is_high_enough() {
    let precision = |recall| PrecisionAtRecall::new(recall).unwrap();
    check(precision(0.6), [0.857_142_9, 0.629_032_25]);
    check(precision(0.9), [0.6, 0.623_376_6]);
    let recall = RecallAtPrecision::new(0.7).unwrap();
    check(recall.clone(), [0.666_666_7, 0.395_833_34]);
    check(recall.class_id(2), [0.666_666_7, 1.0]);
    let sensitivity = SensitivityAtSpecificity::new(0.8).unwrap();
    let sensitivity = sensitivity.num_thresholds(11).unwrap();
    check(sensitivity, [0.555_555_6, 0.395_833_34]);
    let specificity = SpecificityAtSensitivity::new(0.7).unwrap();
    check(specificity.clone(), [0.555_555_6, 0.549_019_6]);
    // The recall at 0.5 is less.
    check(specificity.num_thresholds(1).unwrap(), [0.0, 0.0]);
}

#[test]
fn the_k_largest_are_those_after_the_softmax() {
    let ws = &mut Workspace::new(test_device());
    // A class that is masked out has the value 0, and so has one that is far behind.
    for (logits, label, k) in [
        ([f32::NEG_INFINITY, 0.0, 1.0], 0_u32, 5),
        ([200.0, 0.0, -1.0], 2, 2),
    ] {
        let output = Output {
            logits: tensor(&[logits]),
            activation: Activation::Softmax,
        };
        let target = Target::Labels(Tensor::new(&[label], test_device()).unwrap());
        let mut metric = SparseTopKCategoricalAccuracy::new().k(k);
        metric.update(ws, &output, &target, None).unwrap();
        assert_eq!(metric.result(), 1.0, "{logits:?}");
    }
}

#[test]
fn areas_of_labels_and_of_all_curves() {
    let auc = |curve| Auc::new().curve(curve);
    let labels = [1.0, 2.0, 0.5];
    let weighted = |auc: Auc| auc.label_weights(labels).unwrap();
    let each = auc(Curve::Roc).multi_label(true);
    check(each.clone(), [0.777_777_8, 0.854_321]);
    check(weighted(each), [0.809_523_8, 0.884_656_07]);
    check(weighted(auc(Curve::Roc)), [0.809_523_8, 0.769_873_86]);
    let each = auc(Curve::Pr).multi_label(true);
    check(each.clone(), [0.823_808_73, 0.854_154_17]);
    check(weighted(each), [0.842_832_45, 0.894_608_6]);
    let sum = |method| {
        let auc = auc(Curve::Pr).summation_method(method);
        auc.num_thresholds(7).unwrap()
    };
    check(sum(SummationMethod::Majoring), [0.838_888_9, 0.787_106_7]);
    check(sum(SummationMethod::Minoring), [0.538_888_87, 0.513_899_1]);
    let gain = auc("PRGAIN".parse().unwrap());
    check(gain.clone(), [0.549_659_85, 0.384_598]);
    check(gain.multi_label(true), [0.527_777_7, 0.733_559_4]);
    let some = auc(Curve::Roc).thresholds([0.6, 0.2, 0.47]).unwrap();
    check(some, [0.740_740_7, 0.680_147]);
    let logits = PREDICTIONS.map(|row| row.map(|p| (p / (1.0 - p)).ln()));
    let mut auc = auc(Curve::Roc)
        .num_thresholds(20)
        .unwrap()
        .from_logits(true);
    check_on(&mut auc, &logits, [0.777_777_8, 0.741_421_6]);
}

#[test]
fn correlations_and_means_of_a_function() {
    let pearson = [0.450_325_22, 0.355_080_07];
    check(PearsonCorrelation::new(), pearson);
    check(ConcordanceCorrelation::new(), [0.350_585_25, 0.294_783_5]);
    let first_error = |y: &[f32], p: &[f32]| f64::from((y[0] - p[0]).abs());
    let sum = 0.1 + 0.4 + 0.45 + 0.1 + 0.75 + 0.7;
    let weighted = 0.1 + 0.2 + 0.9 + 0.15 + 0.1875 + 2.1;
    let wrapper = MeanMetricWrapper::new("first_error", first_error);
    assert_eq!(wrapper.name(), "first_error");
    check(wrapper, [sum / 6.0, weighted / 8.25]);
}

#[test]
fn intersection_over_union_from_a_threshold_on() {
    // With `dtype="float32"`: Keras's default, int, cuts the weights to whole numbers.
    check(BinaryIoU::new(), [0.5, 0.464_285_73]);
    let of_one = BinaryIoU::new().target_class_ids([1]).unwrap();
    check(of_one.threshold(0.6).unwrap(), [0.6, 0.449_999_93]);
    assert!(BinaryIoU::new().target_class_ids([2]).is_err());
    assert!(BinaryIoU::new().threshold(f64::NAN).is_err());
}

#[test]
fn what_cannot_be_measured_is_refused() {
    assert!(PrecisionAtRecall::new(1.5).is_err());
    assert!(
        PrecisionAtRecall::new(0.5)
            .unwrap()
            .num_thresholds(0)
            .is_err()
    );
    assert!(Auc::new().label_weights([]).is_err());
    assert!(Auc::new().label_weights([1.0, -1.0]).is_err());
    let refused = |mut metric: Box<dyn Metric>, activation, words: &str| {
        let ws = &mut Workspace::new(test_device());
        let logits = tensor(&PREDICTIONS);
        let output = Output { logits, activation };
        let target = Target::Values(tensor(&TARGETS));
        let error: NnError = metric.update(ws, &output, &target, None).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(metric.result(), 0.0);
    };
    let recall = RecallAtPrecision::new(0.5).unwrap().class_id(3);
    refused(Box::new(recall), Activation::Linear, "class_id");
    let two = Auc::new().label_weights([1.0, 2.0]).unwrap();
    refused(Box::new(two), Activation::Linear, "label_weights");
    let logits = Auc::new().from_logits(true);
    refused(Box::new(logits), Activation::Sigmoid, "from_logits");
    let mut labels = Auc::new().multi_label(true);
    update(&mut labels, &PREDICTIONS, false);
    let ws = &mut Workspace::new(test_device());
    let output = Output {
        logits: Tensor::new(&[[0.1_f32, 0.2]], test_device()).unwrap(),
        activation: Activation::Linear,
    };
    let target = Target::Values(Tensor::new(&[[1.0_f32, 0.0]], test_device()).unwrap());
    let error = labels.update(ws, &output, &target, None).unwrap_err();
    assert!(error.to_string().contains("3] as before"), "{error}");
}
