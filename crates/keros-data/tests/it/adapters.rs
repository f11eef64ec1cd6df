//! Sources made of other sources: which samples come, in which order, and what is refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use keros_data::adapters::Cache;
use keros_data::rng::{Purpose, stream, unit};
use keros_data::{
    Array, ArraySequence, Arrays, Batch, DataError, FlowOptions, ImageDataGenerator, Loader,
    Sequence, SequenceExt, Shuffle,
};
use proptest::prelude::*;

use crate::support::{Probe, digest, options};

/// Samples `0..n`: the input is the index, the target ten times that.
fn numbers(n: usize, batch_size: usize, shuffle: Shuffle) -> ArraySequence {
    let x = Array::from_vec(&[n, 1], (0..n as i64).collect()).unwrap();
    let y = Array::from_vec(&[n], (0..n as i64).map(|i| 10 * i).collect()).unwrap();
    let weight = Array::from_vec(&[n], vec![1.0_f32; n]).unwrap();
    let sequence = ArraySequence::new(x, y).unwrap();
    let sequence = sequence.sample_weight(weight).unwrap();
    sequence
        .batch_size(batch_size)
        .unwrap()
        .shuffle(shuffle)
        .seed(3)
}

fn inputs(batch: &Batch) -> Vec<i64> {
    batch.inputs.first().as_slice::<i64>().unwrap().to_vec()
}

/// The inputs of all batches of an epoch, asked for from the last to the first.
fn epoch(sequence: &impl Sequence, epoch: u64) -> Vec<Vec<i64>> {
    let batch = |index| {
        let batch = sequence.batch(epoch, index).unwrap();
        batch.check().unwrap();
        if let Some(targets) = &batch.targets {
            let targets = targets.first().as_slice::<i64>().unwrap();
            assert!(
                inputs(&batch)
                    .iter()
                    .zip(targets)
                    .all(|(x, y)| 10 * x == *y)
            );
        }
        inputs(&batch)
    };
    let mut batches: Vec<_> = (0..sequence.len()).rev().map(batch).collect();
    batches.reverse();
    batches
}

fn indices(batch: &Batch) -> Vec<i64> {
    batch.indices.iter().map(|index| *index as i64).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn rebatch_keeps_samples_and_their_order(n in 1_usize..60, from in 1_usize..20, to in 1_usize..20) {
        let source = numbers(n, from, Shuffle::Samples);
        let expected: Vec<Vec<Vec<i64>>> = (0..2).map(|e| epoch(&source, e)).collect();
        let sequence = source.rebatch(to).unwrap();
        prop_assert_eq!((sequence.len(), sequence.num_samples()), (n.div_ceil(to), Some(n)));
        for (e, expected) in expected.iter().enumerate() {
            let batches = epoch(&sequence, e as u64);
            prop_assert_eq!(batches.concat(), expected.concat());
            prop_assert!(batches[..batches.len() - 1].iter().all(|batch| batch.len() == to));
            let last = sequence.batch(e as u64, sequence.len() - 1).unwrap();
            prop_assert_eq!(indices(&last), inputs(&last));
        }
    }

    #[test]
    fn take_and_skip_part_an_epoch_and_chain_joins_it(n in 1_usize..60, size in 1_usize..20, at in 0_usize..20) {
        let source = Arc::new(numbers(n, size, Shuffle::Samples));
        let whole = epoch(&source, 1);
        let (first, second) = (Arc::clone(&source).take(at), Arc::clone(&source).skip(at));
        let at = at.min(whole.len());
        prop_assert_eq!(epoch(&first, 1), whole[..at].to_vec());
        prop_assert_eq!(epoch(&second, 1), whole[at..].to_vec());
        prop_assert!(first.batch(1, at).is_err() && second.batch(1, whole.len() - at).is_err());
        prop_assert_eq!(epoch(&first.chain(second), 1), whole);
    }

    #[test]
    fn repeat_is_one_epoch_after_another(n in 1_usize..40, size in 1_usize..20, passes in 1_usize..5) {
        let source = Arc::new(numbers(n, size, Shuffle::Samples));
        let sequence = Arc::clone(&source).repeat(passes).unwrap();
        prop_assert_eq!(sequence.num_samples(), Some(n * passes));
        for e in 0..2 {
            let one_by_one = (0..passes).flat_map(|pass| epoch(&source, (e * passes + pass) as u64));
            prop_assert_eq!(epoch(&sequence, e as u64), one_by_one.collect::<Vec<_>>());
        }
    }

    #[test]
    fn shuffle_moves_whole_batches(n in 1_usize..60, size in 1_usize..20, seed: u64) {
        let source = Arc::new(numbers(n, size, Shuffle::No));
        let shuffled = Arc::clone(&source).shuffle_batches(seed);
        let mut batches = epoch(&shuffled, 2);
        prop_assert_eq!(&batches, &epoch(&Arc::clone(&source).shuffle_batches(seed), 2));
        batches.sort();
        let mut expected = epoch(&source, 2);
        expected.sort();
        prop_assert_eq!(batches, expected);
    }

    #[test]
    fn cache_gives_the_same_whatever_it_may_keep(n in 1_usize..60, size in 1_usize..20, max_bytes in 0_usize..1500) {
        let source = Arc::new(numbers(n, size, Shuffle::Samples));
        let cache = Arc::clone(&source).cache(max_bytes);
        for e in 0..3 {
            prop_assert_eq!(epoch(&cache, e), epoch(&source, 0));
            prop_assert!(cache.kept_bytes() <= max_bytes);
        }
        if n * (8 + 8 + 4) <= max_bytes {
            prop_assert_eq!((cache.kept_batches(), cache.kept_bytes()), (cache.len(), n * 20));
        }
    }
}

#[test]
fn shuffle_differs_between_epochs_and_seeds() {
    let order = |seed, e| epoch(&numbers(100, 1, Shuffle::No).shuffle_batches(seed), e);
    assert_ne!(order(1, 0), order(1, 1));
    assert_ne!(order(1, 0), order(2, 0));
}

#[test]
fn what_is_cached_is_prepared_once() {
    let probe = Arc::new(Probe::new(4));
    let cache: Cache<_> = Arc::clone(&probe).cache(3 * 16);
    for e in 0..3 {
        for index in 0..4 {
            assert_eq!(inputs(&cache.batch(e, index).unwrap()), [0, index as i64]);
        }
        cache.on_epoch_end(e);
    }
    // The fourth has no room.
    assert_eq!(
        probe.asked(),
        [(0, 0), (0, 1), (0, 2), (0, 3), (0, 3), (0, 3)]
    );
    assert!(probe.ended.lock().unwrap().is_empty());
    let error_at = Some((0, 1));
    let failing = Arc::new(Probe {
        error_at,
        ..Probe::new(2)
    })
    .cache(1000);
    assert!(failing.batch(0, 1).is_err() && failing.batch(5, 1).is_err());
    assert_eq!(failing.kept_batches(), 0);
}

/// Values that the memory of a batch's inputs has room for.
fn held(batch: Batch) -> usize {
    let (_, inputs) = batch.inputs.into_pairs().remove(0);
    inputs.into_vec::<i64>().unwrap().capacity()
}

#[test]
fn a_part_of_a_batch_does_not_keep_all_of_it() {
    let source = || numbers(18, 6, Shuffle::Samples);
    let rebatched = source().rebatch(2).unwrap();
    let sizes = (0..9).map(|index| held(rebatched.batch(0, index).unwrap()));
    assert_eq!(sizes.collect::<Vec<_>>(), [2; 9]);
    // What is kept is what is counted.
    let cache = rebatched.cache(9 * 2 * 20);
    let mut batches: Vec<Batch> = (0..9).map(|i| cache.batch(0, i).unwrap()).collect();
    assert_eq!((cache.kept_batches(), cache.kept_bytes()), (9, 360));
    drop(cache);
    assert_eq!(held(batches.remove(4)), 2);
    let across = source().rebatch(4).unwrap();
    let sizes = (0..5).map(|index| held(across.batch(0, index).unwrap()));
    assert_eq!(sizes.collect::<Vec<_>>(), [4, 4, 4, 4, 2]);
    // A whole one is not copied.
    let whole = source().map(|mut batch| {
        let mut inputs = Vec::with_capacity(100);
        inputs.extend_from_slice(batch.inputs.first().as_slice::<i64>().unwrap());
        batch.inputs = Array::from_vec(&[batch.len(), 1], inputs)?.into();
        Ok(batch)
    });
    assert_eq!(held(whole.rebatch(6).unwrap().batch(0, 1).unwrap()), 100);
}

#[test]
fn every_epoch_of_the_source_ends_once() {
    let probe = Arc::new(Probe {
        changes: true,
        ..Probe::new(3)
    });
    let sequence = Arc::clone(&probe)
        .map(Ok)
        .shuffle_batches(1)
        .take(2)
        .skip(1);
    assert!(sequence.changes_on_epoch_end());
    sequence.on_epoch_end(7);
    assert_eq!(*probe.ended.lock().unwrap(), [7]);
    let still = Arc::new(Probe::new(3));
    let repeated = Arc::clone(&still).repeat(3).unwrap();
    repeated.on_epoch_end(2);
    assert_eq!(*still.ended.lock().unwrap(), [6, 7, 8]);
    let error = probe.repeat(2).unwrap_err().to_string();
    assert!(error.contains("changes_on_epoch_end is false"), "{error}");
}

/// Everything at once: adapters that draw, mix, keep and join.
fn composed() -> Arc<dyn Sequence> {
    let noisy = |epoch, index, batch: Batch| {
        let mut rng = stream(9, Purpose::Custom, epoch, index as u64);
        let noise = (0..batch.len()).map(|_| unit(&mut rng) as f32).collect();
        Ok(Batch {
            sample_weight: Some(Array::from_vec(&[batch.len()], noise)?.into()),
            ..batch
        })
    };
    let first = numbers(50, 7, Shuffle::Samples).rebatch(4).unwrap();
    let second = numbers(30, 4, Shuffle::WithinBatch)
        .cache(200)
        .shuffle_batches(5);
    let both = first.chain(second).map_indexed(noisy);
    Arc::new(both.skip(1).repeat(2).unwrap())
}

#[test]
fn workers_and_queue_change_nothing() {
    let digests = |workers, max_queue_size| -> Vec<u64> {
        let options = options! { workers, max_queue_size, limit: Some(90), shuffle: true, seed: 1 };
        let loader = Loader::from_sequence(composed(), options).unwrap();
        loader.map(|loaded| digest(&loaded.unwrap())).collect()
    };
    let alone = digests(0, 1);
    assert_eq!(alone.len(), 90);
    for (workers, queue) in [(1, 10), (2, 1), (8, 3)] {
        assert_eq!(digests(workers, queue), alone, "{workers} workers");
    }
}

#[test]
fn samples_keep_their_indices() {
    let source = || numbers(10, 4, Shuffle::Samples);
    let new = |batch: Batch| Ok(Batch::inputs_only(batch.inputs));
    let mapped = source().map(new).batch(0, 1).unwrap();
    assert_eq!(indices(&mapped), inputs(&mapped));
    // Rows that go take their index along, if the function says which.
    let fewer = source().map(|batch| batch.slice(1..2)).batch(0, 0).unwrap();
    assert_eq!((fewer.len(), indices(&fewer)), (1, inputs(&fewer)));
    let chained = source().chain(numbers(5, 4, Shuffle::No));
    assert_eq!(chained.num_samples(), Some(15));
    assert_eq!(chained.batch(0, 4).unwrap().indices, [14]);
    let unknown = source().take(1).chain(source());
    assert_eq!(unknown.num_samples(), None);
    assert!(unknown.batch(0, 0).unwrap().indices.is_empty());
    assert!(unknown.batch(0, 1).unwrap().indices.is_empty());
}

#[test]
fn worker_processes_are_told_of_a_source_behind_a_pointer_but_not_of_adapters() {
    let source = Arc::new(numbers(10, 4, Shuffle::No));
    assert_eq!(
        source.recipe().unwrap().name(),
        source.as_ref().recipe().unwrap().name()
    );
    let shared: Arc<dyn Sequence> = source;
    assert!(Sequence::recipe(&shared).is_ok());
    let error = shared.take(1).recipe().unwrap_err();
    assert!(matches!(error, DataError::NotPortable { .. }), "{error}");
}

#[test]
fn an_error_of_a_function_arrives_in_its_place() {
    let picky = |batch: Batch| match batch.indices[0] {
        8 => Err(DataError::source("no eights")),
        _ => Ok(batch),
    };
    for workers in [0, 3] {
        let sequence = Arc::new(numbers(20, 4, Shuffle::No).map(picky));
        let mut loader = Loader::from_sequence(sequence, options! { workers }).unwrap();
        assert!(loader.next().unwrap().is_ok() && loader.next().unwrap().is_ok());
        let error = loader.next().unwrap().unwrap_err().to_string();
        assert_eq!(error, "preparing batch 2 of epoch 0: no eights");
        assert!(loader.next().is_none());
    }
}

fn image_flow(channels: usize, seed: u64, order: u8) -> keros_data::ImageFlow {
    // A picture that shows where each pixel went.
    let pixels = (0..6 * 9 * 9).flat_map(|pixel| vec![(pixel % 81) as u8; channels]);
    let images = Array::from_vec(&[6, 9, 9, channels], pixels.collect()).unwrap();
    let mut generator = ImageDataGenerator::new()
        .rotation_range(40.0)
        .width_shift_range(0.2)
        .zoom_range(0.3)
        .horizontal_flip(true)
        .interpolation_order(order);
    if channels == 3 {
        generator = generator.brightness_range(1.0, 1.0);
    }
    let options = FlowOptions {
        batch_size: 4,
        seed,
        ..FlowOptions::default()
    };
    generator.flow(images, None, options).unwrap()
}

#[test]
fn images_and_masks_are_transformed_alike() {
    let pairs = image_flow(3, 5, 0).zip(image_flow(1, 5, 0)).unwrap();
    for (e, index) in [(0, 0), (0, 1), (3, 0)] {
        let batch = pairs.batch(e, index).unwrap();
        let values = |arrays: &Arrays| arrays.first().as_slice::<f32>().unwrap().to_vec();
        let masks = values(batch.targets.as_ref().unwrap());
        let red: Vec<f32> = values(&batch.inputs)
            .chunks_exact(3)
            .map(|p| p[0])
            .collect();
        assert_eq!(red, masks);
        assert_ne!(masks[..81], (0..81).map(|v| v as f32).collect::<Vec<_>>());
    }
    // With another seed the order differs, and that is noticed.
    let apart = image_flow(3, 5, 1).zip(image_flow(1, 6, 1)).unwrap();
    let error = apart.batch(0, 0).unwrap_err();
    assert!(matches!(error, DataError::SampleMismatch { .. }), "{error}");
    assert!(
        error
            .to_string()
            .starts_with("pairing batches: row 0 is of different samples")
    );
}

#[test]
fn named_inputs_are_joined_by_their_names() {
    let named = |name: &'static str| {
        numbers(7, 3, Shuffle::No).map(move |batch| {
            let array = batch.inputs.first().clone();
            Ok(Batch {
                targets: None,
                sample_weight: None,
                inputs: Arrays::from_pairs([(name, array)])?,
                ..batch
            })
        })
    };
    let both = named("a").zip_with(named("b"), Batch::merge).unwrap();
    let batch = both.batch(0, 2).unwrap();
    assert_eq!(batch.inputs.names().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!((batch.indices, both.num_samples()), (vec![6], Some(7)));
    let twice = named("a").zip_with(named("a"), Batch::merge).unwrap();
    let error = twice.batch(0, 0).unwrap_err().to_string();
    assert!(error.contains("\"a\""), "{error}");
}

#[test]
fn what_cannot_work_is_refused() {
    let source = || numbers(10, 4, Shuffle::No);
    let refused = |result: Result<(), DataError>, words: &str| {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    refused(source().rebatch(0).map(drop), "batch_size");
    refused(source().repeat(0).map(drop), "passes");
    refused(source().take(2).rebatch(2).map(drop), "number of samples");
    refused(
        source().zip(numbers(5, 4, Shuffle::No)).map(drop),
        "expected 3, found 2",
    );
    // Batches of 4, 3 and 3 samples.
    let uneven = source().map(|batch| match batch.len() {
        2 => Batch::concat(&[batch.clone(), batch.slice(0..1)?]),
        _ if batch.indices[0] == 4 => batch.slice(0..3),
        _ => Ok(batch),
    });
    let error = uneven
        .rebatch(5)
        .unwrap()
        .batch(0, 0)
        .unwrap_err()
        .to_string();
    assert!(error.contains("batch 1 of the source"), "{error}");
    assert!(source().shuffle_batches(1).batch(0, 3).is_err());
}

#[test]
fn adapters_of_a_shared_source_ask_it_for_what_is_needed() {
    let asked = AtomicUsize::new(0);
    let source = numbers(12, 4, Shuffle::No).map(|batch| {
        asked.fetch_add(1, SeqCst);
        Ok(batch)
    });
    let twos = (&source).rebatch(2).unwrap();
    assert_eq!(asked.swap(0, SeqCst), 1);
    assert_eq!(inputs(&twos.batch(0, 3).unwrap()), [6, 7]);
    assert_eq!(asked.swap(0, SeqCst), 1);
    let eights = (&source).rebatch(8).unwrap();
    asked.store(0, SeqCst);
    assert_eq!(inputs(&eights.batch(0, 1).unwrap()), [8, 9, 10, 11]);
    assert_eq!(asked.load(SeqCst), 1);
}
