//! Callbacks driven by a run that is made up: order, decisions, failures, history, progress.
#![allow(
    clippy::unwrap_used,
    unused_must_use,
    reason = "helpers of tests, and decisions that a test is not about"
)]

mod history;
mod list;
#[cfg(feature = "progress")]
mod progress;
mod support;
