//! The arguments of the methods, with Keras's names and defaults.

use crate::class_weight::ClassWeight;
use crate::source::ValidationData;
use keros_callbacks::{CallbackList, Verbose};
use keros_data::{Arrays, LoaderOptions, Shuffle};
use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

/// Arguments of [`Trainer::fit`](crate::Trainer::fit).
pub struct FitOptions<'a> {
    /// Rows per update; the last batch of an epoch may be smaller. Default: 32, or the rows divided by
    /// `steps_per_epoch` and rounded up where that is given.
    pub batch_size: Option<usize>,
    /// Index after the last epoch (not a count: see `initial_epoch`). Default 1.
    pub epochs: u64,
    /// What is shown. Default: a bar on a terminal, a line per epoch elsewhere.
    pub verbose: Verbose,
    /// Callbacks in the order in which they run.
    pub callbacks: CallbackList<'a>,
    /// Share of the rows, in `[0, 1)`, that is kept for validation: the last ones, cut before
    /// shuffling. Default 0.
    pub validation_split: f64,
    /// Data to validate on after each epoch; wins over `validation_split`.
    pub validation_data: Option<ValidationData>,
    /// How rows are ordered in each epoch. Default: a new permutation.
    pub shuffle: Shuffle,
    /// Weights of the samples in the training loss by their class; they never apply to validation.
    /// With weights of samples both are multiplied.
    pub class_weight: Option<ClassWeight>,
    /// `[N]` weights of the samples in the loss, or `[N, …]` for the positions of an output `[N, …, values]`: one array
    /// for all outputs, or one for each by its name.
    pub sample_weight: Option<Arrays>,
    /// Index of the first epoch, to go on with a run: 5 after a call with `epochs: 5`. From 0 again,
    /// the data come in the order and with the augmentations of that call, since both are functions
    /// of the seed and the epoch. Default 0.
    pub initial_epoch: u64,
    /// Batches per epoch; the next epoch goes on where the last one stopped. Default: all rows.
    pub steps_per_epoch: Option<u64>,
    /// Batches per validation; if there are fewer, these, with a warning. Default: all.
    pub validation_steps: Option<u64>,
    /// Rows per batch of validation arrays. Default: `batch_size`; without one, the rows divided by
    /// `validation_steps` and rounded up where that is given, else 32.
    pub validation_batch_size: Option<usize>,
    /// After which epochs to validate. Default: after each.
    pub validation_freq: ValidationFreq,
    /// Batches at most of each epoch and each validation, to try a long training out. Default: all.
    pub limit_batches: Option<u64>,
}

impl Default for FitOptions<'_> {
    fn default() -> Self {
        FitOptions {
            batch_size: None,
            epochs: 1,
            verbose: Verbose::Auto,
            callbacks: CallbackList::new(),
            validation_split: 0.0,
            validation_data: None,
            shuffle: Shuffle::Samples,
            class_weight: None,
            sample_weight: None,
            initial_epoch: 0,
            steps_per_epoch: None,
            validation_steps: None,
            validation_batch_size: None,
            validation_freq: ValidationFreq::default(),
            limit_batches: None,
        }
    }
}

/// After which epochs a fit validates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValidationFreq {
    /// After every n-th epoch, counted from epoch 0 whatever the first one of the run; at least 1.
    Every(u64),
    /// After these epochs, numbered from 1 as on screen.
    After(Vec<u64>),
}

impl Default for ValidationFreq {
    fn default() -> Self {
        ValidationFreq::Every(1)
    }
}

impl ValidationFreq {
    /// Whether zero-based `epoch` is followed by a validation.
    pub(crate) fn is_due(&self, epoch: u64) -> bool {
        match self {
            ValidationFreq::Every(epochs) => (epoch + 1).is_multiple_of(*epochs),
            ValidationFreq::After(epochs) => epochs.contains(&(epoch + 1)),
        }
    }

    /// How many of these epochs are followed by one, however many they are.
    pub(crate) fn count_due(&self, epochs: Range<u64>) -> u64 {
        match self {
            ValidationFreq::Every(every) => {
                (epochs.end / every).saturating_sub(epochs.start / every)
            }
            ValidationFreq::After(numbers) => {
                let due = numbers.iter().filter_map(|number| number.checked_sub(1));
                let due: BTreeSet<u64> = due.filter(|epoch| epochs.contains(epoch)).collect();
                due.len() as u64
            }
        }
    }
}

/// Arguments of [`Trainer::train_on_batch_with`](crate::Trainer::train_on_batch_with).
#[derive(Clone, Debug)]
pub struct TrainOnBatchOptions {
    /// Weights of the samples in the loss by their class; with weights of samples both are
    /// multiplied.
    pub class_weight: Option<ClassWeight>,
    /// Whether the numbers returned are those of this batch alone; else they are running means since
    /// the last call that began anew or, between begin and end of a batch of [`LoopEvents`](crate::LoopEvents), those
    /// of the loop's epoch. Default true.
    pub reset_metrics: bool,
}

impl Default for TrainOnBatchOptions {
    fn default() -> Self {
        TrainOnBatchOptions {
            class_weight: None,
            reset_metrics: true,
        }
    }
}

/// Arguments of [`Trainer::test_on_batch_with`](crate::Trainer::test_on_batch_with).
#[derive(Clone, Debug)]
pub struct TestOnBatchOptions {
    /// Whether the numbers returned are those of this batch alone; else they are running means since
    /// the last call that began anew. Default true.
    pub reset_metrics: bool,
}

impl Default for TestOnBatchOptions {
    fn default() -> Self {
        TestOnBatchOptions {
            reset_metrics: true,
        }
    }
}

/// Arguments of [`Trainer::fit_generator`](crate::Trainer::fit_generator).
pub struct FitGeneratorOptions<'a> {
    /// Batches per epoch. Default: the length of a sequence; all of a generator, which then has one
    /// epoch.
    pub steps_per_epoch: Option<u64>,
    /// Index after the last epoch (not a count: see `initial_epoch`). Default 1.
    pub epochs: u64,
    /// What is shown. Default: a bar on a terminal, a line per epoch elsewhere.
    pub verbose: Verbose,
    /// Callbacks in the order in which they run.
    pub callbacks: CallbackList<'a>,
    /// Data to validate on after each epoch.
    pub validation_data: Option<ValidationData>,
    /// Batches per validation; needed for a generator. If there are fewer, these, with a warning.
    /// Default: all of a sequence.
    pub validation_steps: Option<u64>,
    /// Rows per batch of validation arrays. Default: 32, or the rows divided by `validation_steps` and
    /// rounded up where that is given.
    pub validation_batch_size: Option<usize>,
    /// After which epochs to validate. Default: after each.
    pub validation_freq: ValidationFreq,
    /// Weights of the samples in the training loss by their class; they never apply to validation.
    /// With weights of samples both are multiplied.
    pub class_weight: Option<ClassWeight>,
    /// Batches that may wait at most. Default 10.
    pub max_queue_size: usize,
    /// Threads or processes that prepare batches; 0 prepares them on the training thread. Default 1. The number
    /// never changes a value or an order.
    pub workers: usize,
    /// Whether the workers are processes, so that a decoder that crashes does not end the run. The
    /// batches are those of threads. For sequences only, and the program has to serve as a worker:
    /// see [`worker`](keros_data::worker). A generator to validate on is read by a thread all the same.
    /// Default false.
    pub use_multiprocessing: bool,
    /// Bytes that finished batches may hold while they wait, at most; see
    /// [`LoaderOptions::max_queue_bytes`](keros_data::LoaderOptions::max_queue_bytes). Default: no
    /// bound.
    pub max_queue_bytes: Option<usize>,
    /// Time that a worker process may take for a batch before it is replaced. Default: any.
    pub worker_timeout: Option<Duration>,
    /// Whether the order of a sequence's batches is permuted in each epoch. Default true.
    pub shuffle: bool,
    /// Index of the first epoch, to go on with a run: 5 after a call with `epochs: 5`. From 0 again,
    /// the data come in the order and with the augmentations of that call, since both are functions
    /// of the seed and the epoch. Default 0.
    pub initial_epoch: u64,
    /// Batches at most of each epoch and each validation, to try a long training out. Default: all.
    pub limit_batches: Option<u64>,
}

impl Default for FitGeneratorOptions<'_> {
    fn default() -> Self {
        FitGeneratorOptions {
            steps_per_epoch: None,
            epochs: 1,
            verbose: Verbose::Auto,
            callbacks: CallbackList::new(),
            validation_data: None,
            validation_steps: None,
            validation_batch_size: None,
            validation_freq: ValidationFreq::default(),
            class_weight: None,
            max_queue_size: 10,
            workers: 1,
            use_multiprocessing: false,
            max_queue_bytes: None,
            worker_timeout: None,
            shuffle: true,
            initial_epoch: 0,
            limit_batches: None,
        }
    }
}

/// Arguments of [`Trainer::evaluate`](crate::Trainer::evaluate).
pub struct EvaluateOptions<'a> {
    /// Rows per batch; the last one may be smaller. Default: 32, or the rows divided by `steps` and
    /// rounded up where that is given.
    pub batch_size: Option<usize>,
    /// What is shown. Default: a bar on a terminal, a line elsewhere.
    pub verbose: Verbose,
    /// Callbacks in the order in which they run.
    pub callbacks: CallbackList<'a>,
    /// Batches to take, in order; if there are fewer, these, with a warning. Default: all.
    pub steps: Option<u64>,
    /// `[N]` weights of the samples in the loss, or `[N, …]` for the positions of an output `[N, …, values]`: one array
    /// for all outputs, or one for each by its name.
    pub sample_weight: Option<Arrays>,
}

impl Default for EvaluateOptions<'_> {
    fn default() -> Self {
        EvaluateOptions {
            batch_size: None,
            verbose: Verbose::Auto,
            callbacks: CallbackList::new(),
            steps: None,
            sample_weight: None,
        }
    }
}

/// Arguments of [`Trainer::predict`](crate::Trainer::predict).
pub struct PredictOptions<'a> {
    /// Rows per batch; the last one may be smaller. Default: 32, or the rows divided by `steps` and
    /// rounded up where that is given.
    pub batch_size: Option<usize>,
    /// What is shown. Default: a bar on a terminal, a line elsewhere.
    pub verbose: Verbose,
    /// Callbacks in the order in which they run.
    pub callbacks: CallbackList<'a>,
    /// Batches to take, in order; if there are fewer, these, with a warning. Default: all.
    pub steps: Option<u64>,
}

impl Default for PredictOptions<'_> {
    fn default() -> Self {
        PredictOptions {
            batch_size: None,
            verbose: Verbose::Auto,
            callbacks: CallbackList::new(),
            steps: None,
        }
    }
}

/// Arguments of [`Trainer::evaluate_generator`](crate::Trainer::evaluate_generator) and
/// [`Trainer::predict_generator`](crate::Trainer::predict_generator).
pub struct GeneratorOptions<'a> {
    /// Batches to take; if there are fewer, these, with a warning. Default: the length of a sequence;
    /// all of a generator.
    pub steps: Option<u64>,
    /// Callbacks in the order in which they run.
    pub callbacks: CallbackList<'a>,
    /// Batches that may wait at most. Default 10.
    pub max_queue_size: usize,
    /// Threads or processes that prepare batches; 0 prepares them on the calling thread. Default 1.
    pub workers: usize,
    /// Whether the workers are processes, so that a decoder that crashes does not end the run. The
    /// batches are those of threads. For sequences only, and the program has to serve as a worker:
    /// see [`worker`](keros_data::worker). Default false.
    pub use_multiprocessing: bool,
    /// Bytes that finished batches may hold while they wait, at most; see
    /// [`LoaderOptions::max_queue_bytes`](keros_data::LoaderOptions::max_queue_bytes). Default: no
    /// bound.
    pub max_queue_bytes: Option<usize>,
    /// Time that a worker process may take for a batch before it is replaced. Default: any.
    pub worker_timeout: Option<Duration>,
    /// What is shown. Default: nothing; [`Trainer::messages`](crate::Trainer::messages) has what there
    /// was to say.
    pub verbose: Verbose,
}

impl Default for GeneratorOptions<'_> {
    fn default() -> Self {
        GeneratorOptions {
            steps: None,
            callbacks: CallbackList::new(),
            max_queue_size: 10,
            workers: 1,
            use_multiprocessing: false,
            max_queue_bytes: None,
            worker_timeout: None,
            verbose: Verbose::Silent,
        }
    }
}

/// What the two that read from sources have in common.
macro_rules! reading {
    ($($options:ident),*) => {$(
        impl $options<'_> {
            /// How the batches of a source are prepared.
            pub(crate) fn loader(&self) -> LoaderOptions {
                LoaderOptions {
                    workers: self.workers,
                    use_multiprocessing: self.use_multiprocessing,
                    max_queue_size: self.max_queue_size,
                    max_queue_bytes: self.max_queue_bytes,
                    worker_timeout: self.worker_timeout,
                    ..LoaderOptions::default()
                }
            }
        }
    )*};
}

reading!(FitGeneratorOptions, GeneratorOptions);

/// Arguments of [`Trainer::on_train_begin`](crate::Trainer::on_train_begin).
pub struct LoopOptions<'a> {
    /// Index after the last epoch (not a count: see `initial_epoch`). Default 1.
    pub epochs: u64,
    /// Index of the first epoch, to go on with a run: 5 after a call with `epochs: 5`. From 0 again,
    /// the data come in the order and with the augmentations of that call, since both are functions
    /// of the seed and the epoch. Default 0.
    pub initial_epoch: u64,
    /// Batches per epoch, after which [`LoopEvents::next_batch`](crate::LoopEvents::next_batch) ends
    /// it. Default: not known, the loop ends its epochs itself.
    pub steps_per_epoch: Option<u64>,
    /// What is shown. Default: a bar on a terminal, a line per epoch elsewhere.
    pub verbose: Verbose,
    /// Callbacks in the order in which they run.
    pub callbacks: CallbackList<'a>,
    /// Weights of the samples in the training loss by their class, for
    /// [`LoopEvents::train_on_batch`](crate::LoopEvents::train_on_batch).
    pub class_weight: Option<ClassWeight>,
    /// The data of [`LoopEvents::validate`](crate::LoopEvents::validate).
    pub validation_data: Option<ValidationData>,
    /// Batches per validation; needed for a generator. If there are fewer, these, with a warning.
    /// Default: all of a sequence.
    pub validation_steps: Option<u64>,
    /// Rows per batch of validation arrays. Default: 32, or the rows divided by `validation_steps` and
    /// rounded up where that is given.
    pub validation_batch_size: Option<usize>,
    /// Threads that prepare the batches of a validation source; 0 prepares them on the training
    /// thread. A generator is read ahead by them, also after the last validation. Default 1.
    pub workers: usize,
}

impl Default for LoopOptions<'_> {
    fn default() -> Self {
        LoopOptions {
            epochs: 1,
            initial_epoch: 0,
            steps_per_epoch: None,
            verbose: Verbose::Auto,
            callbacks: CallbackList::new(),
            class_weight: None,
            validation_data: None,
            validation_steps: None,
            validation_batch_size: None,
            workers: 1,
        }
    }
}
