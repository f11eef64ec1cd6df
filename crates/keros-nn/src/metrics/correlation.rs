//! How predictions and targets of a row go together.

use super::Metric;
use super::mean::MeanMetricWrapper;
use crate::error::NnError;
use crate::losses::EPSILON;
use crate::network::Output;
use crate::target::Target;
use keros_tensor::{Tensor, Workspace};

/// Means, variances and covariance of a row's targets and predictions.
struct Moments {
    means: [f64; 2],
    variances: [f64; 2],
    covariance: f64,
}

impl Moments {
    fn of(y: &[f32], p: &[f32]) -> Moments {
        let count = y.len() as f64;
        let sum = |values: &[f32]| values.iter().map(|value| f64::from(*value)).sum::<f64>();
        let means = [sum(y) / count, sum(p) / count];
        let (mut squares, mut products) = ([0.0; 2], 0.0);
        for (y, p) in y.iter().zip(p) {
            let (y, p) = (f64::from(*y) - means[0], f64::from(*p) - means[1]);
            squares = [squares[0] + y * y, squares[1] + p * p];
            products += y * p;
        }
        Moments {
            means,
            variances: squares.map(|square| square / count),
            covariance: products / count,
        }
    }
}

fn pearson(y: &[f32], p: &[f32]) -> f64 {
    let moments = Moments::of(y, p);
    let [y, p] = moments.variances;
    moments.covariance / (y.sqrt() * p.sqrt())
}

fn concordance(y: &[f32], p: &[f32]) -> f64 {
    let moments = Moments::of(y, p);
    let ([y, p], [y_mean, p_mean]) = (moments.variances, moments.means);
    let apart = (y_mean - p_mean) * (y_mean - p_mean);
    2.0 * moments.covariance / (y + p + apart + EPSILON)
}

macro_rules! correlation {
    ($($(#[$doc:meta])* $metric:ident: $name:literal, $function:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $metric {
            mean: MeanMetricWrapper<fn(&[f32], &[f32]) -> f64>,
        }

        impl $metric {
            /// Along the last axis.
            #[must_use]
            pub fn new() -> $metric {
                $metric {
                    mean: MeanMetricWrapper::new($name, $function),
                }
            }
        }

        impl Default for $metric {
            fn default() -> Self {
                $metric::new()
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
                self.mean.update(workspace, output, target, weights)
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
                self.mean.load_state(state)
            }
        }
    )*};
}

correlation! {
    /// The mean over rows of Pearson's correlation of a row's predictions and targets, from -1 to 1.
    ///
    /// As in Keras the correlation with a row whose values are all equal is NaN.
    PearsonCorrelation: "pearson_correlation", pearson;

    /// The mean over rows of the concordance correlation of a row's predictions and targets, from -1
    /// to 1: 1 only if they are equal.
    ConcordanceCorrelation: "concordance_correlation", concordance;
}
