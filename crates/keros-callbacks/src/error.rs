//! What can go wrong in and around callbacks.

use crate::event::EventKind;
use std::path::PathBuf;

/// Any error a callback may return from a hook.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A callback failed or asked for something impossible.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallbackError {
    /// A hook returned an error.
    #[error("callback `{callback}` failed at {event}: {source}")]
    Failed {
        /// Name of the callback.
        callback: String,
        /// Where it failed.
        event: EventKind,
        /// What it returned.
        source: BoxError,
    },
    /// A decision cannot be carried out at this event, or its value is out of range.
    #[error("callback `{callback}` asked at {event} to {asked}: {expected}")]
    Decision {
        /// Name of the callback.
        callback: String,
        /// Where it asked.
        event: EventKind,
        /// What it asked for.
        asked: String,
        /// What is possible.
        expected: &'static str,
    },
    /// The state of a callback could not be told or loaded.
    #[error("{doing} the state of callback `{callback}`: {source}")]
    State {
        /// Name of the callback.
        callback: String,
        /// `telling` or `loading`.
        doing: &'static str,
        /// What it returned.
        source: BoxError,
    },
}

/// An argument of a built-in callback that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("invalid {argument} (expected {expected}, found {found})")]
pub struct ArgumentError {
    /// The argument.
    pub argument: &'static str,
    /// What it can be.
    pub expected: String,
    /// What was given.
    pub found: String,
}

impl ArgumentError {
    pub(crate) fn new(
        argument: &'static str,
        expected: impl Into<String>,
        found: impl ToString,
    ) -> ArgumentError {
        ArgumentError {
            argument,
            expected: expected.into(),
            found: found.to_string(),
        }
    }
}

/// A run cannot do what a callback asks of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// This kind of run has no such thing, as a plugin's or one without a model.
    #[error("{asked}: this run does not offer it")]
    Unsupported {
        /// What was asked for.
        asked: &'static str,
    },
    /// A request came after the end of the run.
    #[error("asking the run: it is over")]
    Over,
    /// The host of a plugin did not take a request.
    #[error("asking the run: {reason}")]
    Refused {
        /// What the host answered.
        reason: String,
    },
    /// The parameters of a [`Weights`](crate::Weights) are not those of the model.
    #[error("setting the weights: expected `{expected}`, found `{found}`")]
    Weights {
        /// Name and shape of the parameter, or their number.
        expected: String,
        /// Name and number of values given.
        found: String,
    },
}

/// A [`History`](crate::History) could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// The file could not be written.
    #[error("writing the history to {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The picture could not be drawn.
    #[error("drawing the learning curves for {}: {reason}", path.display())]
    Plot {
        /// The file.
        path: PathBuf,
        /// Why, in the words of the drawing library.
        reason: String,
    },
}
