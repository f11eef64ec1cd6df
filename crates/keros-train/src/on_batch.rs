//! One batch at a time: the methods for loops of your own.

use crate::error::TrainError;
use crate::options::{TestOnBatchOptions, TrainOnBatchOptions};
use crate::predict::Outputs;
use crate::trainer::Trainer;
use keros_callbacks::Logs;
use keros_data::{Array, Arrays, Batch};
use keros_nn::Network;

impl<N: Network> Trainer<N> {
    /// One forward pass, reverse pass and update on exactly the rows of `batch`, whatever their
    /// number. No callbacks, nothing shown.
    ///
    /// Returns the loss and metrics of this batch alone, as they were before the update.
    ///
    /// # Errors
    /// Arrays that are not the network's, or a failure in the network; the weights are then
    /// unchanged. Only where the outputs show that the targets are wrong, as with the label of a
    /// class that they do not have, a layer that keeps statistics of its batches, such as
    /// `BatchNormalization`, has this one in them.
    pub fn train_on_batch(&mut self, batch: &Batch) -> Result<Logs, TrainError> {
        self.train_on_batch_with(batch, &TrainOnBatchOptions::default())
    }

    /// [`Trainer::train_on_batch`] with Keras's further arguments.
    ///
    /// # Errors
    /// As [`Trainer::train_on_batch`]; targets that name no class where classes are weighted.
    pub fn train_on_batch_with(
        &mut self,
        batch: &Batch,
        options: &TrainOnBatchOptions,
    ) -> Result<Logs, TrainError> {
        batch.check()?;
        self.put_weights_back()?;
        if options.reset_metrics {
            self.trackers.give_to_trainer()?;
            self.trackers.reset();
        } else {
            self.trackers.give_to_step()?;
        }
        self.train_step(batch, options.class_weight.as_ref())?;
        self.logs()
    }

    /// The loss and metrics of `batch` in inference mode.
    ///
    /// # Errors
    /// Arrays that are not the network's, or a failure in the network.
    pub fn test_on_batch(&mut self, batch: &Batch) -> Result<Logs, TrainError> {
        self.test_on_batch_with(batch, &TestOnBatchOptions::default())
    }

    /// [`Trainer::test_on_batch`] with Keras's further arguments.
    ///
    /// # Errors
    /// As [`Trainer::test_on_batch`].
    pub fn test_on_batch_with(
        &mut self,
        batch: &Batch,
        options: &TestOnBatchOptions,
    ) -> Result<Logs, TrainError> {
        batch.check()?;
        self.put_weights_back()?;
        self.trackers.give_to_trainer()?;
        if options.reset_metrics {
            self.trackers.reset();
        }
        self.test_step(batch, None)?;
        self.logs()
    }

    /// The outputs for `inputs` in inference mode, one array per output of the network.
    ///
    /// # Errors
    /// Arrays that are not the network's, or a failure in the network.
    pub fn predict_on_batch(
        &mut self,
        inputs: impl Into<Arrays>,
    ) -> Result<Vec<Array>, TrainError> {
        let batch = Batch::inputs_only(inputs);
        batch.check()?;
        self.put_weights_back()?;
        let mut outputs = Outputs::default();
        outputs.extend(&self.predict_step(&batch)?.wait()?)?;
        outputs.into_arrays()
    }

    pub(crate) fn logs(&mut self) -> Result<Logs, TrainError> {
        let mut logs = Logs::new();
        self.trackers.write("", &mut logs)?;
        Ok(logs)
    }
}
