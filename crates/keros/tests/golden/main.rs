//! Every recorded case of Keras, through the public interface.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod fixture;
