//! Adapters: data sources made of other data sources.
//!
//! A [`Sequence`] is adapted by the methods of [`SequenceExt`]. What comes out is a sequence
//! again, its batches are pure functions of (epoch, index) again, and so the workers of a
//! [`Loader`](crate::Loader) do the work of the adapters too. A [`Generator`] is an iterator, and
//! `take`, `chain` and `filter` are those of [`Iterator`]; the methods of [`GeneratorExt`] are what
//! iterators lack, or what would lose an error.
//!
//! The indices of the samples are carried along, so that what a network says of a batch can be
//! matched to the files or rows it came from.
//!
//! ```
//! use keros_data::{Array, ArraySequence, Sequence, SequenceExt};
//!
//! # fn main() -> Result<(), keros_data::DataError> {
//! let x = Array::from_vec(&[6, 1], vec![0.0_f32, 1.0, 2.0, 3.0, 4.0, 5.0])?;
//! let y = Array::from_vec(&[6], vec![0_i64, 0, 0, 1, 1, 1])?;
//! let sequence = ArraySequence::new(x, y)?
//!     .batch_size(2)?
//!     .cache(1 << 20)
//!     .shuffle_batches(7)
//!     .map(|mut batch| {
//!         let negative = batch.inputs.first().as_slice::<f32>().unwrap_or_default().iter().map(|x| -x).collect();
//!         batch.inputs = Array::from_vec(&[batch.len(), 1], negative)?.into();
//!         Ok(batch)
//!     })
//!     .repeat(2)?;
//! assert_eq!(sequence.len(), 6);
//! assert_eq!(sequence.batch(0, 4)?.indices.len(), 2);
//! # Ok(())
//! # }
//! ```
//!
//! [`Sequence`]: crate::Sequence
//! [`Generator`]: crate::Generator

mod cache;
mod chain;
mod collected;
mod generator;
mod map;
mod pair;
mod part;
mod rebatch;
mod repeat;
mod sequence;
mod shared;
mod shuffle;

pub use cache::Cache;
pub use chain::Chain;
pub use collected::Collected;
pub use generator::{GeneratorExt, MapBatches, Numbered, ShuffleBuffer, Unbatch, ZipBatches};
pub use map::{Map, MapIndexed};
pub use pair::{Zip, ZipWith};
pub use part::{Skip, Take};
pub use rebatch::{Rebatch, RebatchStream};
pub use repeat::{Repeat, RepeatStream, repeat};
pub use sequence::SequenceExt;
pub use shuffle::ShuffleBatches;
