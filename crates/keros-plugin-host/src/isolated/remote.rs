//! The run behind the pipe, as a plugin in a helper process sees it.

use super::runner::Link;
use super::wire::{
    Array, Ask, Bytes, Number, Optimizer, Param, Queue, Row, Value, WireEvent, WireLogs,
};
use keros_callbacks::{
    ArrayInfo, BoxError, EpochLogs, LogValue, Logs, ParamInfo, QueueStats, Requests, Run, RunError,
    RunInfo,
};
use serde::de::DeserializeOwned;
use std::cell::OnceCell;
use std::path::Path;
use std::time::Duration;

/// The run during one event.
pub(super) struct RemoteRun<'a> {
    link: &'a Link,
    info: &'a RunInfo,
    requests: &'a Requests,
    learning_rate: Option<f64>,
    data_wait: Duration,
    detail: Option<String>,
    /// Those of this event, once they are here.
    logs: Option<Logs>,
    params: OnceCell<Vec<ParamInfo>>,
}

impl<'a> RemoteRun<'a> {
    pub(super) fn new(
        link: &'a Link,
        info: &'a RunInfo,
        requests: &'a Requests,
        event: WireEvent,
    ) -> RemoteRun<'a> {
        RemoteRun {
            link,
            info,
            requests,
            learning_rate: event.learning_rate.map(|Number(rate)| rate),
            data_wait: Duration::from_nanos(event.data_wait_ns),
            detail: event.detail,
            logs: event.logs.map(|WireLogs(logs)| logs),
            params: OnceCell::new(),
        }
    }

    fn ask<T: DeserializeOwned>(&self, asked: &'static str, ask: &Ask) -> Result<T, BoxError> {
        let value = self.link.ask(asked, ask)?;
        Ok(serde_json::from_value(value)?)
    }

    fn read(&self, asked: &'static str, ask: &Ask, values: &mut Vec<f32>) -> Result<(), BoxError> {
        let array: Array = self.ask(asked, ask)?;
        let found = array.f32.to_values();
        *values = found.ok_or("the values of the host are cut off")?;
        Ok(())
    }

    fn optimizer(&self) -> Result<Optimizer, BoxError> {
        self.ask("reading the optimizer", &Ask::Optimizer)
    }
}

fn text(path: &Path) -> Result<String, BoxError> {
    let path = path.to_str().map(str::to_owned);
    Ok(path.ok_or("expected a path in UTF-8, found another")?)
}

impl Run for RemoteRun<'_> {
    fn info(&self) -> &RunInfo {
        self.info
    }

    fn logs(&mut self) -> Result<&mut Logs, BoxError> {
        let logs = match self.logs.take() {
            Some(logs) => logs,
            None => {
                let WireLogs(logs) = self.ask("reading the logs", &Ask::Logs)?;
                logs
            }
        };
        Ok(self.logs.insert(logs))
    }

    fn set_log(&mut self, key: &str, value: LogValue) -> Result<(), BoxError> {
        let asked = "setting a log";
        let ask = Ask::SetLog {
            key: key.to_owned(),
            value: Value::of(&value).ok_or(RunError::Unsupported { asked })?,
        };
        self.ask::<()>(asked, &ask)?;
        if let Some(logs) = &mut self.logs {
            logs.set(key, value);
        }
        Ok(())
    }

    fn learning_rate(&self) -> Option<f64> {
        self.learning_rate
    }

    fn data_wait(&self) -> Duration {
        self.data_wait
    }

    fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }

    fn params(&self) -> &[ParamInfo] {
        self.params.get_or_init(|| {
            // A host that does not tell has none to show.
            let params = self.ask::<Vec<Param>>("reading the parameters", &Ask::Params);
            let info = |param: Param| ParamInfo {
                name: param.name,
                shape: param.shape,
                trainable: param.trainable,
            };
            params.unwrap_or_default().into_iter().map(info).collect()
        })
    }

    fn read_param(&mut self, index: usize, values: &mut Vec<f32>) -> Result<(), BoxError> {
        self.read("reading a parameter", &Ask::Param { index }, values)
    }

    fn read_gradient(&mut self, index: usize, values: &mut Vec<f32>) -> Result<(), BoxError> {
        self.read("reading a gradient", &Ask::Gradient { index }, values)
    }

    fn write_param(&mut self, index: usize, values: &[f32]) -> Result<(), BoxError> {
        let f32 = Bytes::of_values(values);
        self.ask("setting a parameter", &Ask::SetParam { index, f32 })
    }

    fn save_weights(&mut self, path: &Path) -> Result<(), BoxError> {
        let path = text(path)?;
        self.ask("saving the weights", &Ask::SaveWeights { path })
    }

    fn save_model(&mut self, path: &Path) -> Result<(), BoxError> {
        let path = text(path)?;
        self.ask("saving the model", &Ask::SaveModel { path })
    }

    fn load_weights(&mut self, path: &Path) -> Result<(), BoxError> {
        let path = text(path)?;
        self.ask("loading the weights", &Ask::LoadWeights { path })
    }

    fn swap_averages(&mut self) -> Result<(), BoxError> {
        self.ask(
            "exchanging the weights and their averages",
            &Ask::SwapAverages,
        )
    }

    fn is_scheduled(&self) -> bool {
        self.optimizer()
            .is_ok_and(|optimizer| optimizer.is_scheduled)
    }

    fn optimizer_numbers(&self) -> Vec<(String, f64)> {
        let Ok(optimizer) = self.optimizer() else {
            return Vec::new();
        };
        let WireLogs(numbers) = optimizer.numbers;
        let numbers = numbers.iter();
        numbers
            .filter_map(|(name, value)| Some((name.to_owned(), value.as_number()?)))
            .collect()
    }

    fn set_optimizer_number(&mut self, name: &str, value: f64) -> Result<(), BoxError> {
        let ask = Ask::SetOptimizerNumber {
            name: name.to_owned(),
            value: Number(value),
        };
        self.ask::<()>("setting a number of the optimizer", &ask)?;
        if name == "learning_rate" {
            self.learning_rate = Some(value);
        }
        Ok(())
    }

    fn history(&self) -> Result<Vec<EpochLogs>, BoxError> {
        let rows: Vec<Row> = self.ask("reading the history", &Ask::History)?;
        let row = |row: Row| EpochLogs {
            epoch: row.epoch,
            logs: row.logs.0,
        };
        Ok(rows.into_iter().map(row).collect())
    }

    fn queue(&self) -> Option<QueueStats> {
        let queue = self.ask::<Option<Queue>>("reading the queue", &Ask::Queue);
        queue.ok().flatten().map(QueueStats::from)
    }

    fn inputs(&self) -> Vec<ArrayInfo> {
        self.ask("reading the inputs", &Ask::Inputs)
            .unwrap_or_default()
    }

    fn read_input(&mut self, index: usize, values: &mut Vec<f32>) -> Result<(), BoxError> {
        self.read("reading an input", &Ask::Input { index }, values)
    }

    fn facts(&self) -> Result<String, BoxError> {
        let facts: serde_json::Value = self.ask("reading how the run was set up", &Ask::Facts)?;
        Ok(facts.to_string())
    }

    fn requests(&self) -> Option<&Requests> {
        Some(self.requests)
    }
}
