//! Metrics: numbers gathered over many batches, in f64.
//!
//! All metrics of Keras with their arguments and defaults. A weight of a sample multiplies what the
//! sample adds; most results are `Σ weight · value / Σ weight`, and 0 when nothing was added.
//!
//! Metrics look at the values after the network's last activation. Those that take the largest value
//! look at the logits before a softmax or sigmoid, whose order is the same; where the activation makes
//! the same `f32` of two logits, the larger logit still wins.
//!
//! [`LossMetric`] makes a metric of any loss: Keras's metrics `MeanSquaredError`,
//! `CategoricalCrossentropy` and so on.

mod accuracy;
mod at_least;
mod auc;
mod compare;
mod confusion;
mod correlation;
mod f_score;
mod iou;
mod mean;
mod of_loss;
mod r2;
mod state;
mod thresholds;

pub use accuracy::{
    Accuracy, AccuracyByShape, BinaryAccuracy, CategoricalAccuracy, SparseCategoricalAccuracy,
    SparseTopKCategoricalAccuracy, TopKCategoricalAccuracy,
};
pub use at_least::{
    PrecisionAtRecall, RecallAtPrecision, SensitivityAtSpecificity, SpecificityAtSensitivity,
};
pub use auc::{Auc, Curve, SummationMethod};
pub use confusion::{
    FalseNegatives, FalsePositives, Precision, Recall, TrueNegatives, TruePositives,
};
pub use correlation::{ConcordanceCorrelation, PearsonCorrelation};
pub use f_score::{Average, F1Score, FBetaScore};
pub use iou::{BinaryIoU, IoU, MeanIoU, OneHotIoU, OneHotMeanIoU};
pub use mean::{MeanMetricWrapper, WeightedMean};
pub use of_loss::{CosineSimilarity, LossMetric, RootMeanSquaredError};
pub use r2::{ClassAggregation, R2Score};

use crate::error::NnError;
use crate::losses::Loss;
use crate::network::Output;
use crate::target::Target;
use keros_tensor::{Tensor, Workspace};
use std::str::FromStr;

/// `a / b`, and 0 for `b = 0`.
fn ratio(a: f64, b: f64) -> f64 {
    if b == 0.0 { 0.0 } else { a / b }
}

/// The plain mean; 0 of nothing.
fn mean(values: &[f64]) -> f64 {
    ratio(values.iter().sum(), values.len() as f64)
}

/// A number that tells how good outputs are, gathered over many batches.
pub trait Metric {
    /// The log key, such as `accuracy`.
    fn name(&self) -> &str;

    /// Adds a batch. `weights` (`[N]` f32) are given to weighted metrics only.
    ///
    /// # Errors
    /// Targets that do not go with the output; the metric is then as before.
    fn update(
        &mut self,
        workspace: &mut Workspace,
        output: &Output,
        target: &Target,
        weights: Option<&Tensor>,
    ) -> Result<(), NnError>;

    /// The value over all batches since the last reset; the mean of [`Metric::results`] where these
    /// are several.
    fn result(&self) -> f64;

    /// All values: one for each class, or for each threshold, of a metric that has several; else
    /// the one result.
    fn results(&self) -> Vec<f64> {
        vec![self.result()]
    }

    /// Forgets all batches.
    fn reset(&mut self);

    /// Everything that was gathered since the last reset, in a fixed order, without the arguments:
    /// a metric of the same arguments that loads it goes on bit for bit.
    fn state(&self) -> Vec<f64>;

    /// Goes on from a state that [`Metric::state`] gave.
    ///
    /// # Errors
    /// [`NnError::MetricState`]: not as many numbers as this metric has, or numbers that it cannot
    /// have gathered. The metric is then as before.
    fn load_state(&mut self, state: &[f64]) -> Result<(), NnError>;

    /// This metric under another name: Keras's argument `name`.
    fn with_name(self, name: impl Into<String>) -> Named<Self>
    where
        Self: Sized,
    {
        Named {
            name: name.into(),
            metric: self,
        }
    }
}

/// A metric with a name of its own, from [`Metric::with_name`].
#[derive(Clone, Debug)]
pub struct Named<M> {
    name: String,
    metric: M,
}

impl<M: Metric> Metric for Named<M> {
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
        self.metric.update(workspace, output, target, weights)
    }

    fn result(&self) -> f64 {
        self.metric.result()
    }

    fn results(&self) -> Vec<f64> {
        self.metric.results()
    }

    fn reset(&mut self) {
        self.metric.reset();
    }

    fn state(&self) -> Vec<f64> {
        self.metric.state()
    }

    fn load_state(&mut self, state: &[f64]) -> Result<(), NnError> {
        self.metric.load_state(state).map_err(|error| match error {
            NnError::MetricState {
                expected, found, ..
            } => NnError::metric_state(&self.name, expected, found),
            other => other,
        })
    }
}

/// The list of metrics with a name, and those made of losses.
macro_rules! named {
    ($($name:literal $(| $alias:literal)*: $metric:ident;)* losses: $($loss:literal)*) => {
        impl FromStr for Box<dyn Metric> {
            type Err = NnError;

            /// Keras's names, for the default arguments: `accuracy` (and `acc`), which
            /// [goes by the shapes](AccuracyByShape); the class in snake case, such as
            /// `binary_accuracy`, `precision` and `auc`; and every name of a loss, such as `mse`, for
            /// the mean of the loss under this name.
            fn from_str(name: &str) -> Result<Self, Self::Err> {
                match name {
                    $($name $(| $alias)* => Ok(Box::new($metric::new())),)*
                    $($loss)|* => {
                        let loss: Box<dyn Loss> = name.parse()?;
                        Ok(Box::new(LossMetric::of_box(loss).with_name(name)))
                    }
                    _ => Err(NnError::UnknownName {
                        kind: "metric",
                        name: name.to_owned(),
                        known: &[$($name, $($alias,)*)* $($loss),*],
                    }),
                }
            }
        }
    };
}

named! {
    "accuracy" | "acc": AccuracyByShape;
    "binary_accuracy": BinaryAccuracy;
    "categorical_accuracy": CategoricalAccuracy;
    "sparse_categorical_accuracy": SparseCategoricalAccuracy;
    "top_k_categorical_accuracy": TopKCategoricalAccuracy;
    "sparse_top_k_categorical_accuracy": SparseTopKCategoricalAccuracy;
    "root_mean_squared_error" | "rmse": RootMeanSquaredError;
    "cosine_similarity": CosineSimilarity;
    "r2_score": R2Score;
    "pearson_correlation": PearsonCorrelation;
    "concordance_correlation": ConcordanceCorrelation;
    "precision": Precision;
    "recall": Recall;
    "true_positives": TruePositives;
    "false_positives": FalsePositives;
    "true_negatives": TrueNegatives;
    "false_negatives": FalseNegatives;
    "auc": Auc;
    "binary_io_u": BinaryIoU;
    "f1_score": F1Score;
    "fbeta_score": FBetaScore;
    losses: "sparse_categorical_crossentropy" "categorical_crossentropy"
        "categorical_focal_crossentropy" "categorical_generalized_cross_entropy"
        "binary_crossentropy" "bce" "binary_focal_crossentropy"
        "mean_squared_error" "mse" "mean_absolute_error" "mae" "mean_absolute_percentage_error"
        "mape" "mean_squared_logarithmic_error" "msle" "huber" "log_cosh" "logcosh"
        "kl_divergence" "kullback_leibler_divergence" "kld" "poisson" "hinge" "squared_hinge"
        "categorical_hinge" "dice" "tversky" "circle" "ctc"
}
