//! Whole trainings of keros and of other libraries in turn.

use anyhow::Result;
use keros_bench_record::{Better, Case, Peer, Quartiles, Results, significant};
use keros_benches::{Pythons, hand_over, show};

use crate::process::{self, Figures};
use crate::request::{Contest, Training};
use crate::side::Side;

/// Plays all rounds: keros, then every peer that is installed, then keros again.
pub(crate) fn run(contest: &Contest) -> Result<()> {
    let (peers, libraries) = contest.pythons.at_hand(&contest.peers);
    let mut cases = Vec::new();
    for training in &contest.trainings {
        let mut rounds = Vec::new();
        for round in 1..=contest.rounds {
            rounds.push(play(contest, round, training, &peers)?);
        }
        cases.extend(cases_of(training, &peers, &rounds));
    }
    let results = Results::of_contest("train", libraries, cases);
    match contest.json {
        true => hand_over(&results),
        false => show(&results),
    }
}

/// One round: the figures of keros, then those of each peer.
#[allow(
    clippy::print_stderr,
    reason = "what the wait is for is no result, and lines of JSON stay by themselves"
)]
fn play(
    contest: &Contest,
    round: usize,
    training: &Training,
    peers: &[Peer],
) -> Result<Vec<Figures>> {
    let mut all = Vec::new();
    for peer in [None].into_iter().chain(peers.iter().map(Some)) {
        let (who, command) = match peer {
            None => {
                let mut command = Side::Keros.command()?;
                if training.how.measured {
                    command.arg("--cudnn-benchmark");
                }
                ("keros", command)
            }
            Some(peer) => (peer.name, command(peer, &contest.pythons)?),
        };
        let figures = process::run(who, command, training)?;
        match contest.json {
            true => println!("{}", figures.line),
            false => {
                let (model, of) = (case_name(training), contest.rounds);
                let rate = significant(rate(&figures));
                eprintln!("{model}, round {round} of {of}: {who} {rate} images/s");
            }
        }
        all.push(figures);
    }
    Ok(all)
}

/// The program of a peer, without the arguments that say what to train.
fn command(peer: &Peer, pythons: &Pythons) -> Result<std::process::Command> {
    match (peer.name, peer.backend) {
        ("candle", _) => Side::Candle.command(),
        (_, Some(_)) => Ok(pythons.script(peer, "train_keras.py")),
        (name, None) => {
            let mut command = pythons.script(peer, "train_torch.py");
            command.arg(name);
            Ok(command)
        }
    }
}

fn cases_of(training: &Training, peers: &[Peer], rounds: &[Vec<Figures>]) -> Vec<Case> {
    let names = peers.iter().map(|peer| peer.name);
    let who: Vec<&str> = ["keros"].into_iter().chain(names).collect();
    let of = case_name(training);
    let case = |what: &str, unit, better, figure: fn(&Figures) -> f64| {
        let name = format!("{what}{of}");
        let rounds: Vec<Vec<f64>> = rounds
            .iter()
            .map(|round| round.iter().map(figure).collect())
            .collect();
        Case::of_rounds(name, unit, better, &who, &rounds)
    };
    let mut cases = vec![
        case("", "images/s", Better::Higher, rate),
        case("first step/", "s", Better::Lower, |f| f.first_s),
        case("peak memory/", "MB", Better::Lower, |f| f.peak_mb),
    ];
    if training.how.augment {
        let waited = |f: &Figures| f.waited.unwrap_or(f64::NAN);
        cases.push(case("waiting for data/", "%", Better::Lower, waited));
    }
    cases
}

fn case_name(training: &Training) -> String {
    let Training {
        model,
        how,
        batch_size,
        ..
    } = training;
    format!("{}/batch size {batch_size}{}", model.name(), how.suffix())
}

fn rate(figures: &Figures) -> f64 {
    Quartiles::of(figures.rates.clone()).median
}
