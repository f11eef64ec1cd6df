//! The memory of batches that were used up, for those to come.
//!
//! A system clears fresh memory page by page, which takes as long as filling it, and hands out pages to one thread of
//! a process at a time: workers that make large batches would wait for each other.

use std::collections::VecDeque;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::{Array, Arrays, Batch, Element};

/// Smaller memory is faster to get than to keep.
const LEAST_BYTES: usize = 256 << 10;

/// Vectors that may be lent at the same time and are known when they come back.
const MOST_LENT: usize = 1024;

/// So many requests tell which lengths are in demand.
const LAST_ASKED: usize = 16;

/// How many are alive.
static RUNS: AtomicUsize = AtomicUsize::new(0);

/// Keeps the memory of the batches that are [given back](Self::give), for new batches in any thread of this process;
/// when the last one of them is dropped, what was kept is freed.
///
/// Kept is only what this crate took for a batch while there was one of these, and what a function of the user's
/// made in its stead is not. When new memory has to be taken, what is kept of sizes that are no longer asked for is
/// freed.
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
    /// Where the vectors are that were lent, and what they have room for, the latest last. Those that never come back
    /// stay, until others have their places.
    lent: VecDeque<(usize, usize)>,
    /// The lengths that were asked for, the latest last.
    asked: VecDeque<usize>,
}

impl<T> Free<T> {
    pub(crate) const fn new() -> Self {
        Self {
            vectors: Vec::new(),
            lent: VecDeque::new(),
            asked: VecDeque::new(),
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
    let own = (vector.as_ptr().addr(), vector.capacity());
    let mut free = T::free().lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(index) = free.lent.iter().position(|lent| *lent == own) {
        free.lent.remove(index);
        free.vectors.push(vector);
    }
}

fn clear<T: Element>() {
    let mut free = T::free().lock().unwrap_or_else(PoisonError::into_inner);
    *free = Free::new();
}

/// A vector of unspecified values.
pub(crate) fn vector<T: Element + Default>(len: usize) -> Vec<T> {
    let vector = match kept(len) {
        Some(mut vector) => {
            vector.resize(len, T::default());
            vector
        }
        // Zeros come from the system.
        None => vec![T::default(); len],
    };
    lend(&vector);
    vector
}

/// An empty vector with room for so many values.
pub(crate) fn room<T: Element>(len: usize) -> Vec<T> {
    let vector = match kept(len) {
        Some(mut vector) => {
            vector.clear();
            vector
        }
        None => Vec::with_capacity(len),
    };
    lend(&vector);
    vector
}

/// The smallest kept vector that has room for so many values and not for more than twice as many.
fn kept<T: Element>(len: usize) -> Option<Vec<T>> {
    if !is_kept::<T>(len) {
        return None;
    }
    let mut free = T::free().lock().unwrap_or_else(PoisonError::into_inner);
    let Free { vectors, asked, .. } = &mut *free;
    push_bounded(asked, len, LAST_ASKED);
    let fits = |vector: &Vec<T>, len: usize| (len..=2 * len).contains(&vector.capacity());
    let smallest = (0..vectors.len())
        .filter(|&i| fits(&vectors[i], len))
        .min_by_key(|&i| vectors[i].capacity());
    if let Some(index) = smallest {
        return Some(vectors.remove(index));
    }
    let in_demand = |vector: &Vec<T>| asked.iter().any(|len| fits(vector, *len));
    let others: Vec<_> = vectors.extract_if(.., |v| !in_demand(v)).collect();
    // Freed without the lock, because that takes its time.
    drop(free);
    drop(others);
    None
}

/// Notes that a vector is one that may come back.
fn lend<T: Element>(vector: &Vec<T>) {
    if is_kept::<T>(vector.capacity()) {
        let place = vector.as_ptr().addr();
        let mut free = T::free().lock().unwrap_or_else(PoisonError::into_inner);
        // Of a vector that was here before.
        free.lent.retain(|lent| lent.0 != place);
        push_bounded(&mut free.lent, (place, vector.capacity()), MOST_LENT);
    }
}

/// Whether memory for so many values is kept at present.
fn is_kept<T>(len: usize) -> bool {
    len * size_of::<T>() >= LEAST_BYTES && RUNS.load(Ordering::Relaxed) > 0
}

fn push_bounded<V>(list: &mut VecDeque<V>, value: V, most: usize) {
    if list.len() == most {
        list.pop_front();
    }
    list.push_back(value);
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::{Arc, Mutex, MutexGuard};

    use super::*;
    use crate::{ArraySequence, Loader, LoaderOptions, Sequence, SequenceExt, Shuffle};

    /// What is kept is of the whole process: tests of it take turns.
    pub(crate) fn alone() -> MutexGuard<'static, ()> {
        static TURN: Mutex<()> = Mutex::new(());
        TURN.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn kept_vectors<T: Element>() -> usize {
        T::free().lock().unwrap().vectors.len()
    }

    fn batch(sequence: &ArraySequence) -> (Batch, *const u8) {
        let batch = sequence.batch(0, 0).unwrap();
        let first = batch.inputs.first().as_slice::<u8>().unwrap().as_ptr();
        (batch, first)
    }

    #[test]
    fn memory_serves_again_if_nobody_has_it() {
        let _alone = alone();
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

        drop((third, clone));

        // What was made elsewhere is not kept, also in the place of what was not given back.
        let free = || kept_vectors::<u8>();
        for _ in 0..10 {
            let _ = ones.batch(0, 0).unwrap();
            recycling.give(Batch::inputs_only(rows(3).unwrap()));
        }
        assert_eq!(free(), 0);

        // Such as what a function makes of a batch, of any size.
        let columns = |columns: usize| {
            let loader = Loader::from_sequence(
                Arc::new(sequence(5).map(move |batch| {
                    let row = vec![5_u8; batch.len() * columns];
                    Array::from_vec(&[batch.len(), columns], row).map(Batch::inputs_only)
                })),
                LoaderOptions {
                    workers: 0,
                    limit: Some(20),
                    ..LoaderOptions::default()
                },
            );
            loader.unwrap().map(|loaded| loaded.unwrap().batch)
        };
        for size in [LEAST_BYTES / 3, LEAST_BYTES, 3 * LEAST_BYTES] {
            columns(size).for_each(|batch| recycling.give(batch));
            assert_eq!(free(), 0, "{size} columns");
        }

        // Memory serves again although other memory that was taken between does not come back.
        let make = |len: usize| Array::from_vec(&[1, len], vector::<u8>(len)).unwrap();
        let start = |array: &Array| array.as_slice::<u8>().unwrap().as_ptr();
        let mut last = None;
        for _ in 0..20 {
            drop(make(9 * LEAST_BYTES));
            let array = make(LEAST_BYTES);
            assert!(last.is_none_or(|last| last == start(&array)));
            last = Some(start(&array));
            recycling.give(Batch::inputs_only(array));
        }

        // Sizes that are no longer asked for are not kept.
        for size in 0..200 {
            recycling.give(Batch::inputs_only(make(2 * LEAST_BYTES + size)));
            assert!(free() <= LAST_ASKED + 1, "{} are kept", free());
        }

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
