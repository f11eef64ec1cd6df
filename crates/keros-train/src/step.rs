//! The one step behind every method: batch to device, forward, loss, backward, update.

use crate::class_weight::ClassWeight;
use crate::data::{input_tensors, target_tensor, weight_tensor};
use crate::error::TrainError;
use crate::trainer::Trainer;
use keros_data::{Array, Batch};
use keros_nn::{Mode, Network, Output};
use keros_tensor::Tensor;
use keros_tensor::access::read;

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
        let mode = Mode::Training {
            seed: self.seed,
            step: self.optimizer.batches(),
        };
        let grad = self.compare(batch, mode, class_weight)?;
        self.network.backward(&mut self.workspace, &[grad])?;
        let (params, rules) = (self.network.params(), self.network.param_rules());
        rules.add_gradients(params)?;
        self.optimizer.step(params)?;
        rules.constrain(params)?;
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

    /// Runs a batch, adds it to the trackers and returns the gradient of the loss.
    fn compare(
        &mut self,
        batch: &Batch,
        mode: Mode,
        class_weight: Option<&ClassWeight>,
    ) -> Result<Tensor, TrainError> {
        let outputs = self.forward(batch, mode)?;
        let ([output], [port]) = (outputs.as_slice(), self.network.outputs()) else {
            let expected = "a network with one output";
            return Err(TrainError::argument(
                "training",
                "network",
                expected,
                outputs.len(),
            ));
        };
        let workspace = &mut self.workspace;
        let targets = batch.targets.as_ref().ok_or(TrainError::NoTargets)?;
        let target = target_tensor(workspace, self.loss.target_kind(), port, targets)?;
        let weighted;
        let sample_weight = match class_weight {
            None => batch.sample_weight.as_ref(),
            Some(classes) => {
                weighted = classes.times(targets.first(), batch.sample_weight.as_ref())?;
                Some(&weighted)
            }
        };
        let weights = match sample_weight {
            Some(weights) => Some(weight_tensor(workspace, weights)?),
            None => None,
        };
        let rows = batch.len() as f64;
        let weights_of_loss = weights.as_ref();
        let scale = self.loss.scale(output, &target, weights_of_loss)?;
        let loss = self
            .loss
            .compute(workspace, output, &target, weights_of_loss, scale as f32)?;
        let losses = read::<f32>(&loss.per_sample)?;
        let total: f64 = match &weights {
            None => losses.iter().map(|loss| f64::from(*loss)).sum(),
            Some(weights) => {
                let weights = read::<f32>(weights)?;
                let pairs = losses.iter().zip(weights.iter());
                pairs
                    .map(|(loss, weight)| f64::from(*loss) * f64::from(*weight))
                    .sum()
            }
        };
        drop(losses);
        let of_params = self.network.param_rules().penalty(self.network.params())?;
        let penalty = of_params + self.network.activity_penalty();
        self.trackers.loss.add(total * scale + penalty, rows);
        for metric in &mut self.trackers.metrics {
            metric.update(workspace, output, &target, None)?;
        }
        Ok(loss.grad)
    }
}
