//! Where batches come from, and how a run reads them.

use crate::error::TrainError;
use keros_callbacks::QueueStats;
use keros_data::{
    ArraySequence, Arrays, DataError, Generator, ImageFileFlow, ImageFlow, LoadedBatch, Loader,
    LoaderOptions, Sequence, StatsHandle,
};
use std::sync::Arc;

/// A source of batches for the generator methods.
pub enum Source {
    /// Batches by index, prepared by any number of workers.
    Sequence(Arc<dyn Sequence>),
    /// Batches one after another, read by one thread.
    Generator(Box<dyn Generator>),
}

impl Source {
    /// Batches by index. The methods that take a source take a sequence itself too.
    pub fn sequence(sequence: impl Sequence + 'static) -> Source {
        Source::Sequence(Arc::new(sequence))
    }

    /// Batches one after another: any iterator over `Result<Batch, DataError>`.
    pub fn generator(generator: impl Generator + 'static) -> Source {
        Source::Generator(Box::new(generator))
    }
}

impl<S: Sequence + 'static> From<S> for Source {
    fn from(sequence: S) -> Source {
        Source::sequence(sequence)
    }
}

/// What a fit is validated on.
pub enum ValidationData {
    /// Arrays in memory.
    Arrays {
        /// Inputs.
        x: Arrays,
        /// Targets.
        y: Arrays,
        /// `[N]` weights of the rows, for all outputs or by their names.
        sample_weight: Option<Arrays>,
    },
    /// A source of batches. A generator needs `validation_steps` and goes on where the validation
    /// before stopped; a sequence starts anew each time.
    Source(Source),
}

impl<X: Into<Arrays>, Y: Into<Arrays>> From<(X, Y)> for ValidationData {
    fn from((x, y): (X, Y)) -> ValidationData {
        ValidationData::Arrays {
            x: x.into(),
            y: y.into(),
            sample_weight: None,
        }
    }
}

impl<X: Into<Arrays>, Y: Into<Arrays>, W: Into<Arrays>> From<(X, Y, W)> for ValidationData {
    fn from((x, y, weights): (X, Y, W)) -> ValidationData {
        ValidationData::Arrays {
            x: x.into(),
            y: y.into(),
            sample_weight: Some(weights.into()),
        }
    }
}

impl From<Source> for ValidationData {
    fn from(source: Source) -> ValidationData {
        ValidationData::Source(source)
    }
}

impl From<ImageFlow> for ValidationData {
    fn from(flow: ImageFlow) -> ValidationData {
        ValidationData::Source(flow.into())
    }
}

impl From<ImageFileFlow> for ValidationData {
    fn from(flow: ImageFileFlow) -> ValidationData {
        ValidationData::Source(flow.into())
    }
}

impl From<ArraySequence> for ValidationData {
    fn from(sequence: ArraySequence) -> ValidationData {
        ValidationData::Source(sequence.into())
    }
}

impl From<Arc<dyn Sequence>> for ValidationData {
    fn from(sequence: Arc<dyn Sequence>) -> ValidationData {
        ValidationData::Source(sequence.into())
    }
}

impl<S: Sequence + 'static> From<Arc<S>> for ValidationData {
    fn from(sequence: Arc<S>) -> ValidationData {
        ValidationData::Source(sequence.into())
    }
}

/// A source with the settings of its loader, from which passes over the data are started.
pub(crate) struct Feed {
    source: FeedSource,
    options: LoaderOptions,
}

enum FeedSource {
    Sequence(Arc<dyn Sequence>),
    /// A generator has one loader for its whole life: what was prefetched is not lost.
    Generator(Loader),
}

impl Feed {
    /// `limit`: batches that will be taken from a generator, so that it is never read beyond.
    ///
    /// # Errors
    /// Those of the first loader, found out before a callback hears of anything.
    pub(crate) fn new(
        source: Source,
        options: LoaderOptions,
        limit: Option<u64>,
    ) -> Result<Feed, TrainError> {
        options.check()?;
        let source = match source {
            Source::Sequence(sequence) => {
                if options.use_multiprocessing && options.workers > 0 {
                    sequence.recipe()?;
                }
                FeedSource::Sequence(sequence)
            }
            Source::Generator(generator) => {
                let options = LoaderOptions {
                    limit,
                    shuffle: false,
                    ..options.clone()
                };
                FeedSource::Generator(Loader::from_generator(generator, options)?)
            }
        };
        Ok(Feed { source, options })
    }

    /// Batches per epoch, if the source knows.
    pub(crate) fn len(&self) -> Option<u64> {
        self.sequence().map(|sequence| sequence.len() as u64)
    }

    /// The sequence, if it is one.
    pub(crate) fn sequence(&self) -> Option<Arc<dyn Sequence>> {
        match &self.source {
            FeedSource::Sequence(sequence) => Some(Arc::clone(sequence)),
            FeedSource::Generator(_) => None,
        }
    }

    /// Batches per epoch, if that is known for all epochs to come.
    pub(crate) fn fixed_len(&self) -> Option<u64> {
        self.len().filter(|_| !self.is_changing())
    }

    /// Whether it is a sequence that changes when an epoch of it has ended.
    pub(crate) fn is_changing(&self) -> bool {
        self.sequence()
            .is_some_and(|sequence| sequence.changes_on_epoch_end())
    }

    /// Brings the source to where it was in a run that goes on: `taken` batches are taken from a
    /// generator and dropped, which is no waiting of the training; a sequence that changes hears again which epochs
    /// have ended.
    pub(crate) fn resume(
        &mut self,
        ended: impl IntoIterator<Item = u64>,
        taken: u64,
    ) -> Result<(), TrainError> {
        let loader = match &mut self.source {
            FeedSource::Generator(loader) => loader,
            FeedSource::Sequence(sequence) => {
                if sequence.changes_on_epoch_end() {
                    ended
                        .into_iter()
                        .for_each(|epoch| sequence.on_epoch_end(epoch));
                }
                return Ok(());
            }
        };
        for before in 0..taken {
            if loader.next().transpose()?.is_none() {
                let expected = format!("at least the {taken} batches that were taken before");
                return Err(TrainError::argument(
                    "resuming",
                    "generator",
                    expected,
                    before,
                ));
            }
        }
        loader.restart_stats();
        Ok(())
    }

    /// Starts the pass of an evaluation or prediction of `steps` batches, or of all: a sequence has
    /// those of one epoch and not more; a generator goes on where it is.
    pub(crate) fn start_once(&mut self, steps: Option<u64>) -> Result<Pull<'_>, TrainError> {
        let limit = shorter(steps, self.len());
        self.start(0, 0, limit)
    }

    /// Starts a pass. A sequence begins at batch `start`, counted from epoch `first_epoch` of the
    /// data, and delivers at most `limit` batches; a generator goes on where it is.
    pub(crate) fn start(
        &mut self,
        first_epoch: u64,
        start: u64,
        limit: Option<u64>,
    ) -> Result<Pull<'_>, TrainError> {
        match &mut self.source {
            FeedSource::Sequence(sequence) => {
                let options = LoaderOptions {
                    first_epoch,
                    start,
                    limit,
                    ..self.options.clone()
                };
                let loader = Loader::from_sequence(Arc::clone(sequence), options)?;
                Ok(Pull::Owned(Box::new(loader)))
            }
            FeedSource::Generator(loader) => Ok(Pull::Lent(loader)),
        }
    }
}

/// The smaller of two numbers of batches, as far as they are known.
pub(crate) fn shorter(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    a.into_iter().chain(b).min()
}

/// A running pass over a feed.
pub(crate) enum Pull<'a> {
    Owned(Box<Loader>),
    Lent(&'a mut Loader),
}

/// Reads the queue of a pass.
pub(crate) struct QueueMeter {
    stats: StatsHandle,
    capacity: usize,
}

impl QueueMeter {
    pub(crate) fn read(&self) -> QueueStats {
        let stats = self.stats.read();
        QueueStats {
            ready: stats.queue_fill as u64,
            capacity: self.capacity as u64,
            delivered: stats.batches,
            consumer_wait: stats.consumer_wait,
            producer_wait: stats.producer_wait,
        }
    }
}

impl Pull<'_> {
    pub(crate) fn stats(&self) -> StatsHandle {
        match self {
            Pull::Owned(loader) => loader.stats_handle(),
            Pull::Lent(loader) => loader.stats_handle(),
        }
    }

    /// The meter of the queue; `None` if batches are not prepared ahead.
    pub(crate) fn meter(&self) -> Option<QueueMeter> {
        let loader = match self {
            Pull::Owned(loader) => loader.as_ref(),
            Pull::Lent(loader) => loader,
        };
        Some(QueueMeter {
            stats: loader.stats_handle(),
            capacity: loader.queue_size()?,
        })
    }

    pub(crate) fn next(&mut self) -> Option<Result<LoadedBatch, DataError>> {
        match self {
            Pull::Owned(loader) => loader.next(),
            Pull::Lent(loader) => loader.next(),
        }
    }
}
