//! `cargo xtask miri`: the pointers of a plugin, looked at by Miri while the tests of the plugin's side run.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::cargo;

/// Runs the tests that load no library, which Miri cannot do.
pub(crate) fn run() -> Result<()> {
    let mut miri = Command::new("rustup");
    miri.args(["run", "nightly", "cargo", "miri", "test"])
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
    let status = miri
        .status()
        .context("cannot start rustup, which has the nightly toolchain that Miri needs")?;
    ensure!(
        status.success(),
        "Miri: {status}; `rustup toolchain install nightly --component miri,rust-src` installs it"
    );
    Ok(())
}
