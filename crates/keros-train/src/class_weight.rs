//! Weights by class, which become weights of samples.

use crate::error::TrainError;
use keros_data::Array;
use std::collections::BTreeMap;

/// What the samples of each class weigh in the loss: Keras's `class_weight`.
///
/// A class that is not listed weighs 1.
///
/// Where samples have weights too, a sample weighs the product of both, as in Keras 2; Keras 3
/// refuses to take both, although nothing else can be meant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClassWeight {
    weights: BTreeMap<u32, f32>,
}

impl ClassWeight {
    /// Weights of classes, each a finite number of at least 0.
    ///
    /// # Errors
    /// A weight that is negative or not finite; a class that is listed twice.
    pub fn new(weights: impl IntoIterator<Item = (u32, f32)>) -> Result<ClassWeight, TrainError> {
        let wrong = |expected: String, found: String| {
            TrainError::argument("weighting classes", "class_weight", expected, found)
        };
        let mut map = BTreeMap::new();
        for (class, weight) in weights {
            if !(weight.is_finite() && weight >= 0.0) {
                let expected = format!("a finite number of at least 0 for class {class}");
                return Err(wrong(expected, weight.to_string()));
            }
            if map.insert(class, weight).is_some() {
                return Err(wrong(
                    "each class once".to_owned(),
                    format!("{class} twice"),
                ));
            }
        }
        Ok(ClassWeight { weights: map })
    }

    /// The weight of a class.
    #[must_use]
    pub fn of(&self, class: u32) -> f32 {
        self.weights.get(&class).copied().unwrap_or(1.0)
    }

    /// `[N]` f32 weights of the samples with targets `y`: labels of shape `[N]` or `[N, 1]`, rounded
    /// to the nearest whole number, or one-hot rows `[N, C]`, whose class is that of the first
    /// largest value.
    ///
    /// # Errors
    /// Targets of another shape or of a type that is no number; a label that names no class.
    pub fn sample_weight(&self, y: &Array) -> Result<Array, TrainError> {
        let (samples, width) = match *y.shape() {
            [samples] => (samples, 1),
            [samples, width] if width > 0 => (samples, width),
            _ => {
                return Err(TrainError::Array {
                    what: "targets have the wrong shape for class weights".to_owned(),
                    expected: "[N], [N, 1] or [N, classes]; positions are weighed by sample_weight"
                        .to_owned(),
                    found: format!("{:?}", y.shape()),
                });
            }
        };
        let values = numbers(y)?;
        let mut weights = Vec::with_capacity(samples);
        for (row, values) in values.chunks_exact(width).enumerate() {
            let class = match values {
                [label] => label.round(),
                _ => first_largest(values) as f64,
            };
            if !(0.0..=f64::from(u32::MAX)).contains(&class) {
                return Err(TrainError::Array {
                    what: format!("the label of row {row} is no class index"),
                    expected: "a whole number from 0".to_owned(),
                    found: class.to_string(),
                });
            }
            weights.push(self.of(class as u32));
        }
        Ok(Array::from_vec(&[samples], weights)?)
    }
}

impl ClassWeight {
    /// [`ClassWeight::sample_weight`] times the weights that the samples have already, `[N]` or
    /// `[N, 1]`.
    pub(crate) fn times(&self, y: &Array, weights: Option<&Array>) -> Result<Array, TrainError> {
        let of_classes = self.sample_weight(y)?;
        let Some(weights) = weights else {
            return Ok(of_classes);
        };
        let samples = of_classes.len();
        if !matches!(*weights.shape(), [n] | [n, 1] if n == samples) {
            return Err(TrainError::Array {
                what: "sample weights have the wrong shape".to_owned(),
                expected: format!("{:?}", of_classes.shape()),
                found: format!("{:?}", weights.shape()),
            });
        }
        let pairs = numbers(weights)?.into_iter().zip(numbers(&of_classes)?);
        let products = pairs.map(|(a, b)| (a * b) as f32).collect();
        Ok(Array::from_vec(&[samples], products)?)
    }
}

fn numbers(y: &Array) -> Result<Vec<f64>, TrainError> {
    let y = &y.to_standard_layout();
    if let Some(values) = y.as_slice::<f32>() {
        return Ok(values.iter().copied().map(f64::from).collect());
    }
    if let Some(values) = y.as_slice::<u8>() {
        return Ok(values.iter().copied().map(f64::from).collect());
    }
    match y.as_slice::<i64>() {
        Some(values) => Ok(values.iter().map(|value| *value as f64).collect()),
        None => Err(TrainError::Array {
            what: "targets cannot be read as numbers".to_owned(),
            expected: "elements of type u8, f32 or i64".to_owned(),
            found: y.dtype().name().to_owned(),
        }),
    }
}

fn first_largest(values: &[f64]) -> usize {
    let mut best = 0;
    for (class, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = class;
        }
    }
    best
}
