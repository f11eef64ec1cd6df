//! Plugins made by the macro, driven through the C ABI by a host that is made up.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, and a plugin that panics"
)]

mod export;
mod failures;
mod hooks;
mod host;
