//! A run seen from the callbacks: events, logs on demand, the model, decisions.

use crate::error::TrainError;
use crate::save;
use crate::trackers::Trackers;
use crate::trainer::Trainer;
use keros_callbacks::{
    BoxError, CallbackList, Decision, Event, EventKind, Level, Logs, Message, ParamInfo, Run,
    RunInfo,
};
use keros_nn::{Network, Optimizer};
use keros_tensor::access::{read, write};
use keros_tensor::{Param, Params, Tensor};
use std::path::Path;
use std::time::Duration;

/// The callbacks of a run and what they share.
pub(crate) struct Callbacks<'c> {
    pub(crate) list: CallbackList<'c>,
    info: RunInfo,
    params: Vec<ParamInfo>,
    /// The logs of the last event.
    pub(crate) logs: Logs,
}

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
    pub(crate) fn new(list: CallbackList<'c>, info: RunInfo, params: &Params) -> Callbacks<'c> {
        let tell = |param: &Param| ParamInfo {
            name: param.name().to_owned(),
            shape: param.value().dims().to_vec(),
            trainable: param.trainable(),
        };
        let params = match list.is_empty() {
            true => Vec::new(),
            false => params.iter().map(|(_, param)| tell(param)).collect(),
        };
        Callbacks {
            list,
            info,
            params,
            logs: Logs::new(),
        }
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

/// What goes along with an event.
#[derive(Clone, Copy)]
pub(crate) struct Telling<'t> {
    pub(crate) logs: LogsOf,
    /// How long the epoch, evaluation or prediction has waited for data.
    pub(crate) wait: Duration,
    pub(crate) detail: Option<&'t str>,
}

impl Telling<'_> {
    pub(crate) fn nothing(wait: Duration) -> Telling<'static> {
        Telling::of(LogsOf::Nothing, wait)
    }

    pub(crate) fn of(logs: LogsOf, wait: Duration) -> Telling<'static> {
        Telling {
            logs,
            wait,
            detail: None,
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
        if !callbacks.list.wants(event.kind) {
            return Ok(Decision::CONTINUE);
        }
        if telling.logs == LogsOf::Nothing {
            callbacks.logs.clear();
        }
        let mut seen = Seen {
            info: &callbacks.info,
            infos: &callbacks.params,
            logs: &mut callbacks.logs,
            unread: (telling.logs == LogsOf::Trackers).then_some(&self.trackers),
            telling,
            learning_rate: event
                .kind
                .is_training()
                .then(|| self.optimizer.learning_rate()),
            network: &self.network,
            optimizer: self.optimizer.as_mut(),
        };
        Ok(callbacks.list.dispatch(event, &mut seen)?)
    }

    /// Tells the callbacks of an error that ends the run. What they do about it cannot fail the run
    /// a second time.
    pub(crate) fn tell_error<T>(
        &mut self,
        callbacks: &mut Callbacks<'_>,
        result: Result<T, TrainError>,
    ) -> Result<T, TrainError> {
        if let Err(error) = &result {
            let event = self.event(EventKind::Error, 0);
            let text = error.to_string();
            let telling = Telling {
                detail: Some(&text),
                ..Telling::nothing(Duration::ZERO)
            };
            let _ = self.tell(callbacks, &event, telling);
        }
        result
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

/// The run during one event.
struct Seen<'a> {
    info: &'a RunInfo,
    infos: &'a [ParamInfo],
    logs: &'a mut Logs,
    unread: Option<&'a Trackers>,
    telling: Telling<'a>,
    learning_rate: Option<f64>,
    network: &'a dyn Network,
    optimizer: &'a mut dyn Optimizer,
}

impl Seen<'_> {
    fn param(&self, index: usize) -> Result<&Param, BoxError> {
        let params = self.network.params();
        let found = params.iter().nth(index);
        let (_, param) = found.ok_or_else(|| {
            let expected = params.len();
            format!("parameter {index}: expected an index below {expected}")
        })?;
        Ok(param)
    }
}

fn copy(tensor: &Tensor, values: &mut Vec<f32>) -> Result<(), BoxError> {
    values.clear();
    values.extend_from_slice(&read::<f32>(tensor)?);
    Ok(())
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
        self.learning_rate
    }

    fn data_wait(&self) -> Duration {
        self.telling.wait
    }

    fn detail(&self) -> Option<&str> {
        self.telling.detail
    }

    fn params(&self) -> &[ParamInfo] {
        self.infos
    }

    fn read_param(&mut self, index: usize, values: &mut Vec<f32>) -> Result<(), BoxError> {
        copy(self.param(index)?.value(), values)
    }

    fn read_gradient(&mut self, index: usize, values: &mut Vec<f32>) -> Result<(), BoxError> {
        copy(self.param(index)?.grad(), values)
    }

    fn write_param(&mut self, index: usize, values: &[f32]) -> Result<(), BoxError> {
        let param = self.param(index)?;
        write::<f32, _>(param.value(), |old| match old.len() == values.len() {
            true => {
                old.copy_from_slice(values);
                Ok(())
            }
            false => Err(format!(
                "setting parameter `{}`: expected {} values, found {}",
                param.name(),
                old.len(),
                values.len()
            )
            .into()),
        })?
    }

    fn save_weights(&mut self, path: &Path) -> Result<(), BoxError> {
        Ok(save::save_weights(self.network.params(), path)?)
    }

    fn save_model(&mut self, path: &Path) -> Result<(), BoxError> {
        Ok(save::save_model(self.network, self.optimizer, path)?)
    }

    fn swap_averages(&mut self) -> Result<(), BoxError> {
        Ok(self.optimizer.swap_averages(self.network.params())?)
    }

    fn is_scheduled(&self) -> bool {
        self.optimizer.is_scheduled()
    }
}
