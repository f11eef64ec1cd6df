//! A training that is made up.

use keros_plugin::{
    BoxError, Callback, Context, Event, EventKind, LogValue, Logs, Message, Run, RunInfo,
};
use std::time::Duration;

pub(crate) struct Training<C> {
    pub(crate) callback: C,
    pub(crate) info: RunInfo,
    pub(crate) messages: Vec<Message>,
}

struct Now<'a>(&'a RunInfo, Logs);

impl Run for Now<'_> {
    fn info(&self) -> &RunInfo {
        self.0
    }
    fn logs(&mut self) -> Result<&mut Logs, BoxError> {
        Ok(&mut self.1)
    }
    fn learning_rate(&self) -> Option<f64> {
        None
    }
    fn data_wait(&self) -> Duration {
        Duration::ZERO
    }
}

impl<C: Callback> Training<C> {
    pub(crate) fn new(callback: C) -> Training<C> {
        Training {
            callback,
            info: RunInfo::default(),
            messages: Vec::new(),
        }
    }

    fn send(
        &mut self,
        kind: EventKind,
        [epoch, batch, samples]: [u64; 3],
        logs: &[(&str, LogValue)],
    ) -> Result<(), BoxError> {
        let event = Event {
            kind,
            epoch,
            batch,
            step: 0,
            samples,
            nested: false,
        };
        let mut run = Now(&self.info, logs.iter().cloned().collect());
        let mut cx = Context::new(&event, &mut run, "csv-logger", &mut self.messages);
        self.callback.on_event(&mut cx).map(|_| ())
    }

    pub(crate) fn try_begin(&mut self) -> Result<(), BoxError> {
        self.send(EventKind::TrainBegin, [0; 3], &[])
    }

    pub(crate) fn begin(&mut self) {
        self.try_begin().unwrap();
    }

    /// Trains on batches of these sizes and ends with these logs.
    pub(crate) fn epoch(&mut self, epoch: u64, batches: &[u64], logs: &[(&str, LogValue)]) {
        self.begin_epoch(epoch);
        self.batches(epoch, 0, batches);
        self.end_epoch(epoch, logs);
    }

    pub(crate) fn begin_epoch(&mut self, epoch: u64) {
        self.send(EventKind::EpochBegin, [epoch, 0, 0], &[])
            .unwrap();
    }

    /// Batches of these sizes, the first of which has this number.
    pub(crate) fn batches(&mut self, epoch: u64, first: u64, batches: &[u64]) {
        for (batch, samples) in (first..).zip(batches) {
            self.send(EventKind::TrainBatchEnd, [epoch, batch, *samples], &[])
                .unwrap();
        }
    }

    pub(crate) fn end_epoch(&mut self, epoch: u64, logs: &[(&str, LogValue)]) {
        self.send(EventKind::EpochEnd, [epoch, 0, 0], logs).unwrap();
    }

    pub(crate) fn end(&mut self) {
        self.send(EventKind::TrainEnd, [0; 3], &[]).unwrap();
    }
}
