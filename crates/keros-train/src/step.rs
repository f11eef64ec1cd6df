//! The one step behind every method: batch to device, forward, loss, backward, update.

use crate::class_weight::ClassWeight;
use crate::data::{by_port, input_tensors, target_tensor, weights_by_port};
use crate::error::TrainError;
use crate::trainer::Trainer;
use keros_data::{Array, Arrays, Batch};
use keros_nn::{Mode, Network, Output, Port};
use keros_tensor::access::{read, write};
use keros_tensor::{Tensor, Workspace};

/// The values of one output for a batch, on the host.
pub(crate) struct HostOutput {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f32>,
}

impl HostOutput {
    pub(crate) fn into_array(self) -> Result<Array, TrainError> {
        Ok(Array::from_vec(&self.shape, self.values)?)
    }
}

impl<N: Network> Trainer<N> {
    /// One update; the trackers gain the batch.
    pub(crate) fn train_step(
        &mut self,
        batch: &Batch,
        class_weight: Option<&ClassWeight>,
    ) -> Result<(), TrainError> {
        self.gradients(batch, class_weight)?;
        self.update()
    }

    /// The first half of a step: the gradients of a batch, penalties included. The trackers gain the
    /// batch.
    pub(crate) fn gradients(
        &mut self,
        batch: &Batch,
        class_weight: Option<&ClassWeight>,
    ) -> Result<(), TrainError> {
        let mode = Mode::Training {
            seed: self.seed,
            step: self.optimizer.batches(),
        };
        let grads = self.compare(batch, mode, class_weight)?;
        self.network.backward(&mut self.workspace, &grads)?;
        self.network
            .param_rules()
            .add_gradients(self.network.params())?;
        Ok(())
    }

    /// The second half: the parameters follow their gradients.
    pub(crate) fn update(&mut self) -> Result<(), TrainError> {
        let params = self.network.params();
        self.optimizer.step(params)?;
        self.network.param_rules().constrain(params)?;
        Ok(())
    }

    /// An evaluation of a batch; the trackers gain it.
    pub(crate) fn test_step(&mut self, batch: &Batch) -> Result<(), TrainError> {
        self.compare(batch, Mode::Inference, None)?;
        Ok(())
    }

    /// The outputs of a batch, on the host.
    pub(crate) fn predict_step(&mut self, batch: &Batch) -> Result<Vec<HostOutput>, TrainError> {
        let outputs = self.forward(batch, Mode::Inference)?;
        outputs
            .iter()
            .map(|output| {
                let values = output.values(&mut self.workspace)?;
                Ok(HostOutput {
                    shape: values.dims().to_vec(),
                    values: read::<f32>(&values)?.to_vec(),
                })
            })
            .collect()
    }

    fn forward(&mut self, batch: &Batch, mode: Mode) -> Result<Vec<Output>, TrainError> {
        self.workspace.recycle();
        let inputs = input_tensors(&mut self.workspace, self.network.inputs(), &batch.inputs)?;
        Ok(self.network.forward(&mut self.workspace, &inputs, mode)?)
    }

    /// Runs a batch, adds it to the trackers and returns the gradient of the total loss with respect
    /// to each output.
    fn compare(
        &mut self,
        batch: &Batch,
        mode: Mode,
        class_weight: Option<&ClassWeight>,
    ) -> Result<Vec<Tensor>, TrainError> {
        let outputs = self.forward(batch, mode)?;
        let workspace = &mut self.workspace;
        let targets = batch.targets.as_ref().ok_or(TrainError::NoTargets)?;
        let with_loss: Vec<&Port> = self
            .network
            .outputs()
            .iter()
            .zip(&self.heads)
            .filter_map(|(port, head)| head.loss.as_ref().map(|_| port))
            .collect();
        let mut arrays = by_port("targets", &with_loss, targets)?.into_iter();
        let sample_weight = match class_weight {
            None => batch.sample_weight.clone(),
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
                let of_samples = batch.sample_weight.as_ref().map(Arrays::first);
                Some(classes.times(targets.first(), of_samples)?.into())
            }
        };
        let weights = weights_by_port(workspace, &with_loss, sample_weight.as_ref())?;
        let mut weights = weights.iter();

        let rows = batch.len() as f64;
        let of_params = self.network.param_rules().penalty(self.network.params())?;
        let mut total = of_params + self.network.activity_penalty();
        let mut grads = Vec::with_capacity(outputs.len());
        for ((output, head), trackers) in outputs
            .iter()
            .zip(&self.heads)
            .zip(&mut self.trackers.outputs)
        {
            let (Some(loss), Some(array)) =
                (&head.loss, head.loss.as_ref().and_then(|_| arrays.next()))
            else {
                grads.push(zeros(workspace, output.logits.dims())?);
                continue;
            };
            let weights = weights.next().and_then(Option::as_ref);
            let target = target_tensor(workspace, loss.target_kind(), array)?;
            let scale = loss.scale(output, &target, weights)?;
            let factor = scale * head.weight;
            let computed = loss.compute(workspace, output, &target, weights, factor as f32)?;
            let value = weighted_sum(&computed.per_sample, weights)? * scale;
            total += value * head.weight;
            if let Some((_, mean)) = &mut trackers.loss {
                // As in Keras 3, where a short batch counts as much as a whole one here.
                mean.add(value, 1.0);
            }
            for tracked in &mut trackers.metrics {
                let weights = weights.filter(|_| tracked.weighted);
                tracked.metric.update(workspace, output, &target, weights)?;
            }
            grads.push(computed.grad);
        }
        self.trackers.loss.add(total, rows);
        Ok(grads)
    }
}

fn weighted_sum(losses: &Tensor, weights: Option<&Tensor>) -> Result<f64, TrainError> {
    let losses = read::<f32>(losses)?;
    Ok(match weights {
        None => losses.iter().map(|loss| f64::from(*loss)).sum(),
        Some(weights) => {
            let weights = read::<f32>(weights)?;
            let pairs = losses.iter().zip(weights.iter());
            pairs
                .map(|(loss, weight)| f64::from(*loss) * f64::from(*weight))
                .sum()
        }
    })
}

fn zeros(workspace: &mut Workspace, shape: &[usize]) -> Result<Tensor, TrainError> {
    let tensor = workspace.take(shape, keros_tensor::DType::F32)?;
    write::<f32, _>(&tensor, |values| values.fill(0.0))?;
    Ok(tensor)
}
