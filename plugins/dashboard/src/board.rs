//! What the page shows: the state of the run in bounded memory, and what a page lacks of it.

use crate::curve::{Cursor, Curve, Part};
use crate::pace::Pace;
use keros_plugin::{Level, LogValue, Logs, QueueStats, RunInfo};
use serde::{Serialize, Serializer};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Points of the batch curves: more than a screen has pixels.
const MAX_BATCH_ROWS: usize = 2048;
/// Points of the epoch curves.
const MAX_EPOCH_ROWS: usize = 2048;
/// Messages kept; earlier ones go.
const MAX_MESSAGES: usize = 100;
/// Logs whose latest value is shown.
const MAX_LATEST: usize = 128;

/// What the run is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    Training,
    Validating,
    /// The training is over.
    Ended,
    /// The training has ended by an error.
    Failed,
}

/// How the batches come: who waits for whom.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Waits {
    /// Seconds the training of this epoch has taken so far.
    pub(crate) epoch_s: f64,
    /// Seconds of them it waited for data.
    pub(crate) data_s: f64,
    /// The queue of prepared batches, if there is one.
    pub(crate) queue: Option<Queue>,
}

/// The queue of prepared batches.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Queue {
    ready: u64,
    capacity: u64,
    /// Seconds workers have waited for room in this epoch, summed over the workers.
    workers_s: f64,
}

impl From<QueueStats> for Queue {
    fn from(stats: QueueStats) -> Queue {
        Queue {
            ready: stats.ready,
            capacity: stats.capacity,
            workers_s: stats.producer_wait.as_secs_f64(),
        }
    }
}

/// The numbers of a batch at which the board is brought up to date.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batch {
    pub(crate) epoch: u64,
    /// Batches of the epoch done, this one with them.
    pub(crate) done: u64,
    /// Samples of the epoch that this run was trained on.
    pub(crate) samples: u64,
    pub(crate) learning_rate: Option<f64>,
    pub(crate) data_wait: Duration,
    pub(crate) queue: Option<QueueStats>,
}

/// A sentence, and when it was said.
#[derive(Debug, Serialize)]
struct Said {
    level: &'static str,
    source: String,
    text: String,
    elapsed_s: f64,
}

/// The state of one run.
#[derive(Debug)]
pub(crate) struct Board {
    /// Which run it is: counts from 1.
    run: u64,
    info: RunInfo,
    /// How the run was set up, if it tells.
    facts: serde_json::Value,
    phase: Phase,
    pace: Pace,
    epoch: u64,
    done: u64,
    /// Batches of the last epoch that ended, for runs that do not tell.
    counted_steps: Option<u64>,
    /// Batches of the current validation done.
    validated: u64,
    samples_per_s: Option<f64>,
    batches_per_s: Option<f64>,
    waits: Option<Waits>,
    latest: Vec<(String, Shown)>,
    batches: Curve,
    epochs: Curve,
    messages: VecDeque<Said>,
    /// Messages said so far, in all runs.
    said: u64,
    stop_asked: bool,
    save_asked: bool,
    /// Whether a batch has ended since.
    save_due: bool,
    can_save: bool,
    /// Whether the page can be loaded for a while after the training.
    lingers: bool,
    /// Whether the server ends after this.
    closing: bool,
}

/// How much of the board a page has.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    run: u64,
    batches: Cursor,
    epochs: Cursor,
    said: u64,
}

/// What a page is sent.
#[derive(Serialize)]
struct Update<'a> {
    run: u64,
    /// Facts of the run, to a page that does not know them.
    #[serde(skip_serializing_if = "Option::is_none")]
    info: Option<&'a RunInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    facts: Option<&'a serde_json::Value>,
    phase: Phase,
    epoch: u64,
    done: u64,
    steps: Option<u64>,
    validated: u64,
    elapsed_s: f64,
    to_go_s: Option<f64>,
    samples_per_s: Option<f64>,
    batches_per_s: Option<f64>,
    waits: Option<Waits>,
    latest: &'a [(String, Shown)],
    batches: Part<'a>,
    epochs: Part<'a>,
    messages: Vec<&'a Said>,
    stop_asked: bool,
    save_asked: bool,
    can_save: bool,
    lingers: bool,
    closing: bool,
}

/// A value as the page gets it: JSON has no NaN, so that a number that is none becomes a text.
#[derive(Clone, Debug, PartialEq)]
struct Shown(LogValue);

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            LogValue::Float(value) if !value.is_finite() => serializer.collect_str(value),
            value => value.serialize(serializer),
        }
    }
}

impl Board {
    pub(crate) fn new(lingers: bool) -> Board {
        Board {
            run: 0,
            info: RunInfo::default(),
            facts: serde_json::Value::Null,
            phase: Phase::Training,
            pace: Pace::begin(Instant::now()),
            epoch: 0,
            done: 0,
            counted_steps: None,
            validated: 0,
            samples_per_s: None,
            batches_per_s: None,
            waits: None,
            latest: Vec::new(),
            batches: Curve::new(MAX_BATCH_ROWS),
            epochs: Curve::new(MAX_EPOCH_ROWS),
            messages: VecDeque::new(),
            said: 0,
            stop_asked: false,
            save_asked: false,
            save_due: false,
            can_save: false,
            lingers,
            closing: false,
        }
    }

    /// Another run begins; `can_save` tells whether it takes requests to save.
    pub(crate) fn begin(
        &mut self,
        info: RunInfo,
        facts: serde_json::Value,
        can_save: bool,
        now: Instant,
    ) {
        self.run += 1;
        self.epoch = info.initial_epoch;
        self.info = info;
        self.facts = facts;
        self.can_save = can_save;
        self.phase = Phase::Training;
        self.pace = Pace::begin(now);
        self.done = 0;
        self.counted_steps = None;
        self.validated = 0;
        self.samples_per_s = None;
        self.batches_per_s = None;
        self.waits = None;
        self.latest.clear();
        self.batches.clear();
        self.epochs.clear();
        self.messages.clear();
        self.stop_asked = false;
        self.saved();
        self.closing = false;
    }

    pub(crate) fn begin_epoch(&mut self, epoch: u64, now: Instant) {
        self.phase = Phase::Training;
        self.epoch = epoch;
        self.done = 0;
        self.validated = 0;
        self.pace.begin_epoch(now);
    }

    pub(crate) fn batch(&mut self, batch: Batch, logs: &Logs, now: Instant) {
        let epoch_s = self.pace.in_epoch(now).as_secs_f64();
        self.epoch = batch.epoch;
        self.done = batch.done;
        self.batches_per_s = Some(self.pace.seen(batch.done) as f64 / epoch_s);
        self.samples_per_s = Some(batch.samples as f64 / epoch_s);
        self.waits = Some(Waits {
            epoch_s,
            data_s: batch.data_wait.as_secs_f64(),
            queue: batch.queue.map(Queue::from),
        });
        self.show(logs, batch.learning_rate);
        self.batches
            .push(batch.epoch, batch.done, numbers(logs, batch.learning_rate));
    }

    pub(crate) fn end_epoch(
        &mut self,
        epoch: u64,
        done: u64,
        logs: &Logs,
        learning_rate: Option<f64>,
        now: Instant,
    ) {
        self.phase = Phase::Training;
        self.epoch = epoch;
        self.done = done;
        self.counted_steps = Some(done);
        self.pace.end_epoch(now);
        self.show(logs, learning_rate);
        self.epochs.push(epoch, done, numbers(logs, learning_rate));
    }

    /// The run is in an epoch of which `before` batches were done before it.
    pub(crate) fn go_on(&mut self, epoch: u64, before: u64) {
        self.epoch = epoch;
        self.done = before;
        self.pace.go_on(before);
    }

    /// An epoch that ended before this run went on from a checkpoint.
    pub(crate) fn earlier_epoch(&mut self, epoch: u64, logs: &Logs) {
        let done = self.info.steps.unwrap_or(0);
        self.epochs.push(epoch, done, numbers(logs, None));
    }

    pub(crate) fn validating(&mut self, done: u64) {
        self.phase = Phase::Validating;
        self.validated = done;
    }

    /// The training is over; by an error, if there is one.
    pub(crate) fn end(&mut self, failed: bool, now: Instant) {
        self.phase = if failed { Phase::Failed } else { Phase::Ended };
        self.pace.end(now);
    }

    pub(crate) fn say(&mut self, level: Level, source: &str, text: &str, now: Instant) {
        if self.messages.len() == MAX_MESSAGES {
            self.messages.pop_front();
        }
        self.said += 1;
        self.messages.push_back(Said {
            level: match level {
                Level::Info => "info",
                Level::Warning => "warning",
                Level::Error => "error",
            },
            source: source.to_owned(),
            text: text.to_owned(),
            elapsed_s: self.pace.elapsed(now).as_secs_f64(),
        });
    }

    /// Notes that somebody asked in the page; tells whether it can still be done.
    pub(crate) fn ask_stop(&mut self) -> bool {
        let possible = self.is_running();
        self.stop_asked |= possible;
        possible
    }

    /// As [`ask_stop`](Self::ask_stop).
    pub(crate) fn ask_save(&mut self) -> bool {
        let possible = self.is_running() && self.can_save;
        self.save_asked |= possible;
        possible
    }

    /// Whether what was asked for was to be saved at the last batch end that this was called for, and was not.
    pub(crate) fn is_save_overdue(&mut self) -> bool {
        let overdue = self.save_due;
        self.save_due = self.save_asked;
        overdue
    }

    pub(crate) fn saved(&mut self) {
        (self.save_asked, self.save_due) = (false, false);
    }

    pub(crate) fn close(&mut self) {
        self.closing = true;
    }

    /// Whether a training has been, and is over.
    pub(crate) fn is_over(&self) -> bool {
        self.run > 0 && !self.is_running()
    }

    fn is_running(&self) -> bool {
        self.run > 0 && matches!(self.phase, Phase::Training | Phase::Validating)
    }

    /// What `reader` lacks, as JSON, and whether it is the last of it.
    pub(crate) fn since(&self, reader: &mut Reader, now: Instant) -> (String, bool) {
        let known = reader.run == self.run;
        let lacking = if known {
            self.said - reader.said
        } else {
            u64::MAX
        };
        let lacking = usize::try_from(lacking).unwrap_or(usize::MAX);
        let passed = self.messages.len().saturating_sub(lacking);
        let steps = self.info.steps.or(self.counted_steps);
        let epochs_to_go = self.info.epochs.saturating_sub(self.epoch);
        let to_go = self.pace.to_go(now, epochs_to_go, self.done, steps);
        let update = Update {
            run: self.run,
            info: (!known).then_some(&self.info),
            facts: (!known).then_some(&self.facts),
            phase: self.phase,
            epoch: self.epoch,
            done: self.done,
            steps,
            validated: self.validated,
            elapsed_s: self.pace.elapsed(now).as_secs_f64(),
            to_go_s: to_go.map(|to_go| to_go.as_secs_f64()),
            samples_per_s: self.samples_per_s,
            batches_per_s: self.batches_per_s,
            waits: self.waits,
            latest: &self.latest,
            batches: self.batches.since(&mut reader.batches),
            epochs: self.epochs.since(&mut reader.epochs),
            messages: self.messages.iter().skip(passed).collect(),
            stop_asked: self.stop_asked,
            save_asked: self.save_asked,
            can_save: self.can_save,
            lingers: self.lingers,
            closing: self.closing,
        };
        reader.run = self.run;
        reader.said = self.said;
        // Maps with keys of text, numbers and texts: nothing JSON cannot hold.
        let json = serde_json::to_string(&update).unwrap_or_default();
        (json, self.closing)
    }

    fn show(&mut self, logs: &Logs, learning_rate: Option<f64>) {
        let logs = logs.iter().map(|(key, value)| (key, value.clone()));
        let rate = learning_rate.map(|rate| (LEARNING_RATE, LogValue::Float(rate)));
        for (key, value) in logs.chain(rate) {
            match self.latest.iter().position(|(known, _)| known == key) {
                Some(place) => self.latest[place].1 = Shown(value),
                None if self.latest.len() < MAX_LATEST => {
                    self.latest.push((key.to_owned(), Shown(value)));
                }
                None => {}
            }
        }
    }
}

const LEARNING_RATE: &str = "learning_rate";

/// The logs that are numbers, with the learning rate if they lack it.
fn numbers(logs: &Logs, learning_rate: Option<f64>) -> impl Iterator<Item = (&str, f64)> {
    let rate = learning_rate.filter(|_| logs.get(LEARNING_RATE).is_none());
    let numbers = logs
        .iter()
        .filter_map(|(key, value)| Some((key, value.as_number()?)));
    numbers.chain(rate.map(|rate| (LEARNING_RATE, rate)))
}
