//! Lowers the learning rate when a log has stopped getting better.

use super::Mode;
use super::monitor::Monitor;
use crate::callback::{Callback, CallbackResult};
use crate::context::{Context, Level};
use crate::decision::Decision;
use crate::error::{ArgumentError, BoxError};
use crate::event::{EventKind, EventSet};
use crate::state;
use serde::{Deserialize, Serialize};

/// Keras's `ReduceLROnPlateau`: multiplies the learning rate by a factor when a log has not improved
/// for some epochs. Adds `learning_rate`, that of the epoch, to the logs.
#[doc(alias = "ReduceLROnPlateau")]
#[derive(Clone, Debug)]
pub struct ReduceLrOnPlateau {
    monitor: Monitor,
    factor: f64,
    patience: u64,
    cooldown: u64,
    min_lr: f64,
    verbose: bool,
    seen: Seen,
}

/// What it remembers of a run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Seen {
    best: Option<f64>,
    wait: u64,
    /// Epochs of the cooldown that are left.
    resting: u64,
}

impl ReduceLrOnPlateau {
    /// Watches the log `monitor`; Keras's default is `val_loss`.
    #[must_use]
    pub fn new(monitor: impl Into<String>) -> ReduceLrOnPlateau {
        let mut monitor = Monitor::new(monitor);
        monitor.min_delta = 1e-4;
        ReduceLrOnPlateau {
            monitor,
            factor: 0.1,
            patience: 10,
            cooldown: 0,
            min_lr: 0.0,
            verbose: false,
            seen: Seen::default(),
        }
    }

    /// What the rate is multiplied by, in `[0, 1)`. Default 0.1.
    ///
    /// # Errors
    /// A factor out of range.
    pub fn factor(mut self, factor: f64) -> Result<ReduceLrOnPlateau, ArgumentError> {
        if !(0.0..1.0).contains(&factor) {
            return Err(ArgumentError::new("factor", "a number in [0, 1)", factor));
        }
        self.factor = factor;
        Ok(self)
    }

    /// Epochs without an improvement after which the rate is lowered; 0 is as 1. Default 10.
    #[must_use]
    pub fn patience(mut self, patience: u64) -> ReduceLrOnPlateau {
        self.patience = patience;
        self
    }

    /// Which values are better. Default: by the name of the log.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> ReduceLrOnPlateau {
        self.monitor.mode = mode;
        self
    }

    /// How much better a value has to be to count, whatever the sign. Default 1e-4.
    #[must_use]
    pub fn min_delta(mut self, min_delta: f64) -> ReduceLrOnPlateau {
        self.monitor.min_delta = min_delta.abs();
        self
    }

    /// Epochs after a change in which nothing is counted. Default 0.
    #[must_use]
    pub fn cooldown(mut self, epochs: u64) -> ReduceLrOnPlateau {
        self.cooldown = epochs;
        self
    }

    /// The lowest rate. Default 0.
    ///
    /// # Errors
    /// A number that is negative or not finite.
    pub fn min_lr(mut self, min_lr: f64) -> Result<ReduceLrOnPlateau, ArgumentError> {
        if !(min_lr.is_finite() && min_lr >= 0.0) {
            let expected = "a finite number that is not negative";
            return Err(ArgumentError::new("min_lr", expected, min_lr));
        }
        self.min_lr = min_lr;
        Ok(self)
    }

    /// Whether a change is told. Default false.
    #[must_use]
    pub fn verbose(mut self, verbose: bool) -> ReduceLrOnPlateau {
        self.verbose = verbose;
        self
    }
}

impl Callback for ReduceLrOnPlateau {
    fn events(&self) -> EventSet {
        EventSet::of(&[EventKind::TrainBegin, EventKind::EpochEnd])
    }

    fn on_train_begin(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        self.monitor.resolve()?;
        if cx.is_scheduled() {
            let expected = "a learning rate that can be set";
            return Err(
                ArgumentError::new("optimizer", expected, "one that follows a schedule").into(),
            );
        }
        self.seen = Seen::default();
        Ok(Decision::CONTINUE)
    }

    fn on_epoch_end(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        let Some(rate) = cx.learning_rate() else {
            return Ok(Decision::CONTINUE);
        };
        let value = self.monitor.value(cx)?;
        cx.set_log("learning_rate", rate)?;
        let Some(value) = value else {
            return Ok(Decision::CONTINUE);
        };
        let seen = &mut self.seen;
        if seen.resting > 0 {
            seen.resting -= 1;
            seen.wait = 0;
        }
        if self.monitor.improves(value, seen.best) {
            seen.best = Some(value);
            seen.wait = 0;
            return Ok(Decision::CONTINUE);
        }
        if seen.resting > 0 {
            return Ok(Decision::CONTINUE);
        }
        seen.wait += 1;
        if seen.wait < self.patience || rate <= self.min_lr {
            return Ok(Decision::CONTINUE);
        }
        let lower = (rate * self.factor).max(self.min_lr);
        seen.resting = self.cooldown;
        seen.wait = 0;
        if self.verbose {
            let epoch = cx.event().epoch + 1;
            let text = format!("epoch {epoch}: reducing the learning rate to {lower}");
            cx.message(Level::Info, text);
        }
        Ok(Decision::set_learning_rate(lower))
    }

    fn save_state(&self) -> Result<Option<Vec<u8>>, BoxError> {
        state::to_bytes(&self.seen).map(Some)
    }

    fn load_state(&mut self, bytes: &[u8]) -> Result<(), BoxError> {
        self.seen = state::from_bytes(bytes)?;
        Ok(())
    }
}
