//! `cargo xtask fault`: kills a training at random moments, and checks that it goes on as if it had lived.

use anyhow::Result;

use crate::cargo;

/// How often the training is killed; in `cargo xtask test` it is killed a few times.
const KILLS: &str = "20";

pub(crate) fn run() -> Result<()> {
    let mut test = cargo::command("test --package=keros-examples --test=it kills -- --nocapture");
    test.env("KEROS_TEST_KILLS", KILLS);
    cargo::run(test)
}
