//! What a callback sees of the run: the event, the logs, the learning rate, facts – never a tensor.

use crate::error::{BoxError, RunError};
use crate::event::Event;
use crate::logs::{LogValue, Logs};
use crate::weights::{ParamInfo, Weights};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::Path;
use std::time::Duration;

/// Facts that hold for a whole run; Keras's `params`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunInfo {
    /// Index after the last epoch of `fit`; 1 for an evaluation or prediction.
    pub epochs: u64,
    /// Index of the first epoch.
    pub initial_epoch: u64,
    /// Batches per epoch, if known.
    pub steps: Option<u64>,
    /// Names of the loss and metrics, in log order, without the `val_` ones.
    pub metrics: Vec<String>,
    /// Whether `fit` was given validation data.
    pub validation: bool,
}

/// How important a [`Message`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something a user may like to read.
    Info,
    /// Something that is probably not what the user meant.
    Warning,
    /// A failure that did not end the run.
    Error,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Level::Info => "info",
            Level::Warning => "warning",
            Level::Error => "error",
        })
    }
}

/// A sentence for the user. Whoever shows progress shows it; nobody prints behind its back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// How important it is.
    pub level: Level,
    /// Name of the callback or part that says it.
    pub source: String,
    /// The sentence.
    pub text: String,
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
}

fn unsupported(asked: &'static str) -> Result<(), BoxError> {
    Err(RunError::Unsupported { asked }.into())
}

/// The argument of every hook.
pub struct Context<'a> {
    event: &'a Event,
    run: &'a mut dyn Run,
    name: &'a str,
    messages: &'a mut Vec<Message>,
}

impl<'a> Context<'a> {
    /// The context of `event` for the callback called `name`; messages are appended to `messages`.
    pub fn new(
        event: &'a Event,
        run: &'a mut dyn Run,
        name: &'a str,
        messages: &'a mut Vec<Message>,
    ) -> Context<'a> {
        Context {
            event,
            run,
            name,
            messages,
        }
    }

    /// What has happened.
    #[must_use]
    #[inline]
    pub fn event(&self) -> &'a Event {
        self.event
    }

    /// Facts of the run.
    #[must_use]
    pub fn info(&self) -> &RunInfo {
        self.run.info()
    }

    /// The logs of this event: empty at begin events; running means at a batch end; the epoch's
    /// values, then `val_` values, at epoch end; the last epoch's at train end. They are computed
    /// when the first callback asks, so an event whose logs nobody reads costs nothing.
    ///
    /// # Errors
    /// When reading them from the device fails.
    #[inline]
    pub fn logs(&mut self) -> Result<&Logs, BoxError> {
        self.run.logs().map(|logs| &*logs)
    }

    /// Sets a value of the logs that later callbacks and the history see.
    ///
    /// # Errors
    /// When computing the logs that are already there fails.
    pub fn set_log(&mut self, key: &str, value: impl Into<LogValue>) -> Result<(), BoxError> {
        self.run.set_log(key, value.into())
    }

    /// The learning rate of the next update; `None` outside of training.
    #[must_use]
    pub fn learning_rate(&self) -> Option<f64> {
        self.run.learning_rate()
    }

    /// How long this epoch, evaluation or prediction has waited for data so far.
    #[must_use]
    pub fn data_wait(&self) -> Duration {
        self.run.data_wait()
    }

    /// What the event is about beside its numbers: the file at checkpoint saved, the error at error;
    /// else `None`.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        self.run.detail()
    }

    /// The parameters of the model in their order; none in a run that does not tell, as in a plugin.
    #[must_use]
    pub fn params(&self) -> &[ParamInfo] {
        self.run.params()
    }

    /// Copies the values of parameter `index` to `values`, in row-major order.
    ///
    /// # Errors
    /// When this run does not offer it, or reading from the device fails.
    pub fn read_param(&mut self, index: usize, values: &mut Vec<f32>) -> Result<(), BoxError> {
        self.run.read_param(index, values)
    }

    /// Copies the gradient of parameter `index` to `values`, in row-major order: that of the current
    /// batch after backward and before the step.
    ///
    /// # Errors
    /// When this run does not offer it, or reading from the device fails.
    pub fn read_gradient(&mut self, index: usize, values: &mut Vec<f32>) -> Result<(), BoxError> {
        self.run.read_gradient(index, values)
    }

    /// A copy of all parameters.
    ///
    /// # Errors
    /// When this run does not offer it, or reading from the device fails.
    pub fn weights(&mut self) -> Result<Weights, BoxError> {
        let names: Vec<String> = self.params().iter().map(|p| p.name.clone()).collect();
        let mut params = Vec::with_capacity(names.len());
        for (index, name) in names.into_iter().enumerate() {
            let mut values = Vec::new();
            self.run.read_param(index, &mut values)?;
            params.push((name, values));
        }
        Ok(Weights { params })
    }

    /// Sets all parameters.
    ///
    /// # Errors
    /// [`RunError::Weights`] if they are those of another model, before any is changed; when this run
    /// does not offer it, or the device fails.
    pub fn set_weights(&mut self, weights: &Weights) -> Result<(), BoxError> {
        let expected = self.params();
        if expected.len() != weights.params.len() {
            return Err(RunError::Weights {
                expected: format!("{} parameters", expected.len()),
                found: format!("{} parameters", weights.params.len()),
            }
            .into());
        }
        for (param, (name, values)) in expected.iter().zip(&weights.params) {
            let elements: usize = param.shape.iter().product();
            if param.name != *name || elements != values.len() {
                return Err(RunError::Weights {
                    expected: format!("{} {:?}", param.name, param.shape),
                    found: format!("{name} with {} values", values.len()),
                }
                .into());
            }
        }
        for (index, (_, values)) in weights.params.iter().enumerate() {
            self.run.write_param(index, values)?;
        }
        Ok(())
    }

    /// Writes the parameters to a file at once, in the format of its extension.
    ///
    /// # Errors
    /// When this run does not offer it, the extension is unknown, or the file cannot be written.
    pub fn save_weights(&mut self, path: impl AsRef<Path>) -> Result<(), BoxError> {
        self.run.save_weights(path.as_ref())
    }

    /// Writes the parameters and the state of the optimizer to a file at once. For a checkpoint of
    /// the whole run, see [`Decision::checkpoint`](crate::Decision::checkpoint).
    ///
    /// # Errors
    /// When this run does not offer it, the extension is unknown, or the file cannot be written.
    pub fn save_model(&mut self, path: impl AsRef<Path>) -> Result<(), BoxError> {
        self.run.save_model(path.as_ref())
    }

    /// Exchanges the parameters and the moving averages that the optimizer keeps of them. Whoever
    /// calls it calls it again to have the parameters back.
    ///
    /// # Errors
    /// When the optimizer keeps none, or this run does not offer it.
    pub fn swap_averages(&mut self) -> Result<(), BoxError> {
        self.run.swap_averages()
    }

    /// Whether the learning rate follows a schedule, so that no callback can set it.
    #[must_use]
    pub fn is_scheduled(&self) -> bool {
        self.run.is_scheduled()
    }

    /// Says something to the user, through whichever callback shows messages.
    pub fn message(&mut self, level: Level, text: impl Into<String>) {
        self.messages.push(Message {
            level,
            source: self.name.to_owned(),
            text: text.into(),
        });
    }
}
