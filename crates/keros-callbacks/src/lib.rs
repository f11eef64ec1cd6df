//! The callback trait of keros: events, logs, decisions, and the built-in callbacks.
//!
//! A [`Callback`] is told what a training does ([`Event`]), reads its numbers ([`Logs`]) and answers
//! with a [`Decision`]. The same `impl Callback` is linked into a program or exported as a plugin.
//! This crate knows nothing of tensors: the training behind a callback is reached through
//! [`Context`] only.
//!
//! **Order.** For every event the callbacks of a [`CallbackList`] run one after another, in the order
//! in which they were added, on the training thread. `logs` is one value shared by all of them: what
//! an earlier callback writes, a later one reads.
//!
//! **Failure.** A callback that returns an error is treated by its [`FailurePolicy`]: the run is
//! aborted (default), the callback is disabled, or the error is reported and the run goes on.
//!
//! ```
//! use keros_callbacks::{Callback, CallbackResult, Context, Decision};
//!
//! /// Stops as soon as the training loss is good enough.
//! struct StopBelow(f64);
//!
//! impl Callback for StopBelow {
//!     fn on_epoch_end(&mut self, cx: &mut Context<'_>) -> CallbackResult {
//!         match cx.logs()?.number("loss") {
//!             Some(loss) if loss < self.0 => Ok(Decision::stop(format!("loss is {loss:.4}"))),
//!             _ => Ok(Decision::CONTINUE),
//!         }
//!     }
//! }
//! ```

#[cfg(feature = "builtin")]
mod builtin;
mod callback;
mod context;
mod decision;
mod error;
mod event;
#[cfg(feature = "builtin")]
mod history;
mod lambda;
mod list;
mod logs;
#[cfg(feature = "plots")]
mod plot;
#[cfg(feature = "progress")]
mod progress;
mod requests;
mod run;
#[cfg(feature = "state")]
pub mod state;
mod watchdog;
mod weights;
#[cfg(feature = "serde")]
mod weights_serde;

#[cfg(feature = "remote")]
pub use builtin::RemoteMonitor;
#[cfg(feature = "builtin")]
pub use builtin::{
    BackupAndRestore, CsvLogger, EarlyStopping, LearningRateScheduler, Mode, ModelCheckpoint,
    ReduceLrOnPlateau, SaveFreq, SwapEmaWeights, TerminateOnNan,
};
pub use callback::{Callback, CallbackResult};
pub use context::{Context, Level, Message};
pub use decision::Decision;
#[cfg(feature = "builtin")]
pub use error::ArgumentError;
pub use error::{BoxError, CallbackError, RunError};
pub use event::{Event, EventKind, EventSet};
#[cfg(feature = "builtin")]
pub use history::{History, HistoryError};
pub use lambda::LambdaCallback;
pub use list::{CallbackList, CallbackState, FailurePolicy};
pub use logs::{EpochLogs, LogValue, Logs};
#[cfg(feature = "progress")]
pub use progress::{ProgbarLogger, Verbose};
pub use requests::{RequestQueue, RequestSink, Requests};
pub use run::{ArrayInfo, QueueStats, Run, RunInfo};
pub use watchdog::{Stall, Watchdog, Watched};
pub use weights::{ParamInfo, Weights};

/// The code of the README, so that it compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
