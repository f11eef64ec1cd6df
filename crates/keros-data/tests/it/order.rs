//! The stream of a loader: order, bounds, epochs, resuming, shutdown.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use keros_data::{
    Array, ArraySequence, Batch, DataError, DirectoryOptions, FlowOptions, GeneratorExt,
    ImageDataGenerator, Loader, LoaderOptions, Sequence, SequenceExt,
};
use tempfile::TempDir;

use crate::support::{Probe, batch, digest, eventually, options, places, values};

fn flow() -> Arc<dyn Sequence> {
    let images = (0..50 * 12 * 10 * 3)
        .map(|i| (i * 31 % 256) as u8)
        .collect();
    let images = Array::from_vec(&[50, 12, 10, 3], images).unwrap();
    let labels = Array::from_vec(&[50], (0..50_i64).collect()).unwrap();
    let generator = ImageDataGenerator::new()
        .rotation_range(15.0)
        .width_shift_range(0.1)
        .zoom_range(0.1)
        .horizontal_flip(true);
    let options = FlowOptions {
        batch_size: 8,
        seed: 5,
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

#[test]
fn the_stream_does_not_depend_on_workers_or_queue() {
    let sequence = flow();
    let reference = digests(
        &sequence,
        options! { workers: 0, shuffle: true, seed: 3, limit: Some(25) },
    );
    for workers in [0, 1, 2, 4, 8] {
        for max_queue_size in [1, 2, 10, 100] {
            let options =
                options! { workers, max_queue_size, shuffle: true, seed: 3, limit: Some(25) };
            assert_eq!(
                digests(&sequence, options),
                reference,
                "{workers} workers, queue of {max_queue_size}"
            );
        }
    }
}

#[test]
fn resuming_anywhere_continues_the_same_stream() {
    let sequence = flow();
    let whole = digests(
        &sequence,
        options! { shuffle: true, limit: Some(20), first_epoch: 2 },
    );
    for start in 0..20 {
        let rest =
            options! { workers: 2, shuffle: true, start, limit: Some(20 - start), first_epoch: 2 };
        assert_eq!(
            digests(&sequence, rest),
            whole[start as usize..],
            "from {start}"
        );
    }
}

#[test]
fn nothing_is_read_beyond_the_last_epoch() {
    for (workers, changes) in [(0, false), (0, true), (2, false), (2, true)] {
        let probe = Arc::new(Probe {
            changes,
            growth: usize::from(changes),
            ..Probe::new(2)
        });
        let options = options! { workers, first_epoch: 3, start: 1, end_epoch: Some(5) };
        let held: Arc<dyn Sequence> = Arc::clone(&probe) as _;
        let mut loader = Loader::from_sequence(held, options).unwrap();
        let taken = places(loader.by_ref());
        let epoch = (0..2 + usize::from(changes)).map(|index| (4, index));
        let expected: Vec<_> = [(3, 1)].into_iter().chain(epoch).collect();
        assert_eq!(taken, expected, "{workers} workers, changes {changes}");
        assert_eq!(
            probe.asked(),
            expected,
            "{workers} workers, changes {changes}"
        );
        assert_eq!(*probe.ended.lock().unwrap(), [3, 4]);
        assert!(loader.next().is_none());
    }
    let options = options! { first_epoch: 3, end_epoch: Some(3) };
    let loader = Loader::from_sequence(Arc::new(Probe::new(2)), options);
    assert_eq!(loader.unwrap().count(), 0);
}

#[test]
fn positions_say_where_to_resume() {
    let mut loader = Loader::from_sequence(
        Arc::new(Probe::new(3)),
        options! { start: 4, limit: Some(3) },
    )
    .unwrap();
    assert_eq!(loader.position(), 4);
    let loaded = loader.next().unwrap().unwrap();
    assert_eq!(
        (loaded.position, loaded.epoch, loaded.step, loaded.epoch_len),
        (4, 1, 1, Some(3))
    );
    assert!(!loaded.ends_epoch());
    assert_eq!(loader.position(), 5);
    assert!(loader.next().unwrap().unwrap().ends_epoch());
    assert_eq!(loader.by_ref().count(), 1);
    assert_eq!(loader.position(), 7);
}

#[test]
fn order_is_kept_when_workers_finish_in_any_order() {
    let probe = Probe {
        jitter: Duration::from_millis(3),
        ..Probe::new(10)
    };
    let loader = Loader::from_sequence(
        Arc::new(probe),
        options! { workers: 8, max_queue_size: 20, limit: Some(95) },
    );
    let expected: Vec<_> = (0..95).map(|p| (p / 10, (p % 10) as usize)).collect();
    assert_eq!(places(loader.unwrap()), expected);
}

#[test]
fn shuffling_permutes_the_batches_of_every_epoch() {
    let load = |seed| {
        let loader = Loader::from_sequence(
            Arc::new(Probe::new(20)),
            options! { shuffle: true, seed, limit: Some(60) },
        );
        places(loader.unwrap())
    };
    let order = load(1);
    let epochs: Vec<Vec<usize>> = order
        .chunks(20)
        .map(|epoch| epoch.iter().map(|place| place.1).collect())
        .collect();
    for (number, epoch) in epochs.iter().enumerate() {
        let mut sorted = epoch.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..20).collect::<Vec<_>>(), "epoch {number}");
        assert!(!epoch.is_sorted());
    }
    assert!(epochs[0] != epochs[1] && epochs[1] != epochs[2]);
    assert_eq!(load(1), order);
    assert_ne!(load(2), order);
}

#[test]
fn no_more_batches_are_prepared_than_the_queue_holds() {
    for (workers, max_queue_size) in [(1, 1), (4, 3), (2, 10), (8, 2)] {
        let probe = Arc::new(Probe::new(7));
        let mut loader = Loader::from_sequence(
            Arc::clone(&probe) as Arc<dyn Sequence>,
            options! { workers, max_queue_size },
        )
        .unwrap();
        for consumed in 0..30 {
            eventually("a full queue", || {
                probe.prepared.load(SeqCst) == consumed + max_queue_size
            });
            thread::sleep(Duration::from_millis(2));
            assert_eq!(probe.prepared.load(SeqCst), consumed + max_queue_size);
            eventually("a ready queue", || {
                loader.stats().queue_fill == max_queue_size
            });
            loader.next().unwrap().unwrap();
        }
    }
}

#[test]
fn nothing_is_read_beyond_the_limit() {
    for workers in [0, 1, 4] {
        for limit in [0, 1, 7, 8] {
            let probe = Arc::new(Probe::new(4));
            let options = options! { workers, limit: Some(limit) };
            let mut loader =
                Loader::from_sequence(Arc::clone(&probe) as Arc<dyn Sequence>, options).unwrap();
            assert_eq!(loader.by_ref().count() as u64, limit);
            assert!(loader.next().is_none());
            drop(loader);
            let expected: Vec<_> = (0..limit).map(|p| (p / 4, (p % 4) as usize)).collect();
            assert_eq!(probe.asked(), expected, "{workers} workers");
        }
    }
}

#[test]
fn the_end_of_an_epoch_is_told_once_when_its_last_batch_is_handed_out() {
    for workers in [0, 1, 4] {
        let probe = Arc::new(Probe::new(3));
        let mut loader = Loader::from_sequence(
            Arc::clone(&probe) as Arc<dyn Sequence>,
            options! { workers, first_epoch: 5 },
        )
        .unwrap();
        for delivered in 0..10_u64 {
            let expected: Vec<u64> = (0..delivered / 3).map(|epoch| 5 + epoch).collect();
            assert_eq!(
                *probe.ended.lock().unwrap(),
                expected,
                "{workers} workers, {delivered} delivered"
            );
            loader.next().unwrap().unwrap();
        }
        drop(loader);
        assert_eq!(*probe.ended.lock().unwrap(), [5, 6, 7]);
    }
}

#[test]
fn the_next_epoch_is_prepared_before_this_one_ends_unless_the_sequence_changes() {
    let probe = Arc::new(Probe::new(2));
    let loader = Loader::from_sequence(
        Arc::clone(&probe) as Arc<dyn Sequence>,
        options! { max_queue_size: 5 },
    )
    .unwrap();
    eventually("reading ahead", || probe.prepared.load(SeqCst) == 5);
    drop(loader);
    assert_eq!(probe.asked(), [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)]);

    let probe = Arc::new(Probe {
        changes: true,
        growth: 1,
        ..Probe::new(2)
    });
    let options = options! { workers: 2, limit: Some(9) };
    let loader = Loader::from_sequence(Arc::clone(&probe) as Arc<dyn Sequence>, options).unwrap();
    thread::sleep(Duration::from_millis(20));
    assert_eq!(probe.asked(), [(0, 0), (0, 1)]);
    // The length is read again at every beginning of an epoch.
    let expected = [
        (0, 0),
        (0, 1),
        (1, 0),
        (1, 1),
        (1, 2),
        (2, 0),
        (2, 1),
        (2, 2),
        (2, 3),
    ];
    assert_eq!(places(loader), expected);
    assert_eq!(probe.asked(), expected);
}

/// Keras's way to shuffle: the order is made anew when an epoch has ended.
struct Reordered {
    order: Mutex<Vec<i64>>,
}

impl Sequence for Reordered {
    fn len(&self) -> usize {
        self.order.lock().unwrap().len()
    }

    fn batch(&self, _: u64, index: usize) -> Result<Batch, DataError> {
        Ok(batch(&[self.order.lock().unwrap()[index]]))
    }

    fn on_epoch_end(&self, _: u64) {
        self.order.lock().unwrap().rotate_left(1);
    }
}

#[test]
fn a_sequence_that_says_nothing_may_change_at_the_end_of_an_epoch() {
    for workers in [0, 1, 3] {
        let order = Mutex::new(vec![0, 1, 2]);
        let adapted = Reordered { order }.map(Ok);
        let loader =
            Loader::from_sequence(Arc::new(adapted), options! { workers, limit: Some(9) }).unwrap();
        let found: Vec<i64> = loader.flat_map(|loaded| values(&loaded.unwrap())).collect();
        assert_eq!(found, [0, 1, 2, 1, 2, 0, 2, 0, 1], "{workers} workers");
    }
}

#[test]
fn sequences_of_keros_are_prepared_across_epochs() {
    assert!(!flow().changes_on_epoch_end());
    let folder = TempDir::new().unwrap();
    std::fs::create_dir(folder.path().join("a")).unwrap();
    std::fs::write(folder.path().join("a/1.ppm"), "P6 1 1 255\nrgb").unwrap();
    let files = ImageDataGenerator::new()
        .flow_from_directory(folder.path(), DirectoryOptions::default())
        .unwrap();
    assert!(!files.changes_on_epoch_end());
    let arrays = || ArraySequence::inputs_only(batch(&[1]).inputs).unwrap();
    assert!(!arrays().map(Ok).changes_on_epoch_end());
    assert!(!arrays().repeat(2).unwrap().changes_on_epoch_end());
    let reordered = Reordered {
        order: Mutex::new(vec![0]),
    };
    assert!(!reordered.cache(100).changes_on_epoch_end());
    let collected = std::iter::once(Ok(batch(&[1]))).collect_batches(100);
    assert!(!collected.unwrap().changes_on_epoch_end());
}

#[test]
fn dropping_a_loader_leaves_no_thread_behind() {
    for consumed in [0, 1, 5] {
        let probe = Arc::new(Probe {
            jitter: Duration::from_millis(2),
            ..Probe::new(100)
        });
        let options = options! { workers: 4, max_queue_size: 50 };
        let mut loader =
            Loader::from_sequence(Arc::clone(&probe) as Arc<dyn Sequence>, options).unwrap();
        let stats = loader.stats_handle();
        assert_eq!(loader.by_ref().take(consumed).count(), consumed);
        let begin = Instant::now();
        drop(loader);
        assert!(
            begin.elapsed() < Duration::from_secs(1),
            "the queue was worked off"
        );
        // Every thread had a clone.
        assert_eq!(Arc::strong_count(&probe), 1);
        assert_eq!(
            (stats.read().batches, stats.read().queue_fill),
            (consumed as u64, 0)
        );
    }
}

#[test]
fn a_stream_that_is_over_has_no_threads_left() {
    fn moves<T: Send>(_: &T) {}
    let probe = Arc::new(Probe::new(5));
    let options = options! { workers: 3, limit: Some(7) };
    let mut loader =
        Loader::from_sequence(Arc::clone(&probe) as Arc<dyn Sequence>, options).unwrap();
    moves(&loader);
    assert_eq!(loader.by_ref().count(), 7);
    assert_eq!(Arc::strong_count(&probe), 1);
}

#[test]
fn the_counters_tell_who_waits() {
    let slow = Probe {
        jitter: Duration::from_millis(8),
        ..Probe::new(20)
    };
    let mut loader = Loader::from_sequence(Arc::new(slow), options! { limit: Some(20) }).unwrap();
    assert_eq!(loader.by_ref().count(), 20);
    let stats = loader.stats();
    assert_eq!(stats.batches, 20);
    assert!(stats.consumer_wait > Duration::from_millis(20), "{stats:?}");
    assert!(stats.producer_busy >= stats.consumer_wait / 2, "{stats:?}");
    assert!(stats.queue_fill_mean < 2.0, "{stats:?}");

    let mut loader = Loader::from_sequence(
        Arc::new(Probe::new(20)),
        options! { limit: Some(20), max_queue_size: 4 },
    )
    .unwrap();
    for loaded in loader.by_ref() {
        loaded.unwrap();
        thread::sleep(Duration::from_millis(3));
    }
    let stats = loader.stats();
    assert!(stats.producer_wait > Duration::from_millis(20), "{stats:?}");
    assert!(stats.consumer_wait < stats.producer_wait, "{stats:?}");
    assert!(stats.queue_fill_mean > 1.0, "{stats:?}");
}

#[test]
fn counters_that_begin_anew_leave_out_what_was() {
    let slow_at_first = (0..10).map(|n| {
        thread::sleep(Duration::from_millis(if n < 4 { 10 } else { 0 }));
        Ok(batch(&[n]))
    });
    for workers in [0, 1] {
        let options = options! { workers, max_queue_size: 2 };
        let source = Box::new(slow_at_first.clone());
        let mut loader = Loader::from_generator(source, options).unwrap();
        assert_eq!(loader.by_ref().take(4).count(), 4);
        assert!(loader.stats().consumer_wait >= Duration::from_millis(20));
        loader.restart_stats();
        let stats = loader.stats();
        assert_eq!((stats.batches, stats.workers), (0, workers));
        assert_eq!(stats.elapsed, Duration::ZERO);
        assert_eq!(stats.consumer_wait, Duration::ZERO);
        assert_eq!(loader.by_ref().count(), 6);
        let stats = loader.stats();
        assert_eq!((stats.batches, stats.queue_fill), (6, 0));
        assert!(stats.elapsed > Duration::ZERO);
    }
}

#[test]
fn options_outside_of_what_they_may_be_are_refused() {
    let message = |options| {
        Loader::from_sequence(Arc::new(Probe::new(3)), options)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        message(options! { max_queue_size: 0 }),
        "setting up a loader: invalid max_queue_size (expected 1 to 65536, found 0)"
    );
    assert_eq!(
        message(options! { workers: 1025 }),
        "setting up a loader: invalid workers (expected 0 to 1024, found 1025)"
    );
    assert!(message(options! { max_queue_size: usize::MAX }).contains("max_queue_size"));
    assert!(message(options! { first_epoch: u64::MAX, start: 3 }).contains("start"));
    let empty = Loader::from_sequence(Arc::new(Probe::new(0)), options! {}).unwrap_err();
    assert_eq!(
        empty.to_string(),
        "reading a sequence: an epoch must not be empty (expected at least 1, found 0)"
    );
}
