//! The harmonic mean of precision and recall, by class.

use super::compare::each_row;
use super::{Metric, mean, state};
use crate::error::NnError;
use crate::losses::EPSILON;
use crate::network::Output;
use crate::target::Target;
use keros_tensor::{Tensor, Workspace};
use std::str::FromStr;

/// How the scores of classes become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Average {
    /// They do not: there is a result for each class.
    #[default]
    None,
    /// One score of all classes' counts together.
    Micro,
    /// The mean of the scores.
    Macro,
    /// The mean of the scores, weighted by how often a class is the target.
    Weighted,
}

impl FromStr for Average {
    type Err = NnError;

    /// Keras's names: `micro`, `macro`, `weighted`.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "micro" => Ok(Average::Micro),
            "macro" => Ok(Average::Macro),
            "weighted" => Ok(Average::Weighted),
            _ => Err(NnError::UnknownName {
                kind: "average",
                name: name.to_owned(),
                known: &["micro", "macro", "weighted"],
            }),
        }
    }
}

/// Weights of decisions for one class.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    true_positives: f64,
    false_positives: f64,
    false_negatives: f64,
    targets: f64,
}

/// `(1 + beta²) · precision · recall / (beta² · precision + recall)` of each class.
///
/// Outputs and targets are `[N, C]`. The largest value of a row is the decision, and each of equals;
/// with a threshold every value strictly above it.
#[derive(Clone, Debug)]
pub struct FBetaScore {
    average: Average,
    beta: f64,
    threshold: Option<f32>,
    classes: Vec<Counts>,
}

impl Default for FBetaScore {
    fn default() -> Self {
        FBetaScore {
            average: Average::None,
            beta: 1.0,
            threshold: None,
            classes: Vec::new(),
        }
    }
}

/// [`FBetaScore`] with `beta` 1.
#[derive(Clone, Debug, Default)]
pub struct F1Score {
    score: FBetaScore,
}

impl FBetaScore {
    /// With `beta` 1, a result for each class, and the largest value as decision.
    #[must_use]
    pub fn new() -> FBetaScore {
        FBetaScore::default()
    }

    /// How much more recall weighs than precision, above 0.
    ///
    /// # Errors
    /// The number is outside its range.
    pub fn beta(mut self, beta: f64) -> Result<FBetaScore, NnError> {
        if !(beta.is_finite() && beta > 0.0) {
            return Err(NnError::argument("beta", "a number above 0", beta));
        }
        self.beta = beta;
        Ok(self)
    }

    /// How the scores of classes become one.
    #[must_use]
    pub fn average(mut self, average: Average) -> FBetaScore {
        self.average = average;
        self
    }

    /// Values above it are decisions; above 0, at most 1.
    ///
    /// # Errors
    /// The number is outside its range.
    pub fn threshold(mut self, threshold: f64) -> Result<FBetaScore, NnError> {
        if !(threshold > 0.0 && threshold <= 1.0) {
            let expected = "a number above 0, at most 1";
            return Err(NnError::argument("threshold", expected, threshold));
        }
        self.threshold = Some(threshold as f32);
        Ok(self)
    }

    fn score(&self, counts: &Counts) -> f64 {
        let of = |other: f64| counts.true_positives / (counts.true_positives + other + EPSILON);
        let (precision, recall) = (of(counts.false_positives), of(counts.false_negatives));
        let square = self.beta * self.beta;
        (1.0 + square) * (precision * recall / (square * precision + recall + EPSILON))
    }

    fn gather(
        &mut self,
        name: &str,
        workspace: &mut Workspace,
        output: &Output,
        target: &Target,
        weights: Option<&Tensor>,
    ) -> Result<(), NnError> {
        let values = output.values(workspace)?;
        let [_, classes] = *values.dims() else {
            let found = values.dims();
            let what = format!("{name}: output");
            return Err(NnError::shape(what, "[samples, classes]", found));
        };
        let mut counts = self.classes.clone();
        if counts.is_empty() {
            counts.resize(classes, Counts::default());
        }
        if counts.len() != classes {
            let expected = format!("[samples, {}] as before", counts.len());
            let found = values.dims();
            return Err(NnError::shape(format!("{name}: output"), expected, found));
        }
        let threshold = self.threshold;
        each_row(name, &values, target, weights, |y, p, weight| {
            let largest = p.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            for (counts, (y, p)) in counts.iter_mut().zip(y.iter().zip(p)) {
                let decision = match threshold {
                    Some(threshold) => *p > threshold,
                    // A row of zeros decides for nothing.
                    None => *p >= largest && p.abs() > 1e-9,
                };
                let (y, p) = (f64::from(*y), f64::from(u8::from(decision)));
                counts.true_positives += weight * p * y;
                counts.false_positives += weight * p * (1.0 - y);
                counts.false_negatives += weight * (1.0 - p) * y;
                counts.targets += weight * y;
            }
        })?;
        self.classes = counts;
        Ok(())
    }

    /// Any number of classes: the first batch tells how many there are.
    fn load(&mut self, name: &str, state: &[f64]) -> Result<(), NnError> {
        let classes = state::numbers(name, state, None)?.into_iter().map(
            |[true_positives, false_positives, false_negatives, targets]| Counts {
                true_positives,
                false_positives,
                false_negatives,
                targets,
            },
        );
        self.classes = classes.collect();
        Ok(())
    }
}

impl F1Score {
    /// A result for each class, and the largest value as decision.
    #[must_use]
    pub fn new() -> F1Score {
        F1Score::default()
    }

    /// How the scores of classes become one.
    #[must_use]
    pub fn average(self, average: Average) -> F1Score {
        let score = self.score.average(average);
        F1Score { score }
    }

    /// Values above it are decisions; above 0, at most 1.
    ///
    /// # Errors
    /// The number is outside its range.
    pub fn threshold(self, threshold: f64) -> Result<F1Score, NnError> {
        let score = self.score.threshold(threshold)?;
        Ok(F1Score { score })
    }
}

impl Metric for FBetaScore {
    fn name(&self) -> &str {
        "fbeta_score"
    }

    fn update(
        &mut self,
        workspace: &mut Workspace,
        output: &Output,
        target: &Target,
        weights: Option<&Tensor>,
    ) -> Result<(), NnError> {
        self.gather("fbeta_score", workspace, output, target, weights)
    }

    fn result(&self) -> f64 {
        mean(&self.results())
    }

    fn results(&self) -> Vec<f64> {
        let scores: Vec<f64> = self.classes.iter().map(|class| self.score(class)).collect();
        match self.average {
            Average::None => scores,
            Average::Macro => vec![mean(&scores)],
            Average::Weighted => {
                let total: f64 = self.classes.iter().map(|class| class.targets).sum();
                let parts = scores.iter().zip(&self.classes);
                let parts = parts.map(|(score, class)| score * class.targets / (total + EPSILON));
                vec![parts.sum()]
            }
            Average::Micro => {
                let mut all = Counts::default();
                for class in &self.classes {
                    all.true_positives += class.true_positives;
                    all.false_positives += class.false_positives;
                    all.false_negatives += class.false_negatives;
                }
                vec![self.score(&all)]
            }
        }
    }

    fn reset(&mut self) {
        self.classes.clear();
    }

    fn state(&self) -> Vec<f64> {
        let classes = self.classes.iter().flat_map(|class| {
            [
                class.true_positives,
                class.false_positives,
                class.false_negatives,
                class.targets,
            ]
        });
        classes.collect()
    }

    fn load_state(&mut self, state: &[f64]) -> Result<(), NnError> {
        self.load("fbeta_score", state)
    }
}

impl Metric for F1Score {
    fn name(&self) -> &str {
        "f1_score"
    }

    fn update(
        &mut self,
        workspace: &mut Workspace,
        output: &Output,
        target: &Target,
        weights: Option<&Tensor>,
    ) -> Result<(), NnError> {
        self.score
            .gather("f1_score", workspace, output, target, weights)
    }

    fn result(&self) -> f64 {
        self.score.result()
    }

    fn results(&self) -> Vec<f64> {
        self.score.results()
    }

    fn reset(&mut self) {
        self.score.reset();
    }

    fn state(&self) -> Vec<f64> {
        self.score.state()
    }

    fn load_state(&mut self, state: &[f64]) -> Result<(), NnError> {
        self.score.load("f1_score", state)
    }
}
