//! `cargo xtask release --dry-run`: what a release would publish, packed and looked through, and nothing sent.

use std::collections::BTreeSet;
use std::fs;
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use cargo_metadata::{DependencyKind, Metadata, Package};

use crate::cargo;

/// What every package has beside its code.
const FILES: [&str; 3] = ["README.md", "LICENSE-APACHE", "LICENSE-MIT"];

/// Packs what would be published, and says in which order and what is still missing.
pub(crate) fn dry_run() -> Result<()> {
    let metadata = cargo::metadata()?;
    let packages = in_order(&metadata)?;
    for package in &packages {
        check_files(package)?;
    }
    pack(&packages)?;

    println!("would publish, in this order:");
    for package in &packages {
        let file = format!("package/{}-{}.crate", package.name, package.version);
        let path = metadata.target_directory.join(file);
        let size = fs::metadata(&path).with_context(|| format!("cargo made no {path}"))?;
        let kib = size.len().div_ceil(1024);
        println!("  {} {} ({kib} KiB)", package.name, package.version);
    }
    let missing = missing(&packages)?;
    if missing.is_empty() {
        println!("nothing is missing");
    } else {
        println!("missing before a release:");
        for line in missing {
            println!("  {line}");
        }
    }
    Ok(())
}

/// The packages that may be published, each after those it depends on.
fn in_order(metadata: &Metadata) -> Result<Vec<&Package>> {
    let published = |package: &&Package| package.publish.as_ref().is_none_or(|to| !to.is_empty());
    let mut waiting: Vec<&Package> = metadata.packages.iter().filter(published).collect();
    waiting.sort_by_key(|package| package.name.to_string());
    let mut ordered: Vec<&Package> = Vec::new();
    while !waiting.is_empty() {
        let names: BTreeSet<&str> = waiting
            .iter()
            .map(|package| package.name.as_str())
            .collect();
        let next = waiting.iter().position(|package| {
            let mut needed = needed(package);
            !needed.any(|name| names.contains(name))
        });
        let Some(next) = next else {
            let names: Vec<&str> = names.into_iter().collect();
            bail!("{} need each other", names.join(", "));
        };
        ordered.push(waiting.remove(next));
    }
    Ok(ordered)
}

/// The packages of the workspace that have to be published before this one. Those that its tests need have to be there
/// only if it names their version.
fn needed(package: &Package) -> impl Iterator<Item = &str> {
    let by_path = package
        .dependencies
        .iter()
        .filter(|dependency| dependency.path.is_some());
    by_path
        .filter(|dependency| {
            dependency.kind != DependencyKind::Development || dependency.req.to_string() != "*"
        })
        .map(|dependency| dependency.name.as_str())
}

fn check_files(package: &Package) -> Result<()> {
    let mut list = cargo::command("package --list --allow-dirty --offline");
    list.arg(format!("--package={}", package.name));
    let output = list.output().context("cannot start cargo")?;
    let listed = String::from_utf8_lossy(&output.stdout);
    for file in FILES {
        ensure!(
            listed.lines().any(|line| line == file),
            "the package {} has no {file}",
            package.name
        );
    }
    Ok(())
}

/// Has cargo pack them; a warning is a failure.
fn pack(packages: &[&Package]) -> Result<()> {
    let mut pack = cargo::command("package --no-verify --allow-dirty --offline");
    for package in packages {
        pack.arg(format!("--package={}", package.name));
    }
    let output = pack
        .stdout(Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success() && !said.contains("warning:"),
        "`{}`: {}\n{said}",
        cargo::words(&pack),
        output.status
    );
    Ok(())
}

/// What only the people of the project can decide.
fn missing(packages: &[&Package]) -> Result<Vec<String>> {
    let mut missing = Vec::new();
    if packages.iter().any(|package| package.repository.is_none()) {
        missing.push("`repository`, the address of the sources, in Cargo.toml".to_owned());
    }
    let changelog = cargo::root().join("CHANGELOG.md");
    let changes = fs::read_to_string(&changelog).context("cannot read CHANGELOG.md")?;
    for version in packages
        .iter()
        .map(|package| package.version.to_string())
        .collect::<BTreeSet<_>>()
    {
        let dated = changes.contains(&format!("\n## [{version}]"));
        if !dated {
            missing.push(format!("`## [{version}]` with its date, in CHANGELOG.md"));
        }
    }
    Ok(missing)
}
