//! The bound in bytes, cancelled sources, and what the counters say in words.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use keros_data::{Array, Batch, CancelToken, DataError, Loader, Sequence, Verdict};

use crate::support::{Probe, eventually, options};

/// Batches of so many bytes each.
struct Sized {
    bytes: Vec<usize>,
    prepared: AtomicUsize,
}

impl Sized {
    fn new(bytes: &[usize]) -> Arc<Self> {
        Arc::new(Self {
            bytes: bytes.to_vec(),
            prepared: AtomicUsize::new(0),
        })
    }
}

impl Sequence for Sized {
    fn len(&self) -> usize {
        self.bytes.len()
    }

    fn batch(&self, _: u64, index: usize) -> Result<Batch, DataError> {
        let bytes = self.bytes[index];
        let array = Array::from_vec(&[1, bytes], vec![0_u8; bytes])?;
        self.prepared.fetch_add(1, SeqCst);
        Ok(Batch::inputs_only(array))
    }
}

#[test]
fn finished_batches_hold_no_more_bytes_than_they_may() {
    for workers in [1, 2, 4] {
        let sequence = Sized::new(&[1000; 20]);
        let options = options! {
            workers, max_queue_size: 20, max_queue_bytes: Some(3500), limit: Some(20),
        };
        let mut loader =
            Loader::from_sequence(Arc::clone(&sequence) as Arc<dyn Sequence>, options).unwrap();
        // Three wait, or four if the front one came last; each worker holds one without room.
        let most = if workers == 1 { 3 } else { 4 };
        eventually("a full queue", || {
            sequence.prepared.load(SeqCst) >= 3 + workers
        });
        thread::sleep(Duration::from_millis(5));
        let prepared = sequence.prepared.load(SeqCst);
        assert!(prepared <= most + workers, "{prepared}, {workers} workers");
        let fill = loader.stats().queue_fill;
        assert!((3..=most).contains(&fill), "{fill}, {workers} workers");
        assert_eq!(loader.by_ref().map(Result::unwrap).count(), 20);
        let bytes = loader.stats().queue_bytes_max;
        assert!((3000..=1000 * most).contains(&bytes), "{bytes}");
    }
}

#[test]
fn batches_larger_than_the_bound_pass_one_at_a_time() {
    for workers in [1, 2, 4] {
        let sequence = Sized::new(&[10, 5000, 4000, 10, 10, 6000]);
        let options = options! {
            workers, max_queue_bytes: Some(100), limit: Some(18),
        };
        let mut loader =
            Loader::from_sequence(Arc::clone(&sequence) as Arc<dyn Sequence>, options).unwrap();
        let sizes: Vec<usize> = loader
            .by_ref()
            .map(|loaded| loaded.unwrap().batch.num_bytes())
            .collect();
        assert_eq!(sizes, sequence.bytes.repeat(3));
        let most = loader.stats().queue_bytes_max;
        assert!((6000..=6100).contains(&most), "{most}");
    }
}

#[test]
fn a_generator_obeys_the_bound_too() {
    let reads = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&reads);
    let generator = std::iter::from_fn(move || {
        counter.fetch_add(1, SeqCst);
        let array = Array::from_vec(&[1, 100], vec![0_u8; 100]);
        Some(array.map(Batch::inputs_only))
    });
    let options = options! { max_queue_bytes: Some(250) };
    let mut loader = Loader::from_generator(Box::new(generator), options).unwrap();
    for consumed in 0..5 {
        eventually("a full queue", || reads.load(SeqCst) == consumed + 3);
        thread::sleep(Duration::from_millis(2));
        assert_eq!(reads.load(SeqCst), consumed + 3);
        loader.next().unwrap().unwrap();
    }
}

/// Waits so long, unless it is cancelled.
struct Blocked(mpsc::SyncSender<bool>, Duration);

impl Sequence for Blocked {
    fn len(&self) -> usize {
        1
    }

    fn batch(&self, _: u64, _: usize) -> Result<Batch, DataError> {
        let token = CancelToken::current();
        self.0.send(token.is_cancelled()).unwrap();
        let cancelled = token.wait(self.1);
        self.0.send(cancelled).unwrap();
        Err(DataError::source("cancelled"))
    }
}

#[test]
fn a_source_that_blocks_is_told_that_nobody_waits() {
    // However long it waits and is waited for, also longer than a clock can tell.
    for (wait_s, join_s) in [(600, 60), (u64::MAX, u64::MAX)] {
        let (sender, states) = mpsc::sync_channel(4);
        let source = Arc::new(Blocked(sender, Duration::from_secs(wait_s)));
        let held: Arc<dyn Sequence> = Arc::clone(&source) as _;
        let options = options! { join_timeout: Duration::from_secs(join_s) };
        let loader = Loader::from_sequence(held, options).unwrap();
        assert!(!states.recv().unwrap());
        let begin = Instant::now();
        drop(loader);
        assert!(begin.elapsed() < Duration::from_secs(30));
        assert!(states.recv().unwrap());
        assert_eq!(Arc::strong_count(&source), 1);
        assert!(!CancelToken::current().is_cancelled());
    }
}

fn verdict(probe_ms: u64, step_ms: u64, workers: usize) -> (Verdict, String) {
    let probe = Probe {
        jitter: Duration::from_millis(probe_ms),
        ..Probe::new(12)
    };
    let options = options! { workers, limit: Some(12) };
    let mut loader = Loader::from_sequence(Arc::new(probe), options).unwrap();
    for loaded in loader.by_ref() {
        loaded.unwrap();
        thread::sleep(Duration::from_millis(step_ms));
    }
    let verdict = loader.stats().verdict();
    (verdict, verdict.to_string())
}

#[test]
fn the_counters_are_told_in_words() {
    let (found, words) = verdict(30, 0, 1);
    assert!(
        matches!(found, Verdict::ModelWaits { waiting_frac, workers: 1, .. } if waiting_frac > 0.5),
        "{found:?}"
    );
    assert!(
        words.starts_with("the model waits for data ") && words.contains(" % of the time: "),
        "{words}"
    );

    let (found, words) = verdict(0, 20, 4);
    assert!(
        matches!(found, Verdict::DataWait { busy, workers: 4, .. } if busy < 1.0),
        "{found:?}"
    );
    assert!(
        words.starts_with("the data wait for the model, which waits ")
            && words.contains(": 1 of 4 workers would do"),
        "{words}"
    );

    let (found, words) = verdict(20, 0, 0);
    assert!(matches!(found, Verdict::NoWorkers { .. }), "{found:?}");
    assert!(
        words.contains("one worker or more would do that beside the model"),
        "{words}"
    );

    let unused = Loader::from_sequence(Arc::new(Probe::new(1)), options! {}).unwrap();
    assert_eq!(unused.stats().verdict(), Verdict::Unknown);
}
