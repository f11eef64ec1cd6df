//! The coefficient of determination.

use super::compare::each_row;
use super::{Metric, mean, ratio, state};
use crate::error::NnError;
use crate::network::Output;
use crate::target::Target;
use keros_tensor::{Tensor, Workspace};
use std::str::FromStr;

/// How the scores of output values become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClassAggregation {
    /// They do not: there is a result for each.
    None,
    /// The mean.
    #[default]
    UniformAverage,
    /// The mean, weighted by the variance of the targets.
    VarianceWeightedAverage,
}

impl FromStr for ClassAggregation {
    type Err = NnError;

    /// Keras's names: `uniform_average`, `variance_weighted_average`.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "uniform_average" => Ok(ClassAggregation::UniformAverage),
            "variance_weighted_average" => Ok(ClassAggregation::VarianceWeightedAverage),
            _ => Err(NnError::UnknownName {
                kind: "class aggregation",
                name: name.to_owned(),
                known: &["uniform_average", "variance_weighted_average"],
            }),
        }
    }
}

/// Below it every whole number is an f64.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// What is known of the targets of one output value.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    weight: f64,
    /// The mean of the targets so far.
    mean: f64,
    /// `Σ weight · (y - mean)²`. It follows the mean (Welford 1962): as a difference of sums it would be what these
    /// are rounded by where the targets are nearly equal.
    spread: f64,
    /// `Σ weight · (y - p)²`
    error: f64,
}

impl Sums {
    fn add(&mut self, y: f64, p: f64, weight: f64) {
        self.weight += weight;
        let apart = y - self.mean;
        self.mean += apart * ratio(weight, self.weight);
        self.spread += weight * apart * (y - self.mean);
        self.error += weight * (y - p) * (y - p);
    }
}

/// `1 - Σ (y - p)² / Σ (y - mean y)²` of each output value, for outputs `[N, C]`: 1 if all
/// predictions are right, 0 for those that are always the mean.
///
/// As in Keras a value whose targets are all equal has the score 0, or NaN if it is predicted
/// without an error.
#[derive(Clone, Debug, Default)]
pub struct R2Score {
    class_aggregation: ClassAggregation,
    num_regressors: usize,
    values: Vec<Sums>,
    /// Target values seen, not their weight.
    seen: usize,
}

impl R2Score {
    /// The mean over output values, not adjusted.
    #[must_use]
    pub fn new() -> R2Score {
        R2Score::default()
    }

    /// How the scores of output values become one.
    #[must_use]
    pub fn class_aggregation(mut self, class_aggregation: ClassAggregation) -> R2Score {
        self.class_aggregation = class_aggregation;
        self
    }

    /// The number of independent variables, for the adjusted score
    /// `1 - (1 - r²) · (n - 1) / (n - num_regressors - 1)`. It is left unadjusted, as in Keras, when
    /// there are not more than `num_regressors + 1` targets. Default 0.
    #[must_use]
    pub fn num_regressors(mut self, num_regressors: usize) -> R2Score {
        self.num_regressors = num_regressors;
        self
    }

    fn adjusted(&self, score: f64) -> f64 {
        if self.num_regressors == 0 || self.seen <= self.num_regressors + 1 {
            return score;
        }
        let (n, p) = (self.seen as f64, self.num_regressors as f64);
        1.0 - (1.0 - score) * (n - 1.0) / (n - p - 1.0)
    }
}

impl Metric for R2Score {
    fn name(&self) -> &str {
        "r2_score"
    }

    fn update(
        &mut self,
        workspace: &mut Workspace,
        output: &Output,
        target: &Target,
        weights: Option<&Tensor>,
    ) -> Result<(), NnError> {
        let values = output.values(workspace)?;
        let width = match *values.dims() {
            [_] => 1,
            [_, width] => width,
            _ => {
                let found = values.dims();
                return Err(NnError::shape(
                    "r2_score: output",
                    "[samples, values]",
                    found,
                ));
            }
        };
        let mut sums = self.values.clone();
        if sums.is_empty() {
            sums.resize(width, Sums::default());
        }
        if sums.len() != width {
            let expected = format!("[samples, {}] as before", sums.len());
            return Err(NnError::shape("r2_score: output", expected, values.dims()));
        }
        each_row("r2_score", &values, target, weights, |y, p, weight| {
            for (sums, (y, p)) in sums.iter_mut().zip(y.iter().zip(p)) {
                sums.add(f64::from(*y), f64::from(*p), weight);
            }
        })?;
        self.values = sums;
        self.seen += values.elem_count();
        Ok(())
    }

    fn result(&self) -> f64 {
        mean(&self.results())
    }

    fn results(&self) -> Vec<f64> {
        let score = |sums: &Sums| {
            let score = 1.0 - sums.error / sums.spread;
            if score.is_infinite() { 0.0 } else { score }
        };
        let scores: Vec<f64> = self.values.iter().map(score).collect();
        let scores = match self.class_aggregation {
            ClassAggregation::None => scores,
            ClassAggregation::UniformAverage => vec![mean(&scores)],
            ClassAggregation::VarianceWeightedAverage => {
                let parts = scores.iter().zip(&self.values);
                let weighted: f64 = parts.map(|(score, sums)| score * sums.spread).sum();
                let spreads = self.values.iter().map(|sums| sums.spread);
                vec![ratio(weighted, spreads.sum())]
            }
        };
        scores
            .into_iter()
            .map(|score| self.adjusted(score))
            .collect()
    }

    fn reset(&mut self) {
        self.values.clear();
        self.seen = 0;
    }

    /// The number of targets seen, then what is known of those of each output value.
    fn state(&self) -> Vec<f64> {
        let sums = self.values.iter();
        let sums = sums.flat_map(|sums| [sums.weight, sums.mean, sums.spread, sums.error]);
        std::iter::once(self.seen as f64).chain(sums).collect()
    }

    fn load_state(&mut self, state: &[f64]) -> Result<(), NnError> {
        let name = self.name();
        let Some((&seen, sums)) = state.split_first() else {
            return Err(NnError::metric_state(name, "at least 1 number", "none"));
        };
        let values: Vec<[f64; 4]> = state::numbers(name, sums, None)?;
        // Each output value has seen as many targets as the others, and there is none without.
        let whole = seen.fract() == 0.0 && (0.0..EXACT).contains(&seen);
        if !whole || (seen == 0.0) != values.is_empty() || seen % values.len().max(1) as f64 != 0.0
        {
            let expected = format!("a number of targets of {} values", values.len());
            return Err(NnError::metric_state(name, expected, seen));
        }
        let values = values.into_iter();
        let sums = values.map(|[weight, mean, spread, error]| Sums {
            weight,
            mean,
            spread,
            error,
        });
        self.values = sums.collect();
        self.seen = seen as usize;
        Ok(())
    }
}
