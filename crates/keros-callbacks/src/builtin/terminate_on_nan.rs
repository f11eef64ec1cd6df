//! Ends a training whose loss is no number any more.

use crate::callback::{Callback, CallbackResult};
use crate::context::{Context, Level};
use crate::decision::Decision;
use crate::event::{EventKind, EventSet};

/// Keras's `TerminateOnNaN`: stops after the first train batch at which the loss of the epoch so far
/// is NaN or infinite. The epoch is closed as usual, with its validation.
///
/// It reads the loss of every batch.
#[doc(alias = "TerminateOnNaN")]
#[derive(Clone, Copy, Debug, Default)]
pub struct TerminateOnNan {
    raise_error: bool,
}

impl TerminateOnNan {
    /// Stops quietly.
    #[must_use]
    pub fn new() -> TerminateOnNan {
        TerminateOnNan::default()
    }

    /// Whether the training fails rather than stops. Default false.
    #[must_use]
    pub fn raise_error(mut self, raise_error: bool) -> TerminateOnNan {
        self.raise_error = raise_error;
        self
    }
}

impl Callback for TerminateOnNan {
    fn events(&self) -> EventSet {
        EventSet::of(&[EventKind::TrainBatchEnd])
    }

    fn on_train_batch_end(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        let (epoch, batch) = (cx.event().epoch, cx.event().batch);
        match cx.logs()?.number("loss") {
            Some(loss) if !loss.is_finite() => {
                let text = format!("epoch {}, batch {batch}: the loss is {loss}", epoch + 1);
                if self.raise_error {
                    return Err(text.into());
                }
                cx.message(Level::Warning, format!("{text}; training ends here"));
                Ok(Decision::stop(text))
            }
            _ => Ok(Decision::CONTINUE),
        }
    }
}
