//! `cargo xtask typos`, `deny`, `features` and `semver`: what programs of others find in the whole of keros.

use std::ffi::OsString;
use std::process::Command;

use anyhow::{Context, Result};
use cargo_metadata::Package;

use crate::cli::Misuse;
use crate::help::{self, FEATURES};
use crate::tool::{self, DENY, HACK, SEMVER, TYPOS};
use crate::{cargo, cuda_check};

/// Misspelt words.
pub(crate) fn typos() -> Result<()> {
    TYPOS.needed()?;
    cargo::run(typos_command())
}

pub(crate) fn typos_command() -> Command {
    let mut typos = Command::new(TYPOS.program);
    typos.current_dir(cargo::root());
    typos
}

/// What deny.toml does not accept: licences, versions and sources, or advisories, whose database is fetched.
pub(crate) fn deny(advisories: bool) -> Result<()> {
    DENY.needed()?;
    cargo::run(if advisories {
        cargo::command("deny check advisories")
    } else {
        deny_command()
    })
}

pub(crate) fn deny_command() -> Command {
    cargo::command("deny check licenses bans sources")
}

/// Has the lints look at one crate that has features, or at each, with none, each and each two of them.
pub(crate) fn features(wanted: Option<&str>) -> Result<()> {
    let metadata = cargo::metadata()?;
    let with_features = |package: &&Package| package.features.keys().any(|name| name != "default");
    let packages: Vec<&str> = metadata
        .packages
        .iter()
        .filter(with_features)
        .map(|package| package.name.as_str())
        .collect();
    let chosen = match wanted {
        None => packages,
        Some(name) if packages.contains(&name) => vec![name],
        Some(name) => {
            let sentence = format!(
                "no crate `{name}` has features; these have: {}",
                packages.join(", ")
            );
            return Err(Misuse::new(FEATURES, sentence).into());
        }
    };
    HACK.needed()?;
    // Not --no-dev-deps, which edits manifests while it runs: the resolver leaves features of tests out by itself.
    let mut hack = cargo::command("hack clippy --feature-powerset --depth=2");
    for name in chosen {
        hack.arg(format!("--package={name}"));
    }
    if cuda_check::toolkit().is_none() {
        eprintln!("==> without the features `cuda` and `cudnn`, which need the CUDA toolkit");
        hack.arg("--exclude-features=cuda,cudnn");
    }
    if !["cmake", "nasm"].into_iter().all(tool::is_there) {
        eprintln!("==> without the feature `turbojpeg`, which needs cmake and nasm");
        hack.arg("--exclude-features=turbojpeg");
    }
    hack.args(["--", "--deny=warnings"]);
    cargo::run(hack)
}

/// Changes of public interfaces since a revision, the last tag if none is given, that need another version.
pub(crate) fn semver(baseline: Option<&str>, args: &[OsString]) -> Result<()> {
    SEMVER.needed()?;
    let baseline = match baseline {
        Some(revision) => revision.to_owned(),
        None => last_tag()?.ok_or_else(|| {
            let sentence = "there is no tag to compare with: say `--baseline-rev REV`";
            Misuse::new(help::SEMVER, sentence)
        })?,
    };
    let mut checks = cargo::command("semver-checks check-release --baseline-rev");
    checks.arg(baseline).args(args);
    cargo::run(checks)
}

/// The last tag before this commit.
fn last_tag() -> Result<Option<String>> {
    let output = Command::new("git")
        .args(["describe", "--tags", "--abbrev=0"])
        .current_dir(cargo::root())
        .output()
        .context("cannot start git")?;
    let tag = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok(output.status.success().then_some(tag))
}
