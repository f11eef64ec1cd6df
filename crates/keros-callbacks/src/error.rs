//! What can go wrong in and around callbacks.
//!
//! Display and source are written by hand, here and in `history.rs`: a plugin builds without macros of thiserror.

use crate::event::EventKind;
use std::error::Error;
use std::fmt;

/// Any error a callback may return from a hook.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// A callback failed or asked for something impossible.
#[derive(Debug)]
#[non_exhaustive]
pub enum CallbackError {
    /// A hook returned an error.
    Failed {
        /// Name of the callback.
        callback: String,
        /// Where it failed.
        event: EventKind,
        /// What it returned.
        source: BoxError,
    },
    /// A decision cannot be carried out at this event, or its value is out of range.
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
    State {
        /// Name of the callback.
        callback: String,
        /// `telling` or `loading`.
        doing: &'static str,
        /// What it returned.
        source: BoxError,
    },
}

impl fmt::Display for CallbackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallbackError::Failed {
                callback,
                event,
                source,
            } => write!(f, "callback `{callback}` failed at {event}: {source}"),
            CallbackError::Decision {
                callback,
                event,
                asked,
                expected,
            } => write!(
                f,
                "callback `{callback}` asked at {event} to {asked}: {expected}"
            ),
            CallbackError::State {
                callback,
                doing,
                source,
            } => write!(f, "{doing} the state of callback `{callback}`: {source}"),
        }
    }
}

impl Error for CallbackError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            CallbackError::Failed { source, .. } | CallbackError::State { source, .. } => {
                Some(source.as_ref())
            }
            CallbackError::Decision { .. } => None,
        }
    }
}

/// An argument of a built-in callback that cannot be used.
#[cfg(feature = "builtin")]
#[derive(Debug)]
pub struct ArgumentError {
    /// The argument.
    pub argument: &'static str,
    /// What it can be.
    pub expected: String,
    /// What was given.
    pub found: String,
}

#[cfg(feature = "builtin")]
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

#[cfg(feature = "builtin")]
impl fmt::Display for ArgumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ArgumentError {
            argument,
            expected,
            found,
        } = self;
        write!(f, "invalid {argument} (expected {expected}, found {found})")
    }
}

#[cfg(feature = "builtin")]
impl Error for ArgumentError {}

/// A run cannot do what a callback asks of it.
#[derive(Debug)]
#[non_exhaustive]
pub enum RunError {
    /// This kind of run has no such thing, as one without a model.
    Unsupported {
        /// What was asked for.
        asked: &'static str,
    },
    /// A request came after the end of the run.
    Over,
    /// The host of a plugin did not take a request.
    Refused {
        /// What the host answered.
        reason: String,
    },
    /// The parameters of a [`Weights`](crate::Weights) are not those of the model.
    Weights {
        /// Name and shape of the parameter, or their number.
        expected: String,
        /// Name and number of values given.
        found: String,
    },
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Unsupported { asked } => write!(f, "{asked}: this run does not offer it"),
            RunError::Over => f.write_str("asking the run: it is over"),
            RunError::Refused { reason } => write!(f, "asking the run: {reason}"),
            RunError::Weights { expected, found } => {
                write!(
                    f,
                    "setting the weights: expected `{expected}`, found `{found}`"
                )
            }
        }
    }
}

impl Error for RunError {}
