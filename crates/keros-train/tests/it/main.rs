//! The three methods through the public interface.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod averages;
mod checkpoints;
mod determinism;
mod device;
mod events;
mod failures;
mod fit;
mod generators;
mod loss_scale;
mod on_batch;
mod outputs;
mod own_loop;
mod positions;
mod seen;
mod support;
mod tensors;
mod test_device;
