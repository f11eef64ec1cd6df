//! Errors and panics of sequences.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use keros_data::{Array, Batch, DataError, Loader, Sequence, SequenceExt};

use crate::support::{Probe, batch, options, values};

/// All earlier batches arrive, then the failure in its place, then nothing.
fn check_failure(make: impl Fn() -> Probe, place: u64, message: &str) {
    for workers in [0, 1, 4] {
        let probe = Arc::new(make());
        let mut loader = Loader::from_sequence(
            Arc::clone(&probe) as Arc<dyn Sequence>,
            options! { workers },
        )
        .unwrap();
        for position in 0..place {
            let loaded = loader.next().unwrap().unwrap();
            assert_eq!(loaded.position, position);
            assert_eq!(values(&loaded)[1], (position % 6) as i64);
        }
        assert_eq!(
            loader.next().unwrap().unwrap_err().to_string(),
            message,
            "{workers} workers"
        );
        assert!(loader.next().is_none() && loader.next().is_none());
        assert_eq!(loader.position(), place);
        drop(loader);
        assert_eq!(Arc::strong_count(&probe), 1);
    }
}

#[test]
fn an_error_arrives_in_the_place_of_its_batch() {
    check_failure(
        || Probe {
            error_at: Some((1, 2)),
            jitter: Duration::from_millis(2),
            ..Probe::new(6)
        },
        8,
        "preparing batch 2 of epoch 1: the probe fails",
    );
}

#[test]
fn a_panic_arrives_in_the_place_of_its_batch() {
    check_failure(
        || Probe {
            panic_at: Some((0, 5)),
            jitter: Duration::from_millis(2),
            ..Probe::new(6)
        },
        5,
        "preparing batch 5 of epoch 0: preparing data: the source panicked: probe panicked at 5",
    );
}

#[test]
fn the_first_failure_in_order_wins() {
    check_failure(
        || Probe {
            error_at: Some((0, 3)),
            panic_at: Some((0, 1)),
            ..Probe::new(6)
        },
        1,
        "preparing batch 1 of epoch 0: preparing data: the source panicked: probe panicked at 1",
    );
}

/// Gives a batch whose targets do not fit, or panics with something that is no message.
struct Odd {
    panics: bool,
}

impl Sequence for Odd {
    fn len(&self) -> usize {
        1
    }

    fn batch(&self, _: u64, _: usize) -> Result<Batch, DataError> {
        if self.panics {
            std::panic::panic_any(7_u8);
        }
        Ok(Batch::new(
            batch(&[1]).inputs,
            Array::from_vec(&[2], vec![0_u8; 2])?,
        ))
    }
}

#[test]
fn batches_are_checked_and_any_panic_is_caught() {
    let message = |panics| {
        let mut loader = Loader::from_sequence(Arc::new(Odd { panics }), options! {}).unwrap();
        loader.next().unwrap().unwrap_err().to_string()
    };
    assert_eq!(
        message(false),
        "preparing batch 0 of epoch 0: checking array lengths: targets has another number of rows than inputs \
         (expected 1, found 2)"
    );
    assert!(message(true).ends_with("(the panic carries no message)"));
}

#[test]
fn a_sequence_that_becomes_empty_ends_with_an_error_after_what_it_had() {
    /// Has two batches, then none.
    struct Shrinking(Probe);
    impl Sequence for Shrinking {
        fn len(&self) -> usize {
            if self.0.ended.lock().unwrap().is_empty() {
                2
            } else {
                0
            }
        }
        fn batch(&self, epoch: u64, index: usize) -> Result<Batch, DataError> {
            self.0.batch(epoch, index)
        }
        fn on_epoch_end(&self, epoch: u64) {
            self.0.on_epoch_end(epoch);
        }
        fn changes_on_epoch_end(&self) -> bool {
            true
        }
    }
    for workers in [0, 2] {
        let mut loader =
            Loader::from_sequence(Arc::new(Shrinking(Probe::new(2))), options! { workers })
                .unwrap();
        assert!(loader.next().unwrap().is_ok() && loader.next().unwrap().is_ok());
        assert_eq!(
            loader.next().unwrap().unwrap_err().to_string(),
            "preparing batch 0 of epoch 1: reading a sequence: an epoch must not be empty (expected at least 1, found 0)"
        );
        assert!(loader.next().is_none());
    }
}

#[test]
fn a_sequence_too_long_to_be_shuffled_is_an_error() {
    /// Has one batch, then more than can be counted.
    struct Endless(Probe);
    impl Sequence for Endless {
        fn len(&self) -> usize {
            match self.0.ended.lock().unwrap().is_empty() {
                true => 1,
                false => usize::MAX,
            }
        }
        fn batch(&self, epoch: u64, index: usize) -> Result<Batch, DataError> {
            self.0.batch(epoch, index)
        }
        fn on_epoch_end(&self, epoch: u64) {
            self.0.on_epoch_end(epoch);
        }
        fn changes_on_epoch_end(&self) -> bool {
            true
        }
    }
    let reason = format!(
        "shuffling the batches of a sequence: invalid len (expected at most 268435456, found {})",
        usize::MAX
    );
    for workers in [0, 2] {
        let long = Arc::new(Probe::new(usize::MAX));
        let error = Loader::from_sequence(long.clone(), options! { workers, shuffle: true });
        assert_eq!(error.unwrap_err().to_string(), reason);
        // In order it is read as far as it is asked for.
        let options = options! { workers, limit: Some(3) };
        assert_eq!(Loader::from_sequence(long, options).unwrap().count(), 3);

        let grows = Arc::new(Endless(Probe::new(1)));
        let mut loader = Loader::from_sequence(grows, options! { workers, shuffle: true }).unwrap();
        assert!(loader.next().unwrap().is_ok());
        assert_eq!(
            loader.next().unwrap().unwrap_err().to_string(),
            format!("preparing batch 0 of epoch 1: {reason}")
        );
        assert!(loader.next().is_none());
    }
    let adapted = Probe::new(2).repeat(usize::MAX).unwrap().shuffle_batches(1);
    assert_eq!(adapted.batch(0, 0).unwrap_err().to_string(), reason);
}

#[test]
fn a_failure_stops_the_other_workers() {
    let probe = Arc::new(Probe {
        error_at: Some((0, 0)),
        jitter: Duration::from_millis(1),
        ..Probe::new(1000)
    });
    let options = options! { workers: 2, max_queue_size: 500 };
    let mut loader =
        Loader::from_sequence(Arc::clone(&probe) as Arc<dyn Sequence>, options).unwrap();
    assert!(loader.next().unwrap().is_err());
    drop(loader);
    assert!(
        probe.prepared.load(SeqCst) < 400,
        "{}",
        probe.prepared.load(SeqCst)
    );
}
