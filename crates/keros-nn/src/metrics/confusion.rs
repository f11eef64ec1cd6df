//! Counts of right and wrong decisions at thresholds, and ratios of them.

use super::compare::{chosen, dims_of_rows, each_row};
use super::{Metric, mean, ratio, state};
use crate::error::NnError;
use crate::network::Output;
use crate::setter::in_range;
use crate::target::Target;
use keros_tensor::{Tensor, Workspace};

/// Weights of decisions by whether they were right.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    true_positives: f64,
    false_positives: f64,
    true_negatives: f64,
    false_negatives: f64,
}

impl Counts {
    fn add(&mut self, truth: bool, decision: bool, weight: f64) {
        *match (truth, decision) {
            (true, true) => &mut self.true_positives,
            (false, true) => &mut self.false_positives,
            (false, false) => &mut self.true_negatives,
            (true, false) => &mut self.false_negatives,
        } += weight;
    }
}

/// What is counted, and how.
#[derive(Clone, Debug, Default)]
struct Confusion {
    /// Empty for the default.
    thresholds: Vec<f32>,
    top_k: Option<usize>,
    class_id: Option<usize>,
    counts: Vec<Counts>,
}

impl Confusion {
    fn set_thresholds(&mut self, thresholds: impl IntoIterator<Item = f64>) -> Result<(), NnError> {
        let checked = thresholds
            .into_iter()
            .map(|value| Ok(in_range("thresholds", value, 0.0..=1.0)? as f32));
        self.thresholds = checked.collect::<Result<_, NnError>>()?;
        Ok(())
    }

    fn set_top_k(&mut self, k: usize) -> Result<(), NnError> {
        if k == 0 {
            return Err(NnError::argument("top_k", "at least 1", k));
        }
        self.top_k = Some(k);
        Ok(())
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
        let default = [match self.top_k {
            // Whatever is among the k largest is a decision for the class.
            Some(_) => f32::NEG_INFINITY,
            None => 0.5,
        }];
        let thresholds = match self.thresholds.is_empty() {
            true => &default[..],
            false => &self.thresholds,
        };
        let top_k = self.top_k;
        let mut counts = self.counts.clone();
        counts.resize(thresholds.len(), Counts::default());
        let values = output.values(workspace)?;
        let mut allowed = Vec::new();
        each_row(name, &values, target, weights, |y, p, weight| {
            allowed.clear();
            allowed.resize(p.len(), top_k.is_none());
            if let Some(k) = top_k {
                mark_top_k(p, k, &mut allowed);
            }
            for class in classes.clone() {
                for (threshold, counts) in thresholds.iter().zip(&mut counts) {
                    let decision = allowed[class] && p[class] > *threshold;
                    counts.add(y[class] != 0.0, decision, weight);
                }
            }
        })?;
        self.counts = counts;
        Ok(())
    }

    /// True and false positives, true and false negatives at each threshold; nothing before the
    /// first batch.
    fn state(&self) -> Vec<f64> {
        let counts = self.counts.iter().flat_map(|counts| {
            [
                counts.true_positives,
                counts.false_positives,
                counts.true_negatives,
                counts.false_negatives,
            ]
        });
        counts.collect()
    }

    fn load_state(&mut self, name: &str, state: &[f64]) -> Result<(), NnError> {
        let thresholds = self.thresholds.len().max(1);
        let rows = if state.is_empty() { 0 } else { thresholds };
        let counts = state::weights(name, state, Some(rows))?.into_iter().map(
            |[
                true_positives,
                false_positives,
                true_negatives,
                false_negatives,
            ]| Counts {
                true_positives,
                false_positives,
                true_negatives,
                false_negatives,
            },
        );
        self.counts = counts.collect();
        Ok(())
    }

    fn results(&self, result: impl Fn(&Counts) -> f64) -> Vec<f64> {
        match self.counts.is_empty() {
            true => vec![0.0; self.thresholds.len().max(1)],
            false => self.counts.iter().map(result).collect(),
        }
    }
}

/// Marks the k largest values, the first of equals; nothing is marked yet.
fn mark_top_k(row: &[f32], k: usize, marked: &mut [bool]) {
    for _ in 0..k.min(row.len()) {
        let mut best: Option<usize> = None;
        for (index, value) in row.iter().enumerate() {
            if !marked[index] && best.is_none_or(|best| *value > row[best]) {
                best = Some(index);
            }
        }
        if let Some(best) = best {
            marked[best] = true;
        }
    }
}

macro_rules! confusion_metric {
    ($($(#[$doc:meta])* $metric:ident: $name:literal, $result:expr $(, $choice:ident)?;)*) => {$(
        $(#[$doc])*
        ///
        /// A prediction strictly above the threshold is a decision for the class; a target that is
        /// not 0 is of the class. Values are counted one by one, each with its sample's weight.
        #[derive(Clone, Debug, Default)]
        pub struct $metric {
            confusion: Confusion,
        }

        impl $metric {
            /// With the threshold 0.5.
            #[must_use]
            pub fn new() -> $metric {
                $metric::default()
            }

            /// Thresholds, each from 0 to 1. There is a result for each.
            ///
            /// # Errors
            /// A threshold is outside its range.
            pub fn thresholds(
                mut self,
                thresholds: impl IntoIterator<Item = f64>,
            ) -> Result<$metric, NnError> {
                self.confusion.set_thresholds(thresholds)?;
                Ok(self)
            }

            $(choice! { $choice $metric })?
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
                self.confusion
                    .update($name, workspace, output, target, weights)
            }

            fn result(&self) -> f64 {
                mean(&self.results())
            }

            fn results(&self) -> Vec<f64> {
                self.confusion.results($result)
            }

            fn reset(&mut self) {
                self.confusion.counts.clear();
            }

            fn state(&self) -> Vec<f64> {
                self.confusion.state()
            }

            fn load_state(&mut self, state: &[f64]) -> Result<(), NnError> {
                self.confusion.load_state($name, state)
            }
        }
    )*};
}

/// The setters that only the ratios have.
macro_rules! choice {
    (choose $metric:ident) => {
        /// Decides for the `top_k` largest values of each row, those above the threshold if one is
        /// given, and for no other. At least 1.
        ///
        /// # Errors
        /// `top_k` is 0.
        pub fn top_k(mut self, top_k: usize) -> Result<$metric, NnError> {
            self.confusion.set_top_k(top_k)?;
            Ok(self)
        }

        /// Counts only this class, an index into the last axis.
        #[must_use]
        pub fn class_id(mut self, class_id: usize) -> $metric {
            self.confusion.class_id = Some(class_id);
            self
        }
    };
}

confusion_metric! {
    /// The share of decisions for a class that are right.
    Precision: "precision", |counts: &Counts| {
        ratio(counts.true_positives, counts.true_positives + counts.false_positives)
    }, choose;

    /// The share of a class that is decided for.
    Recall: "recall", |counts: &Counts| {
        ratio(counts.true_positives, counts.true_positives + counts.false_negatives)
    }, choose;

    /// The weight of right decisions for a class.
    TruePositives: "true_positives", |counts: &Counts| counts.true_positives;

    /// The weight of wrong decisions for a class.
    FalsePositives: "false_positives", |counts: &Counts| counts.false_positives;

    /// The weight of right decisions against a class.
    TrueNegatives: "true_negatives", |counts: &Counts| counts.true_negatives;

    /// The weight of wrong decisions against a class.
    FalseNegatives: "false_negatives", |counts: &Counts| counts.false_negatives;
}
