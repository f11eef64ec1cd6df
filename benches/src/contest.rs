//! Images per second of keros and of Python's libraries, in turn on one machine.
//!
//! A suite that has such peers takes, besides criterion's arguments, `--against NAMES` and `--json`. Each round
//! measures keros in this process, then every peer in one of its own, with one worker and with two, case by case.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail, ensure};
use keros_bench_record::{Better, Case, Peer, Quartiles, Results, find_peers};
use lexopt::{Arg, ValueExt as _};
use serde_json::{Value, json};

use crate::pythons::Pythons;
use crate::results::{hand_over, show};

/// What the command line asks for.
#[derive(Debug)]
pub struct Contest {
    suite: &'static str,
    peers: Vec<Peer>,
    pythons: Pythons,
    rounds: usize,
    json: bool,
    /// A folder with pictures of the user's, where a suite takes one.
    pub images: Option<PathBuf>,
}

/// Images per second of one side in one case: medians with one worker and with two.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    /// With one worker.
    pub one: f64,
    /// With two workers.
    pub two: f64,
}

impl Contest {
    /// `None` if the arguments are criterion's alone. The script of the peers is benches/peers/SUITE.py.
    ///
    /// # Errors
    /// Unknown options and peers.
    fn from_args(suite: &'static str) -> Result<Option<Contest>> {
        Contest::parse(suite, std::env::args_os().skip(1).collect())
    }

    /// The main of a suite that has peers: does the one or the other, or answers a bad request.
    ///
    /// # Errors
    /// Those of `against` and `suite`.
    #[allow(clippy::print_stderr, reason = "a bad request is answered there")]
    pub fn or_suite(
        name: &'static str,
        against: impl FnOnce(&Contest) -> Result<()>,
        suite: impl FnOnce() -> Result<()>,
    ) -> Result<ExitCode> {
        match Contest::from_args(name) {
            Err(error) => {
                eprintln!("error: {error:#}");
                return Ok(ExitCode::from(2));
            }
            Ok(Some(contest)) => against(&contest)?,
            Ok(None) => suite()?,
        }
        Ok(ExitCode::SUCCESS)
    }

    fn parse(suite: &'static str, words: Vec<OsString>) -> Result<Option<Contest>> {
        let asked = |word: &OsString| {
            let word = word.to_string_lossy();
            word == "--json" || word.starts_with("--against")
        };
        if !words.iter().any(asked) {
            return Ok(None);
        }
        let mut contest = Contest {
            suite,
            peers: Vec::new(),
            pythons: Pythons::default(),
            rounds: 3,
            json: false,
            images: None,
        };
        let mut parser = lexopt::Parser::from_args(words);
        while let Some(arg) = parser.next()? {
            match arg {
                Arg::Long("against") => {
                    let names = parser.value()?.string()?;
                    contest.peers.extend(find_peers(suite, &names)?);
                }
                Arg::Long("python") => contest.pythons.add(parser.value()?)?,
                Arg::Long("rounds") => contest.rounds = parser.value()?.parse()?,
                Arg::Long("images") => contest.images = Some(parser.value()?.into()),
                Arg::Long("json") => contest.json = true,
                // Cargo's.
                Arg::Long("bench") => {}
                other => bail!(other.unexpected()),
            }
        }
        ensure!(contest.rounds > 0, "--rounds is 0, expected at least 1");
        Ok(Some(contest))
    }

    /// Whether no peer was named.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.peers.is_empty()
    }

    /// Plays all rounds and shows the results. A case is what is measured, in words, and the arguments of the script
    /// that say so; `ours` measures keros in the case of a number.
    ///
    /// # Errors
    /// A side that fails.
    pub fn play(
        &self,
        cases: &[(String, Vec<String>)],
        mut ours: impl FnMut(usize) -> Result<Rates>,
    ) -> Result<()> {
        let (present, libraries) = self.pythons.at_hand(&self.peers);
        let names = present.iter().map(|peer| peer.name);
        let who: Vec<&str> = ["keros"].into_iter().chain(names).collect();
        let mut results = Vec::new();
        for (number, (case, arguments)) in cases.iter().enumerate() {
            let (mut one, mut two) = (Vec::new(), Vec::new());
            for _ in 0..self.rounds {
                let mut round = vec![ours(number)?];
                for peer in &present {
                    round.push(self.run(peer, arguments)?);
                }
                one.push(round.iter().map(|rates| rates.one).collect());
                two.push(round.iter().map(|rates| rates.two).collect());
            }
            if self.json {
                print_lines(case, &who, &one, &two);
            }
            for (workers, rounds) in [("one worker", one), ("two workers", two)] {
                let name = format!("{case}, {workers}");
                let case = Case::of_rounds(name, "images/s", Better::Higher, &who, &rounds);
                results.push(case);
            }
        }
        let results = Results::of_contest(self.suite, libraries, results);
        match self.json {
            true => hand_over(&results),
            false => show(&results),
        }
    }

    /// Runs the script of a peer, which prints a line with `one` and `two`.
    fn run(&self, peer: &Peer, arguments: &[String]) -> Result<Rates> {
        let script = format!("{}.py", self.suite);
        let mut command = self.pythons.script(peer, &script);
        command.arg(peer.name).args(arguments);
        let output = command
            .output()
            .with_context(|| format!("cannot start {command:?}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}: {said}", peer.name);
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().last().unwrap_or_default();
        let rates = serde_json::from_str(line).ok().and_then(|value: Value| {
            Some(Rates {
                one: value["one"][0].as_f64()?,
                two: value["two"].as_f64()?,
            })
        });
        rates.with_context(|| format!("{}: no figures in `{line}`", peer.name))
    }
}

/// A line of JSON for each side, as the scripts of the peers print it.
#[allow(clippy::print_stdout, reason = "a bench shows its results")]
fn print_lines(case: &str, who: &[&str], one: &[Vec<f64>], two: &[Vec<f64>]) {
    for (side, tool) in who.iter().enumerate() {
        let of = |rounds: &[Vec<f64>]| {
            let Quartiles { low, median, high } =
                Quartiles::of(rounds.iter().map(|round| round[side]).collect());
            [median, low, high].map(f64::round)
        };
        let line = json!({
            "tool": tool,
            "size": case,
            "one": of(one),
            "two": of(two)[0],
        });
        println!("{line}");
    }
}

/// Images per second of `work`, which does so many images on each of so many threads each time it is called, over
/// about `seconds`.
///
/// # Errors
/// The first error of `work`.
pub fn rate(
    threads: usize,
    images: usize,
    seconds: f64,
    work: impl Fn(usize) -> Result<()> + Sync,
) -> Result<f64> {
    let once = crate::on_threads(threads, &work)?.as_secs_f64().max(1e-6);
    let times = (seconds / once).ceil() as usize;
    let total = crate::on_threads(threads, |thread| (0..times).try_for_each(|_| work(thread)))?;
    Ok((threads * images * times) as f64 / total.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Option<Contest>> {
        let words = line.split_whitespace().map(Into::into);
        Contest::parse("augment", words.collect())
    }

    #[test]
    fn a_contest_is_asked_for_by_peers_or_json() {
        assert!(parse("--bench --quick").unwrap().is_none());
        let contest = parse("--bench --against cv2 --rounds 5 --python p")
            .unwrap()
            .unwrap();
        assert_eq!((contest.peers.len(), contest.rounds), (1, 5));
        assert!(parse("--json").unwrap().unwrap().peers.is_empty());
        let error = parse("--against cv3").unwrap_err().to_string();
        assert!(error.starts_with("unknown peer `cv3` (expected one of "));
        assert!(parse("--json --rounds 0").is_err() && parse("--json --fast").is_err());
    }
}
