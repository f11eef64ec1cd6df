//! Networks, losses, metrics and optimizers through the public interface.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod errors;
mod gradients;
#[cfg(feature = "keras-files")]
mod keras_weights;
mod losses_and_metrics;
mod networks;
mod optimizers;
mod summary;
