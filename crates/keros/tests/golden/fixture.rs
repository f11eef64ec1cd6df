//! Reading the recorded cases, and telling how a suite went.

use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value};
use std::path::PathBuf;
use std::{env, fs};

/// Numbers in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Numbers {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f32>,
}

/// One recorded case.
pub(crate) struct Case {
    pub(crate) id: String,
    pub(crate) args: Args,
    pub(crate) inputs: Value,
    pub(crate) expected: Value,
    tolerance: f64,
}

/// What is wrong with a case.
pub(crate) type Outcome = Result<(), String>;

/// Arguments that must all be taken: one that a suite does not know fails the case.
pub(crate) struct Args(Map<String, Value>);

impl Args {
    /// The arguments in a value that is an object; none if there is no value.
    pub(crate) fn of(value: Option<Value>) -> Args {
        Args(value.map_or_else(Map::new, |value| value.as_object().unwrap().clone()))
    }

    /// The argument, once.
    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        self.0.shift_remove(name)
    }

    /// The text of an argument, which stays.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    pub(crate) fn float(&mut self, name: &str) -> Option<f64> {
        self.take(name).map(|value| value.as_f64().unwrap())
    }

    pub(crate) fn flag(&mut self, name: &str) -> Option<bool> {
        self.take(name).map(|value| value.as_bool().unwrap())
    }

    /// Fails if anything is left.
    pub(crate) fn finish(&self) -> Outcome {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => Err(format!("unknown argument {name}: {}", self.0[name])),
        }
    }
}

impl Case {
    /// Compares numbers within the case's tolerance.
    pub(crate) fn close(&self, what: &str, found: &[f32], expected: &Numbers) -> Outcome {
        self.close_within(what, found, expected, self.tolerance)
    }

    pub(crate) fn close_within(
        &self,
        what: &str,
        found: &[f32],
        expected: &Numbers,
        tolerance: f64,
    ) -> Outcome {
        if found.len() != expected.values.len() {
            let lengths = (expected.values.len(), found.len());
            return Err(format!(
                "{what}: expected {} values, found {}",
                lengths.0, lengths.1
            ));
        }
        for (i, (f, e)) in found.iter().zip(&expected.values).enumerate() {
            let (f, e) = (f64::from(*f), f64::from(*e));
            let equal = f == e || (f.is_nan() && e.is_nan());
            let within = (f - e).abs() <= tolerance * e.abs().max(1.0);
            if !equal && !within {
                return Err(format!("{what}[{i}]: expected {e}, found {f}"));
            }
        }
        Ok(())
    }

    /// Compares one number.
    pub(crate) fn close_number(&self, what: &str, found: f64, expected: &Value) -> Outcome {
        let expected = Numbers {
            shape: vec![],
            values: vec![expected.as_f64().unwrap() as f32],
        };
        self.close(what, &[found as f32], &expected)
    }
}

/// The tensor that a value stands for: a resolved `@name`, a list of numbers, or a number.
pub(crate) fn numbers(value: &Value) -> Numbers {
    if let Some(fields) = value.as_object() {
        return Numbers {
            shape: serde_json::from_value(fields["shape"].clone()).unwrap(),
            values: floats(&fields["values"]),
        };
    }
    let values = floats(value);
    let shape = if value.is_array() {
        vec![values.len()]
    } else {
        vec![]
    };
    Numbers { shape, values }
}

fn floats(value: &Value) -> Vec<f32> {
    match value {
        Value::Array(items) => items.iter().flat_map(floats).collect(),
        // JSON has no NaN and no infinity: they stand as null or as text.
        Value::Null => vec![f32::NAN],
        Value::String(text) => vec![text.parse().unwrap()],
        number => vec![number.as_f64().unwrap() as f32],
    }
}

/// Runs every case of a suite; reports all failures at once. A case listed in `different` (id and
/// reason) is passed over, and must exist.
pub(crate) fn run(suite: &str, different: &[(&str, &str)], check: impl Fn(&mut Case) -> Outcome) {
    run_some(suite, different, |_| true, check);
}

/// As [`run`], for the cases that `wanted` picks; the suite's other cases are another
/// function's part.
pub(crate) fn run_some(
    suite: &str,
    different: &[(&str, &str)],
    wanted: impl Fn(&Case) -> bool,
    check: impl Fn(&mut Case) -> Outcome,
) {
    let mut failures = Vec::new();
    let cases: Vec<Case> = load(suite)
        .into_iter()
        .filter(|case| wanted(case))
        .collect();
    assert!(!cases.is_empty(), "the suite {suite} has no cases");
    for (id, reason) in different {
        assert!(
            cases.iter().any(|case| case.id == *id),
            "{id} ({reason}) is not in {suite}"
        );
    }
    let count = cases.len();
    for mut case in cases {
        if different.iter().any(|(id, _)| *id == case.id) {
            continue;
        }
        if let Err(why) = check(&mut case) {
            failures.push(format!("{}: {why}", case.id));
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {count} cases of {suite} differ:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

/// Every case of a suite.
pub(crate) fn load(suite: &str) -> Vec<Case> {
    let folder = folder();
    let text = fs::read_to_string(folder.join(format!("{suite}.json"))).unwrap();
    let json: Value = serde_json::from_str(&text).unwrap();
    let bytes = match json["tensors_file"].as_str() {
        Some(file) => fs::read(folder.join(file)).unwrap(),
        // A suite without tensors: the shortest file there is.
        None => b"\x02\0\0\0\0\0\0\0{}".to_vec(),
    };
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let cases = json["cases"].as_array().unwrap();
    cases
        .iter()
        .map(|case| Case {
            id: case["id"].as_str().unwrap().to_owned(),
            args: Args(case["args"].as_object().unwrap().clone()),
            inputs: resolve(&case["inputs"], &tensors),
            expected: resolve(&case["expected"], &tensors),
            tolerance: tolerance(&case["tolerance"]),
        })
        .collect()
}

/// A number, or an object that names an absolute tolerance or that of a training.
fn tolerance(value: &Value) -> f64 {
    let named = value.get("abs").or(value.get("weights_and_losses"));
    named.unwrap_or(value).as_f64().unwrap()
}

/// The folder of the recorded cases.
pub(crate) fn folder() -> PathBuf {
    match env::var_os("KEROS_GOLDEN_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden")),
    }
}

/// Puts the tensor in the place of each `@name`.
fn resolve(value: &Value, tensors: &SafeTensors<'_>) -> Value {
    match value {
        Value::String(text) => match text.strip_prefix('@') {
            Some(name) => tensor(name, tensors),
            None => value.clone(),
        },
        Value::Array(items) => items.iter().map(|item| resolve(item, tensors)).collect(),
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .map(|(key, value)| (key.clone(), resolve(value, tensors)))
                .collect(),
        ),
        other => other.clone(),
    }
}

fn tensor(name: &str, tensors: &SafeTensors<'_>) -> Value {
    let view = tensors.tensor(name).unwrap();
    let words = view
        .data()
        .chunks_exact(4)
        .map(|bytes| <[u8; 4]>::try_from(bytes).unwrap());
    let values: Vec<Value> = match view.dtype() {
        Dtype::F32 => words.map(f32::from_le_bytes).map(float).collect(),
        Dtype::U8 => view.data().iter().map(|byte| Value::from(*byte)).collect(),
        Dtype::I32 => words.map(i32::from_le_bytes).map(Value::from).collect(),
        other => panic!("{name} is of type {other:?}"),
    };
    serde_json::json!({ "shape": view.shape(), "values": values })
}

fn float(value: f32) -> Value {
    match value.is_finite() {
        true => f64::from(value).into(),
        false => value.to_string().into(),
    }
}
