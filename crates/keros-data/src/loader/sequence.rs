//! The loader's side for sequences: a schedule of batches, and workers that prepare them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::queue::{Queue, Worker};
use super::remote::Remotes;
use super::schedule::{Schedule, Task};
use super::threads::{Threads, guard_samples};
use super::{LoadedBatch, LoaderOptions};
use crate::stats::Counters;
use crate::{Batch, DataError, Sequence, passed_over};

/// Delivers the batches of a sequence in the order of its schedule.
pub(super) struct SequenceSource {
    sequence: Arc<dyn Sequence>,
    schedule: Schedule,
    /// `None` prepares batches where they are consumed.
    workers: Option<Workers>,
    counters: Arc<Counters>,
}

/// One batch to be prepared.
#[derive(Clone, Copy)]
pub(super) struct Job {
    pub(super) epoch: u64,
    pub(super) index: usize,
}

/// Where jobs go and batches come from.
pub(super) type Jobs = Queue<Job, Result<Batch, DataError>>;

/// The workers and what they were asked for.
struct Workers {
    max_queue_size: usize,
    /// In order of delivery; at most `max_queue_size`.
    tasks: VecDeque<Task>,
    queue: Arc<Jobs>,
    /// Fields are dropped in order: processes are ended before their threads are joined.
    processes: Option<Remotes>,
    threads: Threads,
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
            source.workers = Some(source.start(&options)?);
            source.top_up();
        }
        Ok(source)
    }

    fn start(&self, options: &LoaderOptions) -> Result<Workers, DataError> {
        let max_bytes = options.max_queue_bytes.unwrap_or(usize::MAX);
        let mut workers = Workers {
            max_queue_size: options.max_queue_size,
            tasks: VecDeque::new(),
            queue: Queue::new(max_bytes, Arc::clone(&self.counters)),
            processes: None,
            threads: Threads::new(options.join_timeout),
        };
        if options.use_multiprocessing {
            workers.processes = Some(Remotes::new(
                Arc::clone(&self.sequence),
                self.schedule.epoch(),
                options.worker_timeout,
            )?);
        }
        // More workers than places in the queue would never have work.
        for number in 0..options.workers.min(options.max_queue_size) {
            let (worker, counters) = (workers.queue.worker(), Arc::clone(&self.counters));
            let name = format!("keros-loader-{number}");
            match &workers.processes {
                Some(processes) => {
                    let remote = processes.remote();
                    workers
                        .threads
                        .spawn(name, move || remote.serve(&worker, &counters))?;
                }
                None => {
                    let sequence = Arc::clone(&self.sequence);
                    let run = move || work(sequence.as_ref(), &worker, &counters);
                    workers.threads.spawn(name, run)?;
                }
            }
        }
        if let Some(processes) = &mut workers.processes {
            processes.complete();
        }
        Ok(workers)
    }

    /// Hands out work until the queue is full or the schedule has to wait.
    fn top_up(&mut self) {
        let Some(workers) = &mut self.workers else {
            return;
        };
        while workers.tasks.len() < workers.max_queue_size {
            let Some(task) = self.schedule.next(self.sequence.as_ref()) else {
                return;
            };
            workers.queue.hand_out(Job {
                epoch: task.epoch,
                index: task.index,
            });
            workers.tasks.push_back(task);
        }
    }

    pub(super) fn next(&mut self) -> Option<Result<LoadedBatch, DataError>> {
        self.top_up();
        let begin = Instant::now();
        let (task, result) = match &mut self.workers {
            Some(workers) => match workers.tasks.pop_front() {
                Some(task) => {
                    let lost = |_| {
                        let what = "a worker ended without delivering its batch".into();
                        Err(DataError::Worker { what })
                    };
                    let result = workers.queue.take().unwrap_or_else(lost);
                    (task, result)
                }
                None => return self.schedule.failure.take().map(Err),
            },
            None => match self.schedule.next(self.sequence.as_ref()) {
                Some(task) => {
                    let result = prepare(self.sequence.as_ref(), task.epoch, task.index);
                    self.counters.producer_worked(begin.elapsed());
                    self.counters.passed_over(passed_over::take());
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
            Err(error) => Some(Err(error.in_batch(task.epoch, task.index as u64))),
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        // In this order: a worker that is told finds no next job.
        self.queue.close();
        self.threads.cancel();
    }
}

/// A worker thread's life: prepare what is asked for until nobody can ask any more.
fn work(
    sequence: &dyn Sequence,
    worker: &Worker<Job, Result<Batch, DataError>>,
    counters: &Counters,
) {
    loop {
        let begin = Instant::now();
        let Some(ticket) = worker.take() else { return };
        counters.producer_waited(begin.elapsed());
        let begin = Instant::now();
        let Job { epoch, index } = ticket.job;
        let result = prepare(sequence, epoch, index);
        counters.producer_worked(begin.elapsed());
        counters.passed_over(passed_over::take());
        let begin = Instant::now();
        let bytes = result.as_ref().map_or(0, Batch::num_bytes);
        ticket.settle(result, bytes);
        counters.producer_waited(begin.elapsed());
    }
}

/// Prepares and checks one batch.
pub(crate) fn prepare(
    sequence: &dyn Sequence,
    epoch: u64,
    index: usize,
) -> Result<Batch, DataError> {
    // Of batches that nobody counts, such as those that the user makes.
    passed_over::take();
    guard_samples(|| {
        let batch = sequence.batch(epoch, index)?;
        batch.check()?;
        Ok(batch)
    })
}
