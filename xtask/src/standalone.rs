//! `cargo xtask standalone`: the packages under `examples/standalone`, built and tested as a newcomer would, each a
//! workspace of its own.
//!
//! They share one folder for what is built and one profile. Candle is built once for each of the two that use it, and
//! not taken from the workspace, because their dependencies switch on other features.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};

use crate::{cargo, plugin};

/// What is quickest to build. They compute little.
const PROFILE: [&str; 4] = [
    "--config",
    "profile.dev.debug=0",
    "--config",
    "profile.dev.package.\"*\".opt-level=0",
];

/// Tests all of them, up to the first that fails.
pub(crate) fn run() -> Result<()> {
    for folder in folders()? {
        let tests = test(&folder)?;
        cargo::run(tests)?;
        check_plugin(&folder)?;
    }
    Ok(())
}

/// The folders of the packages, by name.
pub(crate) fn folders() -> Result<Vec<PathBuf>> {
    let parent = cargo::root().join("examples/standalone");
    let entries =
        fs::read_dir(&parent).with_context(|| format!("cannot list {}", parent.display()))?;
    let mut folders = Vec::new();
    for entry in entries {
        let folder = entry?.path();
        if folder.join("Cargo.toml").is_file() {
            folders.push(folder);
        }
    }
    folders.sort();
    Ok(folders)
}

/// The command that builds a package and runs its tests, which run its program.
pub(crate) fn test(folder: &Path) -> Result<Command> {
    command("test", folder)
}

/// Builds the library of a plugin and has it checked; of another package, does nothing.
pub(crate) fn check_plugin(folder: &Path) -> Result<()> {
    let built = cargo::build(command("build", folder)?)?;
    let Some(library) = built.iter().rev().find_map(cargo::dynamic_library) else {
        return Ok(());
    };
    let code = plugin::check(&[library.as_os_str().to_owned()])?;
    ensure!(
        code == ExitCode::SUCCESS,
        "{library} is no valid plugin, see above"
    );
    Ok(())
}

fn command(what: &str, folder: &Path) -> Result<Command> {
    let target = cargo::metadata()?.target_directory.join("standalone");
    let mut command = cargo::command(what);
    command
        .arg("--manifest-path")
        .arg(folder.join("Cargo.toml"))
        .args(PROFILE)
        .env("CARGO_TARGET_DIR", target);
    Ok(command)
}
