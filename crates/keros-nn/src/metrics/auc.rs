//! The area under the ROC or the precision-recall curve.

use super::compare::each_row;
use super::{Metric, ratio, state};
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
}

impl FromStr for Curve {
    type Err = NnError;

    /// Keras's names: `ROC` and `PR`, also in lower case.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "ROC" | "roc" => Ok(Curve::Roc),
            "PR" | "pr" => Ok(Curve::Pr),
            _ => Err(NnError::UnknownName {
                kind: "curve",
                name: name.to_owned(),
                known: &["ROC", "PR"],
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
/// counted one by one, each with its sample's weight.
#[derive(Clone, Debug)]
pub struct Auc {
    curve: Curve,
    summation_method: SummationMethod,
    from_logits: bool,
    /// Ascending, from below 0 to above 1.
    thresholds: Vec<f32>,
    /// Weights of positives and negatives by the number of thresholds below the prediction.
    buckets: Vec<(f64, f64)>,
}

impl Default for Auc {
    fn default() -> Self {
        let inner = 200 - 2;
        Auc::between((1..=inner).map(|i| f64::from(i) / f64::from(inner + 1)))
    }
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
    pub fn num_thresholds(self, num_thresholds: usize) -> Result<Auc, NnError> {
        if num_thresholds < 2 {
            let what = "num_thresholds";
            return Err(NnError::argument(what, "at least 2", num_thresholds));
        }
        let last = (num_thresholds - 1) as f64;
        let inner = (1..num_thresholds - 1).map(|i| i as f64 / last);
        Ok(self.with_inner(inner.collect()))
    }

    /// Thresholds in [0, 1], to which one below 0 and one above 1 are added.
    ///
    /// # Errors
    /// A threshold is outside its range.
    pub fn thresholds(self, thresholds: impl IntoIterator<Item = f64>) -> Result<Auc, NnError> {
        let checked = thresholds
            .into_iter()
            .map(|value| in_range("thresholds", value, 0.0..=1.0));
        let mut inner = checked.collect::<Result<Vec<_>, _>>()?;
        inner.sort_by(f64::total_cmp);
        Ok(self.with_inner(inner))
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

    fn with_inner(self, inner: Vec<f64>) -> Auc {
        Auc {
            curve: self.curve,
            summation_method: self.summation_method,
            from_logits: self.from_logits,
            ..Auc::between(inner)
        }
    }

    fn between(inner: impl IntoIterator<Item = f64>) -> Auc {
        let ends = (std::iter::once(-EPSILON), std::iter::once(1.0 + EPSILON));
        let thresholds: Vec<f32> = ends
            .0
            .chain(inner)
            .chain(ends.1)
            .map(|threshold| threshold as f32)
            .collect();
        Auc {
            curve: Curve::default(),
            summation_method: SummationMethod::default(),
            from_logits: false,
            buckets: vec![(0.0, 0.0); thresholds.len() + 1],
            thresholds,
        }
    }

    /// Weights of true and of false positives at each threshold, and the weights of both classes.
    fn positives(&self) -> (Vec<(f64, f64)>, (f64, f64)) {
        let mut sums = (0.0, 0.0);
        let mut at = vec![(0.0, 0.0); self.thresholds.len()];
        for (above, bucket) in self.buckets.iter().enumerate().rev() {
            sums = (sums.0 + bucket.0, sums.1 + bucket.1);
            if above > 0 {
                at[above - 1] = sums;
            }
        }
        (at, sums)
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

/// The area under the PR curve where true positives and all positives grow evenly from one threshold
/// to the next: with `tp = tp_b + slope · (p - p_b)`, the precision `tp / p` has the integral
/// `slope · Δtp + slope · (tp_b - slope · p_b) · log(p_a / p_b)` by the recall.
fn interpolated_pr(at: &[(f64, f64)], class: f64) -> f64 {
    let parts = at.windows(2).map(|pair| {
        let (high, low) = (pair[0], pair[1]);
        let (p_high, p_low) = (high.0 + high.1, low.0 + low.1);
        let gained = high.0 - low.0;
        let slope = ratio(gained, (p_high - p_low).max(0.0));
        let start = low.0 - slope * p_low;
        let growth = match p_high > 0.0 && p_low > 0.0 {
            true => p_high / p_low,
            false => 1.0,
        };
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
        let mut values = output.values(workspace)?;
        if self.from_logits {
            values = Activation::Sigmoid.apply(workspace, &values)?;
        }
        let thresholds = &self.thresholds;
        let buckets = &mut self.buckets;
        each_row("auc", &values, target, weights, |y, p, weight| {
            for (y, p) in y.iter().zip(p) {
                let p = p.clamp(0.0, 1.0);
                let bucket = &mut buckets[thresholds.partition_point(|t| *t < p)];
                *match *y != 0.0 {
                    true => &mut bucket.0,
                    false => &mut bucket.1,
                } += weight;
            }
        })
    }

    fn result(&self) -> f64 {
        let (at, (positives, negatives)) = self.positives();
        let recall = |tp: f64| ratio(tp, positives);
        match (self.curve, self.summation_method) {
            (Curve::Pr, SummationMethod::Interpolation) => interpolated_pr(&at, positives),
            (Curve::Pr, _) => {
                let point = |(tp, fp): &(f64, f64)| (recall(*tp), ratio(*tp, tp + fp));
                self.sum(&at.iter().map(point).collect::<Vec<_>>())
            }
            (Curve::Roc, _) => {
                let point = |(tp, fp): &(f64, f64)| (ratio(*fp, negatives), recall(*tp));
                self.sum(&at.iter().map(point).collect::<Vec<_>>())
            }
        }
    }

    fn reset(&mut self) {
        self.buckets.fill((0.0, 0.0));
    }

    fn state(&self) -> Vec<f64> {
        self.buckets
            .iter()
            .flat_map(|bucket| [bucket.0, bucket.1])
            .collect()
    }

    fn load_state(&mut self, state: &[f64]) -> Result<(), NnError> {
        let rows = state::weights("auc", state, Some(self.buckets.len()))?;
        self.buckets = rows.into_iter().map(|[p, n]| (p, n)).collect();
        Ok(())
    }
}
