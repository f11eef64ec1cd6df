//! A run seen from the callbacks: events, logs on demand, decisions.

use crate::error::TrainError;
use crate::trainer::Trackers;
use keros_callbacks::{
    BoxError, CallbackList, Decision, Event, EventKind, Level, Logs, Message, Run, RunInfo,
};
use std::time::Duration;

/// The callbacks of a run and what they share.
pub(crate) struct Callbacks<'c> {
    list: CallbackList<'c>,
    info: RunInfo,
    /// The logs of the last event.
    pub(crate) logs: Logs,
}

/// The logs of an event.
pub(crate) enum LogsOf<'t> {
    /// None.
    Nothing,
    /// What the trackers hold, read when a callback asks.
    Trackers(&'t Trackers),
    /// What [`Callbacks::logs`] holds.
    Ready,
}

/// What is true of the run at an event, beside the event itself.
#[derive(Clone, Copy, Default)]
pub(crate) struct Moment {
    pub(crate) learning_rate: Option<f64>,
    pub(crate) data_wait: Duration,
}

impl<'c> Callbacks<'c> {
    pub(crate) fn new(list: CallbackList<'c>, info: RunInfo) -> Callbacks<'c> {
        Callbacks {
            list,
            info,
            logs: Logs::new(),
        }
    }

    /// Sends an event to those who want it.
    pub(crate) fn send(
        &mut self,
        event: &Event,
        logs: LogsOf<'_>,
        moment: Moment,
    ) -> Result<Decision, TrainError> {
        if !self.list.wants(event.kind) {
            return Ok(Decision::CONTINUE);
        }
        let unread = match logs {
            LogsOf::Nothing => {
                self.logs.clear();
                None
            }
            LogsOf::Trackers(trackers) => Some(trackers),
            LogsOf::Ready => None,
        };
        let mut seen = Seen {
            info: &self.info,
            logs: &mut self.logs,
            unread,
            moment,
        };
        Ok(self.list.dispatch(event, &mut seen)?)
    }

    /// Tells the user something that is not an error.
    pub(crate) fn warn(&mut self, text: String) {
        self.list.message(Message {
            level: Level::Warning,
            source: "trainer".to_owned(),
            text,
        });
    }
}

/// The run during one event.
struct Seen<'a> {
    info: &'a RunInfo,
    logs: &'a mut Logs,
    unread: Option<&'a Trackers>,
    moment: Moment,
}

impl Run for Seen<'_> {
    fn info(&self) -> &RunInfo {
        self.info
    }

    fn logs(&mut self) -> Result<&mut Logs, BoxError> {
        if let Some(trackers) = self.unread.take() {
            self.logs.clear();
            trackers.write("", self.logs);
        }
        Ok(self.logs)
    }

    fn learning_rate(&self) -> Option<f64> {
        self.moment.learning_rate
    }

    fn data_wait(&self) -> Duration {
        self.moment.data_wait
    }
}

/// An event that is not about a batch.
pub(crate) fn event(kind: EventKind, epoch: u64, step: u64) -> Event {
    Event {
        kind,
        epoch,
        batch: 0,
        step,
        samples: 0,
        nested: false,
    }
}
