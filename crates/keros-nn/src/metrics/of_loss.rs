//! Metrics that are means of losses.

use super::{Metric, WeightedMean};
use crate::error::NnError;
use crate::losses::{self, Loss, MeanSquaredError, Rows};
use crate::network::Output;
use crate::target::Target;
use keros_tensor::access::read;
use keros_tensor::{Tensor, Workspace};

/// The mean of a loss over all samples, under the loss's name.
///
/// `LossMetric::new(MeanSquaredError::new())` is Keras's metric `MeanSquaredError`. The loss's
/// reduction plays no part.
pub struct LossMetric {
    loss: Box<dyn Loss>,
    mean: WeightedMean,
}

impl LossMetric {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(loss: impl Loss + 'static) -> LossMetric {
        LossMetric::of_box(Box::new(loss))
    }

    /// Of a loss in a box, such as a parsed one.
    #[must_use]
    pub fn of_box(loss: Box<dyn Loss>) -> LossMetric {
        LossMetric {
            loss,
            mean: WeightedMean::default(),
        }
    }
}

impl Metric for LossMetric {
    fn name(&self) -> &str {
        self.loss.name()
    }

    fn update(
        &mut self,
        workspace: &mut Workspace,
        output: &Output,
        target: &Target,
        weights: Option<&Tensor>,
    ) -> Result<(), NnError> {
        let rows = Rows::of(self.loss.name(), output.logits.dims())?;
        let weights = rows.weights(self.loss.name(), weights)?;
        let result = self.loss.compute(workspace, output, target, None, 0.0)?;
        let mask = self.loss.mask(target)?;
        for (n, loss) in read::<f32>(&result.per_sample)?.iter().enumerate() {
            let weight = weights
                .as_ref()
                .map_or(1.0, |weights| f64::from(weights[n]));
            // Rows that do not count have no part in the divisor either.
            let counted = match &mask {
                None => 1.0,
                Some(mask) => {
                    let mask = &mask[n * rows.per_sample..][..rows.per_sample];
                    let counted = mask.iter().filter(|counts| **counts).count();
                    counted as f64 / rows.per_sample as f64
                }
            };
            let value = super::ratio(f64::from(*loss), counted);
            self.mean.add(value, weight * counted);
        }
        workspace.give(&result.per_sample);
        workspace.give(&result.grad);
        Ok(())
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
        self.mean.load_state(self.loss.name(), state)
    }
}

macro_rules! derived {
    ($($(#[$doc:meta])* $metric:ident: $name:literal, $loss:expr, $result:expr;)*) => {$(
        $(#[$doc])*
        pub struct $metric {
            mean: LossMetric,
        }

        impl $metric {
            /// Nothing seen yet.
            #[must_use]
            pub fn new() -> $metric {
                $metric {
                    mean: LossMetric::new($loss),
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
                $result(self.mean.result())
            }

            fn reset(&mut self) {
                self.mean.reset();
            }

            fn state(&self) -> Vec<f64> {
                self.mean.state()
            }

            fn load_state(&mut self, state: &[f64]) -> Result<(), NnError> {
                self.mean.mean.load_state($name, state)
            }
        }
    )*};
}

derived! {
    /// The root of the mean of squared errors.
    RootMeanSquaredError: "root_mean_squared_error", MeanSquaredError::new(), f64::sqrt;

    /// The mean cosine of the angle between predictions and targets, along the last axis: 1 for one
    /// direction. The loss of this name has the other sign.
    CosineSimilarity: "cosine_similarity", losses::CosineSimilarity::new(), |mean: f64| -mean;
}
