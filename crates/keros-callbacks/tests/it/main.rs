//! Callbacks driven by a run that is made up: order, decisions, failures, history, progress.
#![allow(
    clippy::unwrap_used,
    unused_must_use,
    reason = "helpers of tests, and decisions that a test is not about"
)]

mod backup_and_restore;
mod csv_logger;
mod history;
mod list;
mod model_checkpoint;
#[cfg(feature = "progress")]
mod progress;
#[cfg(feature = "remote")]
mod remote_monitor;
mod requests;
mod resume;
mod support;
mod swap_ema_weights;
mod watchdog;
