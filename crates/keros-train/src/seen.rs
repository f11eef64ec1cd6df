//! What callbacks see of a run during one event, and do to it: the trainer's side of [`Run`].

use crate::data::as_f32;
use crate::error::TrainError;
use crate::facts;
use crate::run::Telling;
use crate::save;
use crate::source::QueueMeter;
use crate::trackers::Trackers;
use crate::trainer::Head;
use keros_callbacks::{
    ArrayInfo, BoxError, EpochLogs, History, Logs, ParamInfo, QueueStats, Requests, Run, RunInfo,
};
use keros_data::Arrays;
use keros_nn::{Network, Optimizer};
use keros_tensor::access::{read, write};
use keros_tensor::{Param, Tensor};
use std::path::Path;
use std::time::Duration;

/// The run during one event.
pub(crate) struct Seen<'a> {
    pub(crate) info: &'a RunInfo,
    pub(crate) infos: &'a [ParamInfo],
    pub(crate) logs: &'a mut Logs,
    pub(crate) history: &'a History,
    pub(crate) requests: &'a Requests,
    pub(crate) queue: Option<&'a QueueMeter>,
    /// Whether the logs are those of the trackers, and nobody has asked for them yet.
    pub(crate) unread: bool,
    pub(crate) telling: Telling<'a>,
    /// Whether the event is one of `fit` itself.
    pub(crate) trains: bool,
    pub(crate) network: &'a dyn Network,
    pub(crate) optimizer: &'a mut dyn Optimizer,
    pub(crate) heads: &'a [Head],
    pub(crate) trackers: &'a mut Trackers,
    /// What went wrong in a step and was found when its values were read.
    pub(crate) failed: Option<TrainError>,
    pub(crate) seed: u64,
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
        if std::mem::take(&mut self.unread) {
            self.logs.clear();
            if let Err(error) = self.trackers.write("", self.logs) {
                let text = error.to_string();
                self.failed.get_or_insert(error);
                return Err(text.into());
            }
        }
        Ok(self.logs)
    }

    fn learning_rate(&self) -> Option<f64> {
        self.trains.then(|| self.optimizer.learning_rate())
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

    fn load_weights(&mut self, path: &Path) -> Result<(), BoxError> {
        Ok(save::load_weights(self.network.params(), path)?)
    }

    fn swap_averages(&mut self) -> Result<(), BoxError> {
        Ok(self.optimizer.swap_averages(self.network.params())?)
    }

    fn is_scheduled(&self) -> bool {
        self.optimizer.is_scheduled()
    }

    fn optimizer_numbers(&self) -> Vec<(String, f64)> {
        let numbers = self.optimizer.numbers();
        let named = numbers.into_iter();
        named
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }

    fn set_optimizer_number(&mut self, name: &str, value: f64) -> Result<(), BoxError> {
        Ok(self.optimizer.set_number(name, value)?)
    }

    fn history(&self) -> Result<Vec<EpochLogs>, BoxError> {
        Ok(self.history.epochs().to_vec())
    }

    fn queue(&self) -> Option<QueueStats> {
        self.queue.map(QueueMeter::read)
    }

    fn inputs(&self) -> Vec<ArrayInfo> {
        let inputs = self
            .telling
            .batch
            .iter()
            .flat_map(|batch| batch.inputs.iter());
        let told = inputs.map(|(name, array)| ArrayInfo {
            name: name.to_owned(),
            shape: array.shape().to_vec(),
        });
        told.collect()
    }

    fn read_input(&mut self, index: usize, values: &mut Vec<f32>) -> Result<(), BoxError> {
        let inputs = self.telling.batch.map(|batch| &batch.inputs);
        let Some((_, array)) = inputs.and_then(|inputs| inputs.iter().nth(index)) else {
            let expected = inputs.map_or(0, Arrays::count);
            return Err(format!("input {index}: expected an index below {expected}").into());
        };
        Ok(as_f32(array, values)?)
    }

    fn facts(&self) -> Result<String, BoxError> {
        Ok(facts::tell(self)?)
    }

    fn requests(&self) -> Option<&Requests> {
        Some(self.requests)
    }
}
