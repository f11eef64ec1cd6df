//! A run beside a record.

use keros_bench_record::{Better, Results, compare};

use crate::{case, contest, record};

/// Rounds around these values.
fn around(keros: f64, torch: f64) -> [[f64; 2]; 3] {
    [0.99, 1.0, 1.01].map(|noise| [keros * noise, torch])
}

#[test]
fn what_lies_outside_of_the_noise_is_marked() {
    let cases = |values: [(f64, f64); 3]| {
        let [fit, first, same] = values.map(|(keros, torch)| around(keros, torch));
        contest(
            "train",
            vec![
                case("fit", Better::Higher, &fit),
                case("first step", Better::Lower, &first),
                case("same", Better::Higher, &same),
            ],
        )
    };
    let then = record(cases([(100.0, 50.0), (10.0, 10.0), (7.0, 7.0)]));
    // Everything is slower, but torch is so still more.
    let now = record(cases([(80.0, 20.0), (20.0, 10.0), (7.0, 7.05)]));
    let text = compare(&now, &then, "then").to_string();
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with("| train"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let expected = [
        ["fit", "images/s", "worse", "0.800"],
        ["fit", "÷ torch", "better", "2.00"],
        ["first step", "s", "worse", "2.00"],
        ["first step", "÷ torch", "worse", "2.00"],
        ["same", "images/s", "", "1.00"],
        ["same", "÷ torch", "", "0.993"],
    ];
    assert_eq!(rows.len(), expected.len(), "{text}");
    for (row, [name, figure, change, ratio]) in rows.iter().zip(expected) {
        let found = [row[0], row[1], row[2], row[5]];
        let name = format!("train --against: {name}");
        assert_eq!(found, [&name, figure, change, ratio], "{text}");
    }
    let counts = "\n1 better, 3 worse, 2 with ranges between the quartiles that overlap.\n";
    assert!(text.ends_with(counts), "{text}");
}

#[test]
fn two_rounds_tell_nothing_of_the_noise() {
    let of = |keros: f64| {
        let rounds = &around(keros, 1.0)[..2];
        record(contest("train", vec![case("mlp", Better::Higher, rounds)]))
    };
    let text = compare(&of(9.0), &of(3.0), "then").to_string();
    assert!(!text.contains("| better"), "{text}");
    let nothing = "Of 2 nothing is said, for their quartiles are of fewer than 3 rounds.\n";
    assert!(text.ends_with(nothing), "{text}");
}

#[test]
fn many_cases_are_counted() {
    let of = |cases: usize| {
        let cases = (0..cases).map(|i| case(&format!("c{i}"), Better::Higher, &around(1.0, 1.0)));
        record(Results::of_suite("ops", cases.collect()))
    };
    let text = compare(&of(1), &of(14), "then").to_string();
    assert!(
        text.contains("Only in the record: ops: c1; ops: c2; "),
        "{text}"
    );
    assert!(text.ends_with("ops: c10; 3 others.\n"), "{text}");
}

#[test]
fn cases_of_one_side_are_told() {
    let one = |name| case(name, Better::Higher, &around(2.0, 1.0));
    let mut renamed = one("both");
    renamed.sides[1].who = "jax".to_owned();
    let then = record(Results::of_suite("ops", vec![one("both"), one("gone")]));
    let mut now = record(Results::of_suite("ops", vec![renamed, one("new")]));
    now.runs
        .extend(record(contest("train", vec![one("mlp")])).runs);
    let text = compare(&now, &then, "then").to_string();
    for line in [
        "Only in this run: ops: both against jax; ops: new; train --against.",
        "Only in the record: ops: both against torch; ops: gone.",
    ] {
        assert!(text.lines().any(|found| found == line), "{text}");
    }
    // What did not run now is not missing.
    now.runs.remove(0);
    let text = compare(&then, &now, "now").to_string();
    assert!(!text.contains("train"), "{text}");
}

#[test]
fn values_of_another_machine_are_not_compared() {
    let results = || {
        contest(
            "train",
            vec![case("mlp", Better::Higher, &around(2.0, 1.0))],
        )
    };
    let mut then = record(results());
    then.machine.cpu = "another processor".to_owned();
    let text = compare(&record(results()), &then, "then").to_string();
    assert!(
        text.starts_with("The record `then` is of another machine (processor "),
        "{text}"
    );
    assert!(
        text.contains("instead of another processor), so only ratios"),
        "{text}"
    );
    assert!(
        text.contains("÷ torch") && !text.contains("images/s"),
        "{text}"
    );
}
