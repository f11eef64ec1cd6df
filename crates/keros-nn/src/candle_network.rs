//! A whole network of the user's own in candle's operations.

use crate::activation::Activation;
use crate::autograd::{gradients, write_gradient};
use crate::error::NnError;
use crate::layer::check_var;
use crate::layers::{check_output, is_statistic, sorted};
use crate::network::{Mode, Network, Output, Port, check_inputs};
use keros_tensor::{Params, Tensor, Var, Workspace};

/// A function of named inputs to named outputs in candle's operations, with its variables as
/// parameters; candle's autograd goes back through it. A module of one input and output fits into a
/// [`Sequential`](crate::Sequential) as well, as a [`CandleModule`](crate::layers::CandleModule).
///
/// Batches are channels-last, as everywhere here: a function that wants `[N, C, H, W]` permutes them.
///
/// ```
/// use candle_core::{DType, Device, Module, Tensor};
/// use candle_nn::{VarBuilder, VarMap, linear};
/// use keros_nn::{Activation, CandleNetwork, Port};
///
/// let vars = VarMap::new();
/// let head = linear(8, 3, VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu))?;
/// let variables = vars.data().lock().unwrap().clone();
/// let forward = move |inputs: &[Tensor], _training: bool| Ok(vec![head.forward(&inputs[0])?]);
/// let network =
///     CandleNetwork::new([Port::new("x", [8])], [Port::new("class", [3])], variables, forward)?
///         .activation("class", Activation::Softmax)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct CandleNetwork<F> {
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    activations: Vec<Activation>,
    params: Params,
    forward: F,
    /// The outputs of the last training pass.
    kept: Option<Vec<Tensor>>,
}

impl<F: Fn(&[Tensor], bool) -> candle_core::Result<Vec<Tensor>>> CandleNetwork<F> {
    /// The network of `forward`, which gets a batch of each input and whether it is training, and
    /// returns one of each output.
    ///
    /// Parameters are these variables themselves, in the order of their names; those called
    /// `running_mean` and `running_var` are not trained.
    ///
    /// # Errors
    /// No input or output, two of one name, or a variable of another type than f32.
    pub fn new(
        inputs: impl Into<Vec<Port>>,
        outputs: impl Into<Vec<Port>>,
        vars: impl IntoIterator<Item = (String, Var)>,
        forward: F,
    ) -> Result<CandleNetwork<F>, NnError> {
        let (inputs, outputs) = (inputs.into(), outputs.into());
        for (what, ports) in [("inputs", &inputs), ("outputs", &outputs)] {
            let names: Vec<&str> = ports.iter().map(|port| port.name.as_str()).collect();
            let twice = (1..names.len()).any(|i| names[..i].contains(&names[i]));
            if names.is_empty() || twice {
                let expected = "at least one, each of its own name";
                return Err(NnError::argument(what, expected, format!("{names:?}")));
            }
        }
        let mut params = Params::new();
        for (name, var) in sorted(vars) {
            check_var(&name, &var)?;
            let trainable = !is_statistic(&name);
            params.add_var(&name, var, trainable)?;
        }
        Ok(CandleNetwork {
            activations: vec![Activation::Linear; outputs.len()],
            inputs,
            outputs,
            params,
            forward,
            kept: None,
        })
    }

    /// Says that `forward` returns an output as it is before this activation, such as the logits of
    /// a softmax, which losses then work on. None unless set.
    ///
    /// # Errors
    /// No output of this name.
    pub fn activation(
        mut self,
        output: &str,
        activation: Activation,
    ) -> Result<CandleNetwork<F>, NnError> {
        let place = self.outputs.iter().position(|port| port.name == output);
        match place.and_then(|place| self.activations.get_mut(place)) {
            Some(place) => *place = activation,
            None => {
                let names = self.outputs.iter().map(|port| port.name.as_str());
                let expected = names.collect::<Vec<_>>().join(" or ");
                return Err(NnError::argument("name of an output", expected, output));
            }
        }
        Ok(self)
    }
}

impl<F: Fn(&[Tensor], bool) -> candle_core::Result<Vec<Tensor>>> Network for CandleNetwork<F> {
    fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    fn params(&self) -> &Params {
        &self.params
    }

    fn params_mut(&mut self) -> &mut Params {
        &mut self.params
    }

    fn forward(
        &mut self,
        _: &mut Workspace,
        inputs: &[Tensor],
        mode: Mode,
    ) -> Result<Vec<Output>, NnError> {
        check_inputs(&self.inputs, inputs)?;
        self.kept = None;
        let training = mode.training().is_some();
        let outputs = (self.forward)(inputs, training)?;
        if outputs.len() != self.outputs.len() {
            let expected = self.outputs.len().to_string();
            return Err(NnError::argument(
                "outputs of the function",
                expected,
                outputs.len(),
            ));
        }
        let samples = inputs[0].dim(0)?;
        let outputs = outputs
            .iter()
            .zip(&self.outputs)
            .map(|(output, port)| {
                let output = output.contiguous()?;
                check_output(&output, samples, &port.shape)
                    .map_err(|error| error.in_layer(&port.name))?;
                Ok(output)
            })
            .collect::<Result<Vec<Tensor>, NnError>>()?;
        let results = outputs.iter().zip(&self.activations);
        let results = results.map(|(output, activation)| Output {
            logits: output.detach(),
            activation: *activation,
        });
        let results = results.collect();
        self.kept = training.then_some(outputs);
        Ok(results)
    }

    fn backward(&mut self, _: &mut Workspace, grads: &[Tensor]) -> Result<(), NnError> {
        let outputs = self.kept.take().ok_or(NnError::NoForward)?;
        if grads.len() != outputs.len() {
            let expected = outputs.len().to_string();
            return Err(NnError::argument("output gradients", expected, grads.len()));
        }
        let pairs: Vec<(Tensor, &Tensor)> = outputs.into_iter().zip(grads).collect();
        let found = gradients(&pairs)?;
        for (_, param) in self.params.iter().filter(|(_, param)| param.trainable()) {
            write_gradient(&found, param.value(), param.grad())?;
        }
        Ok(())
    }
}
