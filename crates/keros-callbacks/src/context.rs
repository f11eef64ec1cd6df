//! What a callback sees of the run: the event, the logs, the learning rate, facts – never a tensor.

use crate::error::{BoxError, RunError};
use crate::event::Event;
use crate::logs::{EpochLogs, LogValue, Logs};
use crate::requests::Requests;
use crate::run::{ArrayInfo, QueueStats, Run, RunInfo};
use crate::weights::{ParamInfo, Weights};
use std::fmt;
use std::path::Path;
use std::time::Duration;

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

    /// The parameters of the model in their order; none in a run without a model.
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

    /// Sets the values of parameter `index`, in row-major order.
    ///
    /// # Errors
    /// When this run does not offer it, the number of values is another one, or the device fails.
    pub fn write_param(&mut self, index: usize, values: &[f32]) -> Result<(), BoxError> {
        self.run.write_param(index, values)
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

    /// Reads the parameters from a file, in the format of its extension; they are unchanged after an
    /// error. To go on from a checkpoint of the whole run, see
    /// [`Decision::resume`](crate::Decision::resume).
    ///
    /// # Errors
    /// When this run does not offer it, or the file cannot be read or is of another network.
    pub fn load_weights(&mut self, path: impl AsRef<Path>) -> Result<(), BoxError> {
        self.run.load_weights(path.as_ref())
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

    /// The numbers of the optimizer by Keras's names, such as `learning_rate` and `beta_1`; none in a
    /// run that does not tell.
    #[must_use]
    pub fn optimizer_numbers(&self) -> Vec<(String, f64)> {
        self.run.optimizer_numbers()
    }

    /// Sets a number of the optimizer for the updates to come, at once. The learning rate is better
    /// set by [`Decision::set_learning_rate`](crate::Decision::set_learning_rate), where the last of
    /// several callbacks wins.
    ///
    /// # Errors
    /// When this run does not offer it, the name is not one of
    /// [`optimizer_numbers`](Self::optimizer_numbers), or the value is out of its range.
    pub fn set_optimizer_number(&mut self, name: &str, value: f64) -> Result<(), BoxError> {
        self.run.set_optimizer_number(name, value)
    }

    /// The epochs that have ended in this run, those before a resumed checkpoint included.
    ///
    /// # Errors
    /// When this run does not offer it.
    pub fn history(&self) -> Result<Vec<EpochLogs>, BoxError> {
        self.run.history()
    }

    /// The queue of prepared batches; `None` if batches are not prepared ahead.
    #[must_use]
    pub fn queue(&self) -> Option<QueueStats> {
        self.run.queue()
    }

    /// The inputs of the current batch; none outside of batch events.
    #[must_use]
    pub fn inputs(&self) -> Vec<ArrayInfo> {
        self.run.inputs()
    }

    /// Copies input `index` of the current batch to `values`, in row-major order, as the data source
    /// made it: bytes are numbers from 0 to 255.
    ///
    /// # Errors
    /// When this run does not offer it, or there is no such input.
    pub fn read_input(&mut self, index: usize, values: &mut Vec<f32>) -> Result<(), BoxError> {
        self.run.read_input(index, values)
    }

    /// How the run was set up, as a JSON object: the network, the optimizer and its numbers, the
    /// losses and metrics, the seed and versions.
    ///
    /// # Errors
    /// When this run does not offer it.
    pub fn facts(&self) -> Result<String, BoxError> {
        self.run.facts()
    }

    /// What takes requests from other threads: clone it, and send the clone where it is needed.
    ///
    /// # Errors
    /// [`RunError::Unsupported`] when this run takes none.
    pub fn requests(&self) -> Result<&Requests, RunError> {
        let asked = "taking requests from other threads";
        self.run.requests().ok_or(RunError::Unsupported { asked })
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
