//! Every kernel against a naive double-precision reference, and every promise of the crate's types.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "clippy.toml allows these in tests, but helpers do not count as such"
)]

mod access;
mod activation;
mod average_pool;
mod conv;
mod conv_variants;
mod ctc_loss;
mod dense;
mod determinism;
mod device;
mod dlpack;
mod dropout;
mod element_loss;
mod function;
mod gpu;
mod loops;
mod loss;
mod noise;
mod normalization;
mod npz;
mod optimizer;
mod optimizer_norms;
mod parallel;
mod params;
mod paths;
mod pool;
mod recording;
mod rng;
mod row_loss;
mod shape;
mod support;
mod test_device;
mod transfer;
mod weights;
mod workspace;
