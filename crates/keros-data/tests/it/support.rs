//! Instrumented sequences and digests of batch streams.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use keros_data::rng::{Purpose, below, stream};
use keros_data::{Array, Arrays, Batch, DataError, LoadedBatch, Sequence};

/// Options with the given fields changed.
macro_rules! options {
    ($($field:ident $(: $value:expr)?),* $(,)?) => {
        keros_data::LoaderOptions { $($field $(: $value)?,)* ..keros_data::LoaderOptions::default() }
    };
}
pub(crate) use options;

/// A sequence whose batch (epoch, index) holds just these two numbers, with everything that tests
/// want to know or provoke.
#[derive(Debug, Default)]
pub(crate) struct Probe {
    pub(crate) len: usize,
    /// Sleep up to this long in every batch, differently for each.
    pub(crate) jitter: Duration,
    /// Fail or panic in this (epoch, index).
    pub(crate) error_at: Option<(u64, usize)>,
    pub(crate) panic_at: Option<(u64, usize)>,
    /// Grow by this in every `on_epoch_end`.
    pub(crate) growth: usize,
    pub(crate) changes: bool,
    pub(crate) grown: AtomicUsize,
    pub(crate) asked: Mutex<Vec<(u64, usize)>>,
    pub(crate) ended: Mutex<Vec<u64>>,
    pub(crate) prepared: AtomicUsize,
}

impl Probe {
    pub(crate) fn new(len: usize) -> Self {
        Self {
            len,
            ..Self::default()
        }
    }

    /// Everything that was asked for, sorted.
    pub(crate) fn asked(&self) -> Vec<(u64, usize)> {
        let mut asked = self.asked.lock().unwrap().clone();
        asked.sort_unstable();
        asked
    }
}

impl Sequence for Probe {
    fn len(&self) -> usize {
        self.len + self.grown.load(SeqCst)
    }

    fn batch(&self, epoch: u64, index: usize) -> Result<Batch, DataError> {
        self.asked.lock().unwrap().push((epoch, index));
        let micros = self.jitter.as_micros() as u64;
        thread::sleep(Duration::from_micros(below(
            &mut stream(1, Purpose::Custom, epoch, index as u64),
            micros + 1,
        )));
        if self.panic_at == Some((epoch, index)) {
            panic!("probe panicked at {index}");
        }
        if self.error_at == Some((epoch, index)) {
            return Err(DataError::source("the probe fails"));
        }
        self.prepared.fetch_add(1, SeqCst);
        Ok(batch(&[epoch as i64, index as i64]))
    }

    fn on_epoch_end(&self, epoch: u64) {
        self.ended.lock().unwrap().push(epoch);
        self.grown.fetch_add(self.growth, SeqCst);
    }

    fn changes_on_epoch_end(&self) -> bool {
        self.changes
    }
}

/// A batch of one sample with these values.
pub(crate) fn batch(values: &[i64]) -> Batch {
    Batch::inputs_only(Array::from_vec(&[1, values.len()], values.to_vec()).unwrap())
}

/// The values of [`batch`].
pub(crate) fn values(loaded: &LoadedBatch) -> Vec<i64> {
    loaded
        .batch
        .inputs
        .first()
        .as_slice::<i64>()
        .unwrap()
        .to_vec()
}

/// Epoch and index of everything that a loader over a probe delivers.
pub(crate) fn places(
    loader: impl Iterator<Item = Result<LoadedBatch, DataError>>,
) -> Vec<(u64, usize)> {
    loader
        .map(|loaded| {
            let loaded = loaded.unwrap();
            let values = values(&loaded);
            assert_eq!(values, [loaded.epoch as i64, loaded.index as i64]);
            (loaded.epoch, loaded.index as usize)
        })
        .collect()
}

/// A number that changes with any value, order or place.
pub(crate) fn digest(loaded: &LoadedBatch) -> u64 {
    fn array(array: &Array, hasher: &mut DefaultHasher) {
        array.shape().hash(hasher);
        match array {
            Array::U8(_) => array.as_slice::<u8>().unwrap().hash(hasher),
            Array::I64(_) => array.as_slice::<i64>().unwrap().hash(hasher),
            _ => {
                for value in array.as_slice::<f32>().unwrap() {
                    value.to_bits().hash(hasher);
                }
            }
        }
    }
    fn arrays(arrays: &Arrays, hasher: &mut DefaultHasher) {
        for (name, values) in arrays.iter() {
            name.hash(hasher);
            array(values, hasher);
        }
    }
    let mut hasher = DefaultHasher::new();
    (
        loaded.position,
        loaded.epoch,
        loaded.step,
        loaded.index,
        loaded.epoch_len,
    )
        .hash(&mut hasher);
    arrays(&loaded.batch.inputs, &mut hasher);
    if let Some(targets) = &loaded.batch.targets {
        arrays(targets, &mut hasher);
    }
    if let Some(weight) = &loaded.batch.sample_weight {
        array(weight.first(), &mut hasher);
    }
    loaded.batch.indices.hash(&mut hasher);
    hasher.finish()
}

/// Waits until the condition holds; fails after ten seconds.
pub(crate) fn eventually(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..10_000 {
        if condition() {
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
    panic!("{what} did not happen in ten seconds");
}
