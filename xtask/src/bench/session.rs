//! Running suites, and what is known of the moment: commit, day and versions.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use cargo_metadata::Metadata;
use keros_bench_record::{Record, Run};

use super::RECORDED;
use super::request::Launch;
use crate::cargo;

/// Names the file for the results of a suite.
const FILE: &str = "KEROS_BENCH_RESULTS";

pub(crate) struct Session<'a> {
    /// The folder for results.
    folder: PathBuf,
    of_cargo: &'a [OsString],
    commit: Option<String>,
    clean: bool,
    versions: BTreeMap<String, String>,
}

impl<'a> Session<'a> {
    pub(crate) fn new(metadata: &Metadata, of_cargo: &'a [OsString]) -> Result<Session<'a>> {
        let folder = metadata.target_directory.join("bench").into_std_path_buf();
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let mut versions = BTreeMap::new();
        let keros = metadata.packages.iter().find(|p| p.name == "keros");
        versions.extend(keros.map(|p| ("keros".to_owned(), p.version.to_string())));
        // `rustc 1.94.0 (4a4ef493e 2026-03-02)`, and a URL that ends with `#candle-core@0.11.1`.
        let rustc = said(Command::new("rustc").arg("--version"));
        let rustc = rustc.and_then(|said| Some(said.split(' ').nth(1)?.to_owned()));
        versions.extend(rustc.map(|version| ("rustc".to_owned(), version)));
        let candle = said(&mut cargo::command("pkgid candle-core"));
        let candle = candle.and_then(|said| Some(said.rsplit_once('@')?.1.to_owned()));
        versions.extend(candle.map(|version| ("candle".to_owned(), version)));
        // The records change from suite to suite.
        let changes = said(
            Command::new("git")
                .args(["status", "--porcelain", "--", "."])
                .arg(format!(":(exclude){RECORDED}")),
        );
        Ok(Session {
            folder,
            of_cargo,
            commit: said(Command::new("git").args(["rev-parse", "HEAD"])),
            clean: changes.is_some_and(|changes| changes.is_empty()),
            versions,
        })
    }

    /// Builds the suites before the first of them runs.
    pub(crate) fn build(&self) -> Result<()> {
        let mut build = cargo::command("bench --package=keros-benches --no-run");
        build.args(self.of_cargo);
        cargo::run(build)
    }

    /// Runs a suite; gives what it measured, if anything, and its exit code.
    pub(crate) fn run(&self, launch: &Launch) -> Result<(Option<Run>, u8)> {
        let file = self.folder.join("suite.json");
        let _ = fs::remove_file(&file);
        let mut bench = cargo::command("bench --package=keros-benches --bench");
        bench.arg(&launch.suite).args(self.of_cargo);
        bench.arg("--").args(&launch.args).env(FILE, &file);
        let status = bench
            .status()
            .with_context(|| format!("cannot start `{}`", cargo::words(&bench)))?;
        if !status.success() {
            let code = status.code().and_then(|code| u8::try_from(code).ok());
            return Ok((None, code.unwrap_or(1)));
        }
        let Ok(text) = fs::read_to_string(&file) else {
            return Ok((None, 0));
        };
        let results = serde_json::from_str(&text)
            .with_context(|| format!("the results of the suite `{}`", launch.suite))?;
        let mut arguments: Vec<String> = Vec::new();
        arguments.extend(
            self.of_cargo
                .iter()
                .map(|arg| arg.to_string_lossy().into_owned()),
        );
        arguments.extend(launch.without_paths()?);
        let run = Run {
            results,
            date: jiff::Timestamp::now().strftime("%F").to_string(),
            commit: self.commit.clone(),
            clean: self.clean,
            arguments,
            versions: self.versions.clone(),
        };
        Ok((Some(run).filter(|run| !run.results.cases.is_empty()), 0))
    }

    /// Writes all results as one file, and says where it is.
    pub(crate) fn write(&self, record: &Record) -> Result<()> {
        let file = self.folder.join("results.json");
        fs::write(&file, record.json()?).with_context(|| format!("writing {}", file.display()))?;
        eprintln!("results as JSON: {}", file.display());
        Ok(())
    }
}

/// What a program says at the root of the workspace, if it succeeds.
fn said(command: &mut Command) -> Option<String> {
    let output = command.current_dir(cargo::root()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
