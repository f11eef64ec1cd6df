//! The area under the ROC or the precision-recall curve.

use super::compare::{dims_of_rows, each_row};
use super::thresholds::{Buckets, Decisions, inner};
use super::{Metric, mean, ratio};
use crate::activation::Activation;
use crate::error::NnError;
use crate::losses::EPSILON;
use crate::network::Output;
use crate::setter::{in_range, setter};
use crate::target::Target;
use keros_tensor::{Tensor, Workspace};
use std::str::FromStr;

/// Which curve the area is under.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Curve {
    /// True positive rate over false positive rate.
    #[default]
    Roc,
    /// Precision over recall.
    Pr,
    /// Precision gain over recall gain (Flach & Kull 2015), as Keras computes them: a negative
    /// recall gain is 0.
    PrGain,
}

impl FromStr for Curve {
    type Err = NnError;

    /// Keras's names: `ROC`, `PR` and `PRGAIN`, also in lower case.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "ROC" | "roc" => Ok(Curve::Roc),
            "PR" | "pr" => Ok(Curve::Pr),
            "PRGAIN" | "prgain" => Ok(Curve::PrGain),
            _ => Err(NnError::UnknownName {
                kind: "curve",
                name: name.to_owned(),
                known: &["ROC", "PR", "PRGAIN"],
            }),
        }
    }
}

/// How the area between two thresholds is summed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SummationMethod {
    /// The trapezoid; for the PR curve positives are interpolated, not the precision (Davis &
    /// Goadrich 2006, section 4).
    #[default]
    Interpolation,
    /// The lower side.
    Minoring,
    /// The higher side.
    Majoring,
}

impl FromStr for SummationMethod {
    type Err = NnError;

    /// Keras's names: `interpolation`, `minoring`, `majoring`.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "interpolation" => Ok(SummationMethod::Interpolation),
            "minoring" => Ok(SummationMethod::Minoring),
            "majoring" => Ok(SummationMethod::Majoring),
            _ => Err(NnError::UnknownName {
                kind: "summation method",
                name: name.to_owned(),
                known: &["interpolation", "minoring", "majoring"],
            }),
        }
    }
}

/// The area under a curve, as a sum over thresholds: Keras's `AUC`.
///
/// Predictions are probabilities, cut to [0, 1]; a target that is not 0 is of the class. Values are
/// counted one by one, each with its sample's weight; with `multi_label` each column has an area of
/// its own, and the result is their mean.
#[doc(alias = "AUC")]
#[derive(Clone, Debug)]
pub struct Auc {
    curve: Curve,
    summation_method: SummationMethod,
    from_logits: bool,
    multi_label: bool,
    /// Empty for none.
    label_weights: Vec<f64>,
    /// Ascending, from below 0 to above 1.
    thresholds: Vec<f32>,
    /// One, or one for each label; empty before the first batch.
    labels: Vec<Buckets>,
}

impl Default for Auc {
    fn default() -> Self {
        Auc {
            curve: Curve::default(),
            summation_method: SummationMethod::default(),
            from_logits: false,
            multi_label: false,
            label_weights: Vec::new(),
            thresholds: between(inner(200)),
            labels: Vec::new(),
        }
    }
}

/// Thresholds with one below 0 and one above 1.
fn between(inner: impl Iterator<Item = f64>) -> Vec<f32> {
    let (low, high) = (std::iter::once(-EPSILON), std::iter::once(1.0 + EPSILON));
    let all = low.chain(inner).chain(high);
    all.map(|threshold| threshold as f32).collect()
}

impl Auc {
    /// Under the ROC curve, with 200 thresholds and interpolation.
    #[must_use]
    pub fn new() -> Auc {
        Auc::default()
    }

    /// `num_thresholds` evenly spaced thresholds, at least 2.
    ///
    /// # Errors
    /// There are fewer.
    pub fn num_thresholds(mut self, num_thresholds: usize) -> Result<Auc, NnError> {
        if num_thresholds < 2 {
            let what = "num_thresholds";
            return Err(NnError::argument(what, "at least 2", num_thresholds));
        }
        self.thresholds = between(inner(num_thresholds));
        Ok(self)
    }

    /// Thresholds in [0, 1], to which one below 0 and one above 1 are added.
    ///
    /// # Errors
    /// A threshold is outside its range.
    pub fn thresholds(mut self, thresholds: impl IntoIterator<Item = f64>) -> Result<Auc, NnError> {
        let checked = thresholds
            .into_iter()
            .map(|value| in_range("thresholds", value, 0.0..=1.0));
        let mut inner = checked.collect::<Result<Vec<_>, _>>()?;
        inner.sort_by(f64::total_cmp);
        self.thresholds = between(inner.into_iter());
        Ok(self)
    }

    /// The curve. Default: ROC.
    #[must_use]
    pub fn curve(mut self, curve: Curve) -> Auc {
        self.curve = curve;
        self
    }

    /// How the area between thresholds is summed. Default: interpolation.
    #[must_use]
    pub fn summation_method(mut self, summation_method: SummationMethod) -> Auc {
        self.summation_method = summation_method;
        self
    }

    setter! {
        /// Whether the outputs are logits, to which a sigmoid is applied. Default false.
        from_logits: bool
    }

    setter! {
        /// Whether each column of an output `[N, labels]` has an area of its own. Default false.
        multi_label: bool
    }

    /// Weights of the labels, one for each value of the last axis: of their areas with `multi_label`,
    /// and else of their values, beside the samples' weights.
    ///
    /// # Errors
    /// There is none, or one is not a finite number of at least 0.
    pub fn label_weights(
        mut self,
        label_weights: impl IntoIterator<Item = f64>,
    ) -> Result<Auc, NnError> {
        let checked = label_weights
            .into_iter()
            .map(|value| in_range("label_weights", value, 0.0..=f64::MAX));
        self.label_weights = checked.collect::<Result<_, _>>()?;
        if self.label_weights.is_empty() {
            return Err(NnError::argument(
                "label_weights",
                "at least 1 weight",
                "none",
            ));
        }
        Ok(self)
    }

    /// The number of areas for outputs of these dimensions.
    fn areas(&self, dims: &[usize]) -> Result<usize, NnError> {
        let width = match dims {
            [_, .., width] => *width,
            _ => 1,
        };
        let mismatch = |expected: String| Err(NnError::shape("auc: output", expected, dims));
        if !self.label_weights.is_empty() && self.label_weights.len() != width {
            let expected = self.label_weights.len();
            return mismatch(format!(
                "[.., {expected}], a value for each of label_weights"
            ));
        }
        if !self.multi_label {
            return Ok(1);
        }
        if dims.len() != 2 {
            return mismatch("[samples, labels]".to_owned());
        }
        if !self.labels.is_empty() && self.labels.len() != width {
            return mismatch(format!("[samples, {}] as before", self.labels.len()));
        }
        Ok(width)
    }

    fn area(&self, at: &[Decisions]) -> f64 {
        let recall = |d: &Decisions| ratio(d.true_positives, d.true_positives + d.false_negatives);
        let points = at.iter().map(|d| match self.curve {
            Curve::Roc => {
                let negatives = d.false_positives + d.true_negatives;
                (ratio(d.false_positives, negatives), recall(d))
            }
            Curve::Pr => {
                let decided = d.true_positives + d.false_positives;
                (recall(d), ratio(d.true_positives, decided))
            }
            Curve::PrGain => gains(d),
        });
        let points: Vec<(f64, f64)> = points.collect();
        match (self.curve, self.summation_method) {
            (Curve::Pr, SummationMethod::Interpolation) => interpolated_pr(at),
            _ => self.sum(&points),
        }
    }

    /// The area under points that go from right to left.
    fn sum(&self, points: &[(f64, f64)]) -> f64 {
        let parts = points.windows(2).map(|pair| {
            let ((right, a), (left, b)) = (pair[0], pair[1]);
            let height = match self.summation_method {
                SummationMethod::Interpolation => (a + b) / 2.0,
                SummationMethod::Minoring => a.min(b),
                SummationMethod::Majoring => a.max(b),
            };
            (right - left) * height
        });
        parts.sum()
    }
}

/// Recall gain and precision gain; 0 and 1 where nothing is right.
fn gains(d: &Decisions) -> (f64, f64) {
    if d.true_positives == 0.0 {
        return (0.0, 1.0);
    }
    let positives = d.true_positives + d.false_negatives;
    let scale = ratio(positives, d.true_negatives + d.false_positives);
    let gain = |wrong: f64| 1.0 - scale * (wrong / d.true_positives);
    (gain(d.false_negatives).max(0.0), gain(d.false_positives))
}

/// The area under the PR curve where true positives and all positives grow evenly from one threshold
/// to the next: with `tp = tp_b + slope · (p - p_b)`, the precision `tp / p` has the integral
/// `slope · Δtp + slope · (tp_b - slope · p_b) · log(p_a / p_b)` by the recall.
fn interpolated_pr(at: &[Decisions]) -> f64 {
    let parts = at.windows(2).map(|pair| {
        let (high, low) = (pair[0], pair[1]);
        let p_high = high.true_positives + high.false_positives;
        let p_low = low.true_positives + low.false_positives;
        let gained = high.true_positives - low.true_positives;
        let slope = ratio(gained, (p_high - p_low).max(0.0));
        let start = low.true_positives - slope * p_low;
        let growth = match p_high > 0.0 && p_low > 0.0 {
            true => p_high / p_low,
            false => 1.0,
        };
        let class = low.true_positives + low.false_negatives;
        ratio(slope * (gained + start * growth.ln()), class)
    });
    parts.sum()
}

impl Metric for Auc {
    fn name(&self) -> &str {
        "auc"
    }

    fn update(
        &mut self,
        workspace: &mut Workspace,
        output: &Output,
        target: &Target,
        weights: Option<&Tensor>,
    ) -> Result<(), NnError> {
        let found = output.activation;
        if self.from_logits && matches!(found, Activation::Softmax | Activation::Sigmoid) {
            let expected = "an output that is not probabilities (from_logits = true)";
            return Err(NnError::argument("auc", expected, format!("{found:?}")));
        }
        let mut values = output.values(workspace)?;
        let areas = self.areas(dims_of_rows(values.dims(), target))?;
        if self.from_logits {
            values = Activation::Sigmoid.apply(workspace, &values)?;
        }
        let thresholds = &self.thresholds;
        let of_value = match self.multi_label {
            true => &[],
            false => &self.label_weights[..],
        };
        let mut labels = self.labels.clone();
        labels.resize(areas, Buckets::new(thresholds.len()));
        each_row("auc", &values, target, weights, |y, p, weight| {
            for (label, (y, p)) in y.iter().zip(p).enumerate() {
                let weight = weight * of_value.get(label).unwrap_or(&1.0);
                labels[label.min(areas - 1)].add(thresholds, *y != 0.0, *p, weight);
            }
        })?;
        self.labels = labels;
        Ok(())
    }

    fn result(&self) -> f64 {
        let areas = self
            .labels
            .iter()
            .map(|label| self.area(&label.decisions()));
        let areas: Vec<f64> = areas.collect();
        if !self.multi_label || self.label_weights.is_empty() {
            return mean(&areas);
        }
        let parts = areas.iter().zip(&self.label_weights);
        let weighted = parts.map(|(area, weight)| area * weight).sum();
        ratio(weighted, self.label_weights.iter().sum())
    }

    fn reset(&mut self) {
        self.labels.clear();
    }

    /// Positives and negatives between thresholds, label by label; nothing before the first batch.
    fn state(&self) -> Vec<f64> {
        self.labels.iter().flat_map(Buckets::state).collect()
    }

    fn load_state(&mut self, state: &[f64]) -> Result<(), NnError> {
        let labels = match (self.multi_label, self.label_weights.len()) {
            _ if state.is_empty() => Some(0),
            (false, _) => Some(1),
            (true, 0) => None,
            (true, labels) => Some(labels),
        };
        self.labels = Buckets::load("auc", state, self.thresholds.len(), labels)?;
        Ok(())
    }
}
