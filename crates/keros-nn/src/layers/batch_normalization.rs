//! Normalization by the statistics of the batch.

use super::common::{Common, ParamSpec};
use super::support::{check_epsilon, sample_axis};
use crate::config::argument::Argument;
use crate::config::{Arguments, Config};
use crate::error::NnError;
use crate::initializer::Initializer;
use crate::layer::{Layer, LayerBuilder, Pass};
use crate::resolve::Resolve;
use keros_tensor::kernels::{self, Activation, BatchNorm};
use keros_tensor::{ParamId, Tensor};
use serde_json::Value;

/// `gamma · (x - mean) / √(variance + epsilon) + beta` for each channel, Keras's
/// `BatchNormalization`.
///
/// In training mean and variance (the biased one) are those of the batch over all axes but `axis`,
/// and the moving ones follow: `moving = momentum · moving + (1 - momentum) · batch`. In inference,
/// and wherever the layer is frozen, they are the moving ones and stay as they are. A layer is
/// frozen if it was made with `trainable(false)` or made so by
/// [`Network::set_trainable`](crate::Network::set_trainable), or if none of its `gamma` and `beta` is trainable.
///
/// **Shapes**: `[N, …]`, as the input; parameters `gamma` and `beta` and, not trainable,
/// `moving_mean` and `moving_variance`, all of the size of `axis`.
pub struct BatchNormalization {
    axis: isize,
    momentum: f64,
    epsilon: f32,
    center: bool,
    scale: bool,
    unbiased_moving_variance: Unbiased,
    renorm: NoRenorm,
    beta: ParamSpec,
    gamma: ParamSpec,
    moving_mean: Initializer,
    moving_variance: Initializer,
    common: Common,
    /// That of a ReLU that follows.
    activation: Activation,
    built: Option<Built>,
}

/// Keras 3 has no such argument: it is written only if set.
#[derive(Clone, Copy)]
struct Unbiased(bool);

impl Argument for Unbiased {
    fn put(&self, name: &str, config: &mut Config) -> Option<()> {
        match self.0 {
            true => self.0.put(name, config),
            false => Some(()),
        }
    }

    fn set(&mut self, name: &str, arguments: &mut Arguments) -> Result<(), NnError> {
        self.0.set(name, arguments)
    }
}

/// The arguments of a renormalization, which is refused; its momentum alone means nothing.
struct NoRenorm;

impl Argument for NoRenorm {
    fn put(&self, _: &str, _: &mut Config) -> Option<()> {
        Some(())
    }

    fn set(&mut self, name: &str, arguments: &mut Arguments) -> Result<(), NnError> {
        arguments.only(name, &Value::Bool(false))?;
        arguments.only("renorm_clipping", &Value::Null)?;
        arguments.take::<f64>("renorm_momentum").map(drop)
    }
}

struct Built {
    gamma: Option<ParamId>,
    beta: Option<ParamId>,
    moving_mean: ParamId,
    moving_variance: ParamId,
    /// Counted with the batch.
    axis: usize,
}

setters!(BatchNormalization: epsilon, center, scale, beta, gamma, common);

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
            unbiased_moving_variance: Unbiased(false),
            renorm: NoRenorm,
            beta: ParamSpec::new(Initializer::Zeros),
            gamma: ParamSpec::new(Initializer::Ones),
            moving_mean: Initializer::Zeros,
            moving_variance: Initializer::Ones,
            common: Common::default(),
            activation: Activation::Linear,
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
    pub fn momentum(mut self, momentum: f64) -> BatchNormalization {
        self.momentum = momentum;
        self
    }

    /// Whether the moving variance follows the unbiased variance of the batch, `n / (n - 1)` times
    /// the biased one, as Keras 2 does for images; false, as in Keras 3, unless set.
    #[must_use]
    pub fn unbiased_moving_variance(mut self, unbiased: bool) -> BatchNormalization {
        self.unbiased_moving_variance = Unbiased(unbiased);
        self
    }

    /// First values of the moving mean; zeros unless set.
    #[must_use]
    pub fn moving_mean_initializer(
        mut self,
        initializer: impl Resolve<Initializer>,
    ) -> BatchNormalization {
        if let Some(initializer) = self.common.resolve(initializer) {
            self.moving_mean = *initializer;
        }
        self
    }

    /// First values of the moving variance; ones unless set.
    #[must_use]
    pub fn moving_variance_initializer(
        mut self,
        initializer: impl Resolve<Initializer>,
    ) -> BatchNormalization {
        if let Some(initializer) = self.common.resolve(initializer) {
            self.moving_variance = *initializer;
        }
        self
    }

    fn built(&self) -> Result<&Built, NnError> {
        self.built.as_ref().ok_or(NnError::NotBuilt)
    }

    /// The normalization by these statistics.
    fn norm<'a>(
        &self,
        built: &Built,
        pass: &Pass<'a>,
        mean: &'a Tensor,
        variance: &'a Tensor,
    ) -> BatchNorm<'a> {
        BatchNorm {
            gamma: built.gamma.map(|id| pass.value(id)),
            beta: built.beta.map(|id| pass.value(id)),
            activation: self.activation,
            ..BatchNorm::new(built.axis, mean, variance, self.epsilon)
        }
    }

    /// Keeps the output of a ReLU, whose memory `backward` gives back when nobody needs it any more.
    fn save_of_relu(&self, y: &Tensor, pass: &mut Pass<'_>) {
        if self.activation == Activation::Relu {
            pass.save(y);
        }
    }

    /// Whether the layer uses its moving statistics: in inference, and frozen.
    fn uses_moving(&self, built: &Built, pass: &Pass<'_>) -> bool {
        let mut params = built.gamma.iter().chain(&built.beta).peekable();
        let all_frozen = params.peek().is_some() && params.all(|&id| !pass.is_trainable(id));
        !pass.is_training() || !pass.trainable || all_frozen
    }
}

arguments! {
    BatchNormalization = BatchNormalization::new();
    required;
    optional axis momentum epsilon center scale beta gamma moving_mean moving_variance common
        unbiased_moving_variance renorm;
    only "synchronized" = false;
}

impl Layer for BatchNormalization {
    layer!("BatchNormalization", mixed_precision);

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
        self.built = Some(Built {
            gamma: match self.scale {
                true => Some(self.gamma.add(builder, "gamma", &shape)?),
                false => None,
            },
            beta: match self.center {
                true => Some(self.beta.add(builder, "beta", &shape)?),
                false => None,
            },
            moving_mean: builder.state("moving_mean", &shape, self.moving_mean)?,
            moving_variance: builder.state("moving_variance", &shape, self.moving_variance)?,
            axis: axis + 1,
        });
        Ok(input.to_vec())
    }

    fn fuse_relu(&mut self) -> bool {
        self.activation = Activation::Relu;
        true
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        let built = self.built()?;
        let moving_mean = pass.value(built.moving_mean);
        let moving_variance = pass.value(built.moving_variance);
        pass.save(x);
        if self.uses_moving(built, pass) {
            let norm = self.norm(built, pass, moving_mean, moving_variance);
            let y = kernels::batch_norm(pass.workspace, x, &norm)?;
            self.save_of_relu(&y, pass);
            return Ok(y);
        }
        let (mean, variance) = kernels::channel_statistics(pass.workspace, x, built.axis)?;
        let norm = self.norm(built, pass, &mean, &variance);
        let y = kernels::batch_norm(pass.workspace, x, &norm)?;
        let values = x.elem_count() / x.dim(built.axis)?;
        if values > 0 {
            let momentum = self.momentum;
            let rate = 1.0 - momentum;
            let variance_rate = match self.unbiased_moving_variance.0 && values > 1 {
                true => rate * (values as f64 / (values as f64 - 1.0)),
                false => rate,
            };
            let (means, variances) = ((moving_mean, &mean), (moving_variance, &variance));
            match variance_rate == rate {
                true => kernels::moving_average(&[means, variances], momentum, rate)?,
                false => {
                    kernels::moving_average(&[means], momentum, rate)?;
                    kernels::moving_average(&[variances], momentum, variance_rate)?;
                }
            }
        }
        pass.save(&mean);
        pass.save(&variance);
        self.save_of_relu(&y, pass);
        Ok(y)
    }

    fn backward(&self, dy: &Tensor, pass: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        let built = self.built()?;
        if self.activation == Activation::Relu {
            let y = pass.restore()?;
            pass.workspace.give(&y);
        }
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
        let norm = self.norm(built, pass, &mean, &variance);
        let gamma_grad = built.gamma.map(|id| pass.grad(id));
        let beta_grad = built.beta.map(|id| pass.grad(id));
        let dx = kernels::batch_norm_backward(
            pass.workspace,
            &x,
            dy,
            &norm,
            !moving,
            gamma_grad,
            beta_grad,
            pass.wants_input_grad,
        )?;
        pass.workspace.give(dy);
        Ok(dx)
    }
}
