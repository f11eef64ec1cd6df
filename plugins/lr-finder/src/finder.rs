//! The callback: what a sweep does at which event.

use crate::config::Config;
use crate::curve;
use crate::loss::UpdateLoss;
use crate::sweep::{End, Sweep};
use keros_plugin::{
    BoxError, Callback, CallbackResult, Context, Decision, EventKind, EventSet, Level, Weights,
};

/// The log that tells the suggestion.
const SUGGESTED: &str = "suggested_learning_rate";

/// Sweeps the learning rate and suggests one.
#[derive(Debug)]
pub struct LrFinder {
    config: Config,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Of this training no epoch has begun. It may go on inside of one, whose running means hold
    /// batches of before.
    Waiting,
    /// The next batch begins the sweep.
    Ready,
    Sweeping(Box<Sweeping>),
    /// The sweep is over and this is what it suggests.
    Over(Option<f64>),
}

/// A sweep and what it has to bring back.
#[derive(Debug)]
struct Sweeping {
    sweep: Sweep,
    losses: UpdateLoss,
    /// Updates the optimizer had made after the last point.
    updates: u64,
    learning_rate: f64,
    /// `None` if the run does not show its parameters.
    weights: Option<Weights>,
}

impl LrFinder {
    /// A finder that begins its sweep with the first batch of the first epoch that begins.
    ///
    /// # Errors
    /// When the configuration allows no sweep.
    pub fn new(config: Config) -> Result<LrFinder, BoxError> {
        config.check()?;
        Ok(LrFinder {
            config,
            state: State::Waiting,
        })
    }

    /// Remembers what the sweep will change. At the first batch, not when the training begins: by then
    /// a resumed run has its weights, and other callbacks have set their learning rate.
    fn begin(&self, cx: &mut Context<'_>) -> Result<Sweeping, BoxError> {
        let learning_rate = cx
            .learning_rate()
            .ok_or("sweeping the learning rate: this run tells none")?;
        let weights = if cx.params().is_empty() {
            let text =
                "this run does not show its parameters, so they will stay as the sweep leaves them";
            cx.message(Level::Warning, text);
            None
        } else {
            Some(cx.weights()?)
        };
        Ok(Sweeping {
            sweep: Sweep::new(&self.config),
            losses: UpdateLoss::default(),
            updates: cx.event().step,
            learning_rate,
            weights,
        })
    }

    /// Writes the curve, tells the suggestion and brings back what was before.
    fn end(&mut self, cx: &mut Context<'_>, end: Option<End>) -> CallbackResult {
        let State::Sweeping(sweeping) = std::mem::replace(&mut self.state, State::Over(None))
        else {
            return Ok(Decision::CONTINUE);
        };
        let Sweeping {
            sweep,
            learning_rate,
            weights,
            ..
        } = *sweeping;
        if let Some(weights) = &weights {
            cx.set_weights(weights)?;
        }
        let points = sweep.points();
        let suggestion = sweep.suggestion();
        curve::write_csv(&self.config.path, points)?;
        let drawable = points.iter().any(|point| point.loss.is_finite());
        if let Some(svg) = self.config.svg.as_ref().filter(|_| drawable) {
            curve::write_svg(svg, points, suggestion)?;
        }
        let last = points.last().map_or(0.0, |point| point.learning_rate);
        if end.is_none() {
            let text = format!(
                "the training ended after {} of {} steps, at the learning rate {last:.2e}",
                points.len(),
                self.config.steps
            );
            cx.message(Level::Warning, text);
        }
        let path = self.config.path.display();
        match suggestion {
            Some(point) => {
                let text = format!(
                    "suggested learning rate: {:.2e} (the curve is in {path}); train with a new \
                     optimizer, since this one remembers the sweep",
                    point.learning_rate
                );
                cx.message(Level::Info, text);
            }
            None => {
                let text =
                    format!("no learning rate to suggest: the loss never falls (see {path})");
                cx.message(Level::Warning, text);
            }
        }
        self.state = State::Over(suggestion.map(|point| point.learning_rate));
        let reason = match end {
            Some(End::Complete) => "the learning rate is swept".to_owned(),
            Some(End::Diverged) => format!("the loss diverged at the learning rate {last:.2e}"),
            None => return Ok(Decision::set_learning_rate(learning_rate)),
        };
        Ok(Decision {
            learning_rate: Some(learning_rate),
            ..Decision::stop(reason)
        })
    }
}

impl Callback for LrFinder {
    fn events(&self) -> EventSet {
        EventSet::of(&[
            EventKind::TrainBegin,
            EventKind::EpochBegin,
            EventKind::TrainBatchBegin,
            EventKind::TrainBatchEnd,
            EventKind::EpochEnd,
            EventKind::TrainEnd,
        ])
    }

    fn on_train_begin(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        self.state = State::Waiting;
        if cx.is_scheduled() {
            return Err(
                "sweeping the learning rate: expected one that can be set, found one that \
                        follows a schedule"
                    .into(),
            );
        }
        Ok(Decision::CONTINUE)
    }

    fn on_epoch_begin(&mut self, _: &mut Context<'_>) -> CallbackResult {
        match &mut self.state {
            State::Waiting => self.state = State::Ready,
            State::Sweeping(sweeping) => sweeping.losses.begin_epoch(),
            State::Ready | State::Over(_) => {}
        }
        Ok(Decision::CONTINUE)
    }

    fn on_train_batch_begin(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        if let State::Ready = self.state {
            self.state = State::Sweeping(Box::new(self.begin(cx)?));
        }
        match &self.state {
            State::Sweeping(sweeping) => {
                Ok(Decision::set_learning_rate(sweeping.sweep.learning_rate()))
            }
            _ => Ok(Decision::CONTINUE),
        }
    }

    fn on_train_batch_end(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        let State::Sweeping(sweeping) = &mut self.state else {
            return Ok(Decision::CONTINUE);
        };
        let event = cx.event();
        let logs = cx.logs()?;
        let mean = logs
            .number("loss")
            .ok_or("sweeping the learning rate: expected a log `loss`, found none")?;
        sweeping.losses.add(mean, event.samples);
        if event.step == sweeping.updates {
            // Gradients are being gathered, or somebody has skipped the batch.
            return Ok(Decision::CONTINUE);
        }
        sweeping.updates = event.step;
        let expected = sweeping.sweep.learning_rate();
        let found = cx.learning_rate().unwrap_or(f64::NAN);
        // Some optimizers hold it in single precision.
        if (found - expected).abs() > expected * 1e-6 || found.is_nan() {
            return Err(format!(
                "sweeping the learning rate: expected {expected:e} as set, found {found:e}; somebody \
                 else sets it too"
            )
            .into());
        }
        let loss = sweeping.losses.take();
        match sweeping.sweep.add(expected, loss) {
            Some(end) => self.end(cx, Some(end)),
            None => Ok(Decision::CONTINUE),
        }
    }

    fn on_epoch_end(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        if let State::Over(Some(rate)) = self.state {
            cx.set_log(SUGGESTED, rate)?;
        }
        Ok(Decision::CONTINUE)
    }

    fn on_train_end(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        if let State::Waiting = self.state {
            let text =
                "the training ended before an epoch began that the learning rate could be swept in";
            cx.message(Level::Warning, text);
        }
        self.end(cx, None)
    }
}
