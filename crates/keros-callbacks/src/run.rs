//! The run behind a [`Context`](crate::Context): what a trainer lets callbacks see and do.
//!
//! Everything but facts, logs and the learning rate is optional: a run without a model, such as one
//! in a test, leaves the rest out, and what is asked of it is then refused by an error.

use crate::error::{BoxError, RunError};
use crate::logs::{EpochLogs, LogValue, Logs};
use crate::requests::Requests;
use crate::weights::ParamInfo;
use std::path::Path;
use std::time::Duration;

/// Facts that hold for a whole run, or in `steps` for an epoch of it; Keras's `params`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct RunInfo {
    /// Index after the last epoch of `fit`; 1 for an evaluation or prediction.
    pub epochs: u64,
    /// Index of the first epoch.
    pub initial_epoch: u64,
    /// Batches of the epoch, if known: a sequence may have another number of them after each.
    pub steps: Option<u64>,
    /// Names of the loss and metrics, in log order, without the `val_` ones.
    pub metrics: Vec<String>,
    /// Whether `fit` was given validation data.
    pub validation: bool,
}

/// An array of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ArrayInfo {
    /// Its name; empty if the source does not name it.
    pub name: String,
    /// Its shape, rows first.
    pub shape: Vec<usize>,
}

/// The queue between the data source and the training: who waits for whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct QueueStats {
    /// Batches that are ready.
    pub ready: u64,
    /// The most batches that are prepared ahead.
    pub capacity: u64,
    /// Batches delivered in this pass over the data.
    pub delivered: u64,
    /// How long the training has waited for batches in this pass.
    pub consumer_wait: Duration,
    /// How long workers have waited for room in this pass, summed over the workers.
    pub producer_wait: Duration,
}

/// The run as callbacks reach it; implemented by the trainer.
pub trait Run {
    /// Facts of the run.
    fn info(&self) -> &RunInfo;

    /// The logs of the current event, computed when first asked for.
    ///
    /// # Errors
    /// When reading them from the device fails.
    fn logs(&mut self) -> Result<&mut Logs, BoxError>;

    /// Sets a value of the logs; for runs whose logs are the copy of others, such as a plugin's.
    ///
    /// # Errors
    /// When computing the logs that are already there fails, or the value cannot be set.
    fn set_log(&mut self, key: &str, value: LogValue) -> Result<(), BoxError> {
        self.logs()?.set(key, value);
        Ok(())
    }

    /// The learning rate of the next update; `None` outside of training.
    fn learning_rate(&self) -> Option<f64>;

    /// How long this epoch, evaluation or prediction has waited for data so far.
    fn data_wait(&self) -> Duration;

    /// What an event is about beside its numbers: the file of a saved checkpoint, the error of a run
    /// that ends by one.
    fn detail(&self) -> Option<&str> {
        None
    }

    /// The parameters of the model in their order; none for a run that does not tell.
    fn params(&self) -> &[ParamInfo] {
        &[]
    }

    /// Writes the values of parameter `index` to `values`, in row-major order.
    ///
    /// # Errors
    /// [`RunError::Unsupported`], or when reading them from the device fails.
    fn read_param(&mut self, index: usize, values: &mut Vec<f32>) -> Result<(), BoxError> {
        let _ = (index, values);
        unsupported("reading a parameter")
    }

    /// Writes the gradient of parameter `index` to `values`, in row-major order; that of the current
    /// batch after backward and before the step, otherwise of the batch before.
    ///
    /// # Errors
    /// [`RunError::Unsupported`], or when reading it from the device fails.
    fn read_gradient(&mut self, index: usize, values: &mut Vec<f32>) -> Result<(), BoxError> {
        let _ = (index, values);
        unsupported("reading a gradient")
    }

    /// Sets the values of parameter `index`, in row-major order.
    ///
    /// # Errors
    /// [`RunError::Unsupported`], another number of values, or a failure of the device.
    fn write_param(&mut self, index: usize, values: &[f32]) -> Result<(), BoxError> {
        let _ = (index, values);
        unsupported("setting a parameter")
    }

    /// Writes the parameters to a file, in the format of its extension.
    ///
    /// # Errors
    /// [`RunError::Unsupported`], an unknown extension, or a file that cannot be written.
    fn save_weights(&mut self, path: &Path) -> Result<(), BoxError> {
        let _ = path;
        unsupported("saving the weights")
    }

    /// Writes the parameters and the state of the optimizer to a file.
    ///
    /// # Errors
    /// [`RunError::Unsupported`], an unknown extension, or a file that cannot be written.
    fn save_model(&mut self, path: &Path) -> Result<(), BoxError> {
        let _ = path;
        unsupported("saving the model")
    }

    /// Reads the parameters from a file, in the format of its extension; they are unchanged after an
    /// error.
    ///
    /// # Errors
    /// [`RunError::Unsupported`], or a file that cannot be read or is of another network.
    fn load_weights(&mut self, path: &Path) -> Result<(), BoxError> {
        let _ = path;
        unsupported("loading the weights")
    }

    /// Exchanges the parameters and their moving averages.
    ///
    /// # Errors
    /// [`RunError::Unsupported`], or an optimizer that keeps no averages.
    fn swap_averages(&mut self) -> Result<(), BoxError> {
        unsupported("exchanging the weights and their averages")
    }

    /// Whether the learning rate follows a schedule, so that nobody can set it.
    fn is_scheduled(&self) -> bool {
        false
    }

    /// The numbers of the optimizer by Keras's names, in its order: the learning rate first, then
    /// those that its arguments switched on; none for a run that does not tell.
    fn optimizer_numbers(&self) -> Vec<(String, f64)> {
        Vec::new()
    }

    /// Sets a number of the optimizer for the updates to come.
    ///
    /// # Errors
    /// [`RunError::Unsupported`], a name that is none of [`optimizer_numbers`](Self::optimizer_numbers),
    /// a value out of its range, or a learning rate that follows a schedule.
    fn set_optimizer_number(&mut self, name: &str, value: f64) -> Result<(), BoxError> {
        let _ = (name, value);
        unsupported("setting a number of the optimizer")
    }

    /// The epochs that have ended in this run, those before a resumed checkpoint included.
    ///
    /// # Errors
    /// [`RunError::Unsupported`].
    fn history(&self) -> Result<Vec<EpochLogs>, BoxError> {
        unsupported("reading the history")
    }

    /// The queue of prepared batches; `None` if batches are not prepared ahead.
    fn queue(&self) -> Option<QueueStats> {
        None
    }

    /// The inputs of the current batch; none outside of batch events.
    fn inputs(&self) -> Vec<ArrayInfo> {
        Vec::new()
    }

    /// Writes input `index` of the current batch to `values`, in row-major order, as the data source
    /// made it.
    ///
    /// # Errors
    /// [`RunError::Unsupported`], or no such input.
    fn read_input(&mut self, index: usize, values: &mut Vec<f32>) -> Result<(), BoxError> {
        let _ = (index, values);
        unsupported("reading an input")
    }

    /// How the run was set up, as a JSON object: the network, the optimizer and its numbers, the
    /// losses and metrics, the seed and versions.
    ///
    /// # Errors
    /// [`RunError::Unsupported`].
    fn facts(&self) -> Result<String, BoxError> {
        unsupported("reading how the run was set up")
    }

    /// What takes requests from other threads; `None` if the run takes none.
    fn requests(&self) -> Option<&Requests> {
        None
    }
}

fn unsupported<T>(asked: &'static str) -> Result<T, BoxError> {
    Err(RunError::Unsupported { asked }.into())
}
