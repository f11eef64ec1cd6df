//! The callback of the suite `plugin`, here so that it can be linked in and exported from one source.

use keros_callbacks::{Callback, CallbackResult, Context, Decision, EventKind, EventSet};

/// Reads five values at the end of each training batch and asks for nothing.
#[derive(Debug, Default)]
pub struct ReadLogs {
    sum: f64,
}

impl ReadLogs {
    /// The values that are read.
    pub const KEYS: [&str; 5] = ["loss", "accuracy", "recall", "learning_rate", "grad_norm"];
}

impl Callback for ReadLogs {
    fn events(&self) -> EventSet {
        EventSet::of(&[EventKind::TrainBatchEnd])
    }

    fn on_train_batch_end(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        let logs = cx.logs()?;
        for key in ReadLogs::KEYS {
            self.sum += logs
                .number(key)
                .ok_or_else(|| format!("expected the log `{key}`, found none"))?;
        }
        Ok(Decision::CONTINUE)
    }
}
