//! Watching one log for improvements.

use crate::context::{Context, Level};
use crate::error::{ArgumentError, BoxError};
use std::str::FromStr;

/// Which values of a monitored log are better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// As the name of the log says: accuracies, areas, scores and the like are better when larger,
    /// losses and errors when smaller.
    #[default]
    Auto,
    /// Smaller is better.
    Min,
    /// Larger is better.
    Max,
}

impl FromStr for Mode {
    type Err = ArgumentError;

    /// Keras's names: `auto`, `min`, `max`.
    fn from_str(name: &str) -> Result<Mode, ArgumentError> {
        match name {
            "auto" => Ok(Mode::Auto),
            "min" => Ok(Mode::Min),
            "max" => Ok(Mode::Max),
            _ => Err(ArgumentError::new("mode", "auto, min or max", name)),
        }
    }
}

/// Endings of the names of metrics that are better when larger.
const LARGER: [&str; 14] = [
    "accuracy",
    "acc",
    "auc",
    "precision",
    "recall",
    "f1_score",
    "fbeta_score",
    "r2_score",
    "io_u",
    "iou",
    "cosine_similarity",
    "true_positives",
    "true_negatives",
    "correlation",
];

/// Endings of the names of losses and metrics that are better when smaller.
const SMALLER: [&str; 17] = [
    "loss",
    "error",
    "mse",
    "mae",
    "mape",
    "msle",
    "rmse",
    "crossentropy",
    "divergence",
    "kld",
    "poisson",
    "log_cosh",
    "logcosh",
    "hinge",
    "huber",
    "false_positives",
    "false_negatives",
];

/// A log that is watched.
#[derive(Clone, Debug)]
pub(super) struct Monitor {
    pub(super) name: String,
    pub(super) mode: Mode,
    /// How much better a value has to be, not negative.
    pub(super) min_delta: f64,
    warned: bool,
}

impl Monitor {
    pub(super) fn new(name: impl Into<String>) -> Monitor {
        Monitor {
            name: name.into(),
            mode: Mode::Auto,
            min_delta: 0.0,
            warned: false,
        }
    }

    /// Decides what [`Mode::Auto`] means for this log.
    pub(super) fn resolve(&mut self) -> Result<(), ArgumentError> {
        if self.mode != Mode::Auto {
            return Ok(());
        }
        let ends = |endings: &[&str]| endings.iter().any(|ending| self.name.ends_with(ending));
        self.mode = match (ends(&LARGER), ends(&SMALLER)) {
            (true, false) => Mode::Max,
            (false, true) => Mode::Min,
            _ => {
                let expected = "min or max, because the name of the monitored log does not tell";
                return Err(ArgumentError::new(
                    "mode",
                    expected,
                    format!("auto for `{}`", self.name),
                ));
            }
        };
        Ok(())
    }

    /// Whether a [value](Self::value) is better than `reference` by more than the least difference. One that is
    /// not finite is never better; any other is better than nothing.
    pub(super) fn improves(&self, value: f64, reference: Option<f64>) -> bool {
        value.is_finite()
            && reference.is_none_or(|reference| match self.mode == Mode::Max {
                true => value - self.min_delta > reference,
                false => value + self.min_delta < reference,
            })
    }

    /// The value of this event; without one, the first time, a warning.
    ///
    /// # Errors
    /// A name that does not tell which values are better, in a run that did not send train begin, at which that is
    /// found out; logs that cannot be read.
    pub(super) fn value(&mut self, cx: &mut Context<'_>) -> Result<Option<f64>, BoxError> {
        self.resolve()?;
        let logs = cx.logs()?;
        let value = logs.number(&self.name);
        if value.is_none() && !self.warned {
            self.warned = true;
            let keys: Vec<&str> = logs.iter().map(|(key, _)| key).collect();
            let text = format!(
                "there is no log `{}` to monitor (there are {})",
                self.name,
                keys.join(", ")
            );
            cx.message(Level::Warning, text);
        }
        Ok(value)
    }
}
