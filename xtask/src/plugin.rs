//! `cargo xtask plugin check` and `inspect`: the program of keros-plugin-check, built and run. `plugin new` is in
//! `plugin_new`.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::cargo;

/// Builds the checker, runs it with `args` where the user is, and hands on its exit code.
pub(crate) fn check(args: &[OsString]) -> Result<ExitCode> {
    let build = cargo::command("build --quiet --package=keros-plugin-check");
    let built = cargo::build(build)?;
    let program = built
        .iter()
        .find_map(|artifact| artifact.executable.as_ref())
        .context("cargo built no program from the package keros-plugin-check")?;
    let status = Command::new(program)
        .args(args)
        .status()
        .with_context(|| format!("cannot start {program}"))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
