//! Records as files.

use std::fs;

use keros_bench_record::{Better, Record, Results, find, open, table};

use crate::{case, contest, record};

const RATE: Better = Better::Higher;

#[test]
fn a_suite_that_is_saved_again_replaces_itself_alone() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("recorded");
    let old = [
        record(Results::of_suite(
            "ops",
            vec![case("a", RATE, &[[1.0, 1.0]])],
        )),
        record(contest("train", vec![case("b", RATE, &[[2.0, 1.0]])])),
    ];
    let newer = record(contest("train", vec![case("c", RATE, &[[3.0, 1.0]])]));
    let alone = record(Results::of_suite(
        "train",
        vec![case("d", RATE, &[[4.0, 1.0]])],
    ));
    for runs in old.into_iter().chain([newer, alone]) {
        let record = match find(&folder, "here").unwrap() {
            Some(saved) => saved.with(runs).unwrap(),
            None => runs,
        };
        record.write(&folder, "here").unwrap();
    }
    let found = open(&folder, "here").unwrap();
    let cases: Vec<&str> = found
        .runs
        .iter()
        .map(|run| run.results.cases[0].name.as_str())
        .collect();
    assert_eq!(cases, ["a", "c", "d"]);
    // Nothing is left beside the files.
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    files.sort();
    assert_eq!(files, ["here.json", "here.md", "here.svg"]);
}

#[test]
fn runs_on_another_machine_are_not_mixed_in() {
    let runs = || record(contest("train", vec![case("b", RATE, &[[2.0, 1.0]])]));
    let mut other = runs();
    other.machine.cores += 1;
    let error = other.with(runs()).unwrap_err().to_string();
    assert!(
        error.starts_with("the record is of another machine: cores ")
            && error.ends_with("; save under another name"),
        "{error}"
    );
}

#[test]
fn the_page_tells_how_each_run_was_made() {
    let page = record(contest("train", vec![case("mlp", RATE, &[[3.0, 2.0]])])).page("here");
    for expected in [
        "# Benchmarks: here\n",
        "## train --against\n",
        "2026-01-31, commit 0123456789ab, the arguments `--quick`; keros 0.1.0, torch 2.9.0.\n",
        "| mlp  | torch   | images/s |  3.00 | 2.00 | 1.50 (1.50–1.50) |\n",
    ] {
        assert!(page.contains(expected), "no `{expected}` in {page}");
    }
}

#[test]
fn the_table_names_a_first_side_that_is_not_keros() {
    let of_keros = case("mlp", RATE, &[[3.0, 2.0]]);
    let mut of_ways = of_keros.clone();
    of_ways.sides[0].who = "linked in".to_owned();
    of_ways.sides[1].who = "loaded".to_owned();
    let results = Results::of_suite("plugin", vec![of_keros, of_ways]);
    let alone = table(&[&results]);
    assert!(alone.contains("| mlp "), "{alone}");
    assert!(alone.contains("| linked in: mlp | loaded "), "{alone}");
    let several = table(&[&results, &results]);
    assert!(several.contains("| plugin: linked in: mlp | "), "{several}");
}

#[test]
fn a_name_is_a_plain_one() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["", ".hidden", "../up", "a/b", "a b", "-x", "ä"] {
        let error = find(folder.path(), name).unwrap_err().to_string();
        let expected = format!("`{name}` is no name for a record: expected letters, ");
        assert!(error.starts_with(&expected), "{error}");
        assert!(Record::new(Vec::new()).write(folder.path(), name).is_err());
    }
    assert!(find(folder.path(), "xeon-2.1_a").unwrap().is_none());
}

#[test]
fn an_unknown_record_is_named_beside_those_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let unknown = |folder| open(folder, "x").unwrap_err().to_string();
    let nowhere = folder.path().join("none");
    for empty in [folder.path(), &nowhere] {
        assert_eq!(unknown(empty), "there is no record `x`; there are none yet");
    }
    for name in ["b", "a"] {
        Record::new(Vec::new()).write(folder.path(), name).unwrap();
    }
    assert_eq!(
        unknown(folder.path()),
        "there is no record `x`; there are: a, b"
    );
}

#[test]
fn what_is_no_record_is_refused_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.json");
    let good = record(contest("train", Vec::new())).json().unwrap();
    for (text, expected) in [
        ("no JSON", "is no record: expected ident"),
        ("{}", "is no record: missing field `format`"),
        (r#"{"format": 2}"#, "is a record of format 2, expected 1"),
        (r#"{"format": 1}"#, "is no record: missing field `machine`"),
        (&good[..good.len() / 2], "is no record: EOF while parsing"),
        (
            &good.replace("\"date\"", "\"day\""),
            "is no record: missing field `date`",
        ),
    ] {
        fs::write(&path, text).unwrap();
        let error = format!("{:#}", open(folder.path(), "x").unwrap_err());
        assert!(error.contains(expected), "`{text}` gave {error}");
        assert!(error.contains("x.json"), "{error}");
    }
}

#[test]
fn a_chart_has_a_bar_for_each_side() {
    let one = |name, keros| case(name, RATE, &[[keros, 500.0]]);
    let cases = vec![
        one("mlp", 12_345.0),
        one("28x28x1, one worker", 777.0),
        case("first step", Better::Lower, &[[888.0, 500.0]]),
    ];
    let mut record = record(contest("train", cases));
    let mut alone = one("mlp", 1_000.0);
    alone.sides[1].who = "candle".to_owned();
    let alone = crate::record(Results::of_suite("train", vec![alone]));
    record.runs.extend(alone.runs);
    let picture = keros_bench_record::chart::draw(&record).unwrap().unwrap();
    // The last is of the rounds that candle took part in.
    for text in [
        "12,345",
        "train: mlp, images/s",
        "torch",
        "keros 24.7×",
        "candle",
        "keros 2.00×",
    ] {
        assert!(
            picture.contains(&format!("\n{text}\n")),
            "no `{text}` in {picture}"
        );
    }
    for text in ["777", "888", "1,000"] {
        assert!(
            !picture.contains(&format!("\n{text}\n")),
            "`{text}` in {picture}"
        );
    }
    let none = crate::record(Results::of_suite("train", Vec::new()));
    assert!(keros_bench_record::chart::draw(&none).unwrap().is_none());
}
