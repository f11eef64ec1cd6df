//! A run without a trainer.

use keros_callbacks::{BoxError, Event, EventKind, Logs, Run, RunInfo};
use std::time::Duration;

/// Serves fixed logs and counts how often they were computed.
#[derive(Default)]
pub(crate) struct FakeRun {
    pub(crate) info: RunInfo,
    pub(crate) logs: Logs,
    pub(crate) logs_read: usize,
    pub(crate) wait: Duration,
}

impl Run for FakeRun {
    fn info(&self) -> &RunInfo {
        &self.info
    }
    fn logs(&mut self) -> Result<&mut Logs, BoxError> {
        self.logs_read += 1;
        Ok(&mut self.logs)
    }
    fn learning_rate(&self) -> Option<f64> {
        Some(0.001)
    }
    fn data_wait(&self) -> Duration {
        self.wait
    }
}

pub(crate) fn event(kind: EventKind, epoch: u64, batch: u64) -> Event {
    Event {
        kind,
        epoch,
        batch,
        step: batch,
        samples: 0,
        nested: false,
    }
}
