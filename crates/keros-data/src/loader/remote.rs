//! The thread of a worker process: hands it jobs one by one, and tries a job again when the process
//! dies of it.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::queue::Worker;
use super::sequence::Job;
use crate::stats::Counters;
use crate::worker::{Answer, Failure, Process, Segment, WorkedOn};
use crate::{Batch, DataError, Sequence};

/// Processes that may die of one batch.
const ATTEMPTS: usize = 2;

/// The worker processes of a loader. Dropping it cancels what their threads wait for.
pub(super) struct Remotes {
    source: Arc<Source>,
    /// For the first processes.
    description: Option<Arc<Segment>>,
    cancelled: Receiver<()>,
    _cancel: Sender<()>,
}

/// What the processes are made of.
struct Source {
    sequence: Arc<dyn Sequence>,
    name: &'static str,
    timeout: Option<Duration>,
    /// The description last written, and of which epoch; kept by the processes that are starting,
    /// so that it takes no memory during the run.
    last: Mutex<(u64, Weak<Segment>)>,
}

impl Remotes {
    /// Finds out whether worker processes can be had; each [`Remote`] starts its own.
    pub(super) fn new(
        sequence: Arc<dyn Sequence>,
        epoch: u64,
        timeout: Option<Duration>,
    ) -> Result<Self, DataError> {
        let recipe = sequence.recipe()?;
        let name = recipe.name();
        let description = Arc::new(recipe.pack()?);
        drop(recipe);
        let version = if sequence.changes_on_epoch_end() {
            epoch
        } else {
            0
        };
        let last = Mutex::new((version, Arc::downgrade(&description)));
        let (cancel, cancelled) = bounded(0);
        Ok(Self {
            source: Arc::new(Source {
                sequence,
                name,
                timeout,
                last,
            }),
            description: Some(description),
            cancelled,
            _cancel: cancel,
        })
    }

    /// One process, which is started when there is work for it.
    pub(super) fn remote(&self) -> Remote {
        Remote {
            source: Arc::clone(&self.source),
            description: self.description.clone(),
            process: None,
            cancelled: self.cancelled.clone(),
        }
    }

    /// No more processes are wanted: what describes the sequence may go when all have started.
    pub(super) fn complete(&mut self) {
        self.description = None;
    }
}

/// A worker process, replaced when it dies.
pub(super) struct Remote {
    source: Arc<Source>,
    /// Of the epoch in which the loader starts, until it is used.
    description: Option<Arc<Segment>>,
    /// With the epoch it was made for.
    process: Option<(u64, Process)>,
    cancelled: Receiver<()>,
}

impl Source {
    /// Sequences that change between epochs are described anew.
    fn version(&self, epoch: u64) -> u64 {
        match self.sequence.changes_on_epoch_end() {
            true => epoch,
            false => 0,
        }
    }

    fn description(&self, version: u64) -> Result<Arc<Segment>, DataError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let (of, Some(description)) = (last.0, last.1.upgrade())
            && of == version
        {
            return Ok(description);
        }
        let description = Arc::new(self.sequence.recipe()?.pack()?);
        *last = (version, Arc::downgrade(&description));
        Ok(description)
    }
}

impl Remote {
    /// The life of the thread: jobs until nobody can ask any more.
    pub(super) fn serve(
        mut self,
        worker: &Worker<Job, Result<Batch, DataError>>,
        counters: &Counters,
    ) {
        // A job that the process was asked for already.
        let mut asked = None;
        loop {
            let begin = Instant::now();
            let was_asked = asked.is_some();
            let Some(ticket) = asked.take().or_else(|| worker.take()) else {
                return;
            };
            counters.producer_waited(begin.elapsed());
            let begin = Instant::now();
            let answer = self.answer(ticket.job, was_asked, counters);
            counters.producer_worked(begin.elapsed());
            let result = match answer {
                Ok(Some(answer)) => {
                    counters.passed_over(answer.passed_over);
                    // The process goes on with its other place while this one is read.
                    asked = worker.try_take();
                    if let Some(next) = &asked {
                        self.ask(next.job);
                    }
                    self.take(answer)
                }
                // Nobody waits for the batch.
                Ok(None) => return,
                Err(error) => Err(error),
            };
            let begin = Instant::now();
            let bytes = result.as_ref().map_or(0, Batch::num_bytes);
            ticket.settle(result, bytes);
            counters.producer_waited(begin.elapsed());
        }
    }

    /// What came of a job, in the second process if the first dies of it; `None` if cancelled.
    fn answer(
        &mut self,
        job: Job,
        mut asked: bool,
        counters: &Counters,
    ) -> Result<Option<Answer>, DataError> {
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let answer = self.attempt(job, std::mem::take(&mut asked));
            match answer {
                Ok(answer) => return Ok(Some(answer)),
                Err(Failure::Cancelled) => return Ok(None),
                Err(Failure::Error(error)) => return Err(error),
                Err(Failure::Died(how)) => {
                    let process = self.process.take();
                    let worked_on = process.map(|(_, process)| process.worked_on());
                    counters.replaced();
                    last = Some((how, worked_on.unwrap_or_default()));
                }
            }
        }
        let (how, WorkedOn { sample, file }) = last.unwrap_or_default();
        Err(DataError::WorkerDied {
            how: how.into(),
            sample,
            path: file,
        })
    }

    fn attempt(&mut self, job: Job, asked: bool) -> Result<Answer, Failure> {
        let version = self.source.version(job.epoch);
        if self.process.as_ref().is_none_or(|(of, _)| *of != version) {
            self.process = None;
            self.process = Some((version, self.start(version)?));
            self.ask(job);
        } else if !asked {
            self.ask(job);
        }
        match &mut self.process {
            Some((_, process)) => process.answer(self.source.timeout),
            None => Err(Failure::Cancelled),
        }
    }

    fn start(&mut self, version: u64) -> Result<Process, Failure> {
        // Found there too, while the first one is kept here.
        let description = self.source.description(version).map_err(Failure::Error)?;
        self.description = None;
        Process::start(self.source.name, &description, self.cancelled.clone())
    }

    /// Asks the process; if it is gone, that is found when its answer is waited for.
    fn ask(&mut self, job: Job) {
        if let Some((_, process)) = &mut self.process {
            let _ = process.ask(job.epoch, job.index);
        }
    }

    fn take(&mut self, answer: Answer) -> Result<Batch, DataError> {
        match &mut self.process {
            Some((_, process)) => process.take(answer),
            None => Err(DataError::Worker {
                what: "the process of a batch is gone".into(),
            }),
        }
    }
}
