//! Sets the learning rate of each epoch by a function.

use crate::callback::{Callback, CallbackResult};
use crate::context::{Context, Level};
use crate::decision::Decision;
use crate::error::ArgumentError;
use crate::event::{EventKind, EventSet};

type Schedule<'a> = Box<dyn FnMut(u64, f64) -> f64 + 'a>;

/// Keras's `LearningRateScheduler`: at the beginning of each epoch, sets the learning rate to what a
/// function says of the zero-based epoch and the rate so far. Adds `learning_rate`, that of the
/// epoch, to the logs.
pub struct LearningRateScheduler<'a> {
    schedule: Schedule<'a>,
    verbose: bool,
}

impl<'a> LearningRateScheduler<'a> {
    /// `schedule`: (epoch, rate so far) → rate, finite and not negative.
    pub fn new(schedule: impl FnMut(u64, f64) -> f64 + 'a) -> LearningRateScheduler<'a> {
        LearningRateScheduler {
            schedule: Box::new(schedule),
            verbose: false,
        }
    }

    /// Whether each rate is told. Default false.
    #[must_use]
    pub fn verbose(mut self, verbose: bool) -> LearningRateScheduler<'a> {
        self.verbose = verbose;
        self
    }
}

impl Callback for LearningRateScheduler<'_> {
    fn name(&self) -> &str {
        "LearningRateScheduler"
    }

    fn events(&self) -> EventSet {
        EventSet::of(&[
            EventKind::TrainBegin,
            EventKind::EpochBegin,
            EventKind::EpochEnd,
        ])
    }

    fn on_train_begin(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        if cx.is_scheduled() {
            let expected = "a learning rate that can be set";
            return Err(
                ArgumentError::new("optimizer", expected, "one that follows a schedule").into(),
            );
        }
        Ok(Decision::CONTINUE)
    }

    fn on_epoch_begin(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        let Some(before) = cx.learning_rate() else {
            return Ok(Decision::CONTINUE);
        };
        let epoch = cx.event().epoch;
        let rate = (self.schedule)(epoch, before);
        if self.verbose {
            let text = format!("epoch {}: setting the learning rate to {rate}", epoch + 1);
            cx.message(Level::Info, text);
        }
        Ok(Decision::set_learning_rate(rate))
    }

    fn on_epoch_end(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        if let Some(rate) = cx.learning_rate() {
            cx.set_log("learning_rate", rate)?;
        }
        Ok(Decision::CONTINUE)
    }
}
