//! What can happen in a run, and which of it a callback wants to hear.

use std::fmt;

/// A moment of a run at which callbacks are called.
///
/// The order inside `fit` is Keras's: train begin; per epoch: epoch begin, per batch train batch
/// begin and end, then, if validation is due, the test events, then epoch end; train end. `evaluate`
/// sends the test events alone, `predict` the predict events.
///
/// The numbers are those of `keros_event.kind` in the C ABI and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u32)]
pub enum EventKind {
    /// `fit` has checked its arguments and is about to begin.
    TrainBegin = 0,
    /// The last epoch is over. Not sent when the run ends by an error before; if a callback fails at
    /// this event, those before it have had it, and are told of the error too.
    TrainEnd = 1,
    /// An epoch begins.
    EpochBegin = 2,
    /// An epoch is over; its logs hold the `val_` values if validation was due.
    EpochEnd = 3,
    /// A training batch has been fetched and is about to be trained on.
    TrainBatchBegin = 4,
    /// A training batch is done, weights updated.
    TrainBatchEnd = 5,
    /// An evaluation begins, inside `fit` or alone.
    TestBegin = 6,
    /// An evaluation is over.
    TestEnd = 7,
    /// A batch is about to be evaluated.
    TestBatchBegin = 8,
    /// A batch has been evaluated.
    TestBatchEnd = 9,
    /// A prediction begins.
    PredictBegin = 10,
    /// A prediction is over.
    PredictEnd = 11,
    /// A batch is about to be predicted.
    PredictBatchBegin = 12,
    /// A batch has been predicted.
    PredictBatchEnd = 13,
    /// The gradients of a training batch are there, the weights still the old ones. Keras has no such
    /// event.
    AfterBackward = 14,
    /// An update of the weights is due; not sent for a batch whose gradients are only accumulated.
    /// Gradients that overflow under a dynamic loss scale make none in the end. Keras has no such event.
    BeforeStep = 15,
    /// A checkpoint of the run has been written. Keras has no such event.
    CheckpointSaved = 16,
    /// The run ends by an error; the last event of that run. Keras has no such event.
    Error = 17,
}

impl EventKind {
    /// Every kind, in the order of its number.
    pub const ALL: [EventKind; 18] = [
        EventKind::TrainBegin,
        EventKind::TrainEnd,
        EventKind::EpochBegin,
        EventKind::EpochEnd,
        EventKind::TrainBatchBegin,
        EventKind::TrainBatchEnd,
        EventKind::TestBegin,
        EventKind::TestEnd,
        EventKind::TestBatchBegin,
        EventKind::TestBatchEnd,
        EventKind::PredictBegin,
        EventKind::PredictEnd,
        EventKind::PredictBatchBegin,
        EventKind::PredictBatchEnd,
        EventKind::AfterBackward,
        EventKind::BeforeStep,
        EventKind::CheckpointSaved,
        EventKind::Error,
    ];

    /// The kind with this number, if there is one.
    #[must_use]
    pub fn from_number(number: u32) -> Option<EventKind> {
        Self::ALL.get(number as usize).copied()
    }

    /// The name of the hook without its `on_`, Keras's where it has the event, such as
    /// `train_batch_end`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            EventKind::TrainBegin => "train_begin",
            EventKind::TrainEnd => "train_end",
            EventKind::EpochBegin => "epoch_begin",
            EventKind::EpochEnd => "epoch_end",
            EventKind::TrainBatchBegin => "train_batch_begin",
            EventKind::TrainBatchEnd => "train_batch_end",
            EventKind::TestBegin => "test_begin",
            EventKind::TestEnd => "test_end",
            EventKind::TestBatchBegin => "test_batch_begin",
            EventKind::TestBatchEnd => "test_batch_end",
            EventKind::PredictBegin => "predict_begin",
            EventKind::PredictEnd => "predict_end",
            EventKind::PredictBatchBegin => "predict_batch_begin",
            EventKind::PredictBatchEnd => "predict_batch_end",
            EventKind::AfterBackward => "after_backward",
            EventKind::BeforeStep => "before_step",
            EventKind::CheckpointSaved => "checkpoint_saved",
            EventKind::Error => "error",
        }
    }

    /// Whether this is one of the events of `fit` itself: train, epoch, train batch and the moments
    /// inside of one.
    #[must_use]
    pub fn is_training(self) -> bool {
        (self as u32) <= EventKind::TrainBatchEnd as u32
            || matches!(self, EventKind::AfterBackward | EventKind::BeforeStep)
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of [`EventKind`]s; bit `k` stands for the kind of number `k`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct EventSet(u64);

impl EventSet {
    /// No event.
    pub const NONE: EventSet = EventSet(0);
    /// Every event this version knows.
    pub const ALL: EventSet = EventSet((1 << EventKind::ALL.len()) - 1);

    /// The events that Keras has.
    pub const KERAS: EventSet = EventSet((1 << EventKind::AfterBackward as u32) - 1);

    /// The set of these kinds.
    #[must_use]
    pub const fn of(kinds: &[EventKind]) -> EventSet {
        let mut bits = 0;
        let mut i = 0;
        while i < kinds.len() {
            bits |= 1 << kinds[i] as u32;
            i += 1;
        }
        EventSet(bits)
    }

    /// The set with these bits; bits of unknown kinds are dropped.
    #[must_use]
    pub const fn from_bits(bits: u64) -> EventSet {
        EventSet(bits & Self::ALL.0)
    }

    /// The set as bits.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether `kind` is in the set.
    #[must_use]
    pub const fn contains(self, kind: EventKind) -> bool {
        self.0 & (1 << kind as u32) != 0
    }

    /// The kinds that are in either set.
    #[must_use]
    pub const fn union(self, other: EventSet) -> EventSet {
        EventSet(self.0 | other.0)
    }

    /// The kinds that are in this set and not in the other.
    #[must_use]
    pub const fn without(self, other: EventSet) -> EventSet {
        EventSet(self.0 & !other.0)
    }
}

impl fmt::Debug for EventSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = EventKind::ALL.iter().filter(|kind| self.contains(**kind));
        f.debug_set().entries(names).finish()
    }
}

/// What has just happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The moment.
    pub kind: EventKind,
    /// Zero-based epoch; of `fit` for nested test events, 0 for a lone evaluation or prediction; at
    /// error and train end, the one that the run was in last.
    pub epoch: u64,
    /// Zero-based batch of the epoch, or of the evaluation or prediction; 0 for other events.
    pub batch: u64,
    /// Optimizer updates done so far in the life of the optimizer.
    pub step: u64,
    /// Samples in the batch; 0 for other events.
    pub samples: u64,
    /// Whether a test event belongs to the validation inside `fit`.
    pub nested: bool,
}
