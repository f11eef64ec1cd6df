//! The built-in callbacks, and the events and errors of real trainings.

use crate::fixture::{Args, Case, Outcome, numbers, run};
use keros::callbacks::{
    BoxError, CallbackList, CsvLogger, EarlyStopping, Event, EventKind, Logs, Mode,
    ModelCheckpoint, ParamInfo, ReduceLrOnPlateau, Run, RunInfo, SaveFreq,
};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;
use std::{fs, mem};

#[path = "callbacks_traces.rs"]
mod traces;

#[test]
fn callbacks() {
    run("callbacks", &[], |case| {
        let id = case.id.clone();
        match id.split('_').next().unwrap_or_default() {
            "early" => early_stopping(case),
            "reduce" => reduce_lr(case),
            "lr" => traces::lr_scheduler(case),
            "csv" => csv_logger(case),
            "checkpoint" => match id.as_str() {
                "checkpoint_save_freq_4" => save_freq(case),
                _ => checkpoint(case),
            },
            _ => traces::check(case),
        }
    });
}

/// A run of one weight, played by hand.
#[derive(Default)]
pub(crate) struct Played {
    info: RunInfo,
    logs: Logs,
    params: Vec<ParamInfo>,
    weight: f32,
    rate: f64,
    /// Names of the files saved.
    saved: Vec<String>,
}

impl Played {
    pub(crate) fn new() -> Played {
        Played {
            params: vec![ParamInfo {
                name: "dense/kernel".to_owned(),
                shape: vec![1],
                trainable: true,
            }],
            ..Played::default()
        }
    }

    /// Sends an event and does what is decided about the learning rate; whether a stop was decided.
    pub(crate) fn send(
        &mut self,
        list: &mut CallbackList<'_>,
        kind: EventKind,
        epoch: u64,
        batch: u64,
    ) -> Result<bool, String> {
        let event = Event {
            kind,
            epoch,
            batch,
            step: 0,
            samples: 1,
            nested: false,
        };
        let decision = list.dispatch(&event, self);
        let decision = decision.map_err(|error| error.to_string())?;
        self.rate = decision.learning_rate.unwrap_or(self.rate);
        Ok(decision.stop.is_some())
    }

    /// The only log of the next event.
    pub(crate) fn log(&mut self, key: &str, value: f64) {
        self.logs = Logs::new();
        self.logs.set(key, value);
    }

    fn save(&mut self, path: &Path) {
        let name = path.file_name().unwrap().to_str().unwrap();
        self.saved.push(name.replace(".safetensors", ".weights.h5"));
    }
}

impl Run for Played {
    fn info(&self) -> &RunInfo {
        &self.info
    }
    fn logs(&mut self) -> Result<&mut Logs, BoxError> {
        Ok(&mut self.logs)
    }
    fn learning_rate(&self) -> Option<f64> {
        Some(self.rate)
    }
    fn data_wait(&self) -> Duration {
        Duration::ZERO
    }
    fn params(&self) -> &[ParamInfo] {
        &self.params
    }
    fn read_param(&mut self, _: usize, values: &mut Vec<f32>) -> Result<(), BoxError> {
        *values = vec![self.weight];
        Ok(())
    }
    fn write_param(&mut self, _: usize, values: &[f32]) -> Result<(), BoxError> {
        self.weight = values[0];
        Ok(())
    }
    fn save_weights(&mut self, path: &Path) -> Result<(), BoxError> {
        self.save(path);
        Ok(())
    }
    fn save_model(&mut self, path: &Path) -> Result<(), BoxError> {
        self.save(path);
        Ok(())
    }
}

fn mode(args: &mut Args) -> Mode {
    match args.take("mode") {
        Some(name) => name.as_str().unwrap().parse().unwrap(),
        None => Mode::Auto,
    }
}

fn count(args: &mut Args, name: &str) -> Option<u64> {
    args.take(name).map(|value| value.as_u64().unwrap())
}

fn monitor(args: &mut Args) -> String {
    args.take("monitor").unwrap().as_str().unwrap().to_owned()
}

/// The monitored values; null stands for NaN.
fn values(case: &Case) -> Vec<f64> {
    let values = case.inputs["val_loss"].as_array().unwrap().iter();
    values
        .map(|value| value.as_f64().unwrap_or(f64::NAN))
        .collect()
}

fn early_stopping(case: &mut Case) -> Outcome {
    let args = &mut case.args;
    let mut stopping = EarlyStopping::new(monitor(args)).mode(mode(args));
    if let Some(patience) = count(args, "patience") {
        stopping = stopping.patience(patience);
    }
    if let Some(min_delta) = args.float("min_delta") {
        stopping = stopping.min_delta(min_delta);
    }
    if let Some(baseline) = args.float("baseline") {
        stopping = stopping.baseline(baseline);
    }
    if let Some(epoch) = count(args, "start_from_epoch") {
        stopping = stopping.start_from_epoch(epoch);
    }
    if let Some(restore) = args.flag("restore_best_weights") {
        stopping = stopping.restore_best_weights(restore);
    }
    args.finish()?;
    let mut played = Played::new();
    let mut epochs = 0;
    let mut stopped = false;
    {
        let mut list = CallbackList::new().with(&mut stopping);
        played.send(&mut list, EventKind::TrainBegin, 0, 0)?;
        for (epoch, value) in values(case).into_iter().enumerate() {
            played.weight = epoch as f32 + 1.0;
            played.log("val_loss", value);
            stopped = played.send(&mut list, EventKind::EpochEnd, epoch as u64, 0)?;
            epochs += 1;
            if stopped {
                break;
            }
        }
        played.send(&mut list, EventKind::TrainEnd, epochs - 1, 0)?;
    }
    let expected = &case.expected;
    let found = json!({
        "stop_training": stopped,
        // Keras: 0 if it did not stop.
        "stopped_epoch": stopping.stopped_epoch().unwrap_or(0),
        "epochs_run": epochs,
    });
    for (name, found) in found.as_object().unwrap() {
        if *found != expected[name] {
            return Err(format!(
                "{name}: expected {}, found {found}",
                expected[name]
            ));
        }
    }
    case.close_number(
        "final_weight",
        played.weight.into(),
        &expected["final_weight"],
    )?;
    match stopping.best() {
        Some(best) => {
            case.close_number("best", best, &expected["best"])?;
            case.close_number(
                "best_epoch",
                stopping.best_epoch().unwrap() as f64,
                &expected["best_epoch"],
            )
        }
        None => Ok(()),
    }
}

fn reduce_lr(case: &mut Case) -> Outcome {
    let args = &mut case.args;
    let mut reduce = ReduceLrOnPlateau::new(monitor(args)).mode(mode(args));
    if let Some(factor) = args.float("factor") {
        reduce = reduce.factor(factor).unwrap();
    }
    if let Some(patience) = count(args, "patience") {
        reduce = reduce.patience(patience);
    }
    if let Some(min_delta) = args.float("min_delta") {
        reduce = reduce.min_delta(min_delta);
    }
    if let Some(cooldown) = count(args, "cooldown") {
        reduce = reduce.cooldown(cooldown);
    }
    if let Some(min_lr) = args.float("min_lr") {
        reduce = reduce.min_lr(min_lr).unwrap();
    }
    args.finish()?;
    let mut played = Played::new();
    played.rate = 0.1;
    let mut list = CallbackList::new().with(reduce);
    played.send(&mut list, EventKind::TrainBegin, 0, 0)?;
    let mut rates = Vec::new();
    for (epoch, value) in values(case).into_iter().enumerate() {
        played.log("val_loss", value);
        let before = played.rate;
        played.send(&mut list, EventKind::EpochEnd, epoch as u64, 0)?;
        assert_eq!(played.logs.number("learning_rate"), Some(before));
        rates.push(played.rate as f32);
    }
    case.close(
        "lr_after_epoch",
        &rates,
        &numbers(&case.expected["lr_after_epoch"]),
    )
}

fn csv_logger(case: &mut Case) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.csv");
    let append = case.args.flag("append").unwrap_or(false);
    let separator = case.args.take("separator");
    case.args.finish()?;
    let runs = case.inputs["runs"].as_u64().unwrap_or(1);
    let rows = case.inputs["logs_per_epoch"].as_array().unwrap();
    let mut epoch = 0;
    for _ in 0..runs {
        let mut logger = CsvLogger::new(&path).append(append);
        if let Some(separator) = &separator {
            let separator = separator.as_str().unwrap().chars().next().unwrap();
            logger = logger.separator(separator).unwrap();
        }
        let mut list = CallbackList::new().with(logger);
        let mut played = Played::new();
        played.send(&mut list, EventKind::TrainBegin, 0, 0)?;
        for row in rows {
            played.logs = Logs::new();
            for (key, value) in row.as_object().unwrap() {
                played.logs.set(key, value.as_f64().unwrap());
            }
            played.send(&mut list, EventKind::EpochEnd, epoch, 0)?;
            epoch += 1;
        }
        played.send(&mut list, EventKind::TrainEnd, epoch - 1, 0)?;
    }
    let found = Value::from(fs::read_to_string(path).unwrap());
    match found == case.expected["content"] {
        true => Ok(()),
        false => Err(format!(
            "expected {}, found {found}",
            case.expected["content"]
        )),
    }
}

/// A file name of Keras with our ending.
fn ours(path: &str, folder: &Path) -> std::path::PathBuf {
    folder.join(path.replace(".weights.h5", ".safetensors"))
}

fn checkpoint(case: &mut Case) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let args = &mut case.args;
    let path = args.take("filepath").unwrap();
    let mut saver = ModelCheckpoint::new(ours(path.as_str().unwrap(), folder.path()))
        .unwrap()
        .monitor(monitor(args))
        .mode(mode(args));
    if let Some(weights_only) = args.flag("save_weights_only") {
        saver = saver.save_weights_only(weights_only);
    }
    if let Some(best_only) = args.flag("save_best_only") {
        saver = saver.save_best_only(best_only);
    }
    if let Some(threshold) = args.float("initial_value_threshold") {
        saver = saver.initial_value_threshold(threshold);
    }
    args.finish()?;
    let mut list = CallbackList::new().with(saver);
    let mut played = Played::new();
    played.send(&mut list, EventKind::TrainBegin, 0, 0)?;
    let mut files = Vec::new();
    for (epoch, value) in values(case).into_iter().enumerate() {
        played.logs = Logs::new();
        played.logs.set("loss", 2.0 * value);
        played.logs.set("val_loss", value);
        played.send(&mut list, EventKind::EpochEnd, epoch as u64, 0)?;
        files.push(mem::take(&mut played.saved));
    }
    same_files(&json!(files), &case.expected["files_written_per_epoch"])
}

fn save_freq(case: &mut Case) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let args = &mut case.args;
    let freq = count(args, "save_freq").unwrap();
    let batches = count(args, "batches_per_epoch").unwrap();
    let epochs = count(args, "epochs").unwrap();
    args.finish()?;
    let saver = ModelCheckpoint::new(ours("b{epoch}_{batch}.weights.h5", folder.path()))
        .unwrap()
        .save_freq(SaveFreq::Batches(freq))
        .unwrap();
    let mut list = CallbackList::new().with(saver);
    let mut played = Played::new();
    for epoch in 0..epochs {
        for batch in 0..batches {
            played.send(&mut list, EventKind::TrainBatchEnd, epoch, batch)?;
        }
    }
    same_files(&json!(played.saved), &case.expected["files"])
}

fn same_files(found: &Value, expected: &Value) -> Outcome {
    match found == expected {
        true => Ok(()),
        false => Err(format!("expected {expected}, found {found}")),
    }
}
