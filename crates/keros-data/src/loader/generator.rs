//! The loader's side for plain generators: one reader, at most one queue ahead.

use std::sync::Arc;
use std::time::Instant;

use super::queue::{Queue, Worker};
use super::threads::{Threads, guard_samples};
use super::{LoadedBatch, LoaderOptions};
use crate::stats::Counters;
use crate::{Batch, CancelToken, DataError, Generator};

/// Delivers the batches of a generator as it gives them.
pub(super) struct GeneratorSource {
    reader: Reader,
    position: u64,
    epoch: u64,
    counters: Arc<Counters>,
}

/// What one read gives; `None` at the end.
type Read = Option<Result<Batch, DataError>>;

enum Reader {
    /// Read where batches are consumed.
    Inline(Feed),
    /// Read ahead by a thread.
    Ahead(Ahead),
}

/// A thread that reads as often as it was asked to.
struct Ahead {
    max_queue_size: usize,
    /// Reads asked for and not delivered.
    asked: usize,
    /// Reads that may still be asked for.
    remaining: Option<u64>,
    queue: Arc<Queue<(), Read>>,
    threads: Threads,
}

/// The generator with what is still to be skipped.
struct Feed {
    generator: Box<dyn Generator>,
    epoch: u64,
    /// Batches read.
    read: u64,
    skip: u64,
    remaining: Option<u64>,
}

impl Feed {
    /// The next batch that is not skipped, checked. Never reads beyond the limit, nor after an end
    /// or an error: the caller stops there.
    fn next(&mut self, token: &CancelToken) -> Read {
        if self.remaining == Some(0) {
            return None;
        }
        loop {
            if token.is_cancelled() {
                return None;
            }
            let next = guard_samples(|| {
                let Some(batch) = self.generator.next().transpose()? else {
                    return Ok(None);
                };
                batch.check()?;
                Ok(Some(batch))
            });
            match next {
                Ok(Some(_)) if self.read < self.skip => self.read += 1,
                Ok(Some(batch)) => {
                    self.read += 1;
                    self.remaining = self.remaining.map(|remaining| remaining - 1);
                    return Some(Ok(batch));
                }
                Ok(None) => return None,
                Err(error) => return Some(Err(error.in_batch(self.epoch, self.read))),
            }
        }
    }
}

impl GeneratorSource {
    pub(super) fn new(
        generator: Box<dyn Generator>,
        options: LoaderOptions,
        counters: Arc<Counters>,
    ) -> Result<Self, DataError> {
        let feed = Feed {
            generator,
            epoch: options.first_epoch,
            read: 0,
            skip: options.start,
            remaining: options.limit,
        };
        let reader = if options.workers == 0 {
            Reader::Inline(feed)
        } else {
            let max_bytes = options.max_queue_bytes.unwrap_or(usize::MAX);
            let queue = Queue::new(max_bytes, Arc::clone(&counters));
            let mut threads = Threads::new(options.join_timeout);
            let (worker, shared) = (queue.worker(), Arc::clone(&counters));
            threads.spawn("keros-loader-generator".to_owned(), move || {
                read(feed, &worker, &shared)
            })?;
            let mut ahead = Ahead {
                max_queue_size: options.max_queue_size,
                asked: 0,
                remaining: options.limit,
                queue,
                threads,
            };
            ahead.top_up();
            Reader::Ahead(ahead)
        };
        Ok(Self {
            reader,
            position: options.start,
            epoch: options.first_epoch,
            counters,
        })
    }

    pub(super) fn next(&mut self) -> Option<Result<LoadedBatch, DataError>> {
        let begin = Instant::now();
        let next = match &mut self.reader {
            Reader::Inline(feed) => {
                let next = feed.next(&CancelToken::default());
                self.counters.producer_worked(begin.elapsed());
                next
            }
            Reader::Ahead(ahead) => ahead.next(),
        };
        self.counters.consumer_waited(begin.elapsed());
        let position = self.position;
        self.position = position.saturating_add(1);
        next.map(|result| {
            result.map(|batch| LoadedBatch {
                batch,
                position,
                epoch: self.epoch,
                step: position,
                index: position,
                epoch_len: None,
            })
        })
    }
}

impl Ahead {
    /// Asks for reads until the queue is full.
    fn top_up(&mut self) {
        while self.asked < self.max_queue_size && self.remaining != Some(0) {
            self.queue.hand_out(());
            self.asked += 1;
            self.remaining = self.remaining.map(|remaining| remaining - 1);
        }
    }

    fn next(&mut self) -> Read {
        self.top_up();
        if self.asked == 0 {
            return None;
        }
        self.asked -= 1;
        let next = match self.queue.take() {
            Ok(Some(next)) => Some(next),
            // The end of the data, unless a panic took the reader (in the generator's destructor).
            Ok(None) | Err(_) => {
                self.queue.close();
                let panic = self.threads.join();
                panic.map(|message| {
                    Err(DataError::Panicked {
                        message,
                        sample: None,
                        path: None,
                    })
                })
            }
        };
        if let Some(Ok(_)) = next {
            self.top_up();
        }
        next
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        // In this order: a worker that is told finds no next job.
        self.queue.close();
        self.threads.cancel();
    }
}

/// The reader's life: read when asked until the data, the limit or the interest end.
fn read(mut feed: Feed, worker: &Worker<(), Read>, counters: &Counters) {
    let token = CancelToken::current();
    loop {
        let begin = Instant::now();
        let Some(ticket) = worker.take() else { return };
        counters.producer_waited(begin.elapsed());
        let begin = Instant::now();
        let next = feed.next(&token);
        counters.producer_worked(begin.elapsed());
        let begin = Instant::now();
        let goes_on = matches!(next, Some(Ok(_)));
        let bytes = match &next {
            Some(Ok(batch)) => batch.num_bytes(),
            _ => 0,
        };
        ticket.settle(next, bytes);
        counters.producer_waited(begin.elapsed());
        if !goes_on {
            return;
        }
    }
}
