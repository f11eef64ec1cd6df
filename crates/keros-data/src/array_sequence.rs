//! Batches of arrays that are in memory: what `fit` on arrays trains on.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::batch::check_rows;
use crate::epoch_order::EpochOrder;
use crate::rng::{self, Purpose};
use crate::{Arrays, Batch, DataError, Recipe, Sequence};

const DOING: &str = "making batches of arrays";

/// How the samples of an [`ArraySequence`] are mixed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Shuffle {
    /// In the order of the arrays, every epoch (Keras: `shuffle=False`).
    No,
    /// All samples in a new order every epoch (Keras: `shuffle=True`, the default of `fit`).
    #[default]
    Samples,
    /// Every batch keeps its samples, in a new order every epoch (Keras 2 and 3:
    /// `shuffle='batch'`).
    WithinBatch,
}

/// A [`Sequence`] over arrays in memory.
///
/// The last batch of an epoch is shorter when the batch size does not divide the number of samples.
/// A batch of consecutive samples ([`Shuffle::No`]) shares the memory of the arrays, others are
/// gathered.
///
/// # Determinism
/// The order of an epoch is a pure function of (seed, epoch), see [`rng`].
///
/// ```
/// use keros_data::{Array, ArraySequence, Sequence, Shuffle};
///
/// # fn main() -> Result<(), keros_data::DataError> {
/// let x = Array::from_vec(&[5, 2], vec![0.0_f32; 10])?;
/// let y = Array::from_vec(&[5], vec![0_i64, 1, 2, 3, 4])?;
/// let sequence = ArraySequence::new(x, y)?.batch_size(2)?.shuffle(Shuffle::No);
/// assert_eq!(sequence.len(), 3);
/// assert_eq!(sequence.batch(0, 2)?.indices, [4]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ArraySequence {
    inputs: Arrays,
    targets: Option<Arrays>,
    sample_weight: Option<Arrays>,
    batch_size: usize,
    shuffle: Shuffle,
    seed: u64,
    order: EpochOrder,
}

impl ArraySequence {
    pub(crate) const RECIPE: &'static str = "keros::ArraySequence";

    /// Batches of 32 samples with targets, shuffled with seed 0.
    ///
    /// # Errors
    /// No rows; inputs and targets with different numbers of rows.
    pub fn new(inputs: impl Into<Arrays>, targets: impl Into<Arrays>) -> Result<Self, DataError> {
        Self::from_parts(inputs.into(), Some(targets.into()))
    }

    /// Batches of 32 samples without targets, for prediction: not shuffled unless asked.
    ///
    /// # Errors
    /// No rows.
    pub fn inputs_only(inputs: impl Into<Arrays>) -> Result<Self, DataError> {
        Ok(Self::from_parts(inputs.into(), None)?.shuffle(Shuffle::No))
    }

    fn from_parts(inputs: Arrays, targets: Option<Arrays>) -> Result<Self, DataError> {
        check_rows(DOING, &inputs, targets.as_ref(), None)?;
        Ok(Self {
            // Once here instead of row by row in every batch.
            inputs: inputs.to_standard_layout(),
            targets: targets.as_ref().map(Arrays::to_standard_layout),
            sample_weight: None,
            batch_size: 32,
            shuffle: Shuffle::default(),
            seed: 0,
            order: EpochOrder::new(0, Purpose::Samples),
        })
    }

    /// Samples per batch. Default: 32, as in Keras.
    ///
    /// # Errors
    /// Zero.
    pub fn batch_size(mut self, batch_size: usize) -> Result<Self, DataError> {
        if batch_size == 0 {
            return Err(DataError::invalid(DOING, "batch_size", "at least 1", 0));
        }
        self.batch_size = batch_size;
        Ok(self)
    }

    /// How samples are mixed. Default: [`Shuffle::Samples`], as in `fit`.
    pub fn shuffle(mut self, shuffle: Shuffle) -> Self {
        self.shuffle = shuffle;
        self
    }

    /// Seed of the shuffling. Default: 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self.order = EpochOrder::new(seed, Purpose::Samples);
        self
    }

    /// Weight of every sample in the loss: one array for all outputs, or one for each by its name.
    ///
    /// # Errors
    /// Another number of rows than the inputs.
    pub fn sample_weight(mut self, sample_weight: impl Into<Arrays>) -> Result<Self, DataError> {
        let sample_weight = sample_weight.into();
        check_rows(
            DOING,
            &self.inputs,
            self.targets.as_ref(),
            Some(&sample_weight),
        )?;
        self.sample_weight = Some(sample_weight.to_standard_layout());
        Ok(self)
    }

    /// The samples that a batch has before any shuffling.
    fn rows(&self, index: usize) -> Result<Range<usize>, DataError> {
        batch_rows(index, self.batch_size, self.inputs.rows())
    }
}

/// The positions of batch `index` among `samples`; the last batch may be shorter.
pub(crate) fn batch_rows(
    index: usize,
    batch_size: usize,
    samples: usize,
) -> Result<Range<usize>, DataError> {
    check_index(index, samples.div_ceil(batch_size))?;
    let start = index * batch_size;
    Ok(start..samples.min(start.saturating_add(batch_size)))
}

/// Whether a sequence of `len` batches has batch `index`.
pub(crate) fn check_index(index: usize, len: usize) -> Result<(), DataError> {
    if index < len {
        return Ok(());
    }
    Err(DataError::OutOfRange {
        doing: "preparing a batch",
        what: "batch",
        index,
        len,
    })
}

impl Sequence for ArraySequence {
    fn len(&self) -> usize {
        self.inputs.rows().div_ceil(self.batch_size)
    }

    fn batch(&self, epoch: u64, index: usize) -> Result<Batch, DataError> {
        let rows = self.rows(index)?;
        let indices = match self.shuffle {
            Shuffle::No => {
                return Ok(Batch {
                    inputs: self.inputs.slice(rows.clone())?,
                    targets: self
                        .targets
                        .as_ref()
                        .map(|targets| targets.slice(rows.clone()))
                        .transpose()?,
                    sample_weight: self
                        .sample_weight
                        .as_ref()
                        .map(|weight| weight.slice(rows.clone()))
                        .transpose()?,
                    indices: rows.collect(),
                });
            }
            Shuffle::Samples => self.order.get(epoch, self.inputs.rows())[rows].to_vec(),
            Shuffle::WithinBatch => {
                let mut indices: Vec<usize> = rows.collect();
                rng::shuffle(
                    &mut rng::stream(self.seed, Purpose::WithinBatch, epoch, index as u64),
                    &mut indices,
                );
                indices
            }
        };
        Ok(Batch {
            inputs: self.inputs.select(&indices)?,
            targets: self
                .targets
                .as_ref()
                .map(|targets| targets.select(&indices))
                .transpose()?,
            sample_weight: self
                .sample_weight
                .as_ref()
                .map(|weight| weight.select(&indices))
                .transpose()?,
            indices,
        })
    }

    fn changes_on_epoch_end(&self) -> bool {
        false
    }

    fn recipe(&self) -> Result<Recipe<'_>, DataError> {
        Ok(Recipe::new(Self::RECIPE, self))
    }

    fn num_samples(&self) -> Option<usize> {
        Some(self.inputs.rows())
    }
}
