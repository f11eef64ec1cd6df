//! The best of one ratio over the thresholds at which another is high enough.

use super::compare::{chosen, dims_of_rows, each_row};
use super::thresholds::{Buckets, Decisions, inner};
use super::{Metric, ratio};
use crate::error::NnError;
use crate::network::Output;
use crate::setter::in_range;
use crate::target::Target;
use keros_tensor::{Tensor, Workspace};

/// Decisions at evenly spaced thresholds, and how much the other ratio has to be.
#[derive(Clone, Debug)]
struct AtLeast {
    least: f64,
    class_id: Option<usize>,
    thresholds: Vec<f32>,
    buckets: Buckets,
}

impl AtLeast {
    fn new(what: &str, least: f64) -> Result<AtLeast, NnError> {
        let least = in_range(what, least, 0.0..=1.0)?;
        AtLeast::between(least, 200)
    }

    fn between(least: f64, num_thresholds: usize) -> Result<AtLeast, NnError> {
        let thresholds: Vec<f32> = match num_thresholds {
            0 => return Err(NnError::argument("num_thresholds", "at least 1", 0)),
            1 => vec![0.5],
            num => {
                let (low, high) = (std::iter::once(0.0), std::iter::once(1.0));
                let all = low.chain(inner(num)).chain(high);
                all.map(|threshold| threshold as f32).collect()
            }
        };
        Ok(AtLeast {
            least,
            class_id: None,
            buckets: Buckets::new(thresholds.len()),
            thresholds,
        })
    }

    fn update(
        &mut self,
        name: &str,
        workspace: &mut Workspace,
        output: &Output,
        target: &Target,
        weights: Option<&Tensor>,
    ) -> Result<(), NnError> {
        let dims = dims_of_rows(output.logits.dims(), target);
        let classes = chosen(name, self.class_id, dims)?;
        let values = output.values(workspace)?;
        let (thresholds, buckets) = (&self.thresholds, &mut self.buckets);
        each_row(name, &values, target, weights, |y, p, weight| {
            for class in classes.clone() {
                buckets.add(thresholds, y[class] != 0.0, p[class], weight);
            }
        })
    }

    /// The largest `best` where `other` is at least what is asked for; 0 where it never is.
    fn result(&self, best: Ratio, other: Ratio) -> f64 {
        let at = self.buckets.decisions();
        let enough = at.iter().filter(|at| other(at) >= self.least);
        enough.map(best).fold(0.0, f64::max)
    }
}

type Ratio = fn(&Decisions) -> f64;

fn precision(d: &Decisions) -> f64 {
    ratio(d.true_positives, d.true_positives + d.false_positives)
}

/// The sensitivity, which is the recall.
fn recall(d: &Decisions) -> f64 {
    ratio(d.true_positives, d.true_positives + d.false_negatives)
}

fn specificity(d: &Decisions) -> f64 {
    ratio(d.true_negatives, d.true_negatives + d.false_positives)
}

macro_rules! at_least {
    ($($(#[$doc:meta])* $metric:ident: $name:literal, $best:ident, $argument:ident as $other:ident;)*) => {$(
        $(#[$doc])*
        ///
        /// Predictions are probabilities, cut to [0, 1]; one strictly above the threshold is a
        /// decision for the class, and a target that is not 0 is of the class. Values are counted one
        /// by one, each with its sample's weight.
        #[derive(Clone, Debug)]
        pub struct $metric {
            at: AtLeast,
        }

        impl $metric {
            /// With 200 thresholds. The argument is from 0 to 1.
            ///
            /// # Errors
            /// The number is outside its range.
            pub fn new($argument: f64) -> Result<$metric, NnError> {
                let at = AtLeast::new(stringify!($argument), $argument)?;
                Ok($metric { at })
            }

            /// `num_thresholds` evenly spaced thresholds from 0 to 1; a single one is 0.5.
            ///
            /// # Errors
            /// There is none.
            pub fn num_thresholds(self, num_thresholds: usize) -> Result<$metric, NnError> {
                let class_id = self.at.class_id;
                let at = AtLeast::between(self.at.least, num_thresholds)?;
                Ok($metric {
                    at: AtLeast { class_id, ..at },
                })
            }

            /// Counts only this class, an index into the last axis.
            #[must_use]
            pub fn class_id(mut self, class_id: usize) -> $metric {
                self.at.class_id = Some(class_id);
                self
            }
        }

        impl Metric for $metric {
            fn name(&self) -> &str {
                $name
            }

            fn update(
                &mut self,
                workspace: &mut Workspace,
                output: &Output,
                target: &Target,
                weights: Option<&Tensor>,
            ) -> Result<(), NnError> {
                self.at.update($name, workspace, output, target, weights)
            }

            fn result(&self) -> f64 {
                self.at.result($best, $other)
            }

            fn reset(&mut self) {
                self.at.buckets = Buckets::new(self.at.thresholds.len());
            }

            fn state(&self) -> Vec<f64> {
                self.at.buckets.state().collect()
            }

            fn load_state(&mut self, state: &[f64]) -> Result<(), NnError> {
                let thresholds = self.at.thresholds.len();
                let loaded = Buckets::load($name, state, thresholds, Some(1))?;
                self.at.buckets = loaded.into_iter().next().unwrap_or(Buckets::new(thresholds));
                Ok(())
            }
        }
    )*};
}

at_least! {
    /// The best precision at thresholds where the recall is at least `recall`.
    PrecisionAtRecall: "precision_at_recall", precision, recall as recall;

    /// The best recall at thresholds where the precision is at least `precision`.
    RecallAtPrecision: "recall_at_precision", recall, precision as precision;

    /// The best sensitivity, `tp / (tp + fn)`, at thresholds where the specificity, `tn / (tn + fp)`,
    /// is at least `specificity`.
    SensitivityAtSpecificity: "sensitivity_at_specificity", recall, specificity as specificity;

    /// The best specificity, `tn / (tn + fp)`, at thresholds where the sensitivity, `tp / (tp + fn)`,
    /// is at least `sensitivity`.
    SpecificityAtSensitivity: "specificity_at_sensitivity", specificity, sensitivity as recall;
}
