//! Evaluates and predicts with the moving averages of the weights.

use crate::callback::{Callback, CallbackResult};
use crate::context::Context;
use crate::decision::Decision;
use crate::error::BoxError;
use crate::event::{EventKind, EventSet};

/// Keras's `SwapEMAWeights`: puts the moving averages that the optimizer keeps (`use_ema`) in the
/// place of the weights for every evaluation and prediction, and the weights back after it. Keras
/// 3.15 leaves the averages in the model after a prediction.
///
/// With [`swap_on_epoch`](Self::swap_on_epoch) the averages are also there from the end of an epoch
/// to the beginning of the next: callbacks *before* this one in the list save the weights at epoch
/// end, callbacks after it the averages. Checkpoints of a run always hold both.
#[doc(alias = "SwapEMAWeights")]
#[derive(Clone, Debug, Default)]
pub struct SwapEmaWeights {
    swap_on_epoch: bool,
    swapped: bool,
}

impl SwapEmaWeights {
    /// Swaps for evaluations and predictions.
    #[must_use]
    pub fn new() -> SwapEmaWeights {
        SwapEmaWeights::default()
    }

    /// Whether the averages also stand in the model between epochs. Default false.
    #[must_use]
    pub fn swap_on_epoch(mut self, swap: bool) -> SwapEmaWeights {
        self.swap_on_epoch = swap;
        self
    }

    fn set(&mut self, averages: bool, cx: &mut Context<'_>) -> Result<(), BoxError> {
        if self.swapped != averages {
            cx.swap_averages()?;
            self.swapped = averages;
        }
        Ok(())
    }
}

impl Callback for SwapEmaWeights {
    fn on_event(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        let event = cx.event();
        match event.kind {
            EventKind::TrainBegin => self.swapped = false,
            EventKind::TestBegin if event.nested => self.set(true, cx)?,
            EventKind::TestBegin | EventKind::PredictBegin => {
                // A training that was left without its end is over.
                self.swapped = false;
                self.set(true, cx)?;
            }
            EventKind::TestEnd | EventKind::PredictEnd => self.set(false, cx)?,
            EventKind::EpochEnd if self.swap_on_epoch => self.set(true, cx)?,
            EventKind::EpochBegin => self.set(false, cx)?,
            // The training leaves the averages in the model at its end.
            EventKind::TrainEnd => self.swapped = false,
            EventKind::Error => self.set(false, cx)?,
            _ => {}
        }
        Ok(Decision::CONTINUE)
    }

    fn events(&self) -> EventSet {
        EventSet::of(&[
            EventKind::TrainBegin,
            EventKind::TrainEnd,
            EventKind::EpochBegin,
            EventKind::EpochEnd,
            EventKind::TestBegin,
            EventKind::TestEnd,
            EventKind::PredictBegin,
            EventKind::PredictEnd,
            EventKind::Error,
        ])
    }
}
