//! `cargo xtask miri`: the pointers of a plugin, looked at by Miri while the tests of the plugin's side run.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::cargo;

/// Runs the tests that load no library, which Miri cannot do.
pub(crate) fn run() -> Result<()> {
    let asked = miri().arg("--version").output();
    let asked =
        asked.context("cannot start rustup, which has the nightly toolchain that Miri needs")?;
    ensure!(
        asked.status.success(),
        "Miri is not installed; `rustup toolchain install nightly --component miri,rust-src` installs it"
    );
    let mut tests = miri();
    tests
        .arg("test")
        .args([
            "--package=keros-abi",
            "--package=keros-plugin",
            "--lib",
            "--tests",
        ])
        // What starts a C compiler or reads the sources.
        .args(["--", "--skip=layout", "--skip=header"])
        .current_dir(cargo::root())
        // The payload of a panic is left where it is on purpose: dropping it may panic again.
        .env("MIRIFLAGS", "-Zmiri-disable-isolation -Zmiri-ignore-leaks");
    let status = tests.status().context("cannot start rustup")?;
    ensure!(status.success(), "Miri found a failure: {status}");
    Ok(())
}

/// Cargo's command of that name, in the toolchain that has it.
fn miri() -> Command {
    let mut miri = Command::new("rustup");
    miri.args(["run", "nightly", "cargo", "miri"]);
    miri
}
