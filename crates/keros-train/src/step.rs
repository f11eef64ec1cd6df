//! The one step behind every method: batch to device, forward, loss, backward, update.

use crate::class_weight::ClassWeight;
use crate::data::{
    by_port, check_indices, input_tensors, target_tensor, weight_tensor, weights_by_port,
};
use crate::error::TrainError;
use crate::positions::{Terms, check_weights};
use crate::settle::{Compared, OutputValues, StepValues};
use crate::trainer::Trainer;
use keros_data::{Array, Batch};
use keros_nn::{Mode, Network, NnError, Port, Target, TargetKind};
use keros_tensor::{Readback, Tensor, TensorError, Workspace};

impl<N: Network> Trainer<N> {
    /// One update; the trackers gain the batch.
    pub(crate) fn train_step(
        &mut self,
        batch: &Batch,
        class_weight: Option<&ClassWeight>,
    ) -> Result<(), TrainError> {
        self.gradients(batch, class_weight, None)?;
        self.update(batch)
    }

    /// The first half of a step: the gradients of a batch, penalties included. The trackers gain the
    /// batch, which `place` names by epoch and number if it is one of a run.
    pub(crate) fn gradients(
        &mut self,
        batch: &Batch,
        class_weight: Option<&ClassWeight>,
        place: Option<(u64, u64)>,
    ) -> Result<(), TrainError> {
        let mode = Mode::Training {
            seed: self.seed,
            step: self.optimizer.batches(),
        };
        let done = self
            .compare(batch, mode, class_weight, place)
            .and_then(|grads| {
                self.network
                    .set_loss_scale(self.optimizer.loss_scale().unwrap_or(1.0));
                self.network.backward(&mut self.workspace, &grads)?;
                let params = self.network.params();
                self.optimizer.unscale(params)?;
                Ok(self.network.param_rules().add_gradients(params)?)
            });
        done.map_err(|error| self.about_memory(batch, error))
    }

    /// The second half: the parameters follow their gradients.
    pub(crate) fn update(&mut self, batch: &Batch) -> Result<(), TrainError> {
        let params = self.network.params();
        let done = self
            .optimizer
            .step(params)
            .and_then(|()| self.network.param_rules().constrain(params));
        done.map_err(|error| self.about_memory(batch, error.into()))
    }

    /// An evaluation of a batch; the trackers gain it.
    pub(crate) fn test_step(
        &mut self,
        batch: &Batch,
        place: Option<(u64, u64)>,
    ) -> Result<(), TrainError> {
        let done = self.compare(batch, Mode::Inference, None, place);
        done.map(drop)
            .map_err(|error| self.about_memory(batch, error))
    }

    /// The outputs of a batch, on their way to the host.
    pub(crate) fn predict_step(&mut self, batch: &Batch) -> Result<Readback, TrainError> {
        let done = self.inputs(batch).and_then(|inputs| {
            let network = &mut self.network;
            let outputs = network.forward(&mut self.workspace, &inputs, Mode::Inference)?;
            let values = outputs
                .iter()
                .map(|output| output.values(&mut self.workspace))
                .collect::<Result<Vec<Tensor>, NnError>>()?;
            let values: Vec<&Tensor> = values.iter().collect();
            Ok(Readback::start(&values)?)
        });
        done.map_err(|error| self.about_memory(batch, error))
    }

    /// Of memory that is used up, says which batch would fit.
    fn about_memory(&self, batch: &Batch, error: TrainError) -> TrainError {
        let TrainError::Network(source) = error else {
            return error;
        };
        let Some((asked, free)) = out_of_memory(&source) else {
            return TrainError::Network(source);
        };
        let held = self.workspace.bytes();
        let per_sample = (held + asked) / batch.len().max(1);
        TrainError::OutOfMemory {
            rows: batch.len(),
            fits: (held + free) / per_sample.max(1),
            source,
        }
    }

    /// Begins a step with the inputs of a batch.
    fn inputs(&mut self, batch: &Batch) -> Result<Vec<Tensor>, TrainError> {
        self.workspace.recycle();
        if !self.workspace.device().is_cpu() {
            check_indices(&self.network, &batch.inputs)?;
        }
        input_tensors(&mut self.workspace, self.network.inputs(), &batch.inputs)
    }

    /// What a batch has for each output with a loss; on `host` too, if the device is another one.
    fn given(
        &mut self,
        batch: &Batch,
        class_weight: Option<&ClassWeight>,
        mut host: Option<&mut Workspace>,
    ) -> Result<Vec<Given>, TrainError> {
        let workspace = &mut self.workspace;
        let targets = batch.targets.as_ref().ok_or(TrainError::NoTargets)?;
        let outputs = self.network.outputs().iter().zip(&self.heads);
        let ports: Vec<&Port> = outputs
            .filter_map(|(port, head)| head.loss.as_ref().map(|_| port))
            .collect();
        let arrays = by_port("targets", &ports, targets)?;
        let mut weights = weights_by_port(&ports, batch.sample_weight.as_ref())?;
        let of_classes;
        match class_weight {
            None => {}
            Some(_) if self.heads.len() > 1 => {
                let expected = "none, because the network has several outputs";
                let found = "weights of classes";
                return Err(TrainError::argument(
                    "training",
                    "class_weight",
                    expected,
                    found,
                ));
            }
            Some(classes) => {
                of_classes = classes.times(arrays[0], weights[0])?;
                weights[0] = Some(&of_classes);
            }
        }
        let heads = self.heads.iter().zip(&self.trackers.outputs);
        let losses = heads.filter_map(|(head, trackers)| {
            let has_metrics = !trackers.metrics.is_empty();
            head.loss.as_ref().map(|loss| (loss, has_metrics))
        });
        let losses = losses.zip(&ports);
        let mut given = Vec::with_capacity(ports.len());
        // Of the output before, which may have the same.
        let mut made: Option<(&Array, [Tensor; 2])> = None;
        for ((((loss, has_metrics), port), array), weights) in losses.zip(arrays).zip(weights) {
            let kind = loss.target_kind();
            let target = target_tensor(workspace, kind, array)?;
            if let Some(weights) = weights {
                check_weights(loss.as_ref(), batch.len(), port, weights)?;
            }
            made = match (weights, made) {
                (None, _) => None,
                (Some(weights), Some((same, tensors))) if std::ptr::eq(same, weights) => {
                    Some((same, tensors))
                }
                (Some(weights), _) => {
                    let tensor = weight_tensor(workspace, weights)?;
                    let on_host = match host.as_deref_mut() {
                        Some(host) => weight_tensor(host, weights)?,
                        None => tensor.clone(),
                    };
                    Some((weights, [tensor, on_host]))
                }
            };
            let weights = made.as_ref().map(|(_, tensors)| tensors);
            let [weights, host_weights] = [0, 1].map(|at| weights.map(|both| both[at].clone()));
            let read = has_metrics || kind == TargetKind::Labels;
            given.push(Given {
                host_target: match host.as_deref_mut() {
                    Some(host) if read => Some(target_tensor(host, kind, array)?),
                    _ => None,
                },
                host_weights,
                target,
                weights,
            });
        }
        Ok(given)
    }

    /// Runs a batch, leaves its values to the trackers and returns the gradient of the total loss, times
    /// the optimizer's scale, with respect to each output.
    fn compare(
        &mut self,
        batch: &Batch,
        mode: Mode,
        class_weight: Option<&ClassWeight>,
        place: Option<(u64, u64)>,
    ) -> Result<Vec<Tensor>, TrainError> {
        let inputs = self.inputs(batch)?;
        // What is read on the host is made there too where the device is another one.
        let mut host = match self.workspace.device().is_cpu() {
            true => None,
            false => Some(self.trackers.host_workspace()),
        };
        // Before the network sees the batch, which leaves its traces in layers that keep statistics.
        let mut given = self.given(batch, class_weight, host.as_mut())?.into_iter();
        let workspace = &mut self.workspace;
        let outputs = self.network.forward(workspace, &inputs, mode)?;

        let loss_scale = self.optimizer.loss_scale().unwrap_or(1.0);
        let rules = self.network.param_rules();
        let mut penalty = rules.start_penalty(workspace, self.network.params())?;
        penalty.extend(self.network.activity_penalty());
        let mut read: Vec<Tensor> = penalty.sums.iter().map(|part| part.sums.clone()).collect();
        let mut values = Vec::with_capacity(outputs.len());
        let mut grads = Vec::with_capacity(outputs.len());
        for ((output, head), trackers) in
            outputs.iter().zip(&self.heads).zip(&self.trackers.outputs)
        {
            let (Some(loss), Some(given)) =
                (&head.loss, head.loss.as_ref().and_then(|_| given.next()))
            else {
                grads.push(zeros(workspace, output.logits.dims())?);
                values.push(None);
                continue;
            };
            let has_metrics = !trackers.metrics.is_empty();
            if let Some(target) = &given.host_target {
                loss.check_target(output, target)?;
            }
            let terms = Terms {
                output: output.clone(),
                host_target: given.host_target.unwrap_or_else(|| given.target.clone()),
                target: given.target,
                weights: given.weights,
                host_weights: given.host_weights,
            };
            let compared = has_metrics.then(|| Compared {
                activation: output.activation,
                target: terms.host_target.clone(),
            });
            let Terms {
                output: of_weights,
                target,
                host_target,
                weights,
                host_weights,
            } = terms.by_weight(loss.as_ref())?;
            let scale = loss.scale(&of_weights, &host_target, host_weights.as_ref())?;
            let factor = (scale * head.weight * loss_scale) as f32;
            let weights = weights.as_ref();
            let computed = loss.compute(workspace, &of_weights, &target, weights, factor)?;
            let grad = computed.grad.reshape(output.logits.shape());
            grads.push(grad.map_err(TensorError::from)?);
            read.push(computed.per_sample);
            if has_metrics {
                read.push(output.logits.clone());
            }
            values.push(Some(OutputValues {
                scale,
                factor: head.weight,
                compared,
                weights: host_weights,
            }));
        }
        let read: Vec<&Tensor> = read.iter().collect();
        let values = StepValues {
            place,
            rows: batch.len() as f64,
            penalty,
            outputs: values,
            readback: Readback::start(&read)?,
        };
        match host {
            None => self.trackers.add(values, workspace)?,
            Some(host) => self.trackers.push(values, host)?,
        }
        Ok(grads)
    }
}

/// What an output is compared with, as tensors.
struct Given {
    target: Target,
    /// On the host, if it is read there and the network is elsewhere.
    host_target: Option<Target>,
    weights: Option<Tensor>,
    /// On the host.
    host_weights: Option<Tensor>,
}

/// Bytes that were asked for and bytes that were free, if memory was used up.
fn out_of_memory(error: &NnError) -> Option<(usize, usize)> {
    match error {
        NnError::Layer { source, .. } => out_of_memory(source),
        NnError::Tensor(TensorError::OutOfMemory { bytes, free, .. }) => {
            Some((bytes.unwrap_or_default(), *free))
        }
        _ => None,
    }
}

fn zeros(workspace: &mut Workspace, shape: &[usize]) -> Result<Tensor, TrainError> {
    let tensor = workspace.take(shape, keros_tensor::DType::F32)?;
    tensor.zero_set().map_err(TensorError::from)?;
    Ok(tensor)
}
