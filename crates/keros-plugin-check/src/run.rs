//! The made-up run behind the events: a model of two parameters, whose numbers follow from the batch.

use keros_callbacks::{
    ArrayInfo, BoxError, EpochLogs, LogValue, Logs, ParamInfo, QueueStats, RequestQueue, Requests,
    Run, RunInfo,
};
use serde_json::json;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Shape of a batch of inputs: rows, height, width, channels.
const INPUT: [usize; 4] = [8, 4, 4, 1];

/// A run that is made up.
pub(crate) struct MadeUp {
    info: RunInfo,
    pub(crate) logs: Logs,
    /// `None` outside of training.
    pub(crate) learning_rate: Option<f64>,
    /// Whether a batch is there.
    pub(crate) in_batch: bool,
    /// Updates so far.
    pub(crate) step: u64,
    /// What the event is about.
    pub(crate) detail: Option<String>,
    pub(crate) history: Vec<EpochLogs>,
    pub(crate) requests: RequestQueue,
    params: Vec<ParamInfo>,
    values: Vec<Vec<f32>>,
}

impl MadeUp {
    /// A training of epochs of three batches, an evaluation or a prediction.
    pub(crate) fn new(
        epochs: std::ops::Range<u64>,
        validation: bool,
        learning_rate: Option<f64>,
    ) -> MadeUp {
        let param = |name: &str, shape: &[usize]| ParamInfo {
            name: name.to_owned(),
            shape: shape.to_vec(),
            trainable: true,
        };
        let params = vec![param("dense/kernel", &[16, 3]), param("dense/bias", &[3])];
        let values = params.iter().map(|param| numbers(&param.shape, 0.25));
        MadeUp {
            info: RunInfo {
                epochs: epochs.end,
                initial_epoch: epochs.start,
                steps: Some(3),
                metrics: vec!["loss".to_owned(), "accuracy".to_owned()],
                validation,
            },
            logs: Logs::new(),
            learning_rate,
            in_batch: false,
            step: 3 * epochs.start,
            detail: None,
            history: Vec::new(),
            requests: RequestQueue::new(),
            values: values.collect(),
            params,
        }
    }

    fn param(&self, index: usize) -> Result<&Vec<f32>, BoxError> {
        self.values
            .get(index)
            .ok_or_else(|| format!("no parameter {index}").into())
    }
}

/// As many numbers as an array of this shape has, around 0.
fn numbers(shape: &[usize], scale: f32) -> Vec<f32> {
    let count: usize = shape.iter().product();
    (0..count).map(|i| (i as f32).sin() * scale).collect()
}

impl Run for MadeUp {
    fn info(&self) -> &RunInfo {
        &self.info
    }

    fn logs(&mut self) -> Result<&mut Logs, BoxError> {
        Ok(&mut self.logs)
    }

    fn learning_rate(&self) -> Option<f64> {
        self.learning_rate
    }

    fn data_wait(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }

    fn params(&self) -> &[ParamInfo] {
        &self.params
    }

    fn read_param(&mut self, index: usize, values: &mut Vec<f32>) -> Result<(), BoxError> {
        values.clone_from(self.param(index)?);
        Ok(())
    }

    fn read_gradient(&mut self, index: usize, values: &mut Vec<f32>) -> Result<(), BoxError> {
        self.param(index)?;
        *values = numbers(&self.params[index].shape, 0.5 / (self.step + 1) as f32);
        Ok(())
    }

    fn write_param(&mut self, index: usize, values: &[f32]) -> Result<(), BoxError> {
        let (expected, found) = (self.param(index)?.len(), values.len());
        if expected != found {
            return Err(
                format!("parameter {index}: expected {expected} values, found {found}").into(),
            );
        }
        self.values[index] = values.to_vec();
        Ok(())
    }

    /// Not in the format of the ending: what counts here is that a file is there and can be read again.
    fn save_weights(&mut self, path: &Path) -> Result<(), BoxError> {
        Ok(fs::write(path, serde_json::to_vec(&self.values)?)?)
    }

    fn save_model(&mut self, path: &Path) -> Result<(), BoxError> {
        self.save_weights(path)
    }

    fn load_weights(&mut self, path: &Path) -> Result<(), BoxError> {
        self.values = serde_json::from_slice(&fs::read(path)?)?;
        Ok(())
    }

    fn swap_averages(&mut self) -> Result<(), BoxError> {
        Ok(())
    }

    fn optimizer_numbers(&self) -> Vec<(String, f64)> {
        let rate = self
            .learning_rate
            .map(|rate| ("learning_rate".to_owned(), rate));
        rate.into_iter().collect()
    }

    fn set_optimizer_number(&mut self, name: &str, value: f64) -> Result<(), BoxError> {
        if name != "learning_rate" || self.learning_rate.is_none() {
            return Err(format!("the optimizer has no number `{name}`").into());
        }
        if !value.is_finite() || value < 0.0 {
            return Err(format!(
                "learning_rate: expected a finite number that is not negative, found {value}"
            )
            .into());
        }
        self.learning_rate = Some(value);
        Ok(())
    }

    fn set_log(&mut self, key: &str, value: LogValue) -> Result<(), BoxError> {
        self.logs.set(key, value);
        Ok(())
    }

    fn history(&self) -> Result<Vec<EpochLogs>, BoxError> {
        Ok(self.history.clone())
    }

    fn queue(&self) -> Option<QueueStats> {
        Some(QueueStats {
            ready: 2,
            capacity: 10,
            delivered: self.step,
            consumer_wait: Duration::from_millis(1),
            producer_wait: Duration::from_millis(2),
        })
    }

    fn inputs(&self) -> Vec<ArrayInfo> {
        if !self.in_batch {
            return Vec::new();
        }
        vec![ArrayInfo {
            name: "image".to_owned(),
            shape: INPUT.to_vec(),
        }]
    }

    fn read_input(&mut self, index: usize, values: &mut Vec<f32>) -> Result<(), BoxError> {
        if !self.in_batch || index > 0 {
            return Err(format!("no input {index} at this event").into());
        }
        *values = numbers(&INPUT, 1.0);
        Ok(())
    }

    fn facts(&self) -> Result<String, BoxError> {
        let mut optimizer = json!({"name": "SGD", "scheduled": false});
        if let Some(rate) = self.learning_rate {
            optimizer["learning_rate"] = rate.into();
        }
        let facts = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "device": "cpu",
            "seed": 0,
            "epochs": self.info.epochs,
            "initial_epoch": self.info.initial_epoch,
            "steps": self.info.steps,
            "validation": self.info.validation,
            "metrics": self.info.metrics,
            "optimizer": optimizer,
            "inputs": [{"name": "image", "shape": INPUT[1..]}],
            "outputs": [{
                "name": "dense",
                "shape": [3],
                "loss": "sparse_categorical_crossentropy",
                "loss_weight": 1.0,
            }],
            "parameters": 51,
            "trainable_parameters": 51,
            "network": null,
        });
        Ok(facts.to_string())
    }

    fn requests(&self) -> Option<&Requests> {
        Some(self.requests.requests())
    }
}
