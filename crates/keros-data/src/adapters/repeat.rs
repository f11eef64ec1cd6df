//! Several passes over a source.

use std::fmt;

use crate::array_sequence::check_index;
use crate::{Batch, DataError, Generator, Sequence};

/// Several passes over a sequence as one epoch, made by
/// [`SequenceExt::repeat`](super::SequenceExt::repeat).
#[derive(Clone, Debug)]
pub struct Repeat<S> {
    source: S,
    passes: usize,
}

impl<S: Sequence> Repeat<S> {
    pub(super) fn new(source: S, passes: usize) -> Result<Self, DataError> {
        const DOING: &str = "repeating a sequence";
        if passes == 0 {
            return Err(DataError::invalid(DOING, "passes", "at least 1", 0));
        }
        if source.changes_on_epoch_end() {
            let expected = "a sequence whose changes_on_epoch_end is false";
            let found = "one that changes";
            return Err(DataError::invalid(DOING, "source", expected, found));
        }
        Ok(Self { source, passes })
    }

    /// The source's epoch that a pass is.
    fn pass(&self, epoch: u64, pass: usize) -> u64 {
        epoch
            .saturating_mul(self.passes as u64)
            .saturating_add(pass as u64)
    }
}

impl<S: Sequence> Sequence for Repeat<S> {
    fn len(&self) -> usize {
        self.source.len().saturating_mul(self.passes)
    }

    fn batch(&self, epoch: u64, index: usize) -> Result<Batch, DataError> {
        check_index(index, self.len())?;
        let len = self.source.len();
        self.source
            .batch(self.pass(epoch, index / len), index % len)
    }

    fn on_epoch_end(&self, epoch: u64) {
        for pass in 0..self.passes {
            self.source.on_epoch_end(self.pass(epoch, pass));
        }
    }

    fn changes_on_epoch_end(&self) -> bool {
        false
    }

    fn num_samples(&self) -> Option<usize> {
        self.source.num_samples()?.checked_mul(self.passes)
    }
}

/// One generator after another without end, made by [`repeat`].
pub struct RepeatStream<M, G> {
    make: M,
    pass: u64,
    /// `None` before the first pass, and after the end.
    source: Option<G>,
    /// Whether this pass gave anything yet.
    gave: bool,
    ended: bool,
}

impl<M, G> fmt::Debug for RepeatStream<M, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RepeatStream")
            .field("pass", &self.pass)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

/// A generator without end: it reads the one that `make` gives for pass 0 to its end, then the one
/// for pass 1, and so on.
///
/// ```
/// use keros_data::{Array, Batch, repeat};
///
/// let numbers = repeat(|pass| {
///     Ok((0..2).map(move |step| {
///         let number = Array::from_vec(&[1], vec![10 * pass as i64 + step])?;
///         Ok(Batch::inputs_only(number))
///     }))
/// });
/// let first: Vec<i64> = numbers
///     .take(5)
///     .map(|batch| Ok(batch?.inputs.first().clone().into_vec::<i64>().unwrap_or_default()[0]))
///     .collect::<Result<_, keros_data::DataError>>()?;
/// assert_eq!(first, [0, 1, 10, 11, 20]);
/// # Ok::<(), keros_data::DataError>(())
/// ```
///
/// # Errors
/// What `make` returns, and a pass that gives nothing, are delivered as an error; the stream ends
/// there.
pub fn repeat<M, G>(make: M) -> RepeatStream<M, G>
where
    M: FnMut(u64) -> Result<G, DataError> + Send,
    G: Generator,
{
    RepeatStream {
        make,
        pass: 0,
        source: None,
        gave: false,
        ended: false,
    }
}

impl<M, G> Iterator for RepeatStream<M, G>
where
    M: FnMut(u64) -> Result<G, DataError>,
    G: Generator,
{
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            let Some(source) = &mut self.source else {
                match (self.make)(self.pass) {
                    Ok(source) => self.source = Some(source),
                    Err(error) => {
                        self.ended = true;
                        return Some(Err(error));
                    }
                }
                continue;
            };
            if let Some(item) = source.next() {
                self.gave = true;
                return Some(item);
            }
            self.source = None;
            self.pass += 1;
            if !std::mem::take(&mut self.gave) {
                self.ended = true;
                return Some(Err(DataError::Empty {
                    doing: "repeating a generator",
                    what: format!("pass {}", self.pass - 1).into(),
                }));
            }
        }
        None
    }
}
