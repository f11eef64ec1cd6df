//! What a loader did: who waited for whom, and how full the queue was.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use crate::Verdict;

/// Counters of a [`Loader`](crate::Loader) since it was made, or since
/// [`restart_stats`](crate::Loader::restart_stats).
///
/// A large `consumer_wait` says that data are the bottleneck, a large `producer_wait` that the
/// training is; [`LoaderStats::verdict`] says it in words.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct LoaderStats {
    /// Batches delivered.
    pub batches: u64,
    /// Time the consumer waited in `next`. Without workers this is the time spent preparing
    /// batches.
    pub consumer_wait: Duration,
    /// Time workers waited for room in the queue, summed over the workers.
    pub producer_wait: Duration,
    /// Time spent preparing batches, summed over the workers.
    pub producer_busy: Duration,
    /// Batches that were ready in the queue when the consumer asked, on average.
    pub queue_fill_mean: f64,
    /// Batches ready in the queue now.
    pub queue_fill: usize,
    /// The most bytes that batches ready in the queue ever held together.
    pub queue_bytes_max: usize,
    /// Time from the first request of the consumer to the last delivery.
    pub elapsed: Duration,
    /// Workers that prepare batches; 0 if the consumer does.
    pub workers: usize,
    /// Whether the workers are processes.
    pub processes: bool,
    /// Worker processes that died or took too long, and were replaced.
    pub workers_replaced: u64,
    /// Samples in the batches that were made whose file was broken, and which
    /// [`OnBrokenFile`](crate::OnBrokenFile) has skipped or replaced.
    pub broken_files: u64,
}

impl LoaderStats {
    /// Which side waits for the other, and what to do about it.
    pub fn verdict(&self) -> Verdict {
        Verdict::of(self)
    }
}

/// Reads the counters of a [`Loader`](crate::Loader), also after it was dropped.
#[derive(Clone, Debug)]
pub struct StatsHandle(pub(crate) Arc<Counters>);

impl StatsHandle {
    /// The counters now.
    pub fn read(&self) -> LoaderStats {
        self.0.read()
    }
}

/// Written with relaxed atomics: every counter is right, their relation to each other only nearly
/// so.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    batches: AtomicU64,
    consumer_wait_ns: AtomicU64,
    producer_wait_ns: AtomicU64,
    producer_busy_ns: AtomicU64,
    requests: AtomicU64,
    fill_sum: AtomicU64,
    ready: AtomicUsize,
    bytes_max: AtomicUsize,
    replaced: AtomicU64,
    broken_files: AtomicU64,
    elapsed_ns: AtomicU64,
    workers: usize,
    processes: bool,
}

impl Counters {
    pub(crate) fn new(workers: usize, processes: bool) -> Self {
        Self {
            workers,
            processes: processes && workers > 0,
            ..Self::default()
        }
    }

    /// The consumer asks for a batch.
    pub(crate) fn requested(&self) {
        self.requests.fetch_add(1, Relaxed);
        self.fill_sum
            .fetch_add(self.ready.load(Relaxed) as u64, Relaxed);
    }

    /// It has one, so long after its first request.
    pub(crate) fn delivered(&self, elapsed: Duration) {
        self.batches.fetch_add(1, Relaxed);
        self.elapsed_ns.store(nanoseconds(elapsed), Relaxed);
    }

    /// Forgets what was, but for what is in the queue now.
    pub(crate) fn restart(&self) {
        for counter in [
            &self.batches,
            &self.consumer_wait_ns,
            &self.producer_wait_ns,
            &self.producer_busy_ns,
            &self.requests,
            &self.fill_sum,
            &self.replaced,
            &self.broken_files,
            &self.elapsed_ns,
        ] {
            counter.store(0, Relaxed);
        }
        self.bytes_max.store(0, Relaxed);
    }

    pub(crate) fn consumer_waited(&self, time: Duration) {
        self.consumer_wait_ns.fetch_add(nanoseconds(time), Relaxed);
    }

    pub(crate) fn producer_waited(&self, time: Duration) {
        self.producer_wait_ns.fetch_add(nanoseconds(time), Relaxed);
    }

    pub(crate) fn producer_worked(&self, time: Duration) {
        self.producer_busy_ns.fetch_add(nanoseconds(time), Relaxed);
    }

    /// A batch becomes ready; all that are hold so many bytes.
    pub(crate) fn enqueued(&self, bytes: usize) {
        self.ready.fetch_add(1, Relaxed);
        self.bytes_max.fetch_max(bytes, Relaxed);
    }

    /// The consumer has taken a batch out of the queue.
    pub(crate) fn dequeued(&self) {
        self.ready.fetch_sub(1, Relaxed);
    }

    /// The queue is gone, with what was in it.
    pub(crate) fn emptied(&self) {
        self.ready.store(0, Relaxed);
    }

    /// A worker process was replaced.
    pub(crate) fn replaced(&self) {
        self.replaced.fetch_add(1, Relaxed);
    }

    /// Samples were skipped or replaced in a batch.
    pub(crate) fn passed_over(&self, samples: u64) {
        self.broken_files.fetch_add(samples, Relaxed);
    }

    pub(crate) fn read(&self) -> LoaderStats {
        let requests = self.requests.load(Relaxed);
        LoaderStats {
            batches: self.batches.load(Relaxed),
            consumer_wait: Duration::from_nanos(self.consumer_wait_ns.load(Relaxed)),
            producer_wait: Duration::from_nanos(self.producer_wait_ns.load(Relaxed)),
            producer_busy: Duration::from_nanos(self.producer_busy_ns.load(Relaxed)),
            queue_fill_mean: if requests == 0 {
                0.0
            } else {
                self.fill_sum.load(Relaxed) as f64 / requests as f64
            },
            queue_fill: self.ready.load(Relaxed),
            queue_bytes_max: self.bytes_max.load(Relaxed),
            elapsed: Duration::from_nanos(self.elapsed_ns.load(Relaxed)),
            workers: self.workers,
            processes: self.processes,
            workers_replaced: self.replaced.load(Relaxed),
            broken_files: self.broken_files.load(Relaxed),
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
