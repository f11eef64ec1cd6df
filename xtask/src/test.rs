//! `cargo xtask test`: everything CI checks, the cheapest first, each step announced with its command and its time.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::tool::{DENY, TYPOS, is_there};
use crate::{audit, cargo, standalone};

/// What is switched off by default and can be tested on any machine.
const FEATURES: &str = "--features=keros/remote";

/// Runs the steps up to the first that fails.
pub(crate) fn run() -> Result<()> {
    let start = Instant::now();
    let format = cargo::command("fmt --all --check");
    step("format", format, cargo::run)?;
    for (name, tool, command) in [
        ("typos", TYPOS, audit::typos_command()),
        ("deny", DENY, audit::deny_command()),
    ] {
        if is_there(tool.program) {
            step(name, command, cargo::run)?;
        } else {
            let install = tool.install();
            eprintln!("\n==> {name}: not run, that needs `{install}`");
        }
    }
    // By itself: together with the other packages cargo would rebuild this very program while it runs.
    let house = cargo::command("test --package=xtask");
    step("house rules", house, cargo::run)?;
    let lints = cargo::command(&format!(
        "clippy --workspace --all-targets {FEATURES} -- --deny=warnings"
    ));
    step("lints", lints, cargo::run)?;

    let plugins = step("plugins", build_plugins()?, cargo::build)?;
    // Not --all-targets: that would start the benches too.
    let mut tests = cargo::command(&format!(
        "test --workspace --exclude=xtask --lib --bins --tests {FEATURES}"
    ));
    for plugin in &plugins {
        if let Some(library) = cargo::dynamic_library(plugin) {
            tests.env(plugin_variable(&plugin.target.name), library);
        }
    }
    step("tests", tests, cargo::run)?;
    if ["cmake", "nasm"].into_iter().all(is_there) {
        let turbojpeg = cargo::command("test --package=keros-image --features=turbojpeg --test=it");
        step("turbojpeg", turbojpeg, cargo::run)?;
    } else {
        eprintln!("\n==> turbojpeg: not tested, that needs cmake and nasm");
    }
    let doctests = cargo::command(&format!(
        "test --workspace --exclude=xtask --doc {FEATURES}"
    ));
    step("doctests", doctests, cargo::run)?;
    let mut docs = cargo::command(&format!("doc --workspace --no-deps {FEATURES}"));
    docs.env("RUSTDOCFLAGS", "--deny=warnings");
    step("docs", docs, cargo::run)?;
    for folder in standalone::folders()? {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let tests = standalone::test(&folder)?;
        step(&format!("standalone {name}"), tests, |tests| {
            cargo::run(tests)?;
            standalone::check_plugin(&folder)
        })?;
    }

    eprintln!("\n==> all passed in {}", seconds(start));
    Ok(())
}

/// Runs one step between two lines that say what it is and how long it took.
fn step<T>(name: &str, command: Command, work: impl FnOnce(Command) -> Result<T>) -> Result<T> {
    eprintln!("\n==> {name}: {}", cargo::words(&command));
    let start = Instant::now();
    let outcome = work(command).with_context(|| format!("the step `{name}` failed"))?;
    eprintln!("==> {name} passed in {}", seconds(start));
    Ok(outcome)
}

/// The command that builds every package under `plugins/` with a dynamic library, as the tests load them.
fn build_plugins() -> Result<Command> {
    let metadata = cargo::metadata()?;
    let folder = metadata.workspace_root.join("plugins");
    let mut build = cargo::command("build --lib");
    for package in &metadata.packages {
        let loadable = package.targets.iter().any(|target| target.is_cdylib());
        if loadable && package.manifest_path.starts_with(&folder) {
            build.arg(format!("--package={}", package.name));
        }
    }
    Ok(build)
}

/// The environment variable that tells the tests where the library of a plugin is.
fn plugin_variable(target: &str) -> String {
    format!("KEROS_TEST_PLUGIN_{}", target.to_uppercase())
}

fn seconds(start: Instant) -> String {
    format!("{:.1} s", start.elapsed().as_secs_f64())
}
