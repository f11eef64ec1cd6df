//! Activations as layers of their own.

use super::common::Common;
use super::{finite, not_negative};
use crate::activation::Activation as Kind;
use crate::error::NnError;
use crate::layer::{Layer, LayerBuilder, Pass};
use crate::resolve::Resolve;
use keros_tensor::Tensor;
use keros_tensor::kernels::{self, Function};

/// An activation applied to the input, Keras's `Activation`.
///
/// **Shapes**: `[N, …]` → the same; the softmaxes work on the last axis.
pub struct Activation {
    activation: Kind,
    common: Common,
}

impl Activation {
    /// The layer of this activation, a value or its name.
    #[must_use]
    pub fn new(activation: impl Resolve<Kind>) -> Activation {
        let mut common = Common::default();
        let activation = common
            .resolve(activation)
            .map_or(Kind::Linear, |kind| *kind);
        Activation { activation, common }
    }

    setter!(common);
}

arguments! {
    Activation = Activation::new(Kind::Linear);
    required activation;
    optional common;
}

impl Layer for Activation {
    layer!(
        "Activation",
        mixed_precision | layer | layer.activation.is_elementwise()
    );

    fn build(&mut self, input: &[usize], _: &mut LayerBuilder<'_>) -> Result<Vec<usize>, NnError> {
        let needs_axis = matches!(self.activation, Kind::Softmax | Kind::LogSoftmax);
        if needs_axis && input.is_empty() {
            return Err(NnError::shape("input sample", "[…, classes]", input));
        }
        Ok(input.to_vec())
    }

    fn take_activation(&mut self) -> Kind {
        self.activation.take_final()
    }

    fn is_relu(&self) -> bool {
        self.activation == Kind::Relu
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        let y = self.activation.apply(pass.workspace, x)?;
        if self.activation != Kind::Linear {
            pass.save(if self.activation.keeps_output() {
                &y
            } else {
                x
            });
        }
        Ok(y)
    }

    fn backward(&self, dy: &Tensor, pass: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        if self.activation == Kind::Linear {
            return Ok(Some(dy.clone()));
        }
        let kept = pass.restore()?;
        let dx = self.activation.backward(pass.workspace, &kept, dy)?;
        pass.workspace.give(dy);
        if self.activation.keeps_output() {
            pass.workspace.give(&kept);
        }
        Ok(Some(dx))
    }
}

/// `min(x, max_value)` above the threshold and `negative_slope · (x - threshold)` below it, Keras's
/// `ReLU`.
///
/// **Shapes**: `[N, …]` → the same.
pub struct ReLU {
    max_value: Option<f32>,
    negative_slope: f32,
    threshold: f32,
    common: Common,
}

impl Default for ReLU {
    fn default() -> Self {
        ReLU::new()
    }
}

impl ReLU {
    /// `max(x, 0)`: no largest value, slope 0, threshold 0.
    #[must_use]
    pub fn new() -> ReLU {
        ReLU {
            max_value: None,
            negative_slope: 0.0,
            threshold: 0.0,
            common: Common::default(),
        }
    }

    /// The largest value, from 0.
    #[must_use]
    pub fn max_value(mut self, max_value: f32) -> ReLU {
        self.max_value = Some(max_value);
        self
    }

    /// The slope below the threshold, from 0.
    #[must_use]
    pub fn negative_slope(mut self, negative_slope: f32) -> ReLU {
        self.negative_slope = negative_slope;
        self
    }

    /// Where the function begins to rise, from 0.
    #[must_use]
    pub fn threshold(mut self, threshold: f32) -> ReLU {
        self.threshold = threshold;
        self
    }

    setter!(common);

    fn function(&self) -> Function {
        Function::Relu {
            max_value: self.max_value.unwrap_or(f32::INFINITY),
            negative_slope: self.negative_slope,
            threshold: self.threshold,
        }
    }
}

arguments! {
    ReLU = ReLU::new();
    required;
    optional max_value negative_slope threshold common;
}

impl Layer for ReLU {
    layer!("ReLU", mixed_precision);

    fn build(&mut self, input: &[usize], _: &mut LayerBuilder<'_>) -> Result<Vec<usize>, NnError> {
        not_negative("max_value", self.max_value.unwrap_or_default())?;
        not_negative(
            "negative_slope",
            finite("negative_slope", self.negative_slope)?,
        )?;
        not_negative("threshold", finite("threshold", self.threshold)?)?;
        Ok(input.to_vec())
    }

    fn is_relu(&self) -> bool {
        self.max_value.is_none() && self.negative_slope == 0.0 && self.threshold == 0.0
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        forward(self.function(), x, pass)
    }

    fn backward(&self, dy: &Tensor, pass: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        backward(self.function(), dy, pass)
    }
}

/// `x` above 0 and `negative_slope · x` below, Keras's `LeakyReLU`.
///
/// **Shapes**: `[N, …]` → the same.
pub struct LeakyReLU {
    negative_slope: f32,
    common: Common,
}

impl Default for LeakyReLU {
    fn default() -> Self {
        LeakyReLU::new()
    }
}

impl LeakyReLU {
    /// Slope 0.3 below 0.
    #[must_use]
    pub fn new() -> LeakyReLU {
        LeakyReLU {
            negative_slope: 0.3,
            common: Common::default(),
        }
    }

    /// The slope below 0.
    #[must_use]
    pub fn negative_slope(mut self, negative_slope: f32) -> LeakyReLU {
        self.negative_slope = negative_slope;
        self
    }

    setter!(common);

    fn function(&self) -> Function {
        Function::Relu {
            max_value: f32::INFINITY,
            negative_slope: self.negative_slope,
            threshold: 0.0,
        }
    }
}

arguments! {
    LeakyReLU = LeakyReLU::new();
    required;
    optional negative_slope common;
}

impl Layer for LeakyReLU {
    layer!("LeakyReLU", mixed_precision);

    fn build(&mut self, input: &[usize], _: &mut LayerBuilder<'_>) -> Result<Vec<usize>, NnError> {
        finite("negative_slope", self.negative_slope)?;
        Ok(input.to_vec())
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        forward(self.function(), x, pass)
    }

    fn backward(&self, dy: &Tensor, pass: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        backward(self.function(), dy, pass)
    }
}

/// `x` above 0 and `alpha · (exp(x) - 1)` below, Keras's `ELU`.
///
/// **Shapes**: `[N, …]` → the same.
pub struct ELU {
    alpha: f32,
    common: Common,
}

impl Default for ELU {
    fn default() -> Self {
        ELU::new()
    }
}

impl ELU {
    /// `alpha` 1.
    #[must_use]
    pub fn new() -> ELU {
        ELU {
            alpha: 1.0,
            common: Common::default(),
        }
    }

    /// Minus the limit for very negative values.
    #[must_use]
    pub fn alpha(mut self, alpha: f32) -> ELU {
        self.alpha = alpha;
        self
    }

    setter!(common);

    fn function(&self) -> Function {
        Function::Elu { alpha: self.alpha }
    }
}

arguments! {
    ELU = ELU::new();
    required;
    optional alpha common;
}

impl Layer for ELU {
    layer!("ELU", mixed_precision);

    fn build(&mut self, input: &[usize], _: &mut LayerBuilder<'_>) -> Result<Vec<usize>, NnError> {
        finite("alpha", self.alpha)?;
        Ok(input.to_vec())
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        forward(self.function(), x, pass)
    }

    fn backward(&self, dy: &Tensor, pass: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        backward(self.function(), dy, pass)
    }
}

fn forward(function: Function, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
    let y = kernels::function(pass.workspace, x, function)?;
    pass.save(if function.keeps_output() { &y } else { x });
    Ok(y)
}

fn backward(
    function: Function,
    dy: &Tensor,
    pass: &mut Pass<'_>,
) -> Result<Option<Tensor>, NnError> {
    let kept = pass.restore()?;
    let dx = kernels::function_backward(pass.workspace, &kept, dy, function)?;
    pass.workspace.give(dy);
    if function.keeps_output() {
        pass.workspace.give(&kept);
    }
    Ok(Some(dx))
}
