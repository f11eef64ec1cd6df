//! A module of candle as a layer.

use super::autograd;
use super::common::Common;
use super::lambda::output_shape;
use crate::error::NnError;
use crate::layer::{Layer, LayerBuilder, Pass};
use candle_core::ModuleT;
use keros_tensor::{DType, ParamId, Tensor, Var};

/// Anything that implements candle's `ModuleT` (or `Module`), with its variables as parameters.
/// candle's autograd goes back through it, and it has no configuration to be written.
///
/// The parameters are the module's variables themselves, in the order of their names, which candle's
/// `VarMap` does not keep. Those called `running_mean` and `running_var`, the statistics of candle's
/// batch normalization, are not trained.
///
/// **Shapes**: `[N, …]` → `[N, …]`, whatever the module makes of it.
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_nn::{VarBuilder, VarMap, linear};
/// use keros_nn::Sequential;
/// use keros_nn::layers::CandleModule;
///
/// let vars = VarMap::new();
/// let module = linear(8, 3, VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu))?;
/// let variables = vars.data().lock().unwrap().clone();
/// let network = Sequential::builder([8])
///     .layer(CandleModule::new(module, variables).name("head"))
///     .build(&Device::Cpu, 1)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct CandleModule {
    module: Box<dyn ModuleT>,
    vars: Vec<(String, Var)>,
    frozen: Vec<String>,
    channels_first: bool,
    common: Common,
    built: Option<Built>,
}

struct Built {
    params: Vec<ParamId>,
    output: Vec<usize>,
}

impl CandleModule {
    /// The layer of a module with these variables, by name; all of one `VarMap` are
    /// `map.data().lock()?.clone()`. Building runs it on one sample of zeros, in inference, to learn
    /// the shape of its output.
    #[must_use]
    pub fn new(
        module: impl ModuleT + 'static,
        vars: impl IntoIterator<Item = (String, Var)>,
    ) -> CandleModule {
        CandleModule {
            module: Box::new(module),
            vars: sorted(vars),
            frozen: Vec::new(),
            channels_first: false,
            common: Common::default(),
            built: None,
        }
    }

    /// Whether the module takes and returns channels as the first axis of a sample, as candle's
    /// convolutions do: `[N, H, W, C]` here is `[N, C, H, W]` there. False unless set.
    #[must_use]
    pub fn channels_first(mut self, channels_first: bool) -> CandleModule {
        self.channels_first = channels_first;
        self
    }

    /// Names of variables that are never trained, besides the running statistics.
    #[must_use]
    pub fn frozen(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> CandleModule {
        self.frozen.extend(names.into_iter().map(Into::into));
        self
    }

    setter!(common);

    fn run(&self, x: &Tensor, training: bool) -> candle_core::Result<Tensor> {
        if !self.channels_first {
            return self.module.forward_t(x, training);
        }
        let rank = x.rank();
        let inward: Vec<usize> = [0]
            .into_iter()
            .chain(rank - 1..rank)
            .chain(1..rank - 1)
            .collect();
        let y = self
            .module
            .forward_t(&x.permute(inward)?.contiguous()?, training)?;
        let rank = y.rank();
        match rank {
            0..3 => Ok(y),
            _ => y.permute(
                [0].into_iter()
                    .chain(2..rank)
                    .chain([1])
                    .collect::<Vec<usize>>(),
            ),
        }
    }
}

/// Variables in the order of their names.
pub(crate) fn sorted(vars: impl IntoIterator<Item = (String, Var)>) -> Vec<(String, Var)> {
    let mut vars: Vec<(String, Var)> = vars.into_iter().collect();
    vars.sort_by(|(a, _), (b, _)| a.cmp(b));
    vars
}

/// Whether a variable holds statistics that candle's batch normalization keeps.
pub(crate) fn is_statistic(name: &str) -> bool {
    let last = name.rsplit('.').next();
    matches!(last, Some("running_mean" | "running_var"))
}

impl Layer for CandleModule {
    own_layer!();

    fn class_name(&self) -> &'static str {
        "CandleModule"
    }

    fn build(
        &mut self,
        input: &[usize],
        builder: &mut LayerBuilder<'_>,
    ) -> Result<Vec<usize>, NnError> {
        if self.channels_first && input.is_empty() {
            return Err(NnError::shape("input sample", "[…, channels]", input));
        }
        if let Some(name) = self
            .frozen
            .iter()
            .find(|&name| !self.vars.iter().any(|(var, _)| var == name))
        {
            return Err(NnError::argument("frozen", "names of variables", name));
        }
        let mut params = Vec::with_capacity(self.vars.len());
        for (name, var) in &self.vars {
            let trainable = !is_statistic(name) && !self.frozen.contains(name);
            params.push(builder.var(name, var, trainable)?);
        }
        let zeros = Tensor::zeros([&[1], input].concat(), DType::F32, builder.device)?;
        let output = output_shape(&self.run(&zeros, false)?)?;
        self.built = Some(Built {
            params,
            output: output.clone(),
        });
        Ok(output)
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor, NnError> {
        let built = self.built.as_ref().ok_or(NnError::NotBuilt)?;
        let training = pass.is_training() && pass.trainable;
        autograd::forward(x, pass, &built.output, |x| self.run(x, training))
    }

    fn backward(&self, dy: &Tensor, pass: &mut Pass<'_>) -> Result<Option<Tensor>, NnError> {
        let built = self.built.as_ref().ok_or(NnError::NotBuilt)?;
        autograd::backward(dy, pass, &built.params)
    }
}
