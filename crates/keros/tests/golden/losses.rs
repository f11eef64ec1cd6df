//! The suite of losses: values, reductions and gradients; and class weights.

use crate::fixture::{Args, Case, Numbers, Outcome, numbers, run_some};
use crate::test_device::test_device;
use keros::nn::losses::*;
use keros::nn::{Activation, Output, Target, TargetKind};
use keros::tensor::access::read;
use keros::tensor::{Tensor, Workspace};
use keros::train::ClassWeight;
use serde_json::Value;

/// The loss that a case is about.
pub(crate) fn loss(class: &str, args: &mut Args) -> Result<Box<dyn Loss>, String> {
    macro_rules! with {
        ($loss:ident: $($flag:ident)*; $($number:ident)*) => {{
            let mut loss = $loss::new();
            $(if let Some(value) = args.flag(stringify!($flag)) {
                loss = loss.$flag(value);
            })*
            $(if let Some(value) = args.float(stringify!($number)) {
                loss = loss.$number(value).map_err(|error| error.to_string())?;
            })*
            Box::new(loss)
        }};
    }
    Ok(match class {
        "CategoricalCrossentropy" => {
            with!(CategoricalCrossentropy: from_logits; label_smoothing)
        }
        "SparseCategoricalCrossentropy" => {
            let mut loss = SparseCategoricalCrossentropy::new();
            if let Some(from_logits) = args.flag("from_logits") {
                loss = loss.from_logits(from_logits);
            }
            if let Some(class) = args.take("ignore_class") {
                loss = loss.ignore_class(class.as_u64().unwrap() as u32);
            }
            Box::new(loss)
        }
        "BinaryCrossentropy" => with!(BinaryCrossentropy: from_logits; label_smoothing),
        "BinaryFocalCrossentropy" => with!(
            BinaryFocalCrossentropy: from_logits apply_class_balancing;
            alpha gamma label_smoothing
        ),
        "CategoricalFocalCrossentropy" => {
            with!(CategoricalFocalCrossentropy: from_logits; alpha gamma label_smoothing)
        }
        "Huber" => with!(Huber: ; delta),
        "Tversky" => with!(Tversky: ; alpha beta),
        // The others have no arguments, and their names are the classes in snake case.
        _ => snake_case(class)
            .parse()
            .map_err(|error: keros::nn::NnError| error.to_string())?,
    })
}

fn snake_case(class: &str) -> String {
    let mut name = String::new();
    for letter in class.replace("KL", "Kl").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.extend(letter.to_lowercase());
    }
    name
}

pub(crate) fn tensor(numbers: &Numbers) -> Tensor {
    Tensor::from_vec(
        numbers.values.clone(),
        numbers.shape.as_slice(),
        test_device(),
    )
    .unwrap()
}

pub(crate) fn target(kind: TargetKind, numbers: &Numbers) -> Target {
    match kind {
        TargetKind::Values => Target::Values(tensor(numbers)),
        TargetKind::Labels => {
            let labels: Vec<u32> = numbers.values.iter().map(|label| *label as u32).collect();
            Target::Labels(Tensor::new(labels, test_device()).unwrap())
        }
    }
}

/// The predictions of a case are the outputs of a network without activation.
pub(crate) fn output(numbers: &Numbers) -> Output {
    Output {
        logits: tensor(numbers),
        activation: Activation::Linear,
    }
}

fn text(error: impl ToString) -> String {
    error.to_string()
}

fn check(case: &mut Case) -> Outcome {
    let class = case.id.split('_').next().unwrap().to_owned();
    let loss = loss(&class, &mut case.args)?;
    case.args.finish()?;
    let inputs = &case.inputs;
    let output = output(&numbers(&inputs["y_pred"]));
    let target = target(loss.target_kind(), &numbers(&inputs["y_true"]));
    let weights = numbers(&inputs["sample_weight"]);
    let ws = &mut Workspace::new(test_device());
    for (key, expected) in case.expected.as_object().unwrap() {
        let weighted = key.ends_with("_weighted").then(|| tensor(&weights));
        let key = key.trim_end_matches("_weighted");
        let reduction = match key {
            "sum" => Reduction::Sum,
            "mean_with_sample_weight" => Reduction::MeanWithSampleWeight,
            "default" | "per_sample" | "grad_y_pred" => Reduction::default(),
            other => return Err(format!("unknown result {other}")),
        };
        // The reduction of a boxed loss cannot be set; a second one of the same kind can.
        let reduced = Shared(loss.as_ref()).with_reduction(reduction);
        let weights = weighted.as_ref();
        let scale = reduced.scale(&output, &target, weights).map_err(text)?;
        let result = reduced.compute(ws, &output, &target, weights, scale as f32);
        let result = result.map_err(text)?;
        let losses = read::<f32>(&result.per_sample).unwrap().to_vec();
        match key {
            "per_sample" => case.close(key, &losses, &numbers(expected))?,
            "grad_y_pred" => {
                let grad = read::<f32>(&result.grad).unwrap().to_vec();
                case.close(key, &grad, &numbers(expected))?;
            }
            _ => {
                let weight = |n: usize| match weights {
                    Some(weights) => f64::from(read::<f32>(weights).unwrap()[n]),
                    None => 1.0,
                };
                let each = losses.iter().enumerate();
                let total: f64 = each.map(|(n, loss)| weight(n) * f64::from(*loss)).sum();
                case.close_number(key, total * scale, expected)?;
            }
        }
    }
    Ok(())
}

/// A loss that is borrowed.
struct Shared<'a>(&'a dyn Loss);

impl Loss for Shared<'_> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn target_kind(&self) -> TargetKind {
        self.0.target_kind()
    }

    fn compute(
        &self,
        workspace: &mut Workspace,
        output: &Output,
        target: &Target,
        weights: Option<&Tensor>,
        scale: f32,
    ) -> Result<LossOutput, keros::nn::NnError> {
        self.0.compute(workspace, output, target, weights, scale)
    }

    fn values(&self, dims: &[usize]) -> usize {
        self.0.values(dims)
    }

    fn mask(&self, target: &Target) -> Result<Option<Vec<bool>>, keros::nn::NnError> {
        self.0.mask(target)
    }
}

fn is_class_weight(case: &Case) -> bool {
    case.id.starts_with("class_weight")
}

#[test]
fn losses() {
    run_some("losses", &[], |case| !is_class_weight(case), check);
}

#[test]
fn class_weights() {
    run_some("losses", &[], is_class_weight, |case| {
        let weights = case.args.take("class_weight").unwrap();
        case.args.finish()?;
        let weights = weights.as_object().unwrap().iter();
        let weights = weights.map(|(class, weight): (&String, &Value)| {
            (class.parse().unwrap(), weight.as_f64().unwrap() as f32)
        });
        let weights = ClassWeight::new(weights).map_err(text)?;
        let y = numbers(&case.inputs["y"]);
        let y = keros::data::Array::from_vec(&y.shape, y.values).map_err(text)?;
        let found = weights.sample_weight(&y).map_err(text)?;
        let found = found.as_slice::<f32>().unwrap();
        let expected = numbers(&case.expected["sample_weight"]);
        case.close("sample_weight", found, &expected)
    });
}
