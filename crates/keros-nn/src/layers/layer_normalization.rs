//! Normalization of each sample over some of its axes.

use super::Axes;
use super::common::{Common, ParamSpec};
use super::support::{check_epsilon, norm_layout};
use crate::error::NnError;
use crate::initializer::Initializer;
use crate::layer::{Layer, LayerBuilder, Pass};
use keros_tensor::kernels::{self, NormLayout, NormParams};
use keros_tensor::{ParamId, Tensor};

/// `gamma · (x - mean) / √(variance + epsilon) + beta` with the statistics of each sample over some
/// axes, Keras's `LayerNormalization`. Training and inference are the same.
///
/// **Shapes**: `[N, …]`, as the input; parameters `gamma` and `beta` of the shape of the axes that are
/// normalized.
pub struct LayerNormalization {
    axis: Axes,
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
}

setters!(LayerNormalization: axes, epsilon, center, scale, beta, gamma);
setters!(LayerNormalization: common);

impl Default for LayerNormalization {
    fn default() -> Self {
        LayerNormalization::new()
    }
}

impl LayerNormalization {
    /// Over the last axis, with an epsilon of 0.001, `beta` and `gamma`.
    #[must_use]
    pub fn new() -> LayerNormalization {
        LayerNormalization {
            axis: Axes::from(-1),
            epsilon: 1e-3,
            center: true,
            scale: true,
            beta: ParamSpec::new(Initializer::Zeros),
            gamma: ParamSpec::new(Initializer::Ones),
            common: Common::default(),
            built: None,
        }
    }

    fn built(&self) -> Result<&Built, NnError> {
        self.built.as_ref().ok_or(NnError::NotBuilt)
    }
}

arguments! {
    LayerNormalization = LayerNormalization::new();
    required;
    optional axis epsilon center scale beta gamma common;
    accept "rms_scaling" = false;
}

impl Layer for LayerNormalization {
    layer!("LayerNormalization");

    fn build(
        &mut self,
        input: &[usize],
        builder: &mut LayerBuilder<'_>,
    ) -> Result<Vec<usize>, NnError> {
        let axes = self.axis.of_sample(input)?;
        let layout = norm_layout(&axes, input)?;
        check_epsilon(self.epsilon)?;
        let shape: Vec<usize> = axes.iter().map(|&axis| input[axis]).collect();
        self.built = Some(Built {
            gamma: match self.scale {
                true => Some(self.gamma.add(builder, "gamma", &shape)?),
                false => None,
            },
            beta: match self.center {
                true => Some(self.beta.add(builder, "beta", &shape)?),
                false => None,
            },
            layout,
        });
        Ok(input.to_vec())
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        let built = self.built()?;
        let (gamma, beta) = (
            built.gamma.map(|id| pass.value(id)),
            built.beta.map(|id| pass.value(id)),
        );
        let params = NormParams::Normalized;
        forward(x, &built.layout, gamma, beta, params, self.epsilon, pass)
    }

    fn backward(&self, dy: &Tensor, pass: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        let built = self.built()?;
        let gamma = built.gamma.map(|id| pass.value(id));
        let grads = (
            built.gamma.map(|id| pass.grad(id)),
            built.beta.map(|id| pass.grad(id)),
        );
        backward(
            dy,
            &built.layout,
            gamma,
            grads,
            NormParams::Normalized,
            pass,
        )
    }
}

/// The forward pass of layer and group normalization; `layout` is that of one sample.
pub(super) fn forward(
    x: &Tensor,
    layout: &NormLayout,
    gamma: Option<&Tensor>,
    beta: Option<&Tensor>,
    params: NormParams,
    epsilon: f32,
    pass: &mut Pass<'_>,
) -> Result<Tensor, NnError> {
    let layout = of_batch(layout, x)?;
    let ws = &mut *pass.workspace;
    let (y, statistics) = kernels::normalize(ws, x, &layout, gamma, beta, params, epsilon)?;
    pass.save(x);
    pass.save(&statistics);
    Ok(y)
}

/// The backward pass of [`forward`]; `grads` are those of gamma and beta, to be written.
pub(super) fn backward(
    dy: &Tensor,
    layout: &NormLayout,
    gamma: Option<&Tensor>,
    grads: (Option<&Tensor>, Option<&Tensor>),
    params: NormParams,
    pass: &mut Pass<'_>,
) -> Result<Option<Tensor>, NnError> {
    let (statistics, x) = (pass.restore()?, pass.restore()?);
    let layout = of_batch(layout, &x)?;
    let (dgamma, dbeta) = grads;
    let dx = kernels::normalize_backward(
        pass.workspace,
        &x,
        &statistics,
        dy,
        &layout,
        gamma,
        params,
        dgamma,
        dbeta,
        pass.wants_input_grad,
    )?;
    pass.workspace.give(dy);
    pass.workspace.give(&statistics);
    Ok(dx)
}

/// The layout of a batch from that of one sample.
pub(super) fn of_batch(layout: &NormLayout, x: &Tensor) -> Result<NormLayout, NnError> {
    Ok(NormLayout {
        outer: layout.outer * x.dim(0)?,
        ..*layout
    })
}
