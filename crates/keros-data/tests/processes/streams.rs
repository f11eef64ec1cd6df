//! The stream is the same whatever prepares it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use keros_data::{
    Array, Batch, DataError, FlowOptions, ImageDataGenerator, Loader, LoaderOptions, Recipe,
    Sequence,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::support::{batch, digest, options};
use crate::{Trials, trials};

fn flow(seed: u64, batch_size: usize) -> Arc<dyn Sequence> {
    let pixels = (0..30 * 8 * 6 * 3).map(|i| (i * 31 % 256) as u8).collect();
    let images = Array::from_vec(&[30, 8, 6, 3], pixels).unwrap();
    let labels = Array::from_vec(&[30], (0..30_i64).collect()).unwrap();
    let generator = ImageDataGenerator::new()
        .rotation_range(15.0)
        .width_shift_range(0.1)
        .zoom_range(0.1)
        .horizontal_flip(true);
    let options = FlowOptions {
        batch_size,
        seed,
        ..FlowOptions::default()
    };
    Arc::new(generator.flow(images, Some(labels), options).unwrap())
}

fn digests(sequence: &Arc<dyn Sequence>, options: LoaderOptions) -> Vec<u64> {
    Loader::from_sequence(Arc::clone(sequence), options)
        .unwrap()
        .map(|loaded| digest(&loaded.unwrap()))
        .collect()
}

fn the_stream_depends_on_no_worker_no_queue_and_no_interruption() {
    let mut runner = TestRunner::new(Config {
        cases: 40,
        failure_persistence: None,
        ..Config::default()
    });
    let cases = (
        any::<u64>(),
        1..12_usize,
        any::<bool>(),
        prop_oneof![Just(0), Just(1), Just(2), Just(8)],
        any::<bool>(),
        1..12_usize,
        prop_oneof![Just(None), (1..20_000_usize).prop_map(Some)],
        0..20_u64,
    );
    let check = |(seed, batch_size, shuffle, workers, use_multiprocessing, size, bytes, start)| {
        let sequence = flow(seed, batch_size);
        let whole = options! { workers: 0, shuffle, seed, limit: Some(20) };
        let rest = options! {
            workers, use_multiprocessing, shuffle, seed, start,
            max_queue_size: size, max_queue_bytes: bytes, limit: Some(20 - start),
        };
        let whole = digests(&sequence, whole);
        prop_assert_eq!(digests(&sequence, rest), &whole[start as usize..]);
        Ok(())
    };
    runner.run(&cases, check).unwrap();
}

/// Each epoch has a batch more than the one before it, and other values.
pub(crate) struct Growing(AtomicU64);

impl Growing {
    pub(crate) const NAME: &'static str = "growing";

    pub(crate) fn new(length: u64) -> Growing {
        Growing(AtomicU64::new(length))
    }
}

impl Sequence for Growing {
    fn len(&self) -> usize {
        self.0.load(Ordering::Relaxed) as usize
    }

    fn batch(&self, _: u64, index: usize) -> Result<Batch, DataError> {
        Ok(batch(&[(100 * self.len() + index) as i64]))
    }

    fn on_epoch_end(&self, _: u64) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn changes_on_epoch_end(&self) -> bool {
        true
    }

    fn recipe(&self) -> Result<Recipe<'_>, DataError> {
        Ok(Recipe::new(Self::NAME, &self.0))
    }
}

fn what_changes_at_the_end_of_an_epoch_changes_in_worker_processes_too() {
    let stream = |workers, use_multiprocessing| -> Vec<Batch> {
        let options = options! { workers, use_multiprocessing, limit: Some(2 + 3 + 4 + 5) };
        let loader = Loader::from_sequence(Arc::new(Growing::new(2)), options).unwrap();
        loader.map(|loaded| loaded.unwrap().batch).collect()
    };
    let epochs = (2..=5_i64).flat_map(|length| (0..length).map(move |i| 100 * length + i));
    let expected: Vec<Batch> = epochs.map(|value| batch(&[value])).collect();
    for (workers, use_multiprocessing) in [(0, false), (2, false), (1, true), (2, true)] {
        assert_eq!(stream(workers, use_multiprocessing), expected);
    }
}

pub(crate) fn trials() -> Trials {
    trials![
        the_stream_depends_on_no_worker_no_queue_and_no_interruption,
        what_changes_at_the_end_of_an_epoch_changes_in_worker_processes_too,
    ]
}
