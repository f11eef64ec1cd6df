//! Normalization of each sample over groups of channels.

use super::layer_normalization::{backward, forward};
use super::support::{check_epsilon, sample_axis};
use crate::error::NnError;
use crate::initializer::Initializer;
use crate::layer::{Layer, LayerBuilder, Pass};
use keros_tensor::kernels::{NormLayout, NormParams};
use keros_tensor::{ParamId, Tensor};

/// `gamma · (x - mean) / √(variance + epsilon) + beta` with the statistics of each sample over all
/// positions and the channels of a group, Keras's `GroupNormalization`. Training and inference are
/// the same.
///
/// As many groups as channels give instance normalization.
///
/// **Shapes**: `[N, …, C]`, as the input; parameters `gamma` and `beta`, both `[C]`.
pub struct GroupNormalization {
    groups: usize,
    axis: isize,
    epsilon: f32,
    center: bool,
    scale: bool,
    beta_initializer: Initializer,
    gamma_initializer: Initializer,
    name: Option<String>,
    built: Option<Built>,
}

struct Built {
    gamma: Option<ParamId>,
    beta: Option<ParamId>,
    /// Of one sample.
    layout: NormLayout,
}

setters!(GroupNormalization: epsilon, center, scale, beta_initializer, gamma_initializer, name);

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
            beta_initializer: Initializer::Zeros,
            gamma_initializer: Initializer::Ones,
            name: None,
            built: None,
        }
    }

    /// The number of groups, a divisor of the channels; 32 unless set.
    #[must_use]
    pub fn groups(mut self, groups: usize) -> GroupNormalization {
        self.groups = groups;
        self
    }

    /// The axis of the channels, the batch being axis 0 and the last one -1; -1 unless set. It must
    /// be the last one.
    #[must_use]
    pub fn axis(mut self, axis: isize) -> GroupNormalization {
        self.axis = axis;
        self
    }

    fn built(&self) -> Result<&Built, NnError> {
        self.built.as_ref().ok_or(NnError::NotBuilt)
    }
}

impl Layer for GroupNormalization {
    names!("GroupNormalization");

    fn build(
        &mut self,
        input: &[usize],
        builder: &mut LayerBuilder<'_>,
    ) -> Result<Vec<usize>, NnError> {
        let axis = sample_axis(self.axis, input)?;
        if axis + 1 != input.len() {
            let expected = format!("the last axis, {}", input.len());
            return Err(NnError::argument("axis", expected, self.axis));
        }
        let channels = input[axis];
        check_epsilon(self.epsilon)?;
        if self.groups == 0 || !channels.is_multiple_of(self.groups) {
            let expected = format!("a divisor of {channels} channels");
            return Err(NnError::argument("groups", expected, self.groups));
        }
        self.built = Some(Built {
            gamma: match self.scale {
                true => Some(builder.param("gamma", &[channels], self.gamma_initializer)?),
                false => None,
            },
            beta: match self.center {
                true => Some(builder.param("beta", &[channels], self.beta_initializer)?),
                false => None,
            },
            layout: NormLayout {
                outer: 1,
                before: input[..axis].iter().product(),
                kept: self.groups,
                after: channels / self.groups,
            },
        });
        Ok(input.to_vec())
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        let built = self.built()?;
        let params = (built.gamma, built.beta);
        forward(
            x,
            &built.layout,
            params,
            NormParams::Trailing,
            self.epsilon,
            pass,
        )
    }

    fn backward(&self, dy: &Tensor, pass: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        let built = self.built()?;
        let params = (built.gamma, built.beta);
        backward(dy, &built.layout, params, NormParams::Trailing, pass)
    }
}
