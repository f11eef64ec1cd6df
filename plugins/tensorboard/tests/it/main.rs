//! What the plugin writes, read back here, compared with what Keras wrote, and shown to TensorBoard.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod golden;
mod library;
mod loaded;
mod parameters;
mod python;
mod reader;
mod samples;
mod scalars;
mod training;
