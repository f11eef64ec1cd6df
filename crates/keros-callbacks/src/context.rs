//! What a callback sees of the run: the event, the logs, the learning rate, facts – never a tensor.

use crate::error::BoxError;
use crate::event::Event;
use crate::logs::{LogValue, Logs};
use serde::{Deserialize, Serialize};
use std::fmt;
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

    /// Says something to the user, through whichever callback shows messages.
    pub fn message(&mut self, level: Level, text: impl Into<String>) {
        self.messages.push(Message {
            level,
            source: self.name.to_owned(),
            text: text.into(),
        });
    }
}
