//! The same samples in batches of another size.

use std::collections::VecDeque;
use std::ops::Range;

use crate::array_sequence::batch_rows;
use crate::{Batch, DataError, Generator, Sequence};

const DOING: &str = "making batches of another size";

fn check_size(batch_size: usize) -> Result<(), DataError> {
    match batch_size {
        0 => Err(DataError::invalid(DOING, "batch_size", "at least 1", 0)),
        _ => Ok(()),
    }
}

/// A sequence in batches of another size, made by
/// [`SequenceExt::rebatch`](super::SequenceExt::rebatch).
#[derive(Clone, Debug)]
pub struct Rebatch<S> {
    source: S,
    batch_size: usize,
    /// Samples in every batch of the source but the last.
    source_size: usize,
}

impl<S: Sequence> Rebatch<S> {
    pub(super) fn new(source: S, batch_size: usize) -> Result<Self, DataError> {
        check_size(batch_size)?;
        let samples = known_samples(&source)?;
        let source_size = source.batch(0, 0)?.len();
        let (expected, found) = (samples.div_ceil(source_size.max(1)), source.len());
        if expected != found {
            return Err(DataError::LengthMismatch {
                name: "the list of batches".into(),
                reference: format!("{samples} samples in batches of {source_size}").into(),
                expected,
                found,
            });
        }
        Ok(Self {
            source,
            batch_size,
            source_size,
        })
    }

    /// Batch `index` of the source, of the size it has to be.
    fn part(&self, epoch: u64, index: usize, samples: usize) -> Result<Batch, DataError> {
        let expected = batch_rows(index, self.source_size, samples)?.len();
        let part = self.source.batch(epoch, index)?;
        if part.len() == expected {
            return Ok(part);
        }
        Err(DataError::LengthMismatch {
            name: format!("batch {index} of the source").into(),
            reference: "its others".into(),
            expected,
            found: part.len(),
        })
    }
}

/// These samples of some batches as one batch. It is copied unless it is one of them: a slice would keep all of its
/// batch in memory, and whoever counts bytes would count those of the slice only.
fn joined(parts: &[(Batch, Range<usize>)]) -> Result<Batch, DataError> {
    if let [(batch, samples)] = parts
        && samples.len() == batch.len()
    {
        return Ok(batch.clone());
    }
    let slice = |(batch, samples): &(Batch, Range<usize>)| batch.slice(samples.clone());
    let slices: Vec<Batch> = parts.iter().map(slice).collect::<Result<_, _>>()?;
    Batch::concat(&slices)
}

fn known_samples(source: &impl Sequence) -> Result<usize, DataError> {
    source.num_samples().ok_or_else(|| {
        let expected = "a sequence that knows its number of samples";
        DataError::invalid(DOING, "source", expected, "one that does not")
    })
}

impl<S: Sequence> Sequence for Rebatch<S> {
    fn len(&self) -> usize {
        let samples = self.source.num_samples().unwrap_or(0);
        samples.div_ceil(self.batch_size)
    }

    fn batch(&self, epoch: u64, index: usize) -> Result<Batch, DataError> {
        let samples = known_samples(&self.source)?;
        let rows = batch_rows(index, self.batch_size, samples)?;
        let size = self.source_size;
        let mut parts = Vec::new();
        for index in rows.start / size..=(rows.end - 1) / size {
            let part = self.part(epoch, index, samples)?;
            let start = rows.start.saturating_sub(index * size);
            let end = part.len().min(rows.end - index * size);
            parts.push((part, start..end));
        }
        joined(&parts)
    }

    fn on_epoch_end(&self, epoch: u64) {
        self.source.on_epoch_end(epoch);
    }

    fn changes_on_epoch_end(&self) -> bool {
        self.source.changes_on_epoch_end()
    }

    fn num_samples(&self) -> Option<usize> {
        self.source.num_samples()
    }
}

/// A generator in batches of another size, made by
/// [`GeneratorExt::rebatch`](super::GeneratorExt::rebatch).
#[derive(Debug)]
pub struct RebatchStream<G> {
    source: G,
    batch_size: usize,
    /// What was read and not given yet: `waiting` samples, after the first `given` ones in front.
    parts: VecDeque<Batch>,
    given: usize,
    waiting: usize,
    /// What comes after the samples that wait: an error, or the end.
    after: Option<Option<DataError>>,
}

impl<G: Generator> RebatchStream<G> {
    pub(super) fn new(source: G, batch_size: usize) -> Result<Self, DataError> {
        check_size(batch_size)?;
        Ok(Self {
            source,
            batch_size,
            parts: VecDeque::new(),
            given: 0,
            waiting: 0,
            after: None,
        })
    }

    /// Reads until a batch is complete or the source stops.
    fn fill(&mut self) {
        while self.waiting < self.batch_size && self.after.is_none() {
            let read = self.source.next().transpose();
            match read.and_then(|batch| batch.map(checked).transpose()) {
                Ok(Some(batch)) => {
                    self.waiting += batch.len();
                    self.parts.push_back(batch);
                }
                Ok(None) => self.after = Some(None),
                Err(error) => self.after = Some(Some(error)),
            }
        }
    }

    /// Takes `samples` of those that wait.
    fn take(&mut self, samples: usize) -> Result<Batch, DataError> {
        let mut taken = Vec::new();
        let mut missing = samples;
        while missing > 0
            && let Some(part) = self.parts.front()
        {
            let end = part.len().min(self.given + missing);
            missing -= end - self.given;
            taken.push((part.clone(), self.given..end));
            self.given = end;
            if end == part.len() {
                self.parts.pop_front();
                self.given = 0;
            }
        }
        self.waiting -= samples;
        joined(&taken)
    }
}

fn checked(batch: Batch) -> Result<Batch, DataError> {
    batch.check()?;
    Ok(batch)
}

impl<G: Generator> Iterator for RebatchStream<G> {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.fill();
        match self.waiting.min(self.batch_size) {
            0 => {
                let error = self.after.as_mut()?.take()?;
                Some(Err(error))
            }
            samples => Some(self.take(samples)),
        }
    }
}
