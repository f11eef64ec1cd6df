//! `two_inputs`: a text file of two named inputs is learned, and a broken line is named.

use crate::support::{path, text};
use std::fs;
use std::process::{Command, Output};

fn two_inputs(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_two_inputs"))
        .args(args)
        .output()
        .unwrap()
}

#[test]
fn the_shipped_lines_are_learned() {
    let output = two_inputs(&[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    let accuracy = printed
        .lines()
        .last()
        .unwrap()
        .strip_prefix("val_accuracy ");
    let accuracy: f64 = accuracy.unwrap().parse().unwrap();
    assert!(accuracy > 0.85, "{printed}");
}

#[test]
fn a_bad_request_is_one_sentence_before_the_training() {
    for (args, words) in [
        (["--file", "missing.txt"], "opening missing.txt"),
        (["--validation", "missing.txt"], "opening missing.txt"),
        (["--epochs", "0"], "--epochs"),
    ] {
        let output = two_inputs(&args);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {error}");
        assert!(error.starts_with("error: "), "{error}");
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn a_broken_line_is_named_with_file_and_number() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lines.txt");
    let cases = [
        (
            "1,2,3|4,5|1\n1,2|4,5|0\n",
            "line 2: expected a,b,c|d,e|label, found `1,2|4,5|0`",
        ),
        ("1,x,3|4,5|1\n", "line 1"),
        ("", "data"),
    ];
    for (lines, expected) in cases {
        fs::write(&file, lines).unwrap();
        let output = two_inputs(&["--file", path(&file), "--epochs", "1"]);
        assert_eq!(output.status.code(), Some(1));
        let error = text(&output.stderr);
        assert!(error.contains(expected), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}
