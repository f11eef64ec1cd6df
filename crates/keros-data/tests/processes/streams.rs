//! The stream is the same whatever prepares it.

use std::sync::Arc;

use keros_data::{Array, FlowOptions, ImageDataGenerator, Loader, LoaderOptions, Sequence};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::support::{digest, options};
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

pub(crate) fn trials() -> Trials {
    trials![the_stream_depends_on_no_worker_no_queue_and_no_interruption]
}
