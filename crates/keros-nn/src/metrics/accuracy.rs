//! How often predictions are right.

use super::compare::{each_label, each_row, first_largest, ordered};
use super::{Metric, WeightedMean};
use crate::error::NnError;
use crate::losses::same_but_for_a_last_axis_of_one;
use crate::network::Output;
use crate::setter::setter;
use crate::target::Target;
use keros_tensor::{Tensor, Workspace};

/// A metric that is a weighted mean, from a method `gather` with `update`'s arguments.
macro_rules! mean_metric {
    ($($metric:ident: $name:literal;)*) => {$(
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
                self.gather($name, workspace, output, target, weights)
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
                self.mean.load_state($name, state)
            }
        }
    )*};
}

mean_metric! {
    Accuracy: "accuracy";
    AccuracyByShape: "accuracy";
    BinaryAccuracy: "binary_accuracy";
    CategoricalAccuracy: "categorical_accuracy";
    SparseCategoricalAccuracy: "sparse_categorical_accuracy";
    TopKCategoricalAccuracy: "top_k_categorical_accuracy";
    SparseTopKCategoricalAccuracy: "sparse_top_k_categorical_accuracy";
}

/// A metric without arguments.
macro_rules! plain_accuracy {
    ($($(#[$doc:meta])* $metric:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default)]
        pub struct $metric {
            mean: WeightedMean,
        }

        impl $metric {
            /// Nothing seen yet.
            #[must_use]
            pub fn new() -> $metric {
                $metric::default()
            }
        }
    )*};
}

plain_accuracy! {
    /// The share of values that equal their target, for networks whose outputs are labels.
    ///
    /// This is Keras's class of the name. The string `accuracy` is [`AccuracyByShape`].
    Accuracy;

    /// What the string `accuracy` stands for. It goes by the shapes:
    /// [`BinaryAccuracy`] for outputs with one value per row, [`CategoricalAccuracy`] for targets of
    /// the output's shape, [`SparseCategoricalAccuracy`] for labels.
    ///
    /// As in Keras a threshold of 0.5 is applied to single values also where they are logits.
    AccuracyByShape;

    /// The share of rows whose first largest value is at the first largest value of the target.
    CategoricalAccuracy;

    /// The share of rows whose first largest value is at the label.
    ///
    /// A label that names no class, such as one that a loss ignores, is a miss, as in Keras. To leave
    /// such rows out, give them a weight of 0 and the trainer the metric as a weighted one.
    SparseCategoricalAccuracy;
}

/// The share of values that are right, where a prediction above the threshold says 1 and any other
/// says 0.
#[derive(Clone, Debug)]
pub struct BinaryAccuracy {
    threshold: f64,
    mean: WeightedMean,
}

impl Default for BinaryAccuracy {
    fn default() -> Self {
        BinaryAccuracy {
            threshold: 0.5,
            mean: WeightedMean::default(),
        }
    }
}

impl BinaryAccuracy {
    /// With the threshold 0.5.
    #[must_use]
    pub fn new() -> BinaryAccuracy {
        BinaryAccuracy::default()
    }

    setter! {
        /// The threshold, from 0 to 1.
        threshold: 0.0..=1.0
    }
}

/// A metric whose argument is k.
macro_rules! top_k {
    ($($(#[$doc:meta])* $metric:ident;)*) => {$(
        $(#[$doc])*
        ///
        /// A target counts as among the k if fewer than k values are larger; ties help it. A value
        /// that is not finite is no hit.
        #[derive(Clone, Debug)]
        pub struct $metric {
            k: usize,
            mean: WeightedMean,
        }

        impl Default for $metric {
            fn default() -> Self {
                $metric {
                    k: 5,
                    mean: WeightedMean::default(),
                }
            }
        }

        impl $metric {
            /// With k = 5.
            #[must_use]
            pub fn new() -> $metric {
                $metric::default()
            }

            /// How many predictions there are.
            #[must_use]
            pub fn k(mut self, k: usize) -> $metric {
                self.k = k;
                self
            }
        }
    )*};
}

top_k! {
    /// The share of rows whose target, the first largest value of a one-hot row, is among the k
    /// largest predictions.
    TopKCategoricalAccuracy;

    /// The share of rows whose label is among the k largest predictions; one that names no class is a
    /// miss.
    SparseTopKCategoricalAccuracy;
}

fn number(hit: bool) -> f64 {
    f64::from(u8::from(hit))
}

/// The share of pairs in a row for which `right` holds.
fn share(y: &[f32], p: &[f32], right: impl Fn(f32, f32) -> bool) -> f64 {
    let hits = y.iter().zip(p).filter(|(y, p)| right(**y, **p)).count();
    hits as f64 / p.len() as f64
}

fn in_top_k(label: usize, p: &[f32], k: usize) -> bool {
    let is_among =
        |chosen: &f32| chosen.is_finite() && p.iter().filter(|p| *p > chosen).count() < k;
    p.get(label).is_some_and(is_among)
}

impl Accuracy {
    fn gather(
        &mut self,
        name: &str,
        workspace: &mut Workspace,
        output: &Output,
        target: &Target,
        weights: Option<&Tensor>,
    ) -> Result<(), NnError> {
        let values = output.values(workspace)?;
        each_row(name, &values, target, weights, |y, p, weight| {
            self.mean.add(share(y, p, |y, p| y == p), weight);
        })
    }
}

impl BinaryAccuracy {
    fn gather(
        &mut self,
        name: &str,
        workspace: &mut Workspace,
        output: &Output,
        target: &Target,
        weights: Option<&Tensor>,
    ) -> Result<(), NnError> {
        let values = output.values(workspace)?;
        let threshold = self.threshold as f32;
        let right = |y: f32, p: f32| y == f32::from(u8::from(p > threshold));
        each_row(name, &values, target, weights, |y, p, weight| {
            self.mean.add(share(y, p, right), weight);
        })
    }
}

impl CategoricalAccuracy {
    fn gather(
        &mut self,
        name: &str,
        workspace: &mut Workspace,
        output: &Output,
        target: &Target,
        weights: Option<&Tensor>,
    ) -> Result<(), NnError> {
        let values = ordered(workspace, output)?;
        each_row(name, &values, target, weights, |y, p, weight| {
            let hit = first_largest(y) == first_largest(p);
            self.mean.add(number(hit), weight);
        })
    }
}

impl SparseCategoricalAccuracy {
    fn gather(
        &mut self,
        name: &str,
        workspace: &mut Workspace,
        output: &Output,
        target: &Target,
        weights: Option<&Tensor>,
    ) -> Result<(), NnError> {
        let values = ordered(workspace, output)?;
        each_label(name, &values, target, weights, |label, p, weight| {
            self.mean.add(number(first_largest(p) == label), weight);
        })
    }
}

impl TopKCategoricalAccuracy {
    fn gather(
        &mut self,
        name: &str,
        workspace: &mut Workspace,
        output: &Output,
        target: &Target,
        weights: Option<&Tensor>,
    ) -> Result<(), NnError> {
        let (k, values) = (self.k, output.values(workspace)?);
        each_row(name, &values, target, weights, |y, p, weight| {
            let hit = in_top_k(first_largest(y), p, k);
            self.mean.add(number(hit), weight);
        })
    }
}

impl SparseTopKCategoricalAccuracy {
    fn gather(
        &mut self,
        name: &str,
        workspace: &mut Workspace,
        output: &Output,
        target: &Target,
        weights: Option<&Tensor>,
    ) -> Result<(), NnError> {
        let (k, values) = (self.k, output.values(workspace)?);
        each_label(name, &values, target, weights, |label, p, weight| {
            self.mean.add(number(in_top_k(label, p, k)), weight);
        })
    }
}

impl AccuracyByShape {
    fn gather(
        &mut self,
        name: &str,
        workspace: &mut Workspace,
        output: &Output,
        target: &Target,
        weights: Option<&Tensor>,
    ) -> Result<(), NnError> {
        let dims = output.logits.dims();
        let single = matches!(dims, [_] | [.., 1]);
        let same = match target {
            Target::Values(values) => same_but_for_a_last_axis_of_one(values.dims(), dims),
            Target::Labels(_) => false,
        };
        /// Gathers with a metric that goes on from the mean so far.
        macro_rules! with {
            ($metric:ident) => {{
                let mut metric = $metric::new();
                metric.mean = self.mean;
                metric.gather(name, workspace, output, target, weights)?;
                self.mean = metric.mean;
            }};
        }
        if single {
            with!(BinaryAccuracy);
        } else if same {
            with!(CategoricalAccuracy);
        } else {
            with!(SparseCategoricalAccuracy);
        }
        Ok(())
    }
}
