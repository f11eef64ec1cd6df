//! The ordered bounded queue between a data source and a training.
//!
//! **Order.** Every batch has its place in the queue, in the order of delivery; whichever worker
//! finishes first, the front place is delivered first. There is no dispatcher thread: on every
//! request the consumer itself hands out work until `max_queue_size` places are taken, so at most
//! `max_queue_size` batches are being prepared or wait.
//!
//! **Epochs.** The stream runs over the epochs without a gap: the first batches of the next epoch
//! are prepared while the last ones of this epoch are consumed.
//!
//! **Processes.** A worker process has a thread here that talks to it; for the queue it is a worker
//! like any other.
//!
//! **Failure.** An error or a panic in a worker arrives at the place of its batch, after all
//! batches before it; then the stream is over. A worker cannot leave the consumer waiting: when it
//! is gone its place says so.
//!
//! **Shutdown.** When the stream is over, or the loader is dropped at any time, the workers are
//! told to stop, what is queued is discarded, processes are killed and every thread is joined. That
//! waits for batches that threads are preparing at that moment, no longer than `join_timeout`, and
//! for nothing else.

mod generator;
mod queue;
mod remote;
mod schedule;
mod sequence;
mod threads;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) use sequence::prepare;
pub(crate) use threads::{guard, guard_samples};

use crate::loader::generator::GeneratorSource;
use crate::loader::sequence::SequenceSource;
use crate::stats::Counters;
use crate::{Batch, DataError, Generator, LoaderStats, Sequence, StatsHandle};

const DOING: &str = "setting up a loader";

/// Options of a [`Loader`]. Write `LoaderOptions { workers: 4, ..LoaderOptions::default() }`:
/// options will be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoaderOptions {
    /// Threads or processes that prepare batches; 0 prepares them on the thread that consumes them.
    /// At most [`LoaderOptions::MAX_WORKERS`]. A generator is read by one thread however many are
    /// allowed. Default: 1, as in Keras.
    pub workers: usize,
    /// Whether the workers are processes, so that a decoder that crashes ends one of them and not
    /// the training; see [`worker`](crate::worker) for what that needs. Every loader starts processes
    /// of its own, each of which is given what the sequence has in memory, and a training makes a
    /// loader for each validation: before a short one that takes longer than its batches, which threads
    /// make at once. An error for generators, whose state is in this process. Default: false.
    pub use_multiprocessing: bool,
    /// The most batches that are prepared ahead, finished or not; from 1 to
    /// [`LoaderOptions::MAX_QUEUE_SIZE`]. Not used without workers. Default: 10, as in Keras.
    pub max_queue_size: usize,
    /// The most bytes that finished batches hold while they wait. The batch that is next in order
    /// is let through however large it is; besides what waits, each worker holds the batch that it
    /// works on. Default: no bound but `max_queue_size`.
    pub max_queue_bytes: Option<usize>,
    /// Time that a worker process may take for one batch; then it is killed, and the batch is tried
    /// once more in a new one. Default: any.
    pub worker_timeout: Option<Duration>,
    /// Time that a loader that ends waits for threads that are in the middle of a batch, which
    /// cannot be interrupted. A thread that takes longer is left behind: it ends when its batch is
    /// done. Sources that may block should look at their [`CancelToken`](crate::CancelToken).
    /// Default: 5 seconds.
    pub join_timeout: Duration,
    /// Whether the batches of a sequence come in a new order every epoch, a pure function of (seed,
    /// epoch). The contents of the batches stay. An error for generators, which have no order to
    /// change, and for epochs of more than 2²⁸ batches. Default: false.
    pub shuffle: bool,
    /// Seed of `shuffle`. Default: 0.
    pub seed: u64,
    /// Batches to skip: the position of the first batch that is delivered. A sequence jumps there
    /// without preparing anything (positions are counted with its present length); a generator is
    /// read and its batches discarded. Default: 0.
    pub start: u64,
    /// The most batches to deliver; nothing is read beyond. `None` has no end for a sequence but
    /// `end_epoch`, and the generator's own for a generator. Default: `None`.
    pub limit: Option<u64>,
    /// The number of the epoch that position 0 belongs to. Default: 0.
    pub first_epoch: u64,
    /// The number of the epoch before which the stream ends; nothing is read of it. A generator, which
    /// has no epochs, goes on. Default: `None`, no end.
    pub end_epoch: Option<u64>,
}

impl LoaderOptions {
    /// The most workers.
    pub const MAX_WORKERS: usize = 1024;
    /// The longest queue.
    pub const MAX_QUEUE_SIZE: usize = 65_536;

    fn queue_size(&self) -> Option<usize> {
        (self.workers > 0).then_some(self.max_queue_size)
    }

    /// Whether they are what a loader takes.
    ///
    /// # Errors
    /// More than [`MAX_WORKERS`](Self::MAX_WORKERS) workers; a queue that is empty or longer than
    /// [`MAX_QUEUE_SIZE`](Self::MAX_QUEUE_SIZE).
    pub fn check(&self) -> Result<(), DataError> {
        if self.workers > Self::MAX_WORKERS {
            return Err(DataError::invalid(
                DOING,
                "workers",
                "0 to 1024",
                self.workers,
            ));
        }
        if !(1..=Self::MAX_QUEUE_SIZE).contains(&self.max_queue_size) {
            return Err(DataError::invalid(
                DOING,
                "max_queue_size",
                "1 to 65536",
                self.max_queue_size,
            ));
        }
        Ok(())
    }
}

impl Default for LoaderOptions {
    fn default() -> Self {
        Self {
            workers: 1,
            use_multiprocessing: false,
            max_queue_size: 10,
            max_queue_bytes: None,
            worker_timeout: None,
            join_timeout: Duration::from_secs(5),
            shuffle: false,
            seed: 0,
            start: 0,
            limit: None,
            first_epoch: 0,
            end_epoch: None,
        }
    }
}

/// A batch and its place in the stream.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LoadedBatch {
    /// The batch.
    pub batch: Batch,
    /// Number of batches before it in the stream, counted from position 0 of
    /// [`LoaderOptions::first_epoch`], whether this loader delivered them or skipped them.
    pub position: u64,
    /// Zero-based epoch of the data. A generator stays in the first.
    pub epoch: u64,
    /// Number of batches before it in its epoch.
    pub step: u64,
    /// Index in the [`Sequence`]: `step` unless batches are shuffled. For a generator `step`.
    pub index: u64,
    /// Number of batches in its epoch, unknown for a generator.
    pub epoch_len: Option<u64>,
}

impl LoadedBatch {
    /// Whether this is the last batch of its epoch of the data; never for a generator.
    pub fn ends_epoch(&self) -> bool {
        self.epoch_len == Some(self.step + 1)
    }
}

/// An ordered stream of batches, prepared ahead by worker threads or processes; see the crate's documentation.
///
/// Iterating gives batches in order. A sequence starts over (with the next epoch) at its end, so
/// its stream ends only at [`LoaderOptions::limit`] or [`LoaderOptions::end_epoch`]; a generator's
/// stream ends with the generator.
/// After an error the stream is over.
///
/// # Shutdown
/// When the stream is over, and when the loader is dropped, worker processes are killed, threads are
/// ended and joined. A batch that a thread is preparing cannot be interrupted; the loader waits for
/// it no longer than [`LoaderOptions::join_timeout`].
///
/// # Determinism
/// What is delivered depends neither on the number and kind of the workers nor on the bounds of the
/// queue. A loader with `start: p`
/// delivers what another one delivers from position `p` on.
pub struct Loader {
    /// `None` when the stream is over. Dropping a source ends its workers.
    source: Option<Source>,
    counters: Arc<Counters>,
    /// When the consumer first asked for a batch.
    first_request: Option<Instant>,
    position: u64,
    queue_size: Option<usize>,
}

enum Source {
    Sequence(Box<SequenceSource>),
    Generator(GeneratorSource),
}

impl Loader {
    /// A stream over the epochs of a sequence.
    ///
    /// Workers start at once.
    ///
    /// # Errors
    /// Options outside of what they may be; an empty sequence, or one too long to be shuffled; threads
    /// that cannot be started; with processes, a program that does not serve as a worker, or a sequence that cannot be made again
    /// in another process (see [`worker`](crate::worker)).
    pub fn from_sequence(
        sequence: Arc<dyn Sequence>,
        options: LoaderOptions,
    ) -> Result<Self, DataError> {
        options.check()?;
        let counters = Arc::new(Counters::new(
            options.workers.min(options.max_queue_size),
            options.use_multiprocessing,
        ));
        Ok(Self {
            position: options.start,
            queue_size: options.queue_size(),
            source: Some(Source::Sequence(Box::new(SequenceSource::new(
                sequence,
                options,
                Arc::clone(&counters),
            )?))),
            counters,
            first_request: None,
        })
    }

    /// A stream over a generator, read ahead by one thread (by none if `workers` is 0).
    ///
    /// The reader starts at once.
    ///
    /// # Errors
    /// Options outside of what they may be; `shuffle`; `use_multiprocessing`; a thread that cannot be
    /// started.
    pub fn from_generator(
        generator: Box<dyn Generator>,
        options: LoaderOptions,
    ) -> Result<Self, DataError> {
        options.check()?;
        if options.shuffle {
            return Err(DataError::invalid(
                DOING,
                "shuffle",
                "false for a generator",
                true,
            ));
        }
        if options.use_multiprocessing && options.workers > 0 {
            return Err(DataError::invalid(
                DOING,
                "use_multiprocessing",
                "false for a generator, which is a state of this process (a Sequence can be made \
                 again in another one)",
                true,
            ));
        }
        let counters = Arc::new(Counters::new(options.workers.min(1), false));
        Ok(Self {
            position: options.start,
            queue_size: options.queue_size(),
            source: Some(Source::Generator(GeneratorSource::new(
                generator,
                options,
                Arc::clone(&counters),
            )?)),
            counters,
            first_request: None,
        })
    }

    /// Ends all workers, and with them the stream.
    fn close(&mut self) {
        self.source = None;
    }

    /// Position of the next batch: what [`LoaderOptions::start`] has to be to continue from here.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The most batches that are prepared ahead; `None` if there is no worker to do so.
    pub fn queue_size(&self) -> Option<usize> {
        self.queue_size
    }

    /// The counters now.
    pub fn stats(&self) -> LoaderStats {
        self.counters.read()
    }

    /// Begins the counters anew, after batches that were taken to get somewhere in the stream and whose
    /// waits shall not count.
    pub fn restart_stats(&mut self) {
        self.first_request = None;
        self.counters.restart();
    }

    /// Access to the counters that outlives the loader.
    pub fn stats_handle(&self) -> StatsHandle {
        StatsHandle(Arc::clone(&self.counters))
    }
}

impl Iterator for Loader {
    type Item = Result<LoadedBatch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let source = self.source.as_mut()?;
        let first = *self.first_request.get_or_insert_with(Instant::now);
        self.counters.requested();
        let next = match source {
            Source::Sequence(source) => source.next(),
            Source::Generator(source) => source.next(),
        };
        if matches!(next, Some(Ok(_))) {
            self.position = self.position.saturating_add(1);
            self.counters.delivered(first.elapsed());
        } else {
            self.close();
        }
        next
    }
}

impl std::iter::FusedIterator for Loader {}

impl Drop for Loader {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Loader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loader")
            .field("position", &self.position)
            .field("finished", &self.source.is_none())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
