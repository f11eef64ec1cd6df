//! `cargo xtask bench`: one suite of the package keros-benches.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::cargo;
use crate::cli::Misuse;

/// Runs one suite and hands on its exit code, or says which suites there are.
pub(crate) fn run(suite: Option<&str>, args: &[OsString]) -> Result<ExitCode> {
    let suites = suites()?;
    let there_are = match suites.as_slice() {
        [] => "there are none yet".to_owned(),
        suites => format!("there are: {}", suites.join(", ")),
    };
    let suite = match suite {
        None => return Err(Misuse::of_bench(format!("no suite is given; {there_are}")).into()),
        Some(name) if !suites.iter().any(|suite| suite == name) => {
            let sentence = format!("there is no suite `{name}`; {there_are}");
            return Err(Misuse::of_bench(sentence).into());
        }
        Some(name) => name,
    };
    let mut bench = cargo::command("bench --package=keros-benches --bench");
    bench.arg(suite);
    let mut args = args.iter();
    let mut of_suite = Vec::new();
    while let Some(arg) = args.next() {
        if arg == "--features" {
            bench.arg(arg).args(args.next());
        } else {
            of_suite.push(arg);
        }
    }
    bench.arg("--").args(of_suite);
    let status = bench
        .status()
        .with_context(|| format!("cannot start `{}`", cargo::words(&bench)))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// The suites that exist, in alphabetical order.
fn suites() -> Result<Vec<String>> {
    let metadata = cargo::metadata()?;
    let benches = metadata
        .packages
        .iter()
        .find(|package| package.name == "keros-benches")
        .context("the workspace has no package keros-benches")?;
    let targets = benches.targets.iter().filter(|target| target.is_bench());
    let mut suites: Vec<String> = targets.map(|target| target.name.clone()).collect();
    suites.sort();
    Ok(suites)
}
