//! The batches of a generator, kept in memory as a sequence.

use crate::array_sequence::check_index;
use crate::{Batch, DataError, Generator, Sequence};

/// What a generator gave, as a sequence: made by
/// [`GeneratorExt::collect_batches`](super::GeneratorExt::collect_batches).
#[derive(Clone, Debug)]
pub struct Collected {
    batches: Vec<Batch>,
}

impl Collected {
    pub(super) fn new(source: impl Generator, max_bytes: usize) -> Result<Self, DataError> {
        const DOING: &str = "keeping the batches of a generator";
        let (mut batches, mut bytes) = (Vec::new(), 0_usize);
        for batch in source {
            let batch = batch?;
            batch.check()?;
            bytes += batch.size_bytes();
            if bytes > max_bytes {
                return Err(DataError::TooManyBytes {
                    doing: DOING,
                    limit: max_bytes,
                    found: bytes,
                });
            }
            batches.push(batch);
        }
        match batches.is_empty() {
            true => Err(DataError::Empty {
                doing: DOING,
                what: "the generator".into(),
            }),
            false => Ok(Self { batches }),
        }
    }
}

impl Sequence for Collected {
    fn len(&self) -> usize {
        self.batches.len()
    }

    fn batch(&self, _: u64, index: usize) -> Result<Batch, DataError> {
        check_index(index, self.batches.len())?;
        Ok(self.batches[index].clone())
    }

    fn changes_on_epoch_end(&self) -> bool {
        false
    }

    fn num_samples(&self) -> Option<usize> {
        Some(self.batches.iter().map(Batch::len).sum())
    }
}
