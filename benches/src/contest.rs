//! Images per second of keros and of Python's libraries, in turn on one machine.
//!
//! A suite that has such peers takes, besides criterion's arguments, `--against NAMES` and `--json`. Each round
//! measures keros in this process, then every peer in one of its own, with one worker and with two, case by case; the
//! table shows medians of the rounds and of the ratios within them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use lexopt::{Arg, ValueExt as _};
use serde_json::{Value, json};

use crate::rounds::Quartiles;
use crate::table::{Table, quartiles, significant};

/// The interpreter of the peers, where the command line names none.
const PYTHON: &str = "KEROS_BENCH_PYTHON";

/// A library of Python that does the same work.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Its name, which the script takes too.
    pub name: &'static str,
    /// The modules it needs.
    pub modules: &'static [&'static str],
}

/// What the command line asks for.
#[derive(Debug)]
pub struct Contest {
    script: &'static str,
    peers: Vec<Peer>,
    python: PathBuf,
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
    /// `None` if the arguments are criterion's alone. `script` is a file of benches/peers.
    ///
    /// # Errors
    /// Unknown options and peers.
    pub fn from_args(script: &'static str, peers: &[Peer]) -> Result<Option<Contest>> {
        Contest::parse(script, peers, std::env::args_os().skip(1).collect())
    }

    fn parse(
        script: &'static str,
        peers: &[Peer],
        words: Vec<OsString>,
    ) -> Result<Option<Contest>> {
        let asked = |word: &OsString| {
            let word = word.to_string_lossy();
            word == "--json" || word.starts_with("--against")
        };
        if !words.iter().any(asked) {
            return Ok(None);
        }
        let mut contest = Contest {
            script,
            peers: Vec::new(),
            python: std::env::var_os(PYTHON)
                .unwrap_or_else(|| "python3".into())
                .into(),
            rounds: 3,
            json: false,
            images: None,
        };
        let mut parser = lexopt::Parser::from_args(words);
        while let Some(arg) = parser.next()? {
            match arg {
                Arg::Long("against") => {
                    for name in parser.value()?.string()?.split(',') {
                        let peer = peers.iter().find(|peer| peer.name == name);
                        contest.peers.push(*peer.with_context(|| {
                            let names: Vec<_> = peers.iter().map(|peer| peer.name).collect();
                            format!("nobody is called `{name}`; there are: {}", names.join(", "))
                        })?);
                    }
                }
                Arg::Long("python") => contest.python = parser.value()?.into(),
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

    /// Plays all rounds. A case is what is measured, in words, and the arguments of the script that say so; `ours`
    /// measures keros in the case of a number.
    ///
    /// # Errors
    /// A side that fails.
    #[allow(
        clippy::print_stdout,
        clippy::print_stderr,
        reason = "a bench shows its results"
    )]
    pub fn play(
        &self,
        cases: &[(String, Vec<String>)],
        mut ours: impl FnMut(usize) -> Result<Rates>,
    ) -> Result<()> {
        let mut present = Vec::new();
        for peer in &self.peers {
            match peer.missing(&self.python) {
                Some(missing) => eprintln!("{} is not at hand: {missing}", peer.name),
                None => present.push(*peer),
            }
        }
        let mut rows = Vec::new();
        for (number, (case, arguments)) in cases.iter().enumerate() {
            let mut rounds: Vec<Vec<Rates>> = Vec::new();
            for _ in 0..self.rounds {
                let mut round = vec![ours(number)?];
                for peer in &present {
                    round.push(self.run(peer, arguments)?);
                }
                rounds.push(round);
            }
            let names = ["keros"]
                .into_iter()
                .chain(present.iter().map(|peer| peer.name));
            for (side, name) in names.enumerate() {
                let of = |value: &dyn Fn(&[Rates]) -> f64| {
                    Quartiles::of(rounds.iter().map(|round| value(round)).collect())
                };
                let (one, two) = (of(&|round| round[side].one), of(&|round| round[side].two));
                if self.json {
                    let whole = |value: f64| value.round();
                    println!(
                        "{}",
                        json!({
                            "tool": name,
                            "size": case,
                            "one": [whole(one.median), whole(one.low), whole(one.high)],
                            "two_threads": whole(two.median),
                        })
                    );
                }
                rows.push([
                    format!("{case}, {name}"),
                    significant(one.median),
                    significant(two.median),
                    quartiles(of(&|round| round[0].one / round[side].one)),
                    quartiles(of(&|round| round[0].two / round[side].two)),
                    quartiles(of(&|round| round[side].two / round[side].one)),
                ]);
            }
        }
        if !self.json {
            let headings = [
                "case, who",
                "one worker, images/s",
                "two workers, images/s",
                "keros ÷ it, one worker",
                "keros ÷ it, two workers",
                "two workers ÷ one",
            ];
            println!("{}", Table::new(headings, &rows, Clone::clone));
        }
        Ok(())
    }

    /// Runs the script of a peer, which prints a line with `one` and `two_threads`.
    fn run(&self, peer: &Peer, arguments: &[String]) -> Result<Rates> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("peers")
            .join(self.script);
        let mut command = Command::new(&self.python);
        command
            .arg(script)
            .arg(peer.name)
            .args(arguments)
            // Compiled scripts would be left beside the sources.
            .env("PYTHONDONTWRITEBYTECODE", "1");
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
                two: value["two_threads"].as_f64()?,
            })
        });
        rates.with_context(|| format!("{}: no figures in `{line}`", peer.name))
    }
}

impl Peer {
    /// What this peer needs and this machine does not have.
    fn missing(&self, python: &Path) -> Option<String> {
        let import = format!("import {}", self.modules.join(", "));
        let status = Command::new(python)
            .args(["-c", &import])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        let python = python.display();
        match status {
            Ok(status) if status.success() => None,
            Ok(_) => Some(format!(
                "`{python}` cannot import {}",
                self.modules.join(" and ")
            )),
            Err(_) => Some(format!("`{python}` is no Python")),
        }
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
        let peers = [Peer {
            name: "cv2",
            modules: &["cv2"],
        }];
        Contest::parse(
            "augment.py",
            &peers,
            line.split_whitespace().map(Into::into).collect(),
        )
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
        assert_eq!(error, "nobody is called `cv3`; there are: cv2");
        assert!(parse("--json --rounds 0").is_err() && parse("--json --fast").is_err());
    }
}
