//! The one callback trait, for callbacks that are linked in and for loaded ones.

use crate::context::{Context, Message};
use crate::decision::Decision;
use crate::error::BoxError;
use crate::event::{EventKind, EventSet};
use std::path::{Path, PathBuf};

/// What a hook returns: a decision, or any error.
pub type CallbackResult = Result<Decision, BoxError>;

macro_rules! callback_trait {
    ($($(#[$doc:meta])* $hook:ident = $kind:ident;)*) => {
        /// Something that is told of the events of a run and may steer it.
        ///
        /// Implement the hooks you need; the others do nothing.
        pub trait Callback {
            /// Name used in messages and errors; the type's own name unless overridden.
            fn name(&self) -> &str {
                let full = std::any::type_name::<Self>();
                let path = full.split('<').next().unwrap_or(full);
                path.rsplit("::").next().unwrap_or(path)
            }

            /// The events this callback wants, asked once when it is added to a list. An event that
            /// no callback wants costs nothing.
            fn events(&self) -> EventSet {
                EventSet::ALL
            }

            $($(#[$doc])*
            ///
            /// # Errors
            /// Whatever the callback could not do; see [`FailurePolicy`](crate::FailurePolicy).
            fn $hook(&mut self, cx: &mut Context<'_>) -> CallbackResult {
                let _ = cx;
                Ok(Decision::CONTINUE)
            })*

            /// Receives every event; calls the hook of its kind unless overridden.
            ///
            /// # Errors
            /// Those of the hook.
            fn on_event(&mut self, cx: &mut Context<'_>) -> CallbackResult {
                match cx.event().kind {
                    $(EventKind::$kind => self.$hook(cx),)*
                }
            }

            /// Receives what callbacks and the trainer say to the user.
            fn on_message(&mut self, message: &Message) {
                let _ = message;
            }

            /// The checkpoint that this callback [asked](Decision::resume) to go on from is damaged;
            /// returns another one to go on from, if there is one.
            fn on_damaged_checkpoint(&mut self, path: &Path) -> Option<PathBuf> {
                let _ = path;
                None
            }

            /// Everything the callback has gathered in this run and needs to go on from a checkpoint;
            /// `None` if it remembers nothing. Asked when every callback has had the event at which
            /// the checkpoint is written. The module `state` turns serde types into bytes.
            ///
            /// # Errors
            /// When the state cannot be told; see [`FailurePolicy`](crate::FailurePolicy). If that ends
            /// the run, no checkpoint is written.
            fn save_state(&self) -> Result<Option<Vec<u8>>, BoxError> {
                Ok(None)
            }

            /// Goes on from what [`save_state`](Self::save_state) told; called after train begin.
            ///
            /// # Errors
            /// When the state is not one of this callback; see [`FailurePolicy`](crate::FailurePolicy).
            fn load_state(&mut self, state: &[u8]) -> Result<(), BoxError> {
                Err(format!(
                    "expected no state because this callback keeps none, found {} bytes",
                    state.len()
                )
                .into())
            }
        }

        callback_trait!(@forward [&mut C] $($hook)*);
        callback_trait!(@forward [Box<C>] $($hook)*);
    };
    (@forward [$pointer:ty] $($hook:ident)*) => {
        impl<C: Callback + ?Sized> Callback for $pointer {
            fn name(&self) -> &str {
                (**self).name()
            }
            fn events(&self) -> EventSet {
                (**self).events()
            }
            $(fn $hook(&mut self, cx: &mut Context<'_>) -> CallbackResult {
                (**self).$hook(cx)
            })*
            fn on_event(&mut self, cx: &mut Context<'_>) -> CallbackResult {
                (**self).on_event(cx)
            }
            fn on_message(&mut self, message: &Message) {
                (**self).on_message(message);
            }
            fn on_damaged_checkpoint(&mut self, path: &Path) -> Option<PathBuf> {
                (**self).on_damaged_checkpoint(path)
            }
            fn save_state(&self) -> Result<Option<Vec<u8>>, BoxError> {
                (**self).save_state()
            }
            fn load_state(&mut self, state: &[u8]) -> Result<(), BoxError> {
                (**self).load_state(state)
            }
        }
    };
}

callback_trait! {
    /// `fit` begins.
    on_train_begin = TrainBegin;
    /// `fit` is over.
    on_train_end = TrainEnd;
    /// An epoch begins.
    on_epoch_begin = EpochBegin;
    /// An epoch and its validation are over.
    on_epoch_end = EpochEnd;
    /// A batch is about to be trained on.
    on_train_batch_begin = TrainBatchBegin;
    /// A batch has been trained on.
    on_train_batch_end = TrainBatchEnd;
    /// An evaluation begins.
    on_test_begin = TestBegin;
    /// An evaluation is over.
    on_test_end = TestEnd;
    /// A batch is about to be evaluated.
    on_test_batch_begin = TestBatchBegin;
    /// A batch has been evaluated.
    on_test_batch_end = TestBatchEnd;
    /// A prediction begins.
    on_predict_begin = PredictBegin;
    /// A prediction is over.
    on_predict_end = PredictEnd;
    /// A batch is about to be predicted.
    on_predict_batch_begin = PredictBatchBegin;
    /// A batch has been predicted.
    on_predict_batch_end = PredictBatchEnd;
    /// The gradients of a training batch are there, the weights still the old ones.
    on_after_backward = AfterBackward;
    /// An update of the weights is due; gradients that overflow under a dynamic loss scale make none.
    on_before_step = BeforeStep;
    /// A checkpoint of the run has been written; [`Context::detail`] names the file.
    on_checkpoint_saved = CheckpointSaved;
    /// The run ends by an error; [`Context::detail`] tells it. Nothing can be decided any more.
    on_error = Error;
}
