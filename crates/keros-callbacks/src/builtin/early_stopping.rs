//! Ends a training that has stopped getting better.

use super::Mode;
use super::monitor::Monitor;
use crate::callback::{Callback, CallbackResult};
use crate::context::{Context, Level};
use crate::decision::Decision;
use crate::error::BoxError;
use crate::event::{EventKind, EventSet};
use crate::state;
use crate::weights::Weights;
use serde::{Deserialize, Serialize};

/// Keras's `EarlyStopping`: stops when a log has not improved for some epochs.
///
/// A patience of `p` tolerates `p - 1` epochs without an improvement and stops at the p-th; none at
/// all acts as a patience of one. The best weights are restored at the end of every training, also of
/// one that this callback did not stop. A value that is not finite is never the best one; Keras 3
/// takes a first NaN for it.
#[derive(Clone, Debug)]
pub struct EarlyStopping {
    monitor: Monitor,
    patience: u64,
    baseline: Option<f64>,
    restore_best_weights: bool,
    start_from_epoch: u64,
    verbose: bool,
    seen: Seen,
}

/// What it remembers of a run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Seen {
    wait: u64,
    best: Option<f64>,
    best_epoch: Option<u64>,
    best_weights: Option<Weights>,
    stopped_epoch: Option<u64>,
}

impl EarlyStopping {
    /// Watches the log `monitor`; Keras's default is `val_loss`.
    #[must_use]
    pub fn new(monitor: impl Into<String>) -> EarlyStopping {
        EarlyStopping {
            monitor: Monitor::new(monitor),
            patience: 0,
            baseline: None,
            restore_best_weights: false,
            start_from_epoch: 0,
            verbose: false,
            seen: Seen::default(),
        }
    }

    /// How much better a value has to be to count, whatever the sign. Default 0.
    #[must_use]
    pub fn min_delta(mut self, min_delta: f64) -> EarlyStopping {
        self.monitor.min_delta = min_delta.abs();
        self
    }

    /// Epochs without an improvement after which the training stops. Default 0.
    #[must_use]
    pub fn patience(mut self, patience: u64) -> EarlyStopping {
        self.patience = patience;
        self
    }

    /// Which values are better. Default: by the name of the log.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> EarlyStopping {
        self.monitor.mode = mode;
        self
    }

    /// A value that has to be beaten: an improvement that does not beat it does not end the waiting.
    #[must_use]
    pub fn baseline(mut self, baseline: f64) -> EarlyStopping {
        self.baseline = Some(baseline);
        self
    }

    /// Whether the weights of the best epoch, or of the first if none improved, are put back when the
    /// training ends. Default false.
    #[must_use]
    pub fn restore_best_weights(mut self, restore: bool) -> EarlyStopping {
        self.restore_best_weights = restore;
        self
    }

    /// Epochs at the beginning that are not looked at. Default 0.
    #[must_use]
    pub fn start_from_epoch(mut self, epoch: u64) -> EarlyStopping {
        self.start_from_epoch = epoch;
        self
    }

    /// Whether stopping and restoring are told. Default false.
    #[must_use]
    pub fn verbose(mut self, verbose: bool) -> EarlyStopping {
        self.verbose = verbose;
        self
    }

    /// The best value of the last training.
    #[must_use]
    pub fn best(&self) -> Option<f64> {
        self.seen.best
    }

    /// Its zero-based epoch.
    #[must_use]
    pub fn best_epoch(&self) -> Option<u64> {
        self.seen.best_epoch
    }

    /// The zero-based epoch at which this callback stopped the last training, if it did.
    #[must_use]
    pub fn stopped_epoch(&self) -> Option<u64> {
        self.seen.stopped_epoch
    }

    fn keep_weights(&mut self, cx: &mut Context<'_>) -> Result<(), BoxError> {
        if self.restore_best_weights {
            self.seen.best_weights = Some(cx.weights()?);
        }
        Ok(())
    }
}

impl Callback for EarlyStopping {
    fn events(&self) -> EventSet {
        EventSet::of(&[
            EventKind::TrainBegin,
            EventKind::EpochEnd,
            EventKind::TrainEnd,
        ])
    }

    fn on_train_begin(&mut self, _: &mut Context<'_>) -> CallbackResult {
        self.monitor.resolve()?;
        self.seen = Seen::default();
        Ok(Decision::CONTINUE)
    }

    fn on_epoch_end(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        let epoch = cx.event().epoch;
        let Some(value) = self.monitor.value(cx)? else {
            return Ok(Decision::CONTINUE);
        };
        if epoch < self.start_from_epoch {
            return Ok(Decision::CONTINUE);
        }
        if self.restore_best_weights && self.seen.best_weights.is_none() {
            self.keep_weights(cx)?;
            self.seen.best_epoch = Some(epoch);
        }
        self.seen.wait += 1;
        if self.monitor.improves(value, self.seen.best) {
            self.seen.best = Some(value);
            self.seen.best_epoch = Some(epoch);
            self.keep_weights(cx)?;
            if self.baseline.is_none() || self.monitor.improves(value, self.baseline) {
                self.seen.wait = 0;
            }
            return Ok(Decision::CONTINUE);
        }
        if self.seen.wait < self.patience || epoch == 0 {
            return Ok(Decision::CONTINUE);
        }
        self.seen.stopped_epoch = Some(epoch);
        let reason = format!(
            "`{}` has not improved for {} epochs",
            self.monitor.name, self.seen.wait
        );
        if self.verbose {
            cx.message(
                Level::Info,
                format!("epoch {}: early stopping, {reason}", epoch + 1),
            );
        }
        Ok(Decision::stop(reason))
    }

    fn on_train_end(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        if let (Some(weights), Some(epoch)) = (&self.seen.best_weights, self.seen.best_epoch) {
            cx.set_weights(weights)?;
            if self.verbose {
                let text = format!("restoring the weights of the best epoch, {}", epoch + 1);
                cx.message(Level::Info, text);
            }
        }
        Ok(Decision::CONTINUE)
    }

    fn save_state(&self) -> Result<Option<Vec<u8>>, BoxError> {
        state::to_bytes(&self.seen).map(Some)
    }

    fn load_state(&mut self, bytes: &[u8]) -> Result<(), BoxError> {
        self.seen = state::from_bytes(bytes)?;
        Ok(())
    }
}
