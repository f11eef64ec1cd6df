//! Sweeps of a training that is made up, linked in and loaded.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod config;
mod library;
mod sweep;
mod training;
