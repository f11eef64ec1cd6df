//! What a callback asks of the training, and which request wins.

use std::path::PathBuf;

/// The answer of a callback to an event.
///
/// Decisions of several callbacks are merged in list order: a stop by any of them stops, with the
/// first reason; the last learning rate wins. Asking for something at an event where it cannot be
/// done is an error of that callback, as is a checkpoint that cannot be written.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct Decision {
    /// End the run, for this reason: with the current batch or, at train begin and epoch begin, with
    /// the next one; the epoch is still closed with validation and epoch end, as in Keras. In a
    /// validation, which runs to its end, and at epoch end: with the current epoch. A run that is
    /// stopped at train begin and goes on from a checkpoint trains no other batch. A checkpoint that is
    /// written with the stop or after it goes on with more epochs only. Inside a lone evaluation or
    /// prediction: end that, after one batch at least.
    pub stop: Option<String>,
    /// Leave the batch loop of this epoch; the next epoch follows. Only at train batch events.
    pub stop_epoch: bool,
    /// Do not train on this batch. Only at train batch begin, after backward and before the step: the
    /// weights stay as they are. Asked at train batch begin, no train batch end follows.
    pub skip_batch: bool,
    /// Set the optimizer's learning rate, finite and not negative. Only at training events, and not if it follows a
    /// schedule.
    pub learning_rate: Option<f64>,
    /// Write a checkpoint of the whole run to each of these files once every callback has had this
    /// event. Only at train batch end and epoch end.
    pub checkpoints: Vec<PathBuf>,
    /// Go on from this checkpoint instead of beginning at the first epoch. Only at train begin; the
    /// first request wins.
    pub resume: Option<PathBuf>,
}

impl Decision {
    /// Nothing is asked for.
    pub const CONTINUE: Decision = Decision {
        stop: None,
        stop_epoch: false,
        skip_batch: false,
        learning_rate: None,
        checkpoints: Vec::new(),
        resume: None,
    };

    /// End the run.
    pub fn stop(reason: impl Into<String>) -> Decision {
        Decision {
            stop: Some(reason.into()),
            ..Self::CONTINUE
        }
    }

    /// End the epoch.
    pub fn stop_epoch() -> Decision {
        Decision {
            stop_epoch: true,
            ..Self::CONTINUE
        }
    }

    /// Pass over this batch.
    pub fn skip_batch() -> Decision {
        Decision {
            skip_batch: true,
            ..Self::CONTINUE
        }
    }

    /// Set the learning rate.
    pub fn set_learning_rate(learning_rate: f64) -> Decision {
        Decision {
            learning_rate: Some(learning_rate),
            ..Self::CONTINUE
        }
    }

    /// Write a checkpoint.
    pub fn checkpoint(path: impl Into<PathBuf>) -> Decision {
        Decision {
            checkpoints: vec![path.into()],
            ..Self::CONTINUE
        }
    }

    /// Go on from a checkpoint.
    pub fn resume(path: impl Into<PathBuf>) -> Decision {
        Decision {
            resume: Some(path.into()),
            ..Self::CONTINUE
        }
    }

    /// Whether nothing is asked for, as after nearly every event.
    #[must_use]
    #[inline]
    pub fn is_continue(&self) -> bool {
        self.stop.is_none()
            && !self.stop_epoch
            && !self.skip_batch
            && self.learning_rate.is_none()
            && self.checkpoints.is_empty()
            && self.resume.is_none()
    }

    /// Adds the decision of a later callback.
    pub fn merge(&mut self, later: Decision) {
        if self.stop.is_none() {
            self.stop = later.stop;
        }
        self.stop_epoch |= later.stop_epoch;
        self.skip_batch |= later.skip_batch;
        if later.learning_rate.is_some() {
            self.learning_rate = later.learning_rate;
        }
        self.checkpoints.extend(later.checkpoints);
        self.resume = self.resume.take().or(later.resume);
    }
}

#[cfg(test)]
mod tests {
    use super::Decision;

    #[test]
    fn first_reason_and_last_rate_win() {
        let mut merged = Decision::stop("first");
        merged.merge(Decision::set_learning_rate(0.1));
        merged.merge(Decision::stop("second"));
        merged.merge(Decision::set_learning_rate(0.2));
        merged.merge(Decision::CONTINUE);
        assert_eq!(merged.stop.as_deref(), Some("first"));
        assert_eq!(merged.learning_rate, Some(0.2));
        assert!(!merged.skip_batch && !merged.stop_epoch);
    }
}
