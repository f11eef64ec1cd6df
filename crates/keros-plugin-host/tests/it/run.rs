//! A training that is made up, and counts how often its logs are computed.

use keros_callbacks::{
    BoxError, CallbackError, CallbackList, Decision, Event, EventKind, Logs, Run, RunInfo,
};
use std::time::Duration;

pub(crate) struct FakeRun {
    pub(crate) info: RunInfo,
    logs: Logs,
    computed: bool,
    /// How often logs were computed.
    pub(crate) computations: u64,
    pub(crate) rate: Option<f64>,
    pub(crate) wait: Duration,
    /// Computing the logs fails with this.
    pub(crate) broken: Option<&'static str>,
    /// Computing the logs panics.
    pub(crate) panics: bool,
    step: u64,
}

impl FakeRun {
    pub(crate) fn new() -> FakeRun {
        FakeRun {
            info: RunInfo {
                epochs: 5,
                initial_epoch: 0,
                steps: Some(3),
                metrics: vec!["loss".to_owned(), "accuracy".to_owned()],
                validation: true,
            },
            logs: Logs::new(),
            computed: false,
            computations: 0,
            rate: Some(0.1),
            wait: Duration::from_micros(25),
            broken: None,
            panics: false,
            step: 0,
        }
    }

    /// The logs of the last event.
    pub(crate) fn last_logs(&self) -> &Logs {
        &self.logs
    }

    /// Sets the logs of the events that follow.
    pub(crate) fn set_logs(&mut self, logs: &[(&str, f64)]) {
        self.logs = logs.iter().copied().collect();
    }

    /// Sends an event with the logs as they are, allocating nothing.
    pub(crate) fn again(
        &mut self,
        callbacks: &mut CallbackList<'_>,
        kind: EventKind,
    ) -> Result<Decision, CallbackError> {
        let event = Event {
            kind,
            epoch: 0,
            batch: 0,
            step: self.step,
            samples: 1,
            nested: false,
        };
        callbacks.dispatch(&event, self)
    }

    /// Sends one event.
    pub(crate) fn send(
        &mut self,
        callbacks: &mut CallbackList<'_>,
        kind: EventKind,
        [epoch, batch, samples]: [u64; 3],
        logs: &[(&str, f64)],
        nested: bool,
    ) -> Result<Decision, CallbackError> {
        self.logs = logs.iter().copied().collect();
        self.computed = false;
        let event = Event {
            kind,
            epoch,
            batch,
            step: self.step,
            samples,
            nested,
        };
        let decision = callbacks.dispatch(&event, self)?;
        if let Some(rate) = decision.learning_rate {
            self.rate = Some(rate);
        }
        Ok(decision)
    }

    /// One event of each kind that a test needs no more of.
    pub(crate) fn ping(
        &mut self,
        callbacks: &mut CallbackList<'_>,
        kind: EventKind,
    ) -> Result<Decision, CallbackError> {
        self.send(callbacks, kind, [0; 3], &[("loss", 1.0)], false)
    }

    /// `fit` as Keras orders it, with validation in odd epochs, obeying decisions; then an evaluation
    /// and a prediction.
    pub(crate) fn fit_evaluate_predict(
        &mut self,
        callbacks: &mut CallbackList<'_>,
    ) -> Result<Option<String>, CallbackError> {
        let mut stop = None;
        self.send(callbacks, EventKind::TrainBegin, [0; 3], &[], false)?;
        for epoch in 0..self.info.epochs {
            self.send(callbacks, EventKind::EpochBegin, [epoch, 0, 0], &[], false)?;
            let loss = 1.0 / (epoch + 1) as f64;
            let (accuracy, val_loss) = (1.0 - loss / 2.0, loss * 1.25);
            for batch in 0..3 {
                let at = [epoch, batch, 8 - batch];
                let begin = self.send(callbacks, EventKind::TrainBatchBegin, at, &[], false)?;
                if begin.skip_batch {
                    continue;
                }
                self.step += 1;
                let logs = [("loss", loss + batch as f64 / 8.0), ("accuracy", accuracy)];
                let end = self.send(callbacks, EventKind::TrainBatchEnd, at, &logs, false)?;
                if end.stop_epoch {
                    break;
                }
            }
            let mut logs = vec![("loss", loss), ("accuracy", accuracy)];
            if epoch % 2 == 1 {
                self.evaluate(callbacks, epoch, val_loss, true)?;
                logs.extend([("val_loss", val_loss), ("val_accuracy", accuracy)]);
            }
            let end = self.send(callbacks, EventKind::EpochEnd, [epoch, 0, 0], &logs, false)?;
            if end.stop.is_some() {
                stop = end.stop;
                break;
            }
        }
        self.send(
            callbacks,
            EventKind::TrainEnd,
            [0; 3],
            &[("loss", 0.5)],
            false,
        )?;
        self.rate = None;
        self.info.steps = None;
        self.evaluate(callbacks, 0, 0.75, false)?;
        self.send(callbacks, EventKind::PredictBegin, [0; 3], &[], false)?;
        for batch in 0..2 {
            let at = [0, batch, 4];
            self.send(callbacks, EventKind::PredictBatchBegin, at, &[], false)?;
            self.send(callbacks, EventKind::PredictBatchEnd, at, &[], false)?;
        }
        self.send(callbacks, EventKind::PredictEnd, [0; 3], &[], false)?;
        Ok(stop)
    }

    fn evaluate(
        &mut self,
        callbacks: &mut CallbackList<'_>,
        epoch: u64,
        loss: f64,
        nested: bool,
    ) -> Result<(), CallbackError> {
        self.send(callbacks, EventKind::TestBegin, [epoch, 0, 0], &[], nested)?;
        for batch in 0..2 {
            let at = [epoch, batch, 4];
            self.send(callbacks, EventKind::TestBatchBegin, at, &[], nested)?;
            self.send(
                callbacks,
                EventKind::TestBatchEnd,
                at,
                &[("loss", loss)],
                nested,
            )?;
        }
        self.send(
            callbacks,
            EventKind::TestEnd,
            [epoch, 0, 0],
            &[("loss", loss)],
            nested,
        )?;
        Ok(())
    }
}

impl Run for FakeRun {
    fn info(&self) -> &RunInfo {
        &self.info
    }

    fn logs(&mut self) -> Result<&mut Logs, BoxError> {
        if self.panics {
            panic!("the training itself panics");
        }
        if let Some(broken) = self.broken {
            return Err(broken.into());
        }
        if !self.computed {
            self.computed = true;
            self.computations += 1;
        }
        Ok(&mut self.logs)
    }

    fn learning_rate(&self) -> Option<f64> {
        self.rate
    }

    fn data_wait(&self) -> Duration {
        self.wait
    }
}
