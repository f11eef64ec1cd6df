//! The dashboard, linked in, over trainings that are made up: asked by HTTP, and seen in a browser.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "helpers of tests"
)]

mod admission;
mod browser;
mod client;
mod config;
mod live;
mod training;
mod webdriver;
