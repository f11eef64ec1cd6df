//! Streams made of other streams.

use keros_data::{Array, Batch, DataError, Generator, GeneratorExt, Loader, Sequence, repeat};
use proptest::prelude::*;

use crate::support::options;

/// Samples `0, 1, …` in batches of these sizes, not numbered.
fn batches(sizes: &[usize]) -> impl Generator + Clone + 'static + use<> {
    let mut first = 0;
    let make = move |size: usize| {
        let x = (first..first + size as i64).collect();
        first += size as i64;
        Ok(Batch::inputs_only(Array::from_vec(&[size, 1], x)?))
    };
    let sizes = sizes.to_vec();
    sizes.into_iter().map(make)
}

/// As above, with an error at the end.
fn failing(sizes: &[usize]) -> impl Generator + 'static + use<> {
    batches(sizes).chain([Err(DataError::source("cut"))])
}

fn inputs(batch: &Batch) -> Vec<i64> {
    batch.inputs.first().as_slice::<i64>().unwrap().to_vec()
}

fn all(generator: impl Generator) -> Vec<Vec<i64>> {
    generator.map(|batch| inputs(&batch.unwrap())).collect()
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(1_usize..9, 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]

    #[test]
    fn rebatch_and_unbatch_keep_samples_and_their_order(sizes in sizes(), size in 1_usize..20) {
        let n: usize = sizes.iter().sum();
        let expected: Vec<i64> = (0..n as i64).collect();
        let rebatched = all(batches(&sizes).rebatch(size).unwrap());
        prop_assert_eq!(rebatched.concat(), &expected[..]);
        prop_assert_eq!(rebatched.len(), n.div_ceil(size));
        prop_assert!(rebatched.iter().rev().skip(1).all(|batch| batch.len() == size));
        let single = all(batches(&sizes).unbatch());
        prop_assert!(single.iter().all(|batch| batch.len() == 1));
        prop_assert_eq!(single.concat(), expected);
    }

    #[test]
    fn shuffle_reads_no_further_than_its_buffer(n in 0_usize..80, buffer in 1_usize..30, seed: u64) {
        let mixed = || batches(&[n.max(1)]).unbatch().take(n).shuffle(buffer, seed).unwrap();
        let order = all(mixed()).concat();
        prop_assert!(order.iter().enumerate().all(|(place, x)| *x < (place + buffer) as i64));
        prop_assert_eq!(&order, &all(mixed()).concat());
        let mut sorted = order;
        sorted.sort_unstable();
        prop_assert_eq!(sorted, (0..n as i64).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_collected_is_a_sequence(sizes in sizes(), max_bytes in 0_usize..600) {
        let bytes = 8 * sizes.iter().sum::<usize>();
        match batches(&sizes).collect_batches(max_bytes) {
            Ok(sequence) => {
                prop_assert!(bytes <= max_bytes);
                prop_assert_eq!((sequence.len(), sequence.num_samples()), (sizes.len(), Some(bytes / 8)));
                let again: Vec<_> = (0..sizes.len()).map(|i| inputs(&sequence.batch(4, i).unwrap())).collect();
                prop_assert_eq!(again, all(batches(&sizes)));
            }
            Err(DataError::Empty { .. }) => prop_assert!(sizes.is_empty()),
            Err(error) => {
                let too_many = matches!(error, DataError::TooManyBytes { .. });
                prop_assert!(too_many && bytes > max_bytes, "{}", error);
            }
        }
    }
}

#[test]
fn a_part_of_a_batch_does_not_keep_all_of_it() {
    let rebatched = batches(&[6, 6, 5]).rebatch(4).unwrap();
    let sizes = rebatched.map(|batch| {
        let (_, inputs) = batch.unwrap().inputs.into_pairs().remove(0);
        inputs.into_vec::<i64>().unwrap().capacity()
    });
    assert_eq!(sizes.collect::<Vec<_>>(), [4, 4, 4, 4, 1]);
}

#[test]
fn shuffle_mixes() {
    let mixed = |seed| all(batches(&[50]).unbatch().shuffle(50, seed).unwrap());
    assert_ne!(mixed(1), mixed(2));
    assert_ne!(mixed(1), all(batches(&[50]).unbatch()));
    assert!(batches(&[1]).shuffle(0, 1).is_err());
}

#[test]
fn errors_keep_their_place_and_lose_no_sample_before_them() {
    let kinds = |generator: Box<dyn Generator>| -> Vec<Option<usize>> {
        generator
            .map(|batch| batch.ok().map(|batch| batch.len()))
            .collect()
    };
    let rebatched = failing(&[3, 4]).rebatch(5).unwrap();
    assert_eq!(kinds(Box::new(rebatched)), [Some(5), Some(2), None]);
    assert_eq!(
        kinds(Box::new(failing(&[2]).unbatch())),
        [Some(1), Some(1), None]
    );
    let mixed = kinds(Box::new(failing(&[1, 1, 1]).shuffle(2, 1).unwrap()));
    assert_eq!(mixed.iter().filter(|batch| batch.is_none()).count(), 1);
    assert_eq!(mixed.len(), 4);
    assert_eq!(
        kinds(Box::new(failing(&[1]).map_batches(Ok))),
        [Some(1), None]
    );
    let zipped = failing(&[1]).zip_batches(batches(&[1, 1]), |first, _| Ok(first));
    assert_eq!(kinds(Box::new(zipped)), [Some(1), None]);
    assert!(failing(&[1]).collect_batches(1000).is_err());
    assert!(batches(&[1]).rebatch(0).is_err());
}

#[test]
fn samples_are_numbered_and_stay_so() {
    let numbered = || batches(&[3, 2]).numbered();
    let negated = numbered().map_batches(|batch| {
        let x = inputs(&batch).iter().map(|x| -x).collect();
        Ok(Batch::inputs_only(Array::from_vec(&[batch.len(), 1], x)?))
    });
    let mixed = negated.unbatch().shuffle(4, 3).unwrap().rebatch(5).unwrap();
    let batch = mixed.map(Result::unwrap).next().unwrap();
    let expected: Vec<i64> = batch.indices.iter().map(|index| -(*index as i64)).collect();
    assert_eq!(inputs(&batch), expected);

    // Pairs whose samples are not the same are noticed.
    let other = batches(&[3, 2])
        .numbered()
        .map_batches(|batch| Ok(batch.indices(vec![0, 2, 1])));
    let mut pairs = numbered().zip_batches(other, |first, _| Ok(first));
    let error = pairs.next().unwrap().unwrap_err();
    assert!(
        matches!(
            error,
            DataError::SampleMismatch {
                row: 1,
                expected: 1,
                found: 2
            }
        ),
        "{error}"
    );
}

#[test]
fn passes_are_repeated_until_one_fails() {
    let three = repeat(|pass| match pass {
        3 => Err(DataError::source("gone")),
        _ => Ok(batches(&[2, 1])),
    });
    let found: Vec<Option<Vec<i64>>> = three.map(|batch| batch.ok().map(|b| inputs(&b))).collect();
    assert_eq!(found.len(), 7);
    assert_eq!(found[4..], [Some(vec![0, 1]), Some(vec![2]), None]);
    let mut empty = repeat(|_| Ok(batches(&[])));
    let error = empty.next().unwrap().unwrap_err().to_string();
    assert!(error.contains("pass 0"), "{error}");
    assert!(empty.next().is_none());
}

#[test]
fn a_loader_reads_them_as_any_generator() {
    let stream = batches(&[5, 5, 5]).numbered().unbatch().rebatch(4).unwrap();
    let loader = Loader::from_generator(Box::new(stream), options! { max_queue_size: 2 }).unwrap();
    let sizes: Vec<usize> = loader.map(|loaded| loaded.unwrap().batch.len()).collect();
    assert_eq!(sizes, [4, 4, 4, 3]);
}
