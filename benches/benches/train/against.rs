//! Whole trainings of keros and of other libraries in turn, and the ratios within the rounds.

use std::fmt;

use anyhow::Result;
use keros_benches::{Quartiles, Table, quartiles, significant};

use crate::process::{self, Figures};
use crate::request::Request;
use crate::side::Side;

/// The figures of one side, round by round.
struct Played {
    side: Side,
    rounds: Vec<Figures>,
}

impl Played {
    fn median(&self, figure: impl Fn(&Figures) -> f64) -> f64 {
        Quartiles::of(self.rounds.iter().map(figure).collect()).median
    }
}

fn rate(figures: &Figures) -> f64 {
    Quartiles::of(figures.rates.clone()).median
}

/// Plays all rounds: keros, then every peer that is installed, then keros again.
#[allow(
    clippy::print_stderr,
    reason = "what the wait is for is no result, and lines of JSON stay by themselves"
)]
pub(crate) fn run(request: &Request) -> Result<()> {
    let mut played = vec![Played {
        side: Side::Keros,
        rounds: Vec::new(),
    }];
    for side in &request.against {
        match side.missing(&request.python) {
            Some(missing) => eprintln!("{} is left out: {missing}", side.name()),
            None => played.push(Played {
                side: *side,
                rounds: Vec::new(),
            }),
        }
    }
    for round in 1..=request.rounds {
        for Played { side, rounds } in &mut played {
            let figures = process::run(*side, &request.training, &request.python)?;
            match request.json {
                true => println!("{}", figures.line),
                false => {
                    let (rate, of) = (significant(rate(&figures)), request.rounds);
                    eprintln!("round {round} of {of}: {} {rate} images/s", side.name());
                }
            }
            rounds.push(figures);
        }
    }
    let (model, batch_size) = (request.training.model.name(), request.training.batch_size);
    let ratios = format!("\n{model}, batch size {batch_size}\n{}", table(&played));
    match request.json {
        true => eprintln!("{ratios}"),
        false => println!("{ratios}"),
    }
    Ok(())
}

fn table(played: &[Played]) -> impl fmt::Display {
    let headings = ["who", "images/s", "keros ÷ it", "first step, s", "peak, MB"];
    Table::new(headings, played, |side| {
        let pairs = played.iter().take(1).flat_map(|keros| &keros.rounds);
        let ratios = pairs
            .zip(&side.rounds)
            .map(|(ours, its)| rate(ours) / rate(its));
        [
            side.side.name().to_owned(),
            significant(side.median(rate)),
            quartiles(Quartiles::of(ratios.collect())),
            significant(side.median(|figures| figures.first_s)),
            significant(side.median(|figures| figures.peak_mb)),
        ]
    })
}
