//! `three_methods`: one table, equal results.

use crate::support::text;
use std::process::Command;

#[test]
fn a_bad_request_is_one_sentence_before_any_training() {
    let output = Command::new(env!("CARGO_BIN_EXE_three_methods"))
        .args(["--limit", "0"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let error = text(&output.stderr);
    assert!(
        error.contains("expected 1 to 10000, found 0") && error.lines().count() == 1,
        "{error}"
    );
}

#[test]
fn the_table_shows_equal_results_for_the_three_methods() {
    let output = Command::new(env!("CARGO_BIN_EXE_three_methods"))
        .args(["--limit", "300", "--epochs", "1"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    let rows: Vec<Vec<&str>> = printed
        .lines()
        .skip(2)
        .take(3)
        .map(|line| line.split_whitespace().collect())
        .collect();
    let names: Vec<&str> = rows.iter().map(|row| row[0]).collect();
    assert_eq!(names, ["train_on_batch", "fit", "fit_generator"]);
    for row in &rows {
        assert_eq!(row[1..3], rows[0][1..3], "{printed}");
    }
    for sentence in ["train_on_batch: when", "fit: when", "fit_generator: when"] {
        assert!(printed.contains(sentence), "{printed}");
    }
}
