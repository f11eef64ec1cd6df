//! A run without a trainer.

use keros_callbacks::{
    BoxError, CallbackList, Decision, Event, EventKind, Logs, ParamInfo, Run, RunInfo,
};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Serves fixed logs and parameters, and keeps a record of what it was asked for.
pub(crate) struct FakeRun {
    pub(crate) info: RunInfo,
    pub(crate) logs: Logs,
    pub(crate) logs_read: usize,
    pub(crate) wait: Duration,
    pub(crate) rate: f64,
    pub(crate) params: Vec<ParamInfo>,
    pub(crate) values: Vec<f32>,
    /// Files of weights and models.
    pub(crate) saved: Vec<PathBuf>,
    /// Whether files of weights and models cannot be written.
    pub(crate) full: bool,
    /// What the event is about.
    pub(crate) detail: Option<String>,
    /// How often weights and averages were exchanged.
    pub(crate) swaps: usize,
    /// Whether the learning rate follows a schedule.
    pub(crate) scheduled: bool,
}

impl Default for FakeRun {
    fn default() -> FakeRun {
        FakeRun {
            info: RunInfo::default(),
            logs: Logs::default(),
            logs_read: 0,
            wait: Duration::ZERO,
            rate: 0.001,
            params: vec![ParamInfo {
                name: "dense/kernel".into(),
                shape: vec![2],
                trainable: true,
            }],
            values: vec![0.0; 2],
            saved: Vec::new(),
            full: false,
            detail: None,
            swaps: 0,
            scheduled: false,
        }
    }
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
        Some(self.rate)
    }
    fn data_wait(&self) -> Duration {
        self.wait
    }
    fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }
    fn params(&self) -> &[ParamInfo] {
        &self.params
    }
    fn read_param(&mut self, _: usize, values: &mut Vec<f32>) -> Result<(), BoxError> {
        values.clone_from(&self.values);
        Ok(())
    }
    fn write_param(&mut self, _: usize, values: &[f32]) -> Result<(), BoxError> {
        self.values = values.to_vec();
        Ok(())
    }
    fn save_weights(&mut self, path: &Path) -> Result<(), BoxError> {
        if self.full {
            return Err("the disk is full".into());
        }
        self.saved.push(path.to_owned());
        Ok(())
    }
    fn save_model(&mut self, path: &Path) -> Result<(), BoxError> {
        self.save_weights(path)
    }
    fn is_scheduled(&self) -> bool {
        self.scheduled
    }
    fn swap_averages(&mut self) -> Result<(), BoxError> {
        self.swaps += 1;
        Ok(())
    }
}

impl FakeRun {
    /// Sends an event and does what a trainer does with the decision: sets the learning rate, writes
    /// checkpoints (empty files) and tells of them.
    pub(crate) fn send(
        &mut self,
        list: &mut CallbackList<'_>,
        kind: EventKind,
        epoch: u64,
        batch: u64,
    ) -> Decision {
        let decision = list.dispatch(&event(kind, epoch, batch), self).unwrap();
        if let Some(rate) = decision.learning_rate {
            self.rate = rate;
        }
        for path in &decision.checkpoints {
            std::fs::write(path, b"").unwrap();
            self.detail = Some(path.display().to_string());
            let saved = event(EventKind::CheckpointSaved, epoch, batch);
            list.dispatch(&saved, self).unwrap();
            self.detail = None;
        }
        decision
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
