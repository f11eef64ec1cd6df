//! Speed of a training: images per second, and the share of the time spent waiting for data.

use keros::prelude::*;
use std::time::{Duration, Instant};

/// A callback that measures the training alone, without validation.
pub struct Meter {
    since: Instant,
    until: Instant,
    epoch_wait: Duration,
    images: u64,
    training: Duration,
    wait: Duration,
}

impl Default for Meter {
    fn default() -> Self {
        let now = Instant::now();
        Meter {
            since: now,
            until: now,
            epoch_wait: Duration::ZERO,
            images: 0,
            training: Duration::ZERO,
            wait: Duration::ZERO,
        }
    }
}

impl Meter {
    /// Images trained on per second.
    #[must_use]
    pub fn images_per_s(&self) -> f64 {
        self.images as f64 / self.training.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// Share of the training time, in `[0, 1]`, that was spent waiting for the next batch.
    #[must_use]
    pub fn data_wait_frac(&self) -> f64 {
        let share = self.wait.as_secs_f64() / self.training.as_secs_f64().max(f64::MIN_POSITIVE);
        share.min(1.0)
    }
}

impl Callback for Meter {
    fn on_train_begin(&mut self, _: &mut Context<'_>) -> CallbackResult {
        *self = Meter::default();
        Ok(Decision::CONTINUE)
    }

    fn on_train_batch_end(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        self.images += cx.event().samples;
        self.until = Instant::now();
        self.epoch_wait = cx.data_wait();
        Ok(Decision::CONTINUE)
    }

    fn on_epoch_end(&mut self, _: &mut Context<'_>) -> CallbackResult {
        self.training += self.until - self.since;
        self.wait += self.epoch_wait;
        self.since = Instant::now();
        Ok(Decision::CONTINUE)
    }
}
