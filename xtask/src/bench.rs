//! `cargo xtask bench`: the suites of the package keros-benches, and what they found beside the records of other runs.

mod request;
mod session;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use cargo_metadata::Metadata;
use keros_bench_record::{Record, Results, Run, chart, compare, find, open, table};

use crate::cargo;
use crate::cli::Misuse;
use crate::help::BENCH;
use request::{Launch, Request};
use session::Session;

/// Every suite, in the place of the name of one.
const ALL: &str = "all";

/// Where the records are.
const RECORDED: &str = "benches/recorded";

/// Runs a suite and hands on its exit code, or all of them; or says which there are.
pub(crate) fn run(suite: Option<&str>, args: &[OsString]) -> Result<ExitCode> {
    let metadata = cargo::metadata()?;
    let suites = suites(&metadata)?;
    let there_are = match suites.as_slice() {
        [] => "there are none yet".to_owned(),
        suites => format!("there are: {}, {ALL}", suites.join(", ")),
    };
    let suite = match suite {
        None => return Err(Misuse::new(BENCH, format!("no suite is given; {there_are}")).into()),
        Some(name) if name != ALL && !suites.iter().any(|suite| suite == name) => {
            let sentence = format!("there is no suite `{name}`; {there_are}");
            return Err(Misuse::new(BENCH, sentence).into());
        }
        Some(name) => name,
    };
    let request = match suite {
        ALL => Request::of_all(&suites, args),
        _ => Request::of_one(suite, args),
    };
    let request = request.map_err(misuse)?;

    // What is wrong with the records is told before anything runs.
    let folder = cargo::root().join(RECORDED);
    let compared = request.compare.as_deref().map(|name| open(&folder, name));
    let compared = compared.transpose().map_err(misuse)?;
    let saved = request.save.as_deref().map(|name| find(&folder, name));
    let mut saved = saved.transpose().map_err(misuse)?.flatten();
    if let Some(record) = &saved {
        record
            .clone()
            .with(Record::new(Vec::new()))
            .map_err(misuse)?;
    }

    let session = Session::new(&metadata, &request.of_cargo)?;
    if suite == ALL {
        session.build()?;
    }
    let (runs, failed) = play(&request.launches, |launch| {
        let (run, code) = session.run(launch)?;
        // Now, for a suite that is interrupted shall not cost what the ones before it found.
        if let (Some(run), Some(name)) = (&run, &request.save) {
            let newer = Record::new(vec![run.clone()]);
            let record = match saved.take() {
                Some(saved) => saved.with(newer)?,
                None => newer,
            };
            record.write(&folder, name)?;
            saved = Some(record);
            eprintln!("saved in {RECORDED}/{name}.json");
        }
        Ok((run, code))
    });
    if runs.is_empty() {
        ensure!(
            !failed.is_empty() || request.wants_no_results(),
            "nothing was measured that could be saved or compared"
        );
        return Ok(end(suite, &failed));
    }
    let record = Record::new(runs);
    if suite == ALL {
        let results: Vec<&Results> = record.runs.iter().map(|run| &run.results).collect();
        println!("\n{}\n\n{}", record.machine, table(&results));
    }
    session.write(&record)?;
    if let (Some(name), Some(recorded)) = (&request.compare, &compared) {
        println!("\n{}", compare(&record, recorded, name));
    }
    Ok(end(suite, &failed))
}

/// What was measured, and who failed with which exit code: one that fails does not keep the others from running.
fn play(
    launches: &[Launch],
    mut run: impl FnMut(&Launch) -> Result<(Option<Run>, u8)>,
) -> (Vec<Run>, Vec<(String, u8)>) {
    let (mut runs, mut failed) = (Vec::new(), Vec::new());
    for launch in launches {
        let (measured, code) = run(launch).unwrap_or_else(|error| {
            eprintln!("error: {error:#}");
            (None, 1)
        });
        runs.extend(measured);
        if code != 0 {
            failed.push((launch.title(), code));
        }
    }
    (runs, failed)
}

/// Names the suites that failed; one that was asked for by itself has said so and hands on its exit code.
fn end(suite: &str, failed: &[(String, u8)]) -> ExitCode {
    match failed {
        [] => ExitCode::SUCCESS,
        [(_, code)] if suite != ALL => ExitCode::from(*code),
        failed => {
            let names: Vec<&str> = failed.iter().map(|(name, _)| name.as_str()).collect();
            eprintln!("error: these failed: {}", names.join(", "));
            ExitCode::FAILURE
        }
    }
}

/// Makes the page of a record anew, and its chart if it has one.
pub(crate) fn draw(name: &str) -> Result<()> {
    let folder = cargo::root().join(RECORDED);
    let record = open(&folder, name).map_err(misuse)?;
    record.write(&folder, name)?;
    eprintln!("wrote {RECORDED}/{name}.md");
    match chart::draw(&record)? {
        Some(_) => eprintln!("drawn as {RECORDED}/{name}.svg"),
        None => eprintln!("there is no chart, since no suite was run with `--against`"),
    }
    Ok(())
}

fn misuse(error: anyhow::Error) -> Misuse {
    Misuse::new(BENCH, format!("{error:#}"))
}

/// The suites that exist, in alphabetical order.
fn suites(metadata: &Metadata) -> Result<Vec<String>> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suite_that_fails_does_not_keep_the_others_from_running() {
        let suites = ["augment", "ops", "train"].map(str::to_owned);
        let args = ["--against".into(), "torch".into()];
        let request = Request::of_all(&suites, &args).expect("a request");
        let (runs, failed) = play(&request.launches, |launch| match launch.title().as_str() {
            "augment" => anyhow::bail!("cargo is gone"),
            "train" => Ok((None, 101)),
            _ => Ok((
                Some(Run {
                    results: Results::of_suite(&launch.suite, Vec::new()),
                    date: String::new(),
                    commit: None,
                    clean: false,
                    arguments: Vec::new(),
                    versions: Default::default(),
                }),
                0,
            )),
        });
        let ran: Vec<&str> = runs.iter().map(|run| run.results.suite.as_str()).collect();
        assert_eq!(ran, ["ops", "train"]);
        assert_eq!(
            failed,
            [("augment".to_owned(), 1), ("train".to_owned(), 101)]
        );
    }
}
