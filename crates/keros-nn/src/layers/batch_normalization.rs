//! Normalization by the statistics of the batch.

use super::support::{check_epsilon, sample_axis};
use crate::error::NnError;
use crate::initializer::Initializer;
use crate::layer::{Layer, LayerBuilder, Pass};
use keros_tensor::{ParamId, Tensor, kernels};

/// `gamma · (x - mean) / √(variance + epsilon) + beta` for each channel, Keras's
/// `BatchNormalization`.
///
/// In training mean and variance (the biased one) are those of the batch over all axes but `axis`,
/// and the moving ones follow: `moving = momentum · moving + (1 - momentum) · batch`. In inference,
/// and wherever the layer is frozen, they are the moving ones and stay as they are. A layer is
/// frozen if it was made with `trainable(false)`, or if none of its `gamma` and `beta` is trainable.
///
/// **Shapes**: `[N, …]`, as the input; parameters `gamma` and `beta` and, not trainable,
/// `moving_mean` and `moving_variance`, all of the size of `axis`.
pub struct BatchNormalization {
    axis: isize,
    momentum: f32,
    epsilon: f32,
    center: bool,
    scale: bool,
    unbiased_moving_variance: bool,
    trainable: bool,
    beta_initializer: Initializer,
    gamma_initializer: Initializer,
    moving_mean_initializer: Initializer,
    moving_variance_initializer: Initializer,
    name: Option<String>,
    built: Option<Built>,
}

struct Built {
    gamma: Option<ParamId>,
    beta: Option<ParamId>,
    moving_mean: ParamId,
    moving_variance: ParamId,
    /// Counted with the batch.
    axis: usize,
}

setters!(BatchNormalization: epsilon, center, scale, beta_initializer, gamma_initializer, name);

impl Default for BatchNormalization {
    fn default() -> Self {
        BatchNormalization::new()
    }
}

impl BatchNormalization {
    /// Over the last axis, with a momentum of 0.99, an epsilon of 0.001, `beta` and `gamma`.
    #[must_use]
    pub fn new() -> BatchNormalization {
        BatchNormalization {
            axis: -1,
            momentum: 0.99,
            epsilon: 1e-3,
            center: true,
            scale: true,
            unbiased_moving_variance: false,
            trainable: true,
            beta_initializer: Initializer::Zeros,
            gamma_initializer: Initializer::Ones,
            moving_mean_initializer: Initializer::Zeros,
            moving_variance_initializer: Initializer::Ones,
            name: None,
            built: None,
        }
    }

    /// The axis of the channels, the batch being axis 0 and the last one -1; -1 unless set.
    #[must_use]
    pub fn axis(mut self, axis: isize) -> BatchNormalization {
        self.axis = axis;
        self
    }

    /// What of the moving statistics stays in a step, in `[0, 1]`; 0.99 unless set.
    #[must_use]
    pub fn momentum(mut self, momentum: f32) -> BatchNormalization {
        self.momentum = momentum;
        self
    }

    /// Whether the moving variance follows the unbiased variance of the batch, `n / (n - 1)` times
    /// the biased one, as Keras 2 does for images; false, as in Keras 3, unless set.
    #[must_use]
    pub fn unbiased_moving_variance(mut self, unbiased: bool) -> BatchNormalization {
        self.unbiased_moving_variance = unbiased;
        self
    }

    /// Whether the layer learns; one that does not also uses its moving statistics in training.
    /// True unless set.
    #[must_use]
    pub fn trainable(mut self, trainable: bool) -> BatchNormalization {
        self.trainable = trainable;
        self
    }

    /// First values of the moving mean; zeros unless set.
    #[must_use]
    pub fn moving_mean_initializer(mut self, initializer: Initializer) -> BatchNormalization {
        self.moving_mean_initializer = initializer;
        self
    }

    /// First values of the moving variance; ones unless set.
    #[must_use]
    pub fn moving_variance_initializer(mut self, initializer: Initializer) -> BatchNormalization {
        self.moving_variance_initializer = initializer;
        self
    }

    fn built(&self) -> Result<&Built, NnError> {
        self.built.as_ref().ok_or(NnError::NotBuilt)
    }

    /// Whether the layer uses its moving statistics: in inference, and frozen.
    fn uses_moving(&self, built: &Built, pass: &Pass<'_>) -> bool {
        let mut params = built.gamma.iter().chain(&built.beta).peekable();
        let all_frozen = params.peek().is_some() && params.all(|&id| !pass.is_trainable(id));
        !pass.is_training() || !self.trainable || all_frozen
    }
}

impl Layer for BatchNormalization {
    names!("BatchNormalization");

    fn build(
        &mut self,
        input: &[usize],
        builder: &mut LayerBuilder<'_>,
    ) -> Result<Vec<usize>, NnError> {
        let axis = sample_axis(self.axis, input)?;
        check_epsilon(self.epsilon)?;
        if !(0.0..=1.0).contains(&self.momentum) {
            let expected = "a number in [0, 1]";
            return Err(NnError::argument("momentum", expected, self.momentum));
        }
        let shape = [input[axis]];
        let trainable = self.trainable;
        let mut param = |name, initializer, learnt| match learnt {
            true => builder.param(name, &shape, initializer),
            false => builder.state(name, &shape, initializer),
        };
        self.built = Some(Built {
            gamma: match self.scale {
                true => Some(param("gamma", self.gamma_initializer, trainable)?),
                false => None,
            },
            beta: match self.center {
                true => Some(param("beta", self.beta_initializer, trainable)?),
                false => None,
            },
            moving_mean: param("moving_mean", self.moving_mean_initializer, false)?,
            moving_variance: param("moving_variance", self.moving_variance_initializer, false)?,
            axis: axis + 1,
        });
        Ok(input.to_vec())
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        let built = self.built()?;
        let gamma = built.gamma.map(|id| pass.value(id));
        let beta = built.beta.map(|id| pass.value(id));
        let moving_mean = pass.value(built.moving_mean);
        let moving_variance = pass.value(built.moving_variance);
        let axis = built.axis;
        pass.save(x);
        if self.uses_moving(built, pass) {
            let ws = &mut *pass.workspace;
            let epsilon = self.epsilon;
            let (mean, variance) = (moving_mean, moving_variance);
            let y = kernels::batch_norm(ws, x, axis, mean, variance, gamma, beta, epsilon)?;
            return Ok(y);
        }
        let ws = &mut *pass.workspace;
        let (mean, variance) = kernels::channel_statistics(ws, x, axis)?;
        let epsilon = self.epsilon;
        let y = kernels::batch_norm(ws, x, axis, &mean, &variance, gamma, beta, epsilon)?;
        let values = x.elem_count() / x.dim(axis)?;
        if values > 0 {
            let momentum = f64::from(self.momentum);
            let rate = 1.0 - momentum;
            let variance_rate = match self.unbiased_moving_variance && values > 1 {
                true => rate * (values as f64 / (values as f64 - 1.0)),
                false => rate,
            };
            kernels::moving_average(moving_mean, &mean, momentum, rate)?;
            kernels::moving_average(moving_variance, &variance, momentum, variance_rate)?;
        }
        pass.save(&mean);
        pass.save(&variance);
        Ok(y)
    }

    fn backward(&self, dy: &Tensor, pass: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        let built = self.built()?;
        let moving = self.uses_moving(built, pass);
        let (mean, variance) = match moving {
            true => (
                pass.value(built.moving_mean).clone(),
                pass.value(built.moving_variance).clone(),
            ),
            false => {
                let variance = pass.restore()?;
                (pass.restore()?, variance)
            }
        };
        let x = pass.restore()?;
        let gamma = built.gamma.map(|id| pass.value(id));
        let gamma_grad = built.gamma.map(|id| pass.grad(id));
        let beta_grad = built.beta.map(|id| pass.grad(id));
        let dx = kernels::batch_norm_backward(
            pass.workspace,
            &x,
            dy,
            built.axis,
            &mean,
            &variance,
            gamma,
            self.epsilon,
            !moving,
            gamma_grad,
            beta_grad,
            pass.wants_input_grad,
        )?;
        pass.workspace.give(dy);
        Ok(dx)
    }
}
