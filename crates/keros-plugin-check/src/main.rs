//! `keros-plugin-check`: tells whether a file is a valid plugin and why not, or what it tells of itself.
//!
//! This file reads the command line and turns an outcome into what the shell sees: the findings on standard output, and
//! an exit code (0 valid, 1 not, 2 asked wrongly).
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool speaks to the terminal"
)]

mod check;
mod helper;
mod report;
mod run;
mod training;

use check::Check;
use keros_plugin_host::inspect;
use lexopt::{Arg, ValueExt};
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

const HELP: &str = "\
Tells whether a file is a valid keros plugin, and why not.

Usage: keros-plugin-check [OPTIONS] PATH

  --config JSON   What instances are made with; {} unless given
  --limit-s N     The most seconds one call into the plugin may take; 10 unless given
  --inspect       Show what the file tells of itself, and run nothing of it

The file is inspected without running it. Then a process of its own loads it, reads its schema, makes an instance, runs
its self-test, sends it every event of a short training, has it tell its state and go on from it, and ends it.
So a crash or a hang is a finding. It is no protection: the plugin runs with all rights of its user.
The process runs in an empty folder that is removed afterwards; relative paths in the configuration are in there.
";

fn main() -> ExitCode {
    let mut words = env::args_os().skip(1);
    if words.next().is_some_and(|word| word == report::HELPER) {
        return helper::run(words.next(), words.next());
    }
    match parse(env::args_os().skip(1)) {
        Ok(None) => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        Ok(Some((path, Task::Inspect))) => show(&path),
        Ok(Some((path, Task::Check(check)))) => match check.run(&path) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("error: {error:#}");
                ExitCode::FAILURE
            }
        },
        Err(error) => {
            eprintln!("error: {error}\n\nUsage: keros-plugin-check [OPTIONS] PATH");
            ExitCode::from(2)
        }
    }
}

enum Task {
    Inspect,
    Check(Check),
}

/// What is asked for; `None` for the help.
fn parse(words: impl Iterator<Item = OsString>) -> Result<Option<(PathBuf, Task)>, lexopt::Error> {
    let mut path = None;
    let (mut inspect, mut config, mut limit_s) = (false, None, None);
    let mut parser = lexopt::Parser::from_args(words);
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Short('h') | Arg::Long("help") => return Ok(None),
            Arg::Long("inspect") => inspect = true,
            Arg::Long("config") => config = Some(parser.value()?.string()?),
            Arg::Long("limit-s") => limit_s = Some(parser.value()?.parse::<u32>()?),
            Arg::Value(value) if path.is_none() => path = Some(PathBuf::from(value)),
            other => return Err(other.unexpected()),
        }
    }
    let path = path.ok_or("no file is given")?;
    if inspect {
        if config.is_some() || limit_s.is_some() {
            return Err("`--inspect` runs nothing and takes no other option".into());
        }
        return Ok(Some((path, Task::Inspect)));
    }
    if let Some(config) = &config
        && let Err(error) = serde_json::from_str::<serde_json::Value>(config)
    {
        return Err(format!("`--config` is not JSON: {error}").into());
    }
    let limit_s = limit_s.unwrap_or(10);
    if limit_s == 0 {
        return Err("`--limit-s` is 0 (expected at least 1)".into());
    }
    let limit = Duration::from_secs(limit_s.into());
    Ok(Some((path, Task::Check(Check { config, limit }))))
}

/// Shows what a file tells of itself.
fn show(path: &Path) -> ExitCode {
    let info = match inspect(path) {
        Ok(info) => info,
        Err(error) => {
            println!("not a plugin: {error}");
            return ExitCode::FAILURE;
        }
    };
    let (major, minor) = info.abi;
    let abi = format!(
        "{major}.{minor}, needs a host of {major}.{} or later",
        info.min_host_minor
    );
    for (field, value) in [
        ("id", &info.id),
        ("version", &info.version),
        ("vendor", &info.vendor),
        ("license", &info.license),
        ("summary", &info.summary),
        ("abi", &abi),
        ("build", &info.build),
    ] {
        if value.is_empty() {
            println!("{field:<8} –");
        } else {
            println!("{field:<8} {}", value.escape_debug());
        }
    }
    ExitCode::SUCCESS
}
