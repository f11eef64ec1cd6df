//! The contract of a plain generator: a data source that can only be asked for its next batch.

use crate::{Batch, DataError};

/// Any iterator over batches that may move to another thread.
///
/// A generator has no epochs and no length. It is always read by one thread, in order, whatever the
/// number of workers: what Keras leaves to a warning (duplicated and disordered batches) cannot be
/// written here. `None` is the end of the data, an `Err` is a failure: the two are never confused.
///
/// ```
/// use keros_data::{Array, Batch, DataError, Generator};
///
/// fn zeros() -> impl Generator {
///     std::iter::repeat_with(|| {
///         let x = Array::from_vec(&[8, 2], vec![0.0_f32; 16])?;
///         let y = Array::from_vec(&[8], vec![0_i64; 8])?;
///         Ok(Batch::new(x, y))
///     })
/// }
/// # assert_eq!(zeros().next().map(|batch| batch.map(|batch| batch.len()).ok()), Some(Some(8)));
/// ```
pub trait Generator: Iterator<Item = Result<Batch, DataError>> + Send {}

impl<I: Iterator<Item = Result<Batch, DataError>> + Send> Generator for I {}
