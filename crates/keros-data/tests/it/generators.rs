//! Plain generators.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use keros_data::{Batch, DataError, Generator, Loader, LoaderOptions};

use crate::support::{batch, eventually, options, values};

/// Counts how often it was read; `None` when it is over.
fn counting(end: usize) -> (impl Generator + 'static, Arc<AtomicUsize>) {
    let reads = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&reads);
    let generator = std::iter::from_fn(move || {
        let read = counter.fetch_add(1, SeqCst);
        (read < end).then(|| Ok(batch(&[read as i64])))
    });
    (generator, reads)
}

fn load(generator: impl Generator + 'static, options: LoaderOptions) -> Loader {
    Loader::from_generator(Box::new(generator), options).unwrap()
}

fn all(loader: &mut Loader) -> Vec<i64> {
    loader.map(|loaded| values(&loaded.unwrap())[0]).collect()
}

#[test]
fn every_batch_arrives_once_and_in_order_whatever_the_workers() {
    for workers in [0, 1, 8] {
        for max_queue_size in [1, 3] {
            let (generator, reads) = counting(20);
            let mut loader = load(
                generator,
                options! { workers, max_queue_size, first_epoch: 2 },
            );
            let first = loader.next().unwrap().unwrap();
            assert_eq!(
                (first.position, first.epoch, first.step, first.epoch_len),
                (0, 2, 0, None)
            );
            assert!(!first.ends_epoch());
            assert_eq!(all(&mut loader), (1..20).collect::<Vec<_>>());
            assert!(loader.next().is_none());
            // The end is asked for once.
            assert_eq!(reads.load(SeqCst), 21);
        }
    }
}

#[test]
fn a_limit_is_never_exceeded_and_a_start_is_skipped() {
    for workers in [0, 1] {
        let (generator, reads) = counting(usize::MAX);
        let mut loader = load(generator, options! { workers, start: 4, limit: Some(3) });
        assert_eq!(loader.position(), 4);
        assert_eq!(all(&mut loader), [4, 5, 6]);
        assert_eq!(loader.position(), 7);
        drop(loader);
        assert_eq!(reads.load(SeqCst), 7);

        let (generator, reads) = counting(2);
        assert_eq!(
            all(&mut load(generator, options! { workers, start: 4 })),
            [0_i64; 0]
        );
        assert_eq!(reads.load(SeqCst), 3);

        let (generator, reads) = counting(2);
        assert_eq!(
            all(&mut load(generator, options! { workers, limit: Some(0) })),
            [0_i64; 0]
        );
        assert_eq!(reads.load(SeqCst), 0);
    }
}

#[test]
fn at_most_the_queue_is_read_ahead() {
    for max_queue_size in [1, 2, 5] {
        let (generator, reads) = counting(usize::MAX);
        let mut loader = load(generator, options! { max_queue_size });
        for consumed in 0..10 {
            eventually("a full queue", || {
                reads.load(SeqCst) == consumed + max_queue_size
            });
            thread::sleep(Duration::from_millis(2));
            assert_eq!(reads.load(SeqCst), consumed + max_queue_size);
            loader.next().unwrap().unwrap();
        }
    }
}

#[test]
fn failures_arrive_in_their_place_and_end_the_stream() {
    type Failure = fn() -> Option<Result<Batch, DataError>>;
    let failures: [(Failure, &str); 3] = [
        (
            || Some(Err(DataError::source("no more paper"))),
            "preparing batch 3 of epoch 0: no more paper",
        ),
        (
            || panic!("out of {}", "ink"),
            "preparing batch 3 of epoch 0: preparing data: the source panicked: out of ink",
        ),
        (
            || {
                let mut batch = batch(&[1]);
                batch.indices = vec![1, 2];
                Some(Ok(batch))
            },
            "preparing batch 3 of epoch 0: checking array lengths: the list of sample indices has another number of rows \
             than inputs (expected 1, found 2)",
        ),
    ];
    for (failure, message) in failures {
        for (workers, start) in [(0, 0), (1, 0), (1, 2), (0, 3)] {
            let mut read = 0;
            let generator = std::iter::from_fn(move || {
                read += 1;
                assert!(read <= 4, "read after the failure");
                if read == 4 {
                    failure()
                } else {
                    Some(Ok(batch(&[read])))
                }
            });
            let mut loader = load(generator, options! { workers, start });
            for _ in start..3 {
                loader.next().unwrap().unwrap();
            }
            assert_eq!(loader.next().unwrap().unwrap_err().to_string(), message);
            assert!(loader.next().is_none());
        }
    }
}

#[test]
fn a_generator_that_blocks_and_then_ends_lets_the_loader_go() {
    let (release, blocked) = mpsc::channel::<()>();
    let (enter, entered) = mpsc::channel();
    let generator = std::iter::from_fn(move || {
        enter.send(()).unwrap();
        // Blocks until the other end is gone.
        blocked.recv().is_ok().then(|| Ok(batch(&[1])))
    });
    let loader = load(generator, options! {});
    entered.recv().unwrap();
    let dropped = thread::spawn(move || drop(loader));
    thread::sleep(Duration::from_millis(20));
    assert!(!dropped.is_finished());
    drop(release);
    dropped.join().unwrap();
}

#[test]
fn dropping_early_drops_the_generator() {
    for workers in [0, 1] {
        let guard = Arc::new(());
        let held = Arc::clone(&guard);
        let generator = std::iter::repeat_with(move || {
            let _ = &held;
            Ok(batch(&[1]))
        });
        let mut loader = load(generator, options! { workers, max_queue_size: 2 });
        loader.next().unwrap().unwrap();
        drop(loader);
        assert_eq!(Arc::strong_count(&guard), 1);
    }
}

#[test]
fn a_panic_in_the_destructor_is_told() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("boom");
        }
    }
    impl Iterator for Bomb {
        type Item = Result<Batch, DataError>;
        fn next(&mut self) -> Option<Self::Item> {
            None
        }
    }
    let mut loader = load(Bomb, options! {});
    assert_eq!(
        loader.next().unwrap().unwrap_err().to_string(),
        "preparing data: the source panicked: boom"
    );
    assert!(loader.next().is_none());
}

#[test]
fn shuffling_a_generator_is_refused() {
    let (generator, _) = counting(1);
    assert_eq!(
        Loader::from_generator(Box::new(generator), options! { shuffle: true })
            .unwrap_err()
            .to_string(),
        "setting up a loader: invalid shuffle (expected false for a generator, found true)"
    );
}
