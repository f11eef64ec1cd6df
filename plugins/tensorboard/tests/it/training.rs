//! A training that is made up.

use keros_callbacks::{
    ArrayInfo, BoxError, CallbackError, CallbackList, Event, EventKind, LogValue, Logs, ParamInfo,
    Run, RunInfo,
};
use std::time::Duration;

/// The run, and where it stands.
#[derive(Default)]
pub(crate) struct Training {
    pub(crate) info: RunInfo,
    pub(crate) logs: Logs,
    pub(crate) rate: Option<f64>,
    pub(crate) facts: Option<String>,
    pub(crate) params: Vec<ParamInfo>,
    /// The values of each parameter, then its gradient.
    pub(crate) values: Vec<[Vec<f32>; 2]>,
    pub(crate) inputs: Vec<ArrayInfo>,
    pub(crate) input_values: Vec<Vec<f32>>,
    pub(crate) step: u64,
}

impl Training {
    pub(crate) fn with_param(mut self, name: &str, shape: &[usize], values: &[f32]) -> Training {
        self.params.push(ParamInfo {
            name: name.to_owned(),
            shape: shape.to_vec(),
            trainable: true,
        });
        let gradient = values.iter().map(|value| value * 10.0).collect();
        self.values.push([values.to_vec(), gradient]);
        self
    }

    pub(crate) fn with_input(mut self, name: &str, shape: &[usize], values: &[f32]) -> Training {
        self.inputs.push(ArrayInfo {
            name: name.to_owned(),
            shape: shape.to_vec(),
        });
        self.input_values.push(values.to_vec());
        self
    }

    pub(crate) fn try_send(
        &mut self,
        callbacks: &mut CallbackList<'_>,
        kind: EventKind,
        epoch: u64,
        logs: &[(&str, f64)],
    ) -> Result<(), CallbackError> {
        self.logs = logs.iter().copied().collect();
        let event = Event {
            kind,
            epoch,
            batch: 0,
            step: self.step,
            samples: 0,
            nested: kind == EventKind::TestEnd,
        };
        callbacks.dispatch(&event, self).map(|_| ())
    }

    pub(crate) fn send(
        &mut self,
        callbacks: &mut CallbackList<'_>,
        kind: EventKind,
        epoch: u64,
        logs: &[(&str, f64)],
    ) {
        self.try_send(callbacks, kind, epoch, logs).unwrap();
    }

    /// An epoch of batches with these losses, each followed by an update.
    pub(crate) fn epoch(&mut self, callbacks: &mut CallbackList<'_>, epoch: u64, losses: &[f64]) {
        self.send(callbacks, EventKind::EpochBegin, epoch, &[]);
        for loss in losses {
            self.send(callbacks, EventKind::TrainBatchBegin, epoch, &[]);
            self.step += 1;
            self.send(
                callbacks,
                EventKind::TrainBatchEnd,
                epoch,
                &[("loss", *loss)],
            );
        }
        let loss = losses.iter().sum::<f64>() / losses.len() as f64;
        self.send(
            callbacks,
            EventKind::TestEnd,
            epoch,
            &[("loss", loss * 2.0)],
        );
        let logs = [("loss", loss), ("val_loss", loss * 2.0)];
        self.send(callbacks, EventKind::EpochEnd, epoch, &logs);
    }

    /// A whole training of such epochs.
    pub(crate) fn fit(&mut self, callbacks: &mut CallbackList<'_>, epochs: &[&[f64]]) {
        self.send(callbacks, EventKind::TrainBegin, 0, &[]);
        for (epoch, losses) in (0..).zip(epochs) {
            self.epoch(callbacks, epoch, losses);
        }
        self.send(callbacks, EventKind::TrainEnd, 0, &[]);
    }
}

impl Run for Training {
    fn info(&self) -> &RunInfo {
        &self.info
    }

    fn logs(&mut self) -> Result<&mut Logs, BoxError> {
        Ok(&mut self.logs)
    }

    fn set_log(&mut self, key: &str, value: LogValue) -> Result<(), BoxError> {
        self.logs.set(key, value);
        Ok(())
    }

    fn learning_rate(&self) -> Option<f64> {
        self.rate
    }

    fn data_wait(&self) -> Duration {
        Duration::ZERO
    }

    fn params(&self) -> &[ParamInfo] {
        &self.params
    }

    fn read_param(&mut self, index: usize, values: &mut Vec<f32>) -> Result<(), BoxError> {
        values.clone_from(&self.values[index][0]);
        Ok(())
    }

    fn read_gradient(&mut self, index: usize, values: &mut Vec<f32>) -> Result<(), BoxError> {
        values.clone_from(&self.values[index][1]);
        Ok(())
    }

    fn inputs(&self) -> Vec<ArrayInfo> {
        self.inputs.clone()
    }

    fn read_input(&mut self, index: usize, values: &mut Vec<f32>) -> Result<(), BoxError> {
        values.clone_from(&self.input_values[index]);
        Ok(())
    }

    fn facts(&self) -> Result<String, BoxError> {
        self.facts.clone().ok_or_else(|| "no facts".into())
    }
}
