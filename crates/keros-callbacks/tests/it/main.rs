//! Callbacks driven by a run that is made up: order, decisions, failures, history, progress.

mod history;
mod list;
#[cfg(feature = "progress")]
mod progress;
mod support;
