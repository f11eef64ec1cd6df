//! The checker over plugins that are right, and over those that are wrong in every way there is.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests"
)]

mod build;
mod cli;
mod good;
#[cfg(unix)]
mod misbehaving;

use std::ffi::OsStr;
use std::process::Command;

/// What the checker says and its exit code.
fn check<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_keros-plugin-check"))
        .args(args)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    (output.status.code(), format!("{text}{errors}"))
}
