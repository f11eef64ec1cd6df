//! Every recorded case of Keras, through the public interface.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

#[allow(dead_code, reason = "the suites that use it are being added")]
mod fixture;
mod layers_shape;
mod losses;
mod metrics;
