//! The suite of metrics: results after each batch.

use crate::fixture::{Args, Case, Numbers, Outcome, numbers, run_some};
use crate::losses::{loss, output, target, tensor};
use crate::test_device::test_device;
use keros::nn::metrics::*;
use keros::nn::{Activation, NnError, Output, TargetKind};
use keros::tensor::Workspace;
use serde_json::Value;

fn text(error: impl ToString) -> String {
    error.to_string()
}

fn indices(value: &Value) -> Vec<usize> {
    let items = value.as_array().unwrap().iter();
    items.map(|item| item.as_u64().unwrap() as usize).collect()
}

/// The metric that a case is about, with its arguments.
fn metric(class: &str, args: &mut Args) -> Result<Box<dyn Metric>, String> {
    let mut count = |name: &str| {
        args.take(name)
            .map(|value| value.as_u64().unwrap() as usize)
    };
    Ok(match class {
        "Accuracy" => Box::new(Accuracy::new()),
        "BinaryAccuracy" => {
            let mut metric = BinaryAccuracy::new();
            if let Some(threshold) = args.float("threshold") {
                metric = metric.threshold(threshold).map_err(text)?;
            }
            Box::new(metric)
        }
        "CategoricalAccuracy" => Box::new(CategoricalAccuracy::new()),
        "SparseCategoricalAccuracy" => Box::new(SparseCategoricalAccuracy::new()),
        "TopKCategoricalAccuracy" => {
            Box::new(TopKCategoricalAccuracy::new().k(count("k").unwrap_or(5)))
        }
        "SparseTopKCategoricalAccuracy" => {
            Box::new(SparseTopKCategoricalAccuracy::new().k(count("k").unwrap_or(5)))
        }
        "RootMeanSquaredError" => Box::new(RootMeanSquaredError::new()),
        "CosineSimilarity" => Box::new(CosineSimilarity::new()),
        "R2Score" => Box::new(R2Score::new()),
        "Precision" => {
            let mut metric = Precision::new();
            if let Some(k) = count("top_k") {
                metric = metric.top_k(k).map_err(text)?;
            }
            if let Some(threshold) = args.float("thresholds") {
                metric = metric.thresholds([threshold]).map_err(text)?;
            }
            Box::new(metric)
        }
        "Recall" => {
            let mut metric = Recall::new();
            if let Some(class) = count("class_id") {
                metric = metric.class_id(class);
            }
            Box::new(metric)
        }
        "TruePositives" => Box::new(TruePositives::new()),
        "FalsePositives" => Box::new(FalsePositives::new()),
        "TrueNegatives" => Box::new(TrueNegatives::new()),
        "FalseNegatives" => Box::new(FalseNegatives::new()),
        "AUC" => {
            let mut metric = Auc::new();
            if let Some(curve) = args.take("curve") {
                metric = metric.curve(curve.as_str().unwrap().parse().map_err(text)?);
            }
            Box::new(metric)
        }
        "F1Score" => {
            let average = args.take("average").unwrap();
            let average: Average = average.as_str().unwrap().parse().map_err(text)?;
            Box::new(F1Score::new().average(average))
        }
        "FBetaScore" => {
            let beta = args.float("beta").unwrap();
            Box::new(FBetaScore::new().beta(beta).map_err(text)?)
        }
        "OneHotIoU" => {
            let classes = count("num_classes").unwrap();
            let ids = indices(&args.take("target_class_ids").unwrap());
            Box::new(OneHotIoU::new(classes, ids).map_err(text)?)
        }
        "MeanIoU" => {
            let classes = count("num_classes").unwrap();
            let sparse = args.flag("sparse_y_pred").unwrap_or(true);
            Box::new(MeanIoU::new(classes).sparse_y_pred(sparse))
        }
        // The others are means of losses.
        _ => Box::new(LossMetric::of_box(loss(class, args)?)),
    })
}

/// Targets are labels where the metric takes them.
fn target_kind(class: &str) -> TargetKind {
    match class.starts_with("Sparse") || class == "MeanIoU" {
        true => TargetKind::Labels,
        false => TargetKind::Values,
    }
}

fn check(case: &mut Case) -> Outcome {
    let class = case.id.split('_').next().unwrap().to_owned();
    let mut metric = metric(&class, &mut case.args)?;
    case.args.finish()?;
    let ws = &mut Workspace::new(test_device());
    let inputs = &case.inputs;
    let expected = case.expected["result_after_each_batch"].as_array().unwrap();
    for (batch, expected) in expected.iter().enumerate() {
        let output = output(&numbers(&inputs["y_pred"][batch]));
        let target = target(target_kind(&class), &numbers(&inputs["y_true"][batch]));
        let weights = match &inputs["sample_weight"] {
            Value::Null => None,
            weights => Some(tensor(&numbers(&weights[batch]))),
        };
        let updated = metric.update(ws, &output, &target, weights.as_ref());
        updated.map_err(text)?;
        let found: Vec<f32> = metric.results().iter().map(|r| *r as f32).collect();
        case.close("result", &found, &column(expected))?;
    }
    metric.reset();
    case.close_number("result after a reset", metric.result(), &Value::from(0.0))
}

/// A number, or a vector of them.
fn column(value: &Value) -> Numbers {
    let mut numbers = numbers(value);
    numbers.shape = vec![numbers.values.len()];
    numbers
}

fn is_streaming(case: &Case) -> bool {
    !case.expected["result_after_each_batch"].is_null()
}

#[test]
fn metrics() {
    run_some("metrics", &[], is_streaming, check);
}

#[test]
fn means_and_names() {
    run_some(
        "metrics",
        &[],
        |case| !is_streaming(case),
        |case| {
            case.args.finish()?;
            match case.id.as_str() {
                "Mean" => check_mean(case),
                "accuracy_string_resolution" => check_resolution(case).map_err(text),
                _ => Err("unknown case".to_owned()),
            }
        },
    );
}

fn check_mean(case: &Case) -> Outcome {
    let (values, weights) = (&case.inputs["values"], &case.inputs["weights"]);
    let mut mean = WeightedMean::default();
    let expected = case.expected["result_after_each"].as_array().unwrap();
    for (i, expected) in expected.iter().enumerate() {
        mean.add(values[i].as_f64().unwrap(), weights[i].as_f64().unwrap());
        case.close_number("mean", mean.result(), expected)?;
    }
    Ok(())
}

/// The string gives what the class gives, and the classes differ on these outputs.
fn check_resolution(case: &Case) -> Result<(), String> {
    for row in case.expected["table"].as_array().unwrap() {
        let field = |name: &str| row[name].as_str().unwrap();
        let units = row["units"].as_u64().unwrap() as usize;
        let activation = field("activation").parse::<Activation>().map_err(text)?;
        let logits: Vec<f32> = match units {
            1 => vec![0.7, -0.3, 0.4],
            _ => vec![0.1, 0.9, 0.3, 0.8, 0.2, 0.1, 0.2, 0.3, 0.6],
        };
        let output = Output {
            logits: tensor(&Numbers {
                shape: vec![3, units],
                values: logits,
            }),
            activation,
        };
        let shape = indices(&row["y_shape"]);
        let y = Numbers {
            values: match shape.as_slice() {
                [3, 3] => vec![0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
                _ => vec![1.0, 0.0, 0.0],
            },
            shape,
        };
        let kind = match field("loss").starts_with("sparse") {
            true => TargetKind::Labels,
            false => TargetKind::Values,
        };
        let target = target(kind, &y);
        let ws = &mut Workspace::new(test_device());
        let mut value = |metric: &mut dyn Metric| -> Result<f64, NnError> {
            metric.update(ws, &output, &target, None)?;
            Ok(metric.result())
        };
        let mut by_name: Box<dyn Metric> = "accuracy".parse().map_err(text)?;
        let mut by_class: Box<dyn Metric> = match field("resolved_metric") {
            "BinaryAccuracy" => Box::new(BinaryAccuracy::new()),
            "CategoricalAccuracy" => Box::new(CategoricalAccuracy::new()),
            "SparseCategoricalAccuracy" => Box::new(SparseCategoricalAccuracy::new()),
            other => return Err(format!("unknown class {other}")),
        };
        let found = value(by_name.as_mut()).map_err(text)?;
        let expected = value(by_class.as_mut()).map_err(text)?;
        if found != expected || found == 0.0 || by_name.name() != field("log_name") {
            return Err(format!("{row}: expected {expected}, found {found}"));
        }
    }
    Ok(())
}
