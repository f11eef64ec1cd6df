//! The short training: two epochs of three batches with validation, an evaluation, a prediction, and a training that
//! ends by an error. Decisions are obeyed, as a trainer does.

use crate::helper::Reporter;
use crate::run::MadeUp;
use anyhow::Result;
use keros_callbacks::{
    Callback, CallbackList, Decision, EpochLogs, Event, EventKind, EventSet, Level, Logs, Message,
};
use keros_plugin_host::LoadedCallback;
use std::fs;
use std::ops::Range;
use std::path;

/// Rows of each batch of an epoch.
const ROWS: [u64; 3] = [8, 8, 4];

/// What came of the events.
#[derive(Default)]
pub(crate) struct Heard {
    /// How many events the plugin was sent.
    pub(crate) sent: u64,
    /// Of which kinds.
    pub(crate) kinds: EventSet,
    /// What it said.
    pub(crate) messages: Vec<Message>,
}

/// All of it: every event there is, as far as the plugin does not end the run. Its state after the first epoch, if it
/// has one.
pub(crate) fn run(
    reporter: &Reporter,
    instance: &mut LoadedCallback,
    heard: &mut Heard,
) -> Result<Option<Vec<u8>>> {
    let mut scene = Scene::new(reporter, MadeUp::new(0..2, true, Some(0.01)), heard);
    let state = scene.fit(instance, 0..2, None)?;

    let mut scene = Scene::new(reporter, MadeUp::new(0..1, false, None), heard);
    scene.evaluate(instance, 0, false)?;

    let mut scene = Scene::new(reporter, MadeUp::new(0..1, false, None), heard);
    scene.predict(instance)?;

    let mut scene = Scene::new(reporter, MadeUp::new(0..2, true, Some(0.01)), heard);
    scene.fail(instance)?;
    Ok(state)
}

/// A training of which the first epoch is over already.
pub(crate) fn resume(
    reporter: &Reporter,
    instance: &mut LoadedCallback,
    state: &[u8],
) -> Result<()> {
    let mut heard = Heard::default();
    let mut scene = Scene::new(reporter, MadeUp::new(1..2, true, Some(0.01)), &mut heard);
    scene.fit(instance, 1..2, Some(state))?;
    Ok(())
}

/// A run, and who is told of it.
struct Scene<'a> {
    reporter: &'a Reporter,
    run: MadeUp,
    heard: &'a mut Heard,
    stop: bool,
    stop_epoch: bool,
}

/// Keeps what the plugin says.
struct Ears<'a>(&'a mut Vec<Message>);

impl Callback for Ears<'_> {
    fn events(&self) -> EventSet {
        EventSet::NONE
    }
    fn on_message(&mut self, message: &Message) {
        self.0.push(message.clone());
    }
}

/// The logs of a batch or an epoch.
fn logs(prefix: &str, step: u64) -> Logs {
    let loss = 1.0 / (step + 1) as f64;
    let logs = [("loss", loss), ("accuracy", 1.0 - loss / 2.0)];
    let logs = logs.map(|(key, value)| (format!("{prefix}{key}"), value));
    logs.into_iter().collect()
}

impl<'a> Scene<'a> {
    fn new(reporter: &'a Reporter, run: MadeUp, heard: &'a mut Heard) -> Scene<'a> {
        Scene {
            reporter,
            run,
            heard,
            stop: false,
            stop_epoch: false,
        }
    }

    /// Sends an event, if the plugin wants it, and does what it asks for; whether the batch is to be skipped.
    fn send(
        &mut self,
        instance: &mut LoadedCallback,
        kind: EventKind,
        [epoch, batch, samples]: [u64; 3],
        logs: Logs,
        nested: bool,
    ) -> Result<bool> {
        self.run.logs = logs;
        let wanted = instance.events().contains(kind);
        let mut answer = Decision::CONTINUE;
        if wanted {
            self.heard.sent += 1;
            self.heard.kinds = self.heard.kinds.union(EventSet::of(&[kind]));
            self.reporter.doing(format!("sending {kind}"))?;
            let event = Event {
                kind,
                epoch,
                batch,
                step: self.run.step,
                samples,
                nested,
            };
            let ears = Ears(&mut self.heard.messages);
            let mut callbacks = CallbackList::new().with(instance).with(ears);
            let outcome = callbacks.dispatch(&event, &mut self.run);
            answer = self.reporter.stage("events", outcome)?;
        }
        answer.merge(self.run.requests.take());
        self.stop |= answer.stop.is_some();
        self.stop_epoch |= answer.stop_epoch;
        if let Some(rate) = answer.learning_rate {
            self.run.learning_rate = Some(rate);
        }
        if let Some(path) = answer.resume {
            let path = path.display();
            let note = format!("it asked to go on from {path}, which a made-up training cannot");
            self.reporter.note(note)?;
        }
        Ok(answer.skip_batch)
    }

    /// `fit`, as far as the plugin lets it; its state after the first epoch.
    fn fit(
        &mut self,
        instance: &mut LoadedCallback,
        epochs: Range<u64>,
        state: Option<&[u8]>,
    ) -> Result<Option<Vec<u8>>> {
        let mut saved = None;
        self.send(instance, EventKind::TrainBegin, [0; 3], Logs::new(), false)?;
        if let Some(state) = state {
            self.reporter.doing("loading its state")?;
            let loaded = instance.load_state(state);
            self.reporter.stage("state", loaded)?;
        }
        self.reporter.doing("telling it a message")?;
        instance.on_message(&Message {
            level: Level::Info,
            source: "keros-plugin-check".to_owned(),
            text: "this training is made up".to_owned(),
        });
        for epoch in epochs {
            let at = [epoch, 0, 0];
            self.stop_epoch = false;
            self.send(instance, EventKind::EpochBegin, at, Logs::new(), false)?;
            self.batches(instance, epoch)?;
            self.evaluate(instance, epoch, true)?;
            let mut of_epoch = logs("", self.run.step);
            for (key, value) in logs("val_", self.run.step).iter() {
                of_epoch.set(key, value.clone());
            }
            self.send(instance, EventKind::EpochEnd, at, of_epoch, false)?;
            let logs = std::mem::take(&mut self.run.logs);
            self.run.history.push(EpochLogs { epoch, logs });
            if state.is_none() && saved.is_none() {
                self.reporter.doing("telling its state")?;
                saved = self.reporter.stage("state", instance.save_state())?;
                let checkpoint = path::absolute("made-up.checkpoint")?;
                fs::write(&checkpoint, "of a made-up training")?;
                self.run.detail = Some(checkpoint.display().to_string());
                self.send(instance, EventKind::CheckpointSaved, at, Logs::new(), false)?;
                self.run.detail = None;
            }
            if self.stop {
                break;
            }
        }
        let of_last = self.run.history.last();
        let of_last = of_last.map(|epoch| epoch.logs.clone()).unwrap_or_default();
        self.send(instance, EventKind::TrainEnd, [0; 3], of_last, false)?;
        Ok(saved)
    }

    fn batches(&mut self, instance: &mut LoadedCallback, epoch: u64) -> Result<()> {
        for (batch, rows) in (0..).zip(ROWS) {
            let at = [epoch, batch, rows];
            self.run.in_batch = true;
            let mut skip =
                self.send(instance, EventKind::TrainBatchBegin, at, Logs::new(), false)?;
            if !skip {
                for kind in [EventKind::AfterBackward, EventKind::BeforeStep] {
                    skip |= self.send(instance, kind, at, Logs::new(), false)?;
                }
                self.run.step += u64::from(!skip);
                let of_batch = logs("", self.run.step);
                self.send(instance, EventKind::TrainBatchEnd, at, of_batch, false)?;
            }
            self.run.in_batch = false;
            if self.stop || self.stop_epoch {
                break;
            }
        }
        Ok(())
    }

    /// An evaluation, inside of `fit` or alone.
    fn evaluate(&mut self, instance: &mut LoadedCallback, epoch: u64, nested: bool) -> Result<()> {
        let at = [epoch, 0, 0];
        self.send(instance, EventKind::TestBegin, at, Logs::new(), nested)?;
        self.in_batches(
            instance,
            EventKind::TestBatchBegin,
            EventKind::TestBatchEnd,
            epoch,
            nested,
        )?;
        let of_test = logs("", self.run.step);
        self.send(instance, EventKind::TestEnd, at, of_test, nested)?;
        Ok(())
    }

    fn predict(&mut self, instance: &mut LoadedCallback) -> Result<()> {
        self.send(
            instance,
            EventKind::PredictBegin,
            [0; 3],
            Logs::new(),
            false,
        )?;
        self.in_batches(
            instance,
            EventKind::PredictBatchBegin,
            EventKind::PredictBatchEnd,
            0,
            false,
        )?;
        self.send(instance, EventKind::PredictEnd, [0; 3], Logs::new(), false)?;
        Ok(())
    }

    /// The batches of an evaluation or a prediction, of which only the former has logs.
    fn in_batches(
        &mut self,
        instance: &mut LoadedCallback,
        begin: EventKind,
        end: EventKind,
        epoch: u64,
        nested: bool,
    ) -> Result<()> {
        let outer = self.stop;
        for (batch, rows) in (0..).zip(ROWS) {
            let at = [epoch, batch, rows];
            self.run.in_batch = true;
            self.send(instance, begin, at, Logs::new(), nested)?;
            let of_batch = match end {
                EventKind::TestBatchEnd => logs("", self.run.step),
                _ => Logs::new(),
            };
            self.send(instance, end, at, of_batch, nested)?;
            self.run.in_batch = false;
            if self.stop && !outer {
                break;
            }
        }
        Ok(())
    }

    /// A training whose data breaks in its first batch.
    fn fail(&mut self, instance: &mut LoadedCallback) -> Result<()> {
        self.send(instance, EventKind::TrainBegin, [0; 3], Logs::new(), false)?;
        self.send(instance, EventKind::EpochBegin, [0; 3], Logs::new(), false)?;
        self.run.detail = Some("batch 0 of epoch 0: the data is broken".to_owned());
        self.send(instance, EventKind::Error, [0; 3], Logs::new(), false)?;
        Ok(())
    }
}
