//! Tests of keros-bench-record through its public interface.

mod committed;
mod comparison;
mod record;

use std::collections::BTreeMap;

use keros_bench_record::{Better, Case, Record, Results, Run};

/// A case with one other side and these rounds.
fn case(name: &str, better: Better, rounds: &[[f64; 2]]) -> Case {
    let rounds: Vec<Vec<f64>> = rounds.iter().map(|round| round.to_vec()).collect();
    let unit = match better {
        Better::Higher => "images/s",
        Better::Lower => "s",
    };
    Case::of_rounds(name, unit, better, &["keros", "torch"], &rounds)
}

/// A record of one run.
fn record(results: Results) -> Record {
    Record::new(vec![Run {
        results,
        date: "2026-01-31".to_owned(),
        commit: Some("0123456789abcdef".to_owned()),
        clean: true,
        arguments: vec!["--quick".to_owned()],
        versions: BTreeMap::from([("keros".to_owned(), "0.1.0".to_owned())]),
    }])
}

fn contest(suite: &str, cases: Vec<Case>) -> Results {
    let libraries = BTreeMap::from([("torch".to_owned(), "2.9.0".to_owned())]);
    Results::of_contest(suite, libraries, cases)
}
