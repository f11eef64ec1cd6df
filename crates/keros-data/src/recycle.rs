//! The memory of batches that were used up, for those to come.
//!
//! A system clears fresh memory page by page, which takes as long as filling it, and hands out pages to one thread of
//! a process at a time: workers that make large batches would wait for each other.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::{Array, Arrays, Batch, Element};

/// Smaller memory is faster to get than to keep.
const LEAST_BYTES: usize = 256 << 10;

/// How many are alive.
static RUNS: AtomicUsize = AtomicUsize::new(0);

/// Keeps the memory of the batches that are [given back](Self::give), for new batches in any thread of this process;
/// when the last one of them is dropped, what was kept is freed.
///
/// No more is kept than there was in use at the same time before.
///
/// ```
/// use keros_data::{Array, ArraySequence, Recycling, Sequence, Shuffle};
///
/// let x = Array::from_vec(&[600, 32, 32, 3], vec![0_u8; 600 * 32 * 32 * 3])?;
/// let sequence = ArraySequence::inputs_only(x)?.shuffle(Shuffle::Samples).batch_size(300)?;
/// let recycling = Recycling::start();
/// for index in 0..sequence.len() {
///     let batch = sequence.batch(0, index)?;
///     assert_eq!(batch.len(), 300);
///     recycling.give(batch);
/// }
/// # Ok::<(), keros_data::DataError>(())
/// ```
#[derive(Debug)]
pub struct Recycling(());

impl Recycling {
    /// Begins to keep memory.
    #[must_use]
    pub fn start() -> Self {
        RUNS.fetch_add(1, Ordering::Relaxed);
        Self(())
    }

    /// Takes the memory of a batch, but for arrays that somebody else has a clone of.
    pub fn give(&self, batch: Batch) {
        let Batch {
            inputs,
            targets,
            sample_weight,
            ..
        } = batch;
        for arrays in [Some(inputs), targets, sample_weight].into_iter().flatten() {
            give(arrays);
        }
    }
}

impl Drop for Recycling {
    fn drop(&mut self) {
        if RUNS.fetch_sub(1, Ordering::Relaxed) == 1 {
            clear::<u8>();
            clear::<f32>();
            clear::<i64>();
        }
    }
}

/// Vectors of any length that nobody uses.
pub struct Free<T> {
    vectors: Vec<Vec<T>>,
    /// How many were taken and not given back: those of others are not kept in their place.
    lent: usize,
}

impl<T> Free<T> {
    pub(crate) const fn new() -> Self {
        Self {
            vectors: Vec::new(),
            lent: 0,
        }
    }
}

fn give(arrays: Arrays) {
    for (_, array) in arrays.into_pairs() {
        match array {
            Array::U8(array) => keep(array.try_into_owned_nocopy()),
            Array::F32(array) => keep(array.try_into_owned_nocopy()),
            Array::I64(array) => keep(array.try_into_owned_nocopy()),
        }
    }
}

fn keep<T: Element, E>(owned: Result<ndarray::ArrayD<T>, E>) {
    let Ok(owned) = owned else { return };
    let (vector, _) = owned.into_raw_vec_and_offset();
    let bytes = vector.capacity() * size_of::<T>();
    let mut free = T::free().lock().unwrap_or_else(PoisonError::into_inner);
    if bytes >= LEAST_BYTES && free.lent > 0 && RUNS.load(Ordering::Relaxed) > 0 {
        free.lent -= 1;
        free.vectors.push(vector);
    }
}

fn clear<T: Element>() {
    let mut free = T::free().lock().unwrap_or_else(PoisonError::into_inner);
    *free = Free::new();
}

/// A vector of unspecified values.
pub(crate) fn vector<T: Element + Default>(len: usize) -> Vec<T> {
    let mut vector = kept(len).unwrap_or_default();
    // Of new memory, zeros come from the system.
    if vector.capacity() == 0 {
        return vec![T::default(); len];
    }
    vector.resize(len, T::default());
    vector
}

/// An empty vector with room for so many values.
pub(crate) fn room<T: Element>(len: usize) -> Vec<T> {
    match kept(len) {
        Some(mut vector) => {
            vector.clear();
            vector
        }
        None => Vec::with_capacity(len),
    }
}

/// The smallest kept vector that has room for so many values and not for more than twice as many.
fn kept<T: Element>(len: usize) -> Option<Vec<T>> {
    if len * size_of::<T>() < LEAST_BYTES || RUNS.load(Ordering::Relaxed) == 0 {
        return None;
    }
    let mut free = T::free().lock().unwrap_or_else(PoisonError::into_inner);
    free.lent += 1;
    let vectors = &mut free.vectors;
    let fits = |vector: &Vec<T>| (len..=2 * len).contains(&vector.capacity());
    let smallest = (0..vectors.len())
        .filter(|&i| fits(&vectors[i]))
        .min_by_key(|&i| vectors[i].capacity());
    smallest.map(|index| vectors.swap_remove(index))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ArraySequence, Sequence, Shuffle};

    fn kept_vectors<T: Element>() -> usize {
        T::free().lock().unwrap().vectors.len()
    }

    fn batch(sequence: &ArraySequence) -> (Batch, *const u8) {
        let batch = sequence.batch(0, 0).unwrap();
        let first = batch.inputs.first().as_slice::<u8>().unwrap().as_ptr();
        (batch, first)
    }

    /// One test for all, because what is kept is of the whole process.
    #[test]
    fn memory_serves_again_if_nobody_has_it() {
        let rows = |value: u8| Array::from_vec(&[8, LEAST_BYTES], vec![value; 8 * LEAST_BYTES]);
        let sequence = |value| {
            let sequence = ArraySequence::inputs_only(rows(value).unwrap()).unwrap();
            sequence.shuffle(Shuffle::Samples).batch_size(4).unwrap()
        };
        let (ones, twos) = (sequence(1), sequence(2));
        let recycling = Recycling::start();
        let (first, place) = batch(&ones);
        recycling.give(first);
        let (second, again) = batch(&twos);
        assert_eq!(again, place);
        let values = second.inputs.first().as_slice::<u8>().unwrap();
        assert!(values.iter().all(|&value| value == 2));

        // A clone keeps it from serving again.
        let clone = second.inputs.first().clone();
        recycling.give(second);
        let (third, other) = batch(&ones);
        assert_ne!(other, place);
        assert_eq!(clone.as_slice::<u8>().unwrap()[0], 2);

        // What was made elsewhere is not kept in the place of what was not given back.
        drop((third, clone));
        let free = || kept_vectors::<u8>();
        for _ in 0..10 {
            recycling.give(Batch::inputs_only(rows(3).unwrap()));
        }
        assert!(free() <= 2, "{} are kept", free());

        // Slices share the memory of the source, which stays.
        let plain = sequence(4).shuffle(Shuffle::No);
        recycling.give(plain.batch(0, 1).unwrap());
        assert_eq!(
            batch(&plain).0.inputs.first().as_slice::<u8>().unwrap()[0],
            4
        );

        drop(recycling);
        assert_eq!(free(), 0);
        let (_, place) = batch(&ones);
        assert!(!place.is_null());
    }
}
