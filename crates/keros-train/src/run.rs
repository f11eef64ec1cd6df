//! A run as its callbacks share it: who is told of an event, and what goes along with it.

use crate::error::TrainError;
use crate::messages::Messages;
use crate::seen::Seen;
use crate::source::QueueMeter;
use crate::trainer::Trainer;
use keros_callbacks::{
    Callback, CallbackError, CallbackList, CallbackState, Decision, Event, EventKind, History,
    Level, Logs, Message, ParamInfo, RequestQueue, RunInfo,
};
use keros_data::Batch;
use keros_nn::Network;
use keros_tensor::{Param, Params};
use std::time::Duration;

/// The callbacks of a run and what they share.
pub(crate) struct Callbacks<'c> {
    pub(crate) list: CallbackList<'c>,
    pub(crate) info: RunInfo,
    pub(crate) params: Vec<ParamInfo>,
    /// The logs of the last event.
    pub(crate) logs: Logs,
    /// The record of the run; it follows all callbacks, so that it has the keys they add.
    pub(crate) history: History,
    /// What other threads ask of the run.
    pub(crate) requests: RequestQueue,
    /// The queue that batches come from at present.
    pub(crate) queue: Option<QueueMeter>,
}

/// The name of the history among the states of a checkpoint.
const HISTORY: &str = "History";

/// The logs of an event.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogsOf {
    /// None.
    Nothing,
    /// What the trackers hold, read when a callback asks.
    Trackers,
    /// What [`Callbacks::logs`] holds.
    Ready,
}

impl<'c> Callbacks<'c> {
    /// `messages` is told what the run says.
    pub(crate) fn new(
        mut list: CallbackList<'c>,
        info: RunInfo,
        params: &Params,
        messages: Messages,
    ) -> Callbacks<'c> {
        list.push(messages);
        let mut callbacks = Callbacks {
            list,
            info,
            params: Vec::new(),
            logs: Logs::new(),
            history: History::new(),
            requests: RequestQueue::new(),
            queue: None,
        };
        callbacks.tell_params(params);
        callbacks
    }

    /// Tells of the parameters as they are now.
    pub(crate) fn tell_params(&mut self, params: &Params) {
        let tell = |param: &Param| ParamInfo {
            name: param.name().to_owned(),
            shape: param.value().dims().to_vec(),
            trainable: param.trainable(),
        };
        if EventKind::ALL.iter().any(|kind| self.list.wants(*kind)) {
            self.params = params.iter().map(|(_, param)| tell(param)).collect();
        }
    }

    /// The states of all callbacks and of the history, for a checkpoint.
    pub(crate) fn states(&mut self) -> Result<Vec<CallbackState>, CallbackError> {
        let mut states = self.list.states()?;
        let state = self.history.save_state();
        let state = state.map_err(|source| CallbackError::State {
            callback: HISTORY.to_owned(),
            doing: "telling",
            source,
        })?;
        states.extend(state.map(|state| CallbackState {
            name: HISTORY.to_owned(),
            index: 0,
            state,
        }));
        Ok(states)
    }

    /// Goes on from [`states`](Self::states); the names of states that nobody takes are returned.
    pub(crate) fn load_states(
        &mut self,
        mut states: Vec<CallbackState>,
    ) -> Result<Vec<String>, CallbackError> {
        if let Some(own) = states.iter().rposition(|state| state.name == HISTORY) {
            let state = states.remove(own).state;
            let loaded = self.history.load_state(&state);
            loaded.map_err(|source| CallbackError::State {
                callback: HISTORY.to_owned(),
                doing: "loading",
                source,
            })?;
        }
        self.list.load_states(states)
    }

    /// What other threads ask of an evaluation or prediction of its own.
    pub(crate) fn asked_outside_of_training(&mut self) -> Decision {
        let mut asked = self.requests.take();
        for path in asked.checkpoints.drain(..) {
            self.warn(format!(
                "the checkpoint {} is not written: there is no training to go on with",
                path.display()
            ));
        }
        asked
    }

    /// Tells the user something that is not an error.
    pub(crate) fn warn(&mut self, text: String) {
        self.message(Level::Warning, text);
    }

    /// Tells the user of an evaluation or prediction that had fewer batches than were asked for.
    pub(crate) fn warn_of_missing(&mut self, pass: &str, batches: u64, steps: Option<u64>) {
        let missing = steps.map_or(0, |steps| steps.saturating_sub(batches));
        if missing > 0 {
            self.warn(format!(
                "the {pass} ended after {batches} batches because the data ran out; \
                 {missing} more were asked for"
            ));
        }
    }

    /// Tells the user something that is good to know.
    pub(crate) fn inform(&mut self, text: String) {
        self.message(Level::Info, text);
    }

    fn message(&mut self, level: Level, text: String) {
        self.list.message(Message {
            level,
            source: "trainer".to_owned(),
            text,
        });
    }
}

/// What goes along with an event.
#[derive(Clone, Copy)]
pub(crate) struct Telling<'t> {
    pub(crate) logs: LogsOf,
    /// How long the epoch, evaluation or prediction has waited for data.
    pub(crate) wait: Duration,
    pub(crate) detail: Option<&'t str>,
    /// The batch of a batch event.
    pub(crate) batch: Option<&'t Batch>,
}

impl<'t> Telling<'t> {
    pub(crate) fn nothing(wait: Duration) -> Telling<'static> {
        Telling::of(LogsOf::Nothing, wait)
    }

    pub(crate) fn of(logs: LogsOf, wait: Duration) -> Telling<'static> {
        Telling {
            logs,
            wait,
            detail: None,
            batch: None,
        }
    }

    /// The same about a batch.
    pub(crate) fn about(self, batch: &'t Batch) -> Telling<'t> {
        Telling {
            batch: Some(batch),
            ..self
        }
    }
}

impl<N: Network> Trainer<N> {
    /// Sends an event to those who want it.
    pub(crate) fn tell(
        &mut self,
        callbacks: &mut Callbacks<'_>,
        event: &Event,
        telling: Telling<'_>,
    ) -> Result<Decision, TrainError> {
        let kind = event.kind;
        if telling.logs == LogsOf::Nothing {
            callbacks.logs.clear();
        }
        let decision = if callbacks.list.wants(kind) {
            let mut seen = Seen {
                info: &callbacks.info,
                infos: &callbacks.params,
                logs: &mut callbacks.logs,
                history: &callbacks.history,
                requests: callbacks.requests.requests(),
                queue: callbacks.queue.as_ref(),
                unread: telling.logs == LogsOf::Trackers,
                telling,
                trains: kind.is_training(),
                network: &self.network,
                optimizer: self.optimizer.as_mut(),
                heads: &self.heads,
                trackers: &mut self.trackers,
                failed: None,
                seed: self.seed,
            };
            let decision = callbacks.list.dispatch(event, &mut seen);
            // Whatever the callback that read the logs makes of it: the error is the step's.
            match seen.failed {
                Some(error) => return Err(error),
                None => decision.map_err(|error| TrainError::from(error).at(event))?,
            }
        } else {
            Decision::CONTINUE
        };
        match kind {
            EventKind::TrainBegin => callbacks.history = History::of(callbacks.info.clone()),
            EventKind::EpochEnd => {
                let logs = callbacks.logs.clone();
                callbacks.history.push(event.epoch, logs);
            }
            _ => {}
        }
        Ok(decision)
    }

    /// Tells the callbacks of an error that ends the run, of `epoch` unless it names another. What
    /// they do about it cannot fail the run a second time.
    pub(crate) fn tell_error<T>(
        &mut self,
        callbacks: &mut Callbacks<'_>,
        epoch: u64,
        result: Result<T, TrainError>,
    ) -> Result<T, TrainError> {
        if let Err(error) = &result {
            let epoch = error.epoch().unwrap_or(epoch);
            self.tell_failure(callbacks, epoch, &error.to_string());
        }
        result
    }

    /// The same of an error that is not this crate's.
    pub(crate) fn tell_failure(&mut self, callbacks: &mut Callbacks<'_>, epoch: u64, error: &str) {
        let event = self.event(EventKind::Error, epoch);
        let telling = Telling {
            detail: Some(error),
            ..Telling::nothing(Duration::ZERO)
        };
        let _ = self.tell(callbacks, &event, telling);
    }

    /// An event that is not about a batch.
    pub(crate) fn event(&self, kind: EventKind, epoch: u64) -> Event {
        Event {
            kind,
            epoch,
            batch: 0,
            step: self.optimizer.iterations(),
            samples: 0,
            nested: false,
        }
    }
}
