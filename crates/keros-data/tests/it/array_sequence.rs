//! Batches of arrays in memory.

use keros_data::{Array, ArraySequence, Arrays, Batch, Sequence, Shuffle};
use proptest::prelude::*;

fn column(n: usize) -> Array {
    Array::from_vec(&[n], (0..n as i64).collect()).unwrap()
}

/// x holds the sample index twice, y ten times it, the weight its half.
fn sequence(n: usize, batch_size: usize) -> ArraySequence {
    let x: Vec<f32> = (0..n).flat_map(|i| [i as f32, i as f32]).collect();
    let y: Vec<i64> = (0..n as i64).map(|i| 10 * i).collect();
    let weight: Vec<f32> = (0..n).map(|i| i as f32 / 2.0).collect();
    ArraySequence::new(
        Array::from_vec(&[n, 2], x).unwrap(),
        Array::from_vec(&[n], y).unwrap(),
    )
    .unwrap()
    .batch_size(batch_size)
    .unwrap()
    .sample_weight(Array::from_vec(&[n], weight).unwrap())
    .unwrap()
}

/// The samples of an epoch in order, after checking that all parts of every batch belong to them.
fn epoch(sequence: &ArraySequence, epoch: u64) -> Vec<Vec<usize>> {
    (0..sequence.len())
        .map(|index| {
            let batch: Batch = sequence.batch(epoch, index).unwrap();
            batch.check().unwrap();
            let x = batch.inputs.first().as_slice::<f32>().unwrap();
            let y = batch
                .targets
                .as_ref()
                .unwrap()
                .first()
                .as_slice::<i64>()
                .unwrap();
            let weight = batch
                .sample_weight
                .as_ref()
                .unwrap()
                .first()
                .as_slice::<f32>()
                .unwrap();
            for (row, sample) in batch.indices.iter().enumerate() {
                assert_eq!(x[2 * row..2 * row + 2], [*sample as f32; 2]);
                assert_eq!(y[row], 10 * *sample as i64);
                assert_eq!(weight[row], *sample as f32 / 2.0);
            }
            batch.indices
        })
        .collect()
}

proptest! {
    #[test]
    fn every_epoch_is_a_permutation_in_batches(
        n in 1_usize..200, batch_size in 1_usize..50, seed: u64, number: u64,
        shuffle in prop::sample::select(vec![Shuffle::No, Shuffle::Samples, Shuffle::WithinBatch]),
    ) {
        let sequence = sequence(n, batch_size).shuffle(shuffle).seed(seed);
        let batches = epoch(&sequence, number);
        prop_assert_eq!(&epoch(&sequence.clone(), number), &batches);
        prop_assert_eq!(sequence.len(), n.div_ceil(batch_size));
        prop_assert_eq!(sequence.num_samples(), Some(n));
        for (i, batch) in batches.iter().enumerate() {
            prop_assert_eq!(batch.len(), batch_size.min(n - i * batch_size));
            if shuffle == Shuffle::WithinBatch {
                let mut samples = batch.clone();
                samples.sort_unstable();
                prop_assert_eq!(samples, (i * batch_size..n.min((i + 1) * batch_size)).collect::<Vec<_>>());
            }
        }
        let mut samples = batches.concat();
        if shuffle == Shuffle::No {
            prop_assert!(samples.is_sorted());
        }
        samples.sort_unstable();
        prop_assert_eq!(samples, (0..n).collect::<Vec<_>>());
        // Any batch alone, from another sequence, is the same.
        let other = self::sequence(n, batch_size).shuffle(shuffle).seed(seed);
        prop_assert_eq!(&other.batch(number, batches.len() - 1).unwrap().indices, &batches[batches.len() - 1]);
    }
}

#[test]
fn orders_differ_between_epochs_seeds_and_batches() {
    let samples = sequence(64, 16);
    assert_ne!(epoch(&samples, 0), epoch(&samples, 1));
    assert_ne!(epoch(&samples, 0), epoch(&sequence(64, 16).seed(1), 0));
    let within = sequence(64, 32).shuffle(Shuffle::WithinBatch);
    let batches = epoch(&within, 0);
    assert_ne!(
        batches[0],
        batches[1].iter().map(|i| i - 32).collect::<Vec<_>>()
    );
    assert_ne!(batches, epoch(&within, 1));
}

/// The order is part of the contract: a resumed training must see the same batches.
#[test]
fn the_order_of_a_seed_stays_the_same_for_ever() {
    let sequence = ArraySequence::new(column(10), column(10))
        .unwrap()
        .batch_size(10)
        .unwrap()
        .seed(42);
    assert_eq!(
        sequence.batch(0, 0).unwrap().indices,
        [8, 2, 7, 0, 4, 6, 9, 3, 1, 5]
    );
    assert_eq!(
        sequence.batch(1, 0).unwrap().indices,
        [1, 7, 0, 2, 3, 9, 5, 6, 4, 8]
    );
}

#[test]
fn consecutive_batches_share_the_memory_of_the_arrays() {
    let x = column(10);
    let sequence = ArraySequence::inputs_only(x.clone())
        .unwrap()
        .batch_size(4)
        .unwrap();
    let batch = sequence.batch(0, 1).unwrap();
    assert!(batch.targets.is_none());
    let shared = batch.inputs.first().as_slice::<i64>().unwrap().as_ptr();
    assert_eq!(shared, x.as_slice::<i64>().unwrap()[4..].as_ptr());
}

#[test]
fn what_does_not_fit_is_refused() {
    let named = Arrays::from_pairs([("class", column(3))]).unwrap();
    assert_eq!(
        ArraySequence::new(column(4), named)
            .unwrap_err()
            .to_string(),
        "checking array lengths: targets \"class\" has another number of rows than inputs (expected 4, found 3)"
    );
    assert_eq!(
        ArraySequence::inputs_only(column(0))
            .unwrap_err()
            .to_string(),
        "making batches of arrays: inputs must not be empty (expected at least 1, found 0)"
    );
    let good = || ArraySequence::new(column(4), column(4)).unwrap();
    assert_eq!(
        good().batch_size(0).unwrap_err().to_string(),
        "making batches of arrays: invalid batch_size (expected at least 1, found 0)"
    );
    assert!(
        good()
            .sample_weight(column(5))
            .unwrap_err()
            .to_string()
            .contains("sample_weight")
    );
    assert_eq!(
        good().batch(0, 1).unwrap_err().to_string(),
        "preparing a batch: batch 1 does not exist (expected an index below 1)"
    );
    assert_eq!(
        good()
            .batch_size(usize::MAX)
            .unwrap()
            .batch(0, 0)
            .unwrap()
            .len(),
        4
    );
}
