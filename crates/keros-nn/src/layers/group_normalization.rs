//! Normalization of each sample over groups of channels.

use super::common::{Common, ParamSpec};
use super::layer_normalization::{backward, forward};
use super::support::{check_epsilon, sample_axis};
use crate::error::NnError;
use crate::initializer::Initializer;
use crate::layer::{Layer, LayerBuilder, Pass};
use keros_tensor::access::{read, write};
use keros_tensor::kernels::{NormLayout, NormParams};
use keros_tensor::{DType, ParamId, Tensor};

/// `gamma · (x - mean) / √(variance + epsilon) + beta` with the statistics of each sample over all
/// positions and the channels of a group, Keras's `GroupNormalization`. Training and inference are
/// the same.
///
/// As many groups as channels give instance normalization.
///
/// **Shapes**: `[N, …]` with the channels C on `axis`, as the input; parameters `gamma` and `beta`,
/// both `[C]`.
pub struct GroupNormalization {
    groups: usize,
    axis: isize,
    epsilon: f32,
    center: bool,
    scale: bool,
    beta: ParamSpec,
    gamma: ParamSpec,
    common: Common,
    built: Option<Built>,
}

struct Built {
    gamma: Option<ParamId>,
    beta: Option<ParamId>,
    /// Of one sample.
    layout: NormLayout,
    /// Elements of a sample behind each channel, which share its parameters: 1 for channels last.
    inner: usize,
}

setters!(GroupNormalization: epsilon, center, scale, beta, gamma, common);

impl Default for GroupNormalization {
    fn default() -> Self {
        GroupNormalization::new()
    }
}

impl GroupNormalization {
    /// 32 groups of channels on the last axis, with an epsilon of 0.001, `beta` and `gamma`.
    #[must_use]
    pub fn new() -> GroupNormalization {
        GroupNormalization {
            groups: 32,
            axis: -1,
            epsilon: 1e-3,
            center: true,
            scale: true,
            beta: ParamSpec::new(Initializer::Zeros),
            gamma: ParamSpec::new(Initializer::Ones),
            common: Common::default(),
            built: None,
        }
    }

    /// The number of groups, a divisor of the channels; 32 unless set.
    #[must_use]
    pub fn groups(mut self, groups: usize) -> GroupNormalization {
        self.groups = groups;
        self
    }

    /// The axis of the channels, the batch being axis 0 and the last one -1; -1 unless set.
    #[must_use]
    pub fn axis(mut self, axis: isize) -> GroupNormalization {
        self.axis = axis;
        self
    }

    fn built(&self) -> Result<&Built, NnError> {
        self.built.as_ref().ok_or(NnError::NotBuilt)
    }
}

arguments! {
    GroupNormalization = GroupNormalization::new();
    required;
    optional groups axis epsilon center scale beta gamma common;
}

impl Layer for GroupNormalization {
    layer!("GroupNormalization");

    fn build(
        &mut self,
        input: &[usize],
        builder: &mut LayerBuilder<'_>,
    ) -> Result<Vec<usize>, NnError> {
        let axis = sample_axis(self.axis, input)?;
        let channels = input[axis];
        let inner = input[axis + 1..].iter().product();
        check_epsilon(self.epsilon)?;
        if self.groups == 0 || !channels.is_multiple_of(self.groups) {
            let expected = format!("a divisor of {channels} channels");
            return Err(NnError::argument("groups", expected, self.groups));
        }
        self.built = Some(Built {
            gamma: match self.scale {
                true => Some(self.gamma.add(builder, "gamma", &[channels])?),
                false => None,
            },
            beta: match self.center {
                true => Some(self.beta.add(builder, "beta", &[channels])?),
                false => None,
            },
            layout: NormLayout {
                outer: 1,
                before: input[..axis].iter().product(),
                kept: self.groups,
                after: channels / self.groups * inner,
            },
            inner,
        });
        Ok(input.to_vec())
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        let built = self.built()?;
        let gamma = spread(built.gamma.map(|id| pass.value(id)), built.inner, pass)?;
        let beta = spread(built.beta.map(|id| pass.value(id)), built.inner, pass)?;
        let params = NormParams::Trailing;
        let (gamma, beta) = (gamma.as_ref(), beta.as_ref());
        forward(x, &built.layout, gamma, beta, params, self.epsilon, pass)
    }

    fn backward(&self, dy: &Tensor, pass: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        let built = self.built()?;
        let inner = built.inner;
        let gamma = spread(built.gamma.map(|id| pass.value(id)), inner, pass)?;
        let grads = [built.gamma, built.beta].map(|id| id.map(|id| pass.grad(id)));
        let [dgamma, dbeta] = grads;
        let spread_grads = (spread(dgamma, inner, pass)?, spread(dbeta, inner, pass)?);
        let refs = (spread_grads.0.as_ref(), spread_grads.1.as_ref());
        let params = NormParams::Trailing;
        let dx = backward(dy, &built.layout, gamma.as_ref(), refs, params, pass)?;
        if inner > 1 {
            let pairs = [(dgamma, &spread_grads.0), (dbeta, &spread_grads.1)];
            for pair in pairs {
                if let (Some(grad), Some(spread)) = pair {
                    add_up(spread, grad)?;
                    pass.workspace.give(spread);
                }
            }
            if let Some(gamma) = &gamma {
                pass.workspace.give(gamma);
            }
        }
        Ok(dx)
    }
}

/// One value for each element behind a channel, from those of the channels.
fn spread(
    values: Option<&Tensor>,
    inner: usize,
    pass: &mut Pass<'_>,
) -> Result<Option<Tensor>, NnError> {
    let Some(values) = values.filter(|_| inner > 1) else {
        return Ok(values.cloned());
    };
    let channels = values.elem_count();
    let out = pass.workspace.take(&[channels, inner], DType::F32)?;
    let values = read::<f32>(values)?;
    write(&out, |out: &mut [f32]| {
        for (out, value) in out.chunks_exact_mut(inner).zip(&*values) {
            out.fill(*value);
        }
    })?;
    Ok(Some(out))
}

/// The gradient of [`spread`]: the sum of what each channel was spread to.
fn add_up(spread: &Tensor, grad: &Tensor) -> Result<(), NnError> {
    let inner = spread.dim(1)?;
    let spread = read::<f32>(spread)?;
    write(grad, |grad: &mut [f32]| {
        for (grad, values) in grad.iter_mut().zip(spread.chunks_exact(inner)) {
            *grad = values.iter().map(|value| f64::from(*value)).sum::<f64>() as f32;
        }
    })?;
    Ok(())
}
