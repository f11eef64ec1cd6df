//! Every metric gives what it has gathered, and goes on from it bit for bit.

use crate::test_device::test_device;
use keros_nn::losses::Huber;
use keros_nn::metrics::{
    Accuracy, Auc, Average, ClassAggregation, Curve, F1Score, FBetaScore, IoU, LossMetric, MeanIoU,
    MeanMetricWrapper, OneHotIoU, OneHotMeanIoU, Precision, PrecisionAtRecall, R2Score, Recall,
    RecallAtPrecision, SensitivityAtSpecificity, SpecificityAtSensitivity, TopKCategoricalAccuracy,
};
use keros_nn::{Activation, Metric, NnError, Output, Target, WeightedMean};
use keros_tensor::{Stream, Tensor, Workspace};

const ROWS: usize = 7;
const CLASSES: usize = 4;

type Make = Box<dyn Fn() -> Box<dyn Metric>>;

struct Batch {
    output: Output,
    one_hot: Target,
    labels: Target,
    weights: Tensor,
}

impl Batch {
    fn new(number: u64) -> Batch {
        let random = |stream: u64, len: usize| {
            let mut values = vec![0.0; len];
            Stream::new(number, stream).fill_uniform(0, 0.05, 0.95, &mut values);
            values
        };
        let labels: Vec<u32> = random(0, ROWS)
            .iter()
            .map(|value| (value * CLASSES as f32) as u32)
            .collect();
        let mut one_hot = vec![0.0_f32; ROWS * CLASSES];
        for (row, label) in one_hot.chunks_exact_mut(CLASSES).zip(&labels) {
            row[*label as usize] = 1.0;
        }
        let matrix = |values| Tensor::from_vec(values, (ROWS, CLASSES), test_device()).unwrap();
        Batch {
            output: Output {
                logits: matrix(random(1, ROWS * CLASSES)),
                activation: Activation::Linear,
            },
            one_hot: Target::Values(matrix(one_hot)),
            labels: Target::Labels(Tensor::new(labels, test_device()).unwrap()),
            weights: Tensor::new(random(2, ROWS), test_device()).unwrap(),
        }
    }

    fn update(&self, metric: &mut dyn Metric) {
        let target = match metric.name() {
            "categorical_generalized_cross_entropy" | "circle" | "ctc" => &self.labels,
            name if name.starts_with("sparse") => &self.labels,
            _ => &self.one_hot,
        };
        let mut output = self.output.clone();
        if metric.name() == "ctc" {
            // Sequences of one step.
            output.logits = output.logits.reshape((ROWS, 1, CLASSES)).unwrap();
        }
        let ws = &mut Workspace::new(test_device());
        metric
            .update(ws, &output, target, Some(&self.weights))
            .unwrap();
    }
}

/// All metrics that have a name, and those that have none or have arguments that change the state.
fn all() -> Vec<Make> {
    let known = match "".parse::<Box<dyn Metric>>() {
        Err(NnError::UnknownName { known, .. }) => known,
        _ => &[],
    };
    assert!(!known.is_empty());
    let mut all: Vec<Make> = known
        .iter()
        .map(|name| -> Make { Box::new(move || name.parse().unwrap()) })
        .collect();
    macro_rules! more {
        ($($metric:expr;)*) => {
            $(all.push(Box::new(|| Box::new($metric)));)*
        };
    }
    more! {
        Accuracy::new();
        TopKCategoricalAccuracy::new().k(2);
        LossMetric::new(Huber::new()).with_name("other");
        Precision::new().thresholds([0.2, 0.5, 0.7]).unwrap();
        Recall::new().top_k(2).unwrap().class_id(1);
        Auc::new().curve(Curve::Pr).num_thresholds(9).unwrap();
        F1Score::new().average(Average::Weighted);
        FBetaScore::new().average(Average::Micro).threshold(0.4).unwrap();
        R2Score::new().class_aggregation(ClassAggregation::None).num_regressors(2);
        IoU::new(CLASSES, [1, 2]).unwrap().sparse_y_true(false).sparse_y_pred(false);
        MeanIoU::new(CLASSES).sparse_y_true(false).sparse_y_pred(false).ignore_class(0);
        OneHotIoU::new(CLASSES, [0]).unwrap();
        OneHotMeanIoU::new(CLASSES);
        PrecisionAtRecall::new(0.5).unwrap();
        RecallAtPrecision::new(0.5).unwrap().num_thresholds(1).unwrap();
        SensitivityAtSpecificity::new(0.5).unwrap().class_id(2);
        SpecificityAtSensitivity::new(0.5).unwrap();
        Auc::new().multi_label(true);
        Auc::new().multi_label(true).label_weights([1.0, 2.0, 0.5, 3.0]).unwrap();
        Auc::new().label_weights([1.0, 2.0, 0.5, 3.0]).unwrap();
        MeanMetricWrapper::new("first", |y: &[f32], p: &[f32]| f64::from(y[0] * p[0]));
    }
    all
}

fn bits(metric: &dyn Metric) -> Vec<u64> {
    let all = [metric.results(), metric.state(), vec![metric.result()]];
    all.concat().iter().map(|value| value.to_bits()).collect()
}

#[test]
fn a_fresh_metric_goes_on_from_a_state_bit_for_bit() {
    let batches: Vec<Batch> = (0..6).map(Batch::new).collect();
    for make in all() {
        let (mut whole, mut first) = (make(), make());
        let untouched = bits(first.as_ref());
        for batch in &batches {
            batch.update(whole.as_mut());
        }
        for batch in &batches[..3] {
            batch.update(first.as_mut());
        }
        let mut second = make();
        second.load_state(&first.state()).unwrap();
        assert_eq!(
            bits(second.as_ref()),
            bits(first.as_ref()),
            "{}",
            first.name()
        );
        for batch in &batches[3..] {
            batch.update(second.as_mut());
        }
        assert_eq!(
            bits(second.as_ref()),
            bits(whole.as_ref()),
            "{}",
            first.name()
        );
        assert_ne!(bits(second.as_ref()), untouched, "{}", first.name());
        // The state before the first batch is one like any other.
        second.load_state(&make().state()).unwrap();
        assert_eq!(bits(second.as_ref()), untouched, "{}", first.name());
        second.reset();
        assert_eq!(bits(second.as_ref()), untouched, "{}", first.name());
    }
}

#[test]
fn a_state_of_another_length_is_refused() {
    let batch = Batch::new(0);
    for make in all() {
        let mut metric = make();
        batch.update(metric.as_mut());
        let before = bits(metric.as_ref());
        let state = metric.state();
        for wrong in [[&state[..], &[1.0]].concat(), vec![1.0]] {
            let error = metric.load_state(&wrong).unwrap_err();
            let named = format!("metric `{}`", metric.name());
            assert!(matches!(error, NnError::MetricState { .. }), "{error}");
            assert!(error.to_string().contains(&named), "{error}");
            assert_eq!(bits(metric.as_ref()), before, "{named}");
        }
    }
}

#[test]
fn numbers_that_cannot_have_been_gathered_are_refused() {
    let refused = |metric: &mut dyn Metric, state: &[f64]| {
        let error = metric.load_state(state).unwrap_err().to_string();
        let expected = "loading the state of metric `";
        assert!(error.starts_with(expected), "{error}");
    };
    refused(&mut Accuracy::new(), &[1.0, f64::NAN]);
    refused(&mut Precision::new(), &[1.0, 2.0, f64::INFINITY, 0.0]);
    refused(&mut OneHotMeanIoU::new(1), &[f64::NAN]);
    for seen in [2.5, -2.0, 3.0, 0.0, 1e16, f64::NAN] {
        let sums = [4.0, 1.0, 1.0, 0.5];
        refused(&mut R2Score::new(), &[&[seen][..], &sums, &sums].concat());
    }
    refused(&mut R2Score::new(), &[2.0]);
    refused(&mut R2Score::new(), &[]);
    // The sum of a loss that has left the numbers is what was gathered.
    let mut mean = WeightedMean::default();
    mean.add(f64::NAN, 3.0);
    let mut other = WeightedMean::default();
    other.load_state("loss", &mean.state()).unwrap();
    assert!(other.result().is_nan());
    let error = other.load_state("loss", &[1.0]).unwrap_err().to_string();
    let expected = "loading the state of metric `loss`: expected 2 numbers, found 1";
    assert_eq!(error, expected);
}
