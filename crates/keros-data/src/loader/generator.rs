//! The loader's side for plain generators: one reader, at most one queue ahead.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::{LoadedBatch, LoaderOptions, Threads, guard};
use crate::stats::Counters;
use crate::{Batch, DataError, Generator};

/// Delivers the batches of a generator as it gives them.
pub(super) struct GeneratorSource {
    reader: Reader,
    position: u64,
    epoch: u64,
    counters: Arc<Counters>,
}

enum Reader {
    /// Read where batches are consumed.
    Inline(Feed),
    /// Read ahead by a thread. The receiver is `None` once closed.
    Thread(Option<Receiver<Result<Batch, DataError>>>, Threads),
}

/// The generator with what is still to be skipped and delivered.
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
    fn next(&mut self, cancelled: impl Fn() -> bool) -> Option<Result<Batch, DataError>> {
        if self.remaining == Some(0) {
            return None;
        }
        loop {
            if cancelled() {
                return None;
            }
            let next = guard(|| {
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
            // One batch more is in the hands of the reader.
            let (queue, batches) = bounded(options.max_queue_size - 1);
            let mut threads = Threads::default();
            let shared = Arc::clone(&counters);
            threads.spawn("keros-loader-generator".to_owned(), move |cancelled| {
                read(feed, &queue, &shared, cancelled)
            })?;
            Reader::Thread(Some(batches), threads)
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
                let next = feed.next(|| false);
                self.counters.producer_worked(begin.elapsed());
                next
            }
            Reader::Thread(batches, threads) => match batches.as_ref()?.recv() {
                Ok(result) => {
                    self.counters.dequeued();
                    Some(result)
                }
                // The reader is gone: the end of the data, unless a panic took it (in the
                // generator's destructor).
                Err(_) => threads
                    .join()
                    .map(|message| Err(DataError::Panicked { message })),
            },
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

impl Drop for GeneratorSource {
    fn drop(&mut self) {
        if let Reader::Thread(batches, threads) = &mut self.reader {
            threads.cancel();
            *batches = None;
            // A panic that is left comes from the generator's destructor, and nobody asks any more.
            let _ = threads.join();
        }
    }
}

/// The reader's life: read until the data, the limit or the interest end.
fn read(
    mut feed: Feed,
    queue: &Sender<Result<Batch, DataError>>,
    counters: &Counters,
    cancelled: &AtomicBool,
) {
    loop {
        let begin = Instant::now();
        let next = feed.next(|| cancelled.load(Ordering::Relaxed));
        counters.producer_worked(begin.elapsed());
        let Some(result) = next else { return };
        let failed = result.is_err();
        counters.enqueued();
        let begin = Instant::now();
        let delivered = queue.send(result).is_ok();
        counters.producer_waited(begin.elapsed());
        if failed || !delivered {
            return;
        }
    }
}
