//! The dashboard, linked in, over trainings that are made up: asked by HTTP, and seen in a browser.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unused_must_use,
    reason = "helpers of tests, and decisions that a test is not about"
)]

mod admission;
mod browser;
mod client;
mod config;
mod live;
mod training;
mod webdriver;
