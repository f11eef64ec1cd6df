//! The methods that adapt a generator, and the adapters that only generators have.

use std::collections::VecDeque;
use std::fmt;

use rand::rngs::ChaCha8Rng;

use super::map::mapped;
use super::{Collected, RebatchStream};
use crate::rng::{self, Purpose, below};
use crate::{Batch, DataError, Generator};

/// Adapters of a [`Generator`], besides those of [`Iterator`].
///
/// `take`, `chain`, `filter` and `inspect` of [`Iterator`] do what they should. [`Iterator::skip`]
/// drops errors too: [`LoaderOptions::start`](crate::LoaderOptions::start) skips without.
///
/// # Determinism
/// What comes out is a pure function of what goes in, and of the seed.
pub trait GeneratorExt: Generator + Sized {
    /// Changes every batch, on the thread that reads the generator. Samples keep their indices as in
    /// [`SequenceExt::map`](super::SequenceExt::map).
    fn map_batches<F>(self, function: F) -> MapBatches<Self, F>
    where
        F: FnMut(Batch) -> Result<Batch, DataError> + Send,
    {
        MapBatches {
            source: self,
            function,
        }
    }

    /// The same samples in batches of another size; the last one, and one before an error, may be
    /// shorter. Parts of a batch are copied, so that none keeps the whole of it in memory.
    ///
    /// # Errors
    /// Zero.
    fn rebatch(self, batch_size: usize) -> Result<RebatchStream<Self>, DataError> {
        RebatchStream::new(self, batch_size)
    }

    /// Every sample by itself, as a batch of one. Samples are copied, so that one that is kept does
    /// not keep its batch.
    fn unbatch(self) -> Unbatch<Self> {
        Unbatch {
            source: self,
            samples: VecDeque::new(),
        }
    }

    /// Mixes what comes through a buffer of `buffer` batches, from which random ones are taken.
    ///
    /// Single samples are mixed by
    /// `generator.unbatch().shuffle(1000, seed)?.rebatch(32)?`. An error is passed on at once.
    ///
    /// # Errors
    /// An empty buffer.
    fn shuffle(self, buffer: usize, seed: u64) -> Result<ShuffleBuffer<Self>, DataError> {
        if buffer == 0 {
            let doing = "shuffling a generator";
            return Err(DataError::invalid(doing, "buffer", "at least 1", 0));
        }
        Ok(ShuffleBuffer {
            source: Some(self),
            capacity: buffer,
            buffer: Vec::new(),
            rng: rng::stream(seed, Purpose::Samples, 0, 0),
        })
    }

    /// Two generators of the same samples as one, by a function that makes one batch of two, such as
    /// [`Batch::merge`]. Ends with the one that ends first.
    ///
    /// # Errors
    /// A batch is an error if it does not have the same samples in both, as far as their indices
    /// tell.
    fn zip_batches<B, F>(self, other: B, function: F) -> ZipBatches<Self, B, F>
    where
        B: Generator,
        F: FnMut(Batch, Batch) -> Result<Batch, DataError> + Send,
    {
        ZipBatches {
            first: self,
            second: other,
            function,
        }
    }

    /// Numbers the samples as they come, in place of any indices they have.
    fn numbered(self) -> Numbered<Self> {
        Numbered {
            source: self,
            samples: 0,
        }
    }

    /// Reads the generator to its end and keeps its batches in memory, as a
    /// [`Sequence`](crate::Sequence): with a length, epochs, and any number of workers.
    ///
    /// # Errors
    /// The first error of the generator; more bytes than allowed; no batch.
    fn collect_batches(self, max_bytes: usize) -> Result<Collected, DataError> {
        Collected::new(self, max_bytes)
    }
}

impl<G: Generator> GeneratorExt for G {}

/// A generator whose batches are changed, made by [`GeneratorExt::map_batches`].
#[derive(Clone)]
pub struct MapBatches<G, F> {
    source: G,
    function: F,
}

impl<G, F> Iterator for MapBatches<G, F>
where
    G: Generator,
    F: FnMut(Batch) -> Result<Batch, DataError>,
{
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.source.next()?;
        Some(batch.and_then(|batch| mapped(batch, &mut self.function)))
    }
}

/// A generator of single samples, made by [`GeneratorExt::unbatch`].
#[derive(Clone, Debug)]
pub struct Unbatch<G> {
    source: G,
    samples: VecDeque<Batch>,
}

impl<G: Generator> Iterator for Unbatch<G> {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(sample) = self.samples.pop_front() {
                return Some(Ok(sample));
            }
            let samples = self.source.next()?.and_then(|batch| {
                let one = |sample| batch.select(&[sample]);
                (0..batch.len()).map(one).collect()
            });
            match samples {
                Ok(samples) => self.samples = samples,
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// A generator mixed through a buffer, made by [`GeneratorExt::shuffle`].
#[derive(Debug)]
pub struct ShuffleBuffer<G> {
    /// `None` when it ended.
    source: Option<G>,
    capacity: usize,
    buffer: Vec<Batch>,
    rng: ChaCha8Rng,
}

impl<G: Generator> Iterator for ShuffleBuffer<G> {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(source) = &mut self.source
            && self.buffer.len() < self.capacity
        {
            match source.next() {
                Some(Ok(batch)) => self.buffer.push(batch),
                Some(Err(error)) => return Some(Err(error)),
                None => self.source = None,
            }
        }
        if self.buffer.is_empty() {
            return None;
        }
        let place = below(&mut self.rng, self.buffer.len() as u64) as usize;
        Some(Ok(self.buffer.swap_remove(place)))
    }
}

/// Two generators whose batches are made one, made by [`GeneratorExt::zip_batches`].
#[derive(Clone)]
pub struct ZipBatches<A, B, F> {
    first: A,
    second: B,
    function: F,
}

impl<A, B, F> Iterator for ZipBatches<A, B, F>
where
    A: Generator,
    B: Generator,
    F: FnMut(Batch, Batch) -> Result<Batch, DataError>,
{
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (first, second) = (self.first.next()?, self.second.next()?);
        let pair = first.and_then(|first| second.map(|second| (first, second)));
        Some(pair.and_then(|(first, second)| {
            first.check_same_samples(&second)?;
            (self.function)(first, second)
        }))
    }
}

/// A generator whose samples are numbered, made by [`GeneratorExt::numbered`].
#[derive(Clone, Debug)]
pub struct Numbered<G> {
    source: G,
    samples: usize,
}

impl<G: Generator> Iterator for Numbered<G> {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.source.next()?;
        Some(batch.map(|batch| {
            let first = self.samples;
            self.samples += batch.len();
            batch.indices((first..self.samples).collect())
        }))
    }
}

macro_rules! debug_without_function {
    ($($name:ident<$($part:ident: $source:ident),*>),*) => {$(
        impl<$($part: fmt::Debug,)* F> fmt::Debug for $name<$($part,)* F> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name))
                    $(.field(stringify!($source), &self.$source))*
                    .finish_non_exhaustive()
            }
        }
    )*};
}

debug_without_function!(MapBatches<G: source>, ZipBatches<A: first, B: second>);
