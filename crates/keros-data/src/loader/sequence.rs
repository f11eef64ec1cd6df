//! The loader's side for sequences: a schedule of batches, and workers that prepare them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::{DOING, LoadedBatch, LoaderOptions, Threads, guard};
use crate::epoch_order::EpochOrder;
use crate::rng::Purpose;
use crate::stats::Counters;
use crate::{Batch, DataError, Sequence};

/// Delivers the batches of a sequence in the order of its schedule.
pub(super) struct SequenceSource {
    sequence: Arc<dyn Sequence>,
    schedule: Schedule,
    /// `None` prepares batches where they are consumed.
    workers: Option<Workers>,
    counters: Arc<Counters>,
}

/// The worker threads and what they were asked for.
struct Workers {
    max_queue_size: usize,
    /// In order of delivery; at most `max_queue_size`.
    tickets: VecDeque<(Task, Receiver<Result<Batch, DataError>>)>,
    /// Dropping it ends the workers. At most `max_queue_size` jobs are in it because each has a
    /// ticket.
    jobs: Option<Sender<Job>>,
    threads: Threads,
}

/// One batch to be prepared, and where it goes.
struct Job {
    epoch: u64,
    index: usize,
    reply: Sender<Result<Batch, DataError>>,
}

/// One batch in its place.
struct Task {
    position: u64,
    epoch: u64,
    step: usize,
    index: usize,
    epoch_len: usize,
}

impl Task {
    fn loaded(self, batch: Batch) -> LoadedBatch {
        LoadedBatch {
            batch,
            position: self.position,
            epoch: self.epoch,
            step: self.step as u64,
            index: self.index as u64,
            epoch_len: Some(self.epoch_len as u64),
        }
    }
}

impl SequenceSource {
    pub(super) fn new(
        sequence: Arc<dyn Sequence>,
        options: LoaderOptions,
        counters: Arc<Counters>,
    ) -> Result<Self, DataError> {
        let schedule = Schedule::new(sequence.as_ref(), &options)?;
        let mut source = Self {
            sequence,
            schedule,
            workers: None,
            counters,
        };
        if options.workers > 0 {
            source.workers = Some(source.spawn(&options)?);
            source.top_up();
        }
        Ok(source)
    }

    fn spawn(&self, options: &LoaderOptions) -> Result<Workers, DataError> {
        let (jobs, inbox) = unbounded();
        let mut workers = Workers {
            max_queue_size: options.max_queue_size,
            tickets: VecDeque::new(),
            jobs: Some(jobs),
            threads: Threads::default(),
        };
        // More threads than places in the queue would never have work.
        for worker in 0..options.workers.min(options.max_queue_size) {
            let sequence = Arc::clone(&self.sequence);
            let inbox = inbox.clone();
            let counters = Arc::clone(&self.counters);
            let run =
                move |cancelled: &AtomicBool| work(sequence.as_ref(), &inbox, &counters, cancelled);
            workers
                .threads
                .spawn(format!("keros-loader-{worker}"), run)?;
        }
        Ok(workers)
    }

    /// Hands out work until the queue is full or the schedule has to wait.
    fn top_up(&mut self) {
        let Some(workers) = &mut self.workers else {
            return;
        };
        while workers.tickets.len() < workers.max_queue_size {
            let Some(task) = self.schedule.next(self.sequence.as_ref()) else {
                return;
            };
            let (reply, ticket) = bounded(1);
            if let Some(jobs) = &workers.jobs {
                // Fails only when no worker is left; then the ticket tells, because `reply` is
                // dropped here.
                let _ = jobs.send(Job {
                    epoch: task.epoch,
                    index: task.index,
                    reply,
                });
            }
            workers.tickets.push_back((task, ticket));
        }
    }

    pub(super) fn next(&mut self) -> Option<Result<LoadedBatch, DataError>> {
        self.top_up();
        let begin = Instant::now();
        let (task, result) = match &mut self.workers {
            Some(workers) => match workers.tickets.pop_front() {
                Some((task, ticket)) => {
                    let result = match ticket.recv() {
                        Ok(result) => {
                            self.counters.dequeued();
                            result
                        }
                        Err(_) => Err(DataError::Worker {
                            what: "a worker ended without delivering its batch".into(),
                        }
                        .in_batch(task.epoch, task.index as u64)),
                    };
                    (task, result)
                }
                None => return self.schedule.failure.take().map(Err),
            },
            None => match self.schedule.next(self.sequence.as_ref()) {
                Some(task) => {
                    let result = prepare(self.sequence.as_ref(), task.epoch, task.index);
                    self.counters.producer_worked(begin.elapsed());
                    (task, result)
                }
                None => return self.schedule.failure.take().map(Err),
            },
        };
        self.counters.consumer_waited(begin.elapsed());
        match result {
            Ok(batch) => {
                let loaded = task.loaded(batch);
                if loaded.ends_epoch() {
                    self.sequence.on_epoch_end(loaded.epoch);
                    self.schedule.epoch_ended();
                }
                self.top_up();
                Some(Ok(loaded))
            }
            Err(error) => Some(Err(error)),
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.threads.cancel();
        self.jobs = None;
        self.tickets.clear();
        // Panics were delivered at their batch, and nobody asks any more.
        let _ = self.threads.join();
    }
}

/// A worker's life: prepare what is asked for until nobody can ask any more.
fn work(
    sequence: &dyn Sequence,
    inbox: &Receiver<Job>,
    counters: &Counters,
    cancelled: &AtomicBool,
) {
    let mut begin = Instant::now();
    while let Ok(Job {
        epoch,
        index,
        reply,
    }) = inbox.recv()
    {
        counters.producer_waited(begin.elapsed());
        if cancelled.load(Ordering::Relaxed) {
            return;
        }
        begin = Instant::now();
        let result = prepare(sequence, epoch, index);
        counters.producer_worked(begin.elapsed());
        begin = Instant::now();
        counters.enqueued();
        // Fails when the consumer is gone; then the inbox ends as well.
        let _ = reply.send(result);
    }
}

/// Prepares and checks one batch. Errors and panics carry its place.
fn prepare(sequence: &dyn Sequence, epoch: u64, index: usize) -> Result<Batch, DataError> {
    guard(|| {
        let batch = sequence.batch(epoch, index)?;
        batch.check()?;
        Ok(batch)
    })
    .map_err(|error| error.in_batch(epoch, index as u64))
}

/// Which batch comes next, over all epochs.
struct Schedule {
    order: Option<EpochOrder>,
    position: u64,
    remaining: Option<u64>,
    epoch: u64,
    /// Batches of the current epoch that were scheduled.
    step: usize,
    /// Batches in the current epoch; `None` until its first batch is scheduled.
    len: Option<usize>,
    /// Whether epochs must not overlap, because the sequence changes between them.
    sequential: bool,
    /// Whether an epoch was scheduled completely whose end is still to come.
    awaits_end: bool,
    /// Why the schedule ended early.
    failure: Option<DataError>,
}

impl Schedule {
    fn new(sequence: &dyn Sequence, options: &LoaderOptions) -> Result<Self, DataError> {
        let len = sequence.len();
        if len == 0 {
            return Err(empty_epoch());
        }
        let skipped_epochs = options.start / len as u64;
        let Some(epoch) = options.first_epoch.checked_add(skipped_epochs) else {
            return Err(DataError::invalid(
                DOING,
                "start",
                "an epoch below 2^64",
                options.start,
            ));
        };
        Ok(Self {
            order: options
                .shuffle
                .then(|| EpochOrder::new(options.seed, Purpose::Batches)),
            position: options.start,
            remaining: options.limit,
            epoch,
            step: (options.start % len as u64) as usize,
            len: Some(len),
            sequential: sequence.changes_on_epoch_end(),
            awaits_end: false,
            failure: None,
        })
    }

    fn next(&mut self, sequence: &dyn Sequence) -> Option<Task> {
        if self.remaining == Some(0) || self.awaits_end || self.failure.is_some() {
            return None;
        }
        let len = match self.len {
            Some(len) => len,
            None => *self.len.insert(sequence.len()),
        };
        if len == 0 {
            self.failure = Some(empty_epoch().in_batch(self.epoch, 0));
            return None;
        }
        let index = match &self.order {
            Some(order) => order.get(self.epoch, len)[self.step],
            None => self.step,
        };
        let task = Task {
            position: self.position,
            epoch: self.epoch,
            step: self.step,
            index,
            epoch_len: len,
        };
        self.position = self.position.saturating_add(1);
        self.remaining = self.remaining.map(|remaining| remaining - 1);
        self.step += 1;
        if self.step == len {
            self.epoch = self.epoch.saturating_add(1);
            self.step = 0;
            self.len = None;
            self.awaits_end = self.sequential;
        }
        Some(task)
    }

    fn epoch_ended(&mut self) {
        self.awaits_end = false;
    }
}

fn empty_epoch() -> DataError {
    DataError::Empty {
        doing: "reading a sequence",
        what: "an epoch".into(),
    }
}
