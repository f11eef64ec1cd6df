//! Values brought to mean 0 and variance 1 by what is known of the data.

use super::common::Common;
use super::{Axes, PerChannel};
use crate::error::NnError;
use crate::initializer::Initializer;
use crate::layer::{Layer, LayerBuilder, Pass};
use keros_tensor::access::read;
use keros_tensor::kernels::{self, BatchNorm};
use keros_tensor::{Device, ParamId, Tensor, Workspace};

/// Keras's fuzz factor, below which a standard deviation does not count.
const EPSILON: f32 = 1e-7;

/// `(x - mean) / max(√variance, 1e-7)` with numbers of the data, Keras's `Normalization`. With
/// [`invert`](Self::invert) the reverse, `mean + x · max(√variance, 1e-7)`.
///
/// The numbers are given, or those of [data](Self::adapt), or come with the weights of a model of Keras's. A trainer
/// changes none of them.
///
/// **Shapes**: `[N, …]` → the same; a mean and variance for each channel (position of the last axis).
///
/// ```
/// use keros_nn::Sequential;
/// use keros_nn::layers::{Conv2D, Normalization};
/// use keros_tensor::{Device, Tensor};
///
/// // What pictures of the usual kind are to networks trained on ImageNet.
/// let known = Normalization::new()
///     .mean([123.675, 116.28, 103.53])
///     .variance([3409.98, 3262.69, 3291.89]);
/// let pictures = Tensor::rand(0f32, 255.0, (8, 32, 32, 3), &Device::Cpu)?;
/// let adapted = Normalization::new().adapt(&pictures)?;
/// for layer in [known, adapted] {
///     Sequential::builder([32, 32, 3])
///         .layer(layer)
///         .layer(Conv2D::new(8, 3))
///         .build(&Device::Cpu, 42)?;
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Normalization {
    axis: Axes,
    mean: Option<PerChannel>,
    variance: Option<PerChannel>,
    invert: bool,
    common: Common,
    adapted: Option<Adapted>,
    built: Option<Built>,
}

/// What was found in data.
struct Adapted {
    mean: Tensor,
    variance: Tensor,
    /// Values of each channel.
    count: f32,
}

/// Where the numbers are.
enum Built {
    /// Given ones: one for all values, or one for each channel.
    Given {
        mean: Tensor,
        variance: Tensor,
        /// What the reverse adds.
        offset: Vec<f32>,
        /// What multiplies.
        scale: Vec<f32>,
    },
    State {
        mean: ParamId,
        variance: ParamId,
    },
}

impl Default for Normalization {
    fn default() -> Self {
        Normalization::new()
    }
}

impl Normalization {
    /// Mean 0 and variance 1 of each channel, until something else is known.
    #[must_use]
    pub fn new() -> Normalization {
        Normalization {
            axis: Axes::from(-1),
            mean: None,
            variance: None,
            invert: false,
            common: Common::default(),
            adapted: None,
            built: None,
        }
    }

    /// The mean, one number or one for each channel; the variance has to be given too.
    #[must_use]
    pub fn mean(mut self, mean: impl Into<PerChannel>) -> Normalization {
        self.mean = Some(mean.into());
        self
    }

    /// The variance, as the mean.
    #[must_use]
    pub fn variance(mut self, variance: impl Into<PerChannel>) -> Normalization {
        self.variance = Some(variance.into());
        self
    }

    /// Whether the reverse is computed, from normalized values to those of the data; false unless set.
    #[must_use]
    pub fn invert(mut self, invert: bool) -> Normalization {
        self.invert = invert;
        self
    }

    /// Takes mean and variance of samples `[N, …, channels]` f32.
    ///
    /// # Errors
    /// No values, or a tensor of another type.
    pub fn adapt(mut self, samples: &Tensor) -> Result<Normalization, NnError> {
        let dims = samples.dims();
        let channels = match dims {
            [_, .., channels] if samples.elem_count() > 0 => *channels,
            _ => {
                let expected = "[samples, …, channels] with at least one value";
                return Err(NnError::shape("data to adapt to", expected, dims));
            }
        };
        let workspace = &mut Workspace::new(samples.device());
        let (mean, variance) = kernels::channel_statistics(workspace, samples, dims.len() - 1)?;
        self.adapted = Some(Adapted {
            mean: mean.copy()?,
            variance: variance.copy()?,
            count: (samples.elem_count() / channels) as f32,
        });
        Ok(self)
    }

    setter!(common);
}

arguments! {
    Normalization = Normalization::new();
    required;
    optional axis invert mean variance common;
}

/// What the reverse multiplies with.
fn deviations(variance: &[f32]) -> Vec<f32> {
    let deviations = variance.iter().map(|number| number.sqrt().max(EPSILON));
    deviations.collect()
}

impl Built {
    /// Of one number for all values, or one for each channel.
    fn given(
        mean: &[f32],
        variance: &[f32],
        invert: bool,
        device: &Device,
    ) -> Result<Built, NnError> {
        let count = mean.len().max(variance.len());
        let each = |numbers: &[f32]| -> Vec<f32> {
            let numbers = numbers.iter().copied().cycle();
            numbers.take(count).collect()
        };
        let (offset, variance) = (each(mean), each(variance));
        let mut scale = deviations(&variance);
        if !invert {
            scale.iter_mut().for_each(|scale| *scale = 1.0 / *scale);
        }
        let least = EPSILON * EPSILON;
        let variance = variance.into_iter().map(|number| number.max(least));
        Ok(Built::Given {
            mean: Tensor::from_slice(&offset, count, device)?,
            variance: Tensor::from_iter(variance, device)?,
            offset,
            scale,
        })
    }
}

impl Layer for Normalization {
    layer!("Normalization");

    fn build(
        &mut self,
        input: &[usize],
        builder: &mut LayerBuilder<'_>,
    ) -> Result<Vec<usize>, NnError> {
        let channels = input.last().copied().unwrap_or(1);
        let axis = |axis: &isize| *axis == -1 || *axis == input.len() as isize;
        let of_channels = match &self.axis.0[..] {
            [only] if axis(only) => true,
            [] => false,
            other => {
                let expected = "-1, the channels, or none";
                return Err(NnError::argument("axis", expected, format!("{other:?}")));
            }
        };
        self.built = Some(match (&self.mean, &self.variance, &self.adapted) {
            (Some(mean), Some(variance), None) => {
                for (what, numbers) in [("mean", mean), ("variance", variance)] {
                    numbers.check(what, if of_channels { input } else { &[] })?;
                }
                if let Some(negative) = variance.0.iter().find(|number| **number < 0.0) {
                    return Err(NnError::argument("variance", "numbers from 0", negative));
                }
                Built::given(&mean.0, &variance.0, self.invert, builder.device)?
            }
            (None, None, _) if of_channels => {
                let mean = builder.state("mean", &[channels], Initializer::Zeros)?;
                let variance = builder.state("variance", &[channels], Initializer::Ones)?;
                let count = builder.state("count", &[], Initializer::Zeros)?;
                if let Some(adapted) = &self.adapted {
                    if adapted.mean.dims() != [channels] {
                        let expected = format!("{channels} channels");
                        let found = adapted.mean.dims();
                        return Err(NnError::shape("data adapted to", expected, found));
                    }
                    let device = builder.device.clone();
                    let number = Tensor::new(adapted.count, &device)?;
                    for (id, value) in [
                        (mean, adapted.mean.to_device(&device)?),
                        (variance, adapted.variance.to_device(&device)?),
                        (count, number),
                    ] {
                        builder.params[id].set(&value)?;
                    }
                }
                Built::State { mean, variance }
            }
            _ => {
                let expected = "both mean and variance, or data of the last axis to adapt to";
                let given = [
                    ("mean", self.mean.is_some()),
                    ("variance", self.variance.is_some()),
                    ("data", self.adapted.is_some()),
                ];
                let found: Vec<&str> = given
                    .iter()
                    .filter(|(_, is)| *is)
                    .map(|(n, _)| *n)
                    .collect();
                let found = if found.is_empty() {
                    "none".to_owned()
                } else {
                    found.join(" and ")
                };
                return Err(NnError::argument("normalization", expected, found));
            }
        });
        Ok(input.to_vec())
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        let y = match self.built.as_ref().ok_or(NnError::NotBuilt)? {
            Built::Given { offset, scale, .. } if self.invert => {
                kernels::affine(pass.workspace, x, scale, offset)?
            }
            // The mean is subtracted first: what a value has beyond a large mean would be rounded away
            // by a multiplication before.
            Built::Given { mean, variance, .. } => {
                let rows = x.reshape(((), mean.elem_count()))?;
                let norm = BatchNorm::new(1, mean, variance, 0.0);
                kernels::batch_norm(pass.workspace, &rows, &norm)?.reshape(x.shape())?
            }
            Built::State { mean, variance } => {
                let (mean, variance) = (pass.value(*mean), pass.value(*variance));
                match self.invert {
                    true => {
                        let (mean, variance) = (read::<f32>(mean)?, read::<f32>(variance)?);
                        kernels::affine(pass.workspace, x, &deviations(&variance), &mean)?
                    }
                    false => {
                        pass.save(x);
                        kernels::batch_norm(pass.workspace, x, &norm(x, mean, variance))?
                    }
                }
            }
        };
        Ok(y)
    }

    fn backward(&self, dy: &Tensor, pass: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        let dx = match self.built.as_ref().ok_or(NnError::NotBuilt)? {
            Built::Given { scale, .. } => kernels::affine(pass.workspace, dy, scale, &[0.0])?,
            Built::State { mean, variance } => {
                let (mean, variance) = (pass.value(*mean), pass.value(*variance));
                match self.invert {
                    true => {
                        let scale = deviations(&read::<f32>(variance)?);
                        kernels::affine(pass.workspace, dy, &scale, &[0.0])?
                    }
                    false => {
                        let x = pass.restore()?;
                        let norm = norm(&x, mean, variance);
                        let wanted = pass.wants_input_grad;
                        let ws = &mut *pass.workspace;
                        let dx = kernels::batch_norm_backward(
                            ws, &x, dy, &norm, false, None, None, wanted,
                        )?;
                        pass.workspace.give(dy);
                        return Ok(dx);
                    }
                }
            }
        };
        pass.workspace.give(dy);
        Ok(Some(dx))
    }
}

/// The least variance is the square of the least deviation: beside any other it does not count.
fn norm<'a>(x: &Tensor, mean: &'a Tensor, variance: &'a Tensor) -> BatchNorm<'a> {
    BatchNorm::new(x.rank() - 1, mean, variance, EPSILON * EPSILON)
}
