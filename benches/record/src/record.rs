//! Records: the runs of the suites on one machine, kept as files of JSON.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::case::Results;
use crate::chart;
use crate::machine::Machine;

/// The form of the files; another number is another form.
const FORMAT: u32 = 1;

/// Runs on one machine, at most one of each suite and kind.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Record {
    format: u32,
    /// Where they ran.
    pub machine: Machine,
    /// In the order in which they were first recorded.
    pub runs: Vec<Run>,
}

/// One run of a suite.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Run {
    /// What it measured.
    #[serde(flatten)]
    pub results: Results,
    /// The day, in UTC, as `2026-01-31`.
    pub date: String,
    /// The commit of the sources, if git knows it.
    pub commit: Option<String>,
    /// Whether the sources were those of the commit.
    pub clean: bool,
    /// What the suite was asked for, without paths.
    pub arguments: Vec<String>,
    /// Of keros, candle and the compiler.
    pub versions: BTreeMap<String, String>,
}

impl Record {
    /// Runs on this machine.
    #[must_use]
    pub fn new(runs: Vec<Run>) -> Record {
        Record {
            format: FORMAT,
            machine: Machine::this(),
            runs,
        }
    }

    /// The record of a file.
    ///
    /// # Errors
    /// A file that cannot be read, is no record, or has another format.
    pub fn read(path: &Path) -> Result<Record> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let shown = path.display();
        let text = fs::read_to_string(path).with_context(|| format!("reading {shown}"))?;
        let no_record = || format!("{shown} is no record");
        let Format { format } = serde_json::from_str(&text).with_context(no_record)?;
        ensure!(
            format == FORMAT,
            "{shown} is a record of format {format}, expected {FORMAT}"
        );
        serde_json::from_str(&text).with_context(no_record)
    }

    /// This record with newer runs, each in the place of the one of its suite and kind.
    ///
    /// # Errors
    /// If the runs were on another machine.
    pub fn with(mut self, newer: Record) -> Result<Record> {
        let differences = newer.machine.differences(&self.machine);
        ensure!(
            differences.is_empty(),
            "the record is of another machine: {}; save under another name",
            differences.join(", ")
        );
        for run in newer.runs {
            match self.runs.iter_mut().find(|old| old.is_like(&run)) {
                Some(old) => *old = run,
                None => self.runs.push(run),
            }
        }
        Ok(self)
    }

    /// Writes the record and what is made from it into a folder: its page, and its chart if it has one.
    ///
    /// # Errors
    /// A name that is none, and files that cannot be written.
    pub fn write(&self, folder: &Path, name: &str) -> Result<()> {
        let path = place(folder, name)?;
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        write(&path, &self.json()?)?;
        write(&path.with_extension("md"), &self.page(name))?;
        match chart::draw(self)? {
            Some(picture) => write(&path.with_extension("svg"), &picture),
            None => Ok(()),
        }
    }

    /// The text of the file.
    ///
    /// # Errors
    /// None that is known.
    pub fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}

impl Run {
    /// Whether it is of the same suite and kind.
    pub(crate) fn is_like(&self, other: &Run) -> bool {
        let kind = |run: &Run| (run.results.suite.clone(), run.results.contest);
        kind(self) == kind(other)
    }
}

/// The file of the record of this name, whether or not there is one.
///
/// # Errors
/// A name that is none.
fn place(folder: &Path, name: &str) -> Result<PathBuf> {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    ensure!(
        name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(good),
        "`{name}` is no name for a record: expected letters, digits, `-`, `_` and `.`, beginning with a letter or digit"
    );
    Ok(folder.join(format!("{name}.json")))
}

/// The record of this name, if there is one.
///
/// # Errors
/// A name that is none, and what [`Record::read`] refuses.
pub fn find(folder: &Path, name: &str) -> Result<Option<Record>> {
    let path = place(folder, name)?;
    match path.exists() {
        true => Record::read(&path).map(Some),
        false => Ok(None),
    }
}

/// The record of this name.
///
/// # Errors
/// A name that no record has, and what [`find`] refuses.
pub fn open(folder: &Path, name: &str) -> Result<Record> {
    if let Some(record) = find(folder, name)? {
        return Ok(record);
    }
    match names(folder)?.as_slice() {
        [] => bail!("there is no record `{name}`; there are none yet"),
        names => bail!(
            "there is no record `{name}`; there are: {}",
            names.join(", ")
        ),
    }
}

/// The names of the records of a folder, sorted.
fn names(folder: &Path) -> Result<Vec<String>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
            && let Some(name) = path.file_stem()
        {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Writes a file that is never seen half-written.
fn write(path: &Path, text: &str) -> Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.tmp", std::process::id()));
    let written = fs::write(&beside, text).and_then(|()| fs::rename(&beside, path));
    written.with_context(|| {
        // The first failure is what the user needs to hear.
        let _ = fs::remove_file(&beside);
        format!("writing {}", path.display())
    })
}
