//! A training that is made up.

use dashboard::{Config, Dashboard};
use keros_plugin::{
    BoxError, Callback, Context, Decision, EpochLogs, Event, EventKind, Logs, Message, QueueStats,
    RequestQueue, Requests, Run, RunInfo,
};
use std::thread;
use std::time::Duration;

/// The token of the tests.
pub(crate) const TOKEN: &str = "0123456789abcdef";

/// A configuration with a known token that reads the logs of nearly every batch.
pub(crate) fn config() -> Config {
    Config {
        token: Some(TOKEN.to_owned()),
        interval_ms: 20,
        ..Config::default()
    }
}

/// A dashboard, and the run it is told of.
pub(crate) struct Training {
    pub(crate) dashboard: Dashboard,
    pub(crate) run: FakeRun,
    pub(crate) messages: Vec<Message>,
}

/// What the dashboard can ask of the run.
pub(crate) struct FakeRun {
    pub(crate) info: RunInfo,
    pub(crate) logs: Logs,
    pub(crate) rate: f64,
    pub(crate) wait: Duration,
    pub(crate) detail: Option<String>,
    pub(crate) queue: Option<QueueStats>,
    pub(crate) requests: Option<RequestQueue>,
    pub(crate) history: Vec<EpochLogs>,
}

impl Run for FakeRun {
    fn info(&self) -> &RunInfo {
        &self.info
    }
    fn logs(&mut self) -> Result<&mut Logs, BoxError> {
        Ok(&mut self.logs)
    }
    fn learning_rate(&self) -> Option<f64> {
        Some(self.rate)
    }
    fn data_wait(&self) -> Duration {
        self.wait
    }
    fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }
    fn queue(&self) -> Option<QueueStats> {
        self.queue
    }
    fn requests(&self) -> Option<&Requests> {
        self.requests.as_ref().map(RequestQueue::requests)
    }
    fn history(&self) -> Result<Vec<EpochLogs>, BoxError> {
        Ok(self.history.clone())
    }
    fn facts(&self) -> Result<String, BoxError> {
        Ok(r#"{"optimizer": {"name": "adam", "beta_1": 0.9}, "seed": 42}"#.to_owned())
    }
}

impl Training {
    /// One of this many epochs of this many batches, with validation.
    pub(crate) fn new(config: Config, epochs: u64, steps: u64) -> Training {
        Training {
            dashboard: Dashboard::new(config).unwrap(),
            run: FakeRun {
                info: RunInfo {
                    epochs,
                    initial_epoch: 0,
                    steps: Some(steps),
                    metrics: vec!["loss".to_owned(), "accuracy".to_owned()],
                    validation: true,
                },
                logs: Logs::new(),
                rate: 1e-3,
                wait: Duration::ZERO,
                detail: None,
                queue: None,
                requests: Some(RequestQueue::new()),
                history: Vec::new(),
            },
            messages: Vec::new(),
        }
    }

    /// As [`new`](Self::new), begun.
    pub(crate) fn begun(config: Config) -> Training {
        let mut training = Training::new(config, 3, 4);
        training.send(EventKind::TrainBegin, [0; 3]).unwrap();
        training
    }

    pub(crate) fn port(&self) -> u16 {
        let url = self.dashboard.url().expect("the training has begun");
        let rest = url.strip_prefix("http://127.0.0.1:").unwrap();
        rest.split('/').next().unwrap().parse().unwrap()
    }

    pub(crate) fn send(
        &mut self,
        kind: EventKind,
        [epoch, batch, samples]: [u64; 3],
    ) -> Result<Decision, BoxError> {
        let event = Event {
            kind,
            epoch,
            batch,
            step: 0,
            samples,
            nested: true,
        };
        let name = self.dashboard.name().to_owned();
        let mut cx = Context::new(&event, &mut self.run, &name, &mut self.messages);
        self.dashboard.on_event(&mut cx)
    }

    pub(crate) fn batch(&mut self, epoch: u64, batch: u64, loss: f64) -> Decision {
        self.run.logs.set("loss", loss);
        self.run.logs.set("accuracy", 1.0 - loss / 3.0);
        self.send(EventKind::TrainBatchEnd, [epoch, batch, 8])
            .unwrap()
    }

    pub(crate) fn end_epoch(&mut self, epoch: u64, loss: f64) -> Decision {
        self.run.logs.set("loss", loss);
        self.run.logs.set("accuracy", 1.0 - loss / 3.0);
        self.run.logs.set("val_loss", loss * 1.1 + 0.05);
        self.run.logs.set("val_accuracy", 0.97 - loss / 3.0);
        let decision = self.send(EventKind::EpochEnd, [epoch, 0, 0]).unwrap();
        self.run.logs.clear();
        decision
    }

    /// `fit`, a batch per `pace`; gives the reason if it was stopped.
    pub(crate) fn fit(&mut self, pace: Duration) -> Option<String> {
        let steps = self.run.info.steps.unwrap();
        self.send(EventKind::TrainBegin, [0; 3]).unwrap();
        let mut reason = None;
        for epoch in 0..self.run.info.epochs {
            self.send(EventKind::EpochBegin, [epoch, 0, 0]).unwrap();
            self.run.wait = Duration::ZERO;
            for batch in 0..steps {
                thread::sleep(pace);
                self.run.wait += pace / 20;
                let done = epoch as f64 + (batch + 1) as f64 / steps as f64;
                let noise = ((epoch * steps + batch) as f64 * 12.9898).sin() * 0.15;
                let decision = self.batch(
                    epoch,
                    batch,
                    2.3 * (-done / 4.0).exp() + 0.2 + noise / (1 + batch) as f64,
                );
                reason = reason.or(decision.stop);
                if reason.is_some() {
                    break;
                }
            }
            self.send(EventKind::TestBegin, [epoch, 0, 0]).unwrap();
            self.send(EventKind::TestBatchEnd, [epoch, 0, 8]).unwrap();
            let decision = self.end_epoch(epoch, 2.3 * (-((epoch + 1) as f64) / 4.0).exp() + 0.2);
            self.run.rate *= 0.85;
            reason = reason.or(decision.stop);
            if reason.is_some() {
                break;
            }
        }
        self.send(EventKind::TrainEnd, [0; 3]).unwrap();
        reason
    }
}
