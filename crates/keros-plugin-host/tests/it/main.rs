//! Plugins that are really loaded: the Rust one of this repository, and C ones compiled by the tests.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unused_must_use,
    reason = "helpers of tests, and decisions that a test is not about"
)]

mod allocations;
mod allow_list;
mod build;
mod c_recorder;
mod csv_logger;
mod dashboard;
mod events;
mod extensions;
mod files;
mod fuzz;
mod grad_watch;
#[cfg(unix)]
mod guide;
mod inspect;
mod instances;
#[cfg(unix)]
mod isolated;
mod minors;
mod policies;
#[cfg(unix)]
mod python;
mod records;
mod run;
mod timing;
#[cfg(unix)]
mod wire;
