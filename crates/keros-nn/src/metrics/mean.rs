//! Weighted means, and metrics that are the mean of a function of rows.

use super::compare::each_row;
use super::{Metric, ratio};
use crate::error::NnError;
use crate::network::Output;
use crate::target::Target;
use keros_tensor::{Tensor, Workspace};

/// A weighted mean that is gathered batch by batch, in f64: Keras's metric `Mean`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WeightedMean {
    total: f64,
    weight: f64,
}

impl WeightedMean {
    /// Adds `weight` times `value`.
    pub fn add(&mut self, value: f64, weight: f64) {
        self.total += value * weight;
        self.weight += weight;
    }

    /// The mean so far; 0 when nothing was added, as in Keras.
    #[must_use]
    pub fn result(&self) -> f64 {
        ratio(self.total, self.weight)
    }

    /// Forgets everything.
    pub fn reset(&mut self) {
        *self = WeightedMean::default();
    }

    /// What was added so far: the sum of weighted values, and the sum of weights.
    #[must_use]
    pub fn state(&self) -> Vec<f64> {
        vec![self.total, self.weight]
    }

    /// Goes on from a state that [`WeightedMean::state`] gave; `name` is what an error calls it.
    ///
    /// # Errors
    /// These are not two numbers, or the sum of weights is not finite; the mean is then as before.
    pub fn load_state(&mut self, name: &str, state: &[f64]) -> Result<(), NnError> {
        let &[total, weight] = state else {
            let found = state.len();
            return Err(NnError::metric_state(name, "2 numbers", found));
        };
        if !weight.is_finite() {
            let expected = "a finite sum of weights at 1";
            return Err(NnError::metric_state(name, expected, weight));
        }
        *self = WeightedMean { total, weight };
        Ok(())
    }
}

/// The mean of a function of rows: Keras's `MeanMetricWrapper`.
///
/// The function takes a row of targets and the row of predictions, along the last axis, and gives
/// its value; each row has the weight of its sample.
///
/// ```
/// use keros_nn::metrics::MeanMetricWrapper;
///
/// let largest_error = MeanMetricWrapper::new("largest_error", |y: &[f32], p: &[f32]| {
///     let errors = y.iter().zip(p).map(|(y, p)| f64::from((y - p).abs()));
///     errors.fold(0.0, f64::max)
/// });
/// ```
#[derive(Clone, Debug)]
pub struct MeanMetricWrapper<F> {
    name: String,
    function: F,
    mean: WeightedMean,
}

impl<F: Fn(&[f32], &[f32]) -> f64> MeanMetricWrapper<F> {
    /// Nothing seen yet.
    pub fn new(name: impl Into<String>, function: F) -> MeanMetricWrapper<F> {
        MeanMetricWrapper {
            name: name.into(),
            function,
            mean: WeightedMean::default(),
        }
    }
}

impl<F: Fn(&[f32], &[f32]) -> f64> Metric for MeanMetricWrapper<F> {
    fn name(&self) -> &str {
        &self.name
    }

    fn update(
        &mut self,
        workspace: &mut Workspace,
        output: &Output,
        target: &Target,
        weights: Option<&Tensor>,
    ) -> Result<(), NnError> {
        let values = output.values(workspace)?;
        let (function, mean) = (&self.function, &mut self.mean);
        each_row(&self.name, &values, target, weights, |y, p, weight| {
            mean.add(function(y, p), weight);
        })
    }

    fn result(&self) -> f64 {
        self.mean.result()
    }

    fn reset(&mut self) {
        self.mean.reset();
    }

    fn state(&self) -> Vec<f64> {
        self.mean.state()
    }

    fn load_state(&mut self, state: &[f64]) -> Result<(), NnError> {
        self.mean.load_state(&self.name, state)
    }
}
