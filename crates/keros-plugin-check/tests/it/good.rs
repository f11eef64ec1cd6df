//! Plugins that are right: those of this repository.

use crate::build::{c_plugin, cpp_plugin, rust_plugin};
use crate::check;
use std::path::Path;

fn check_valid(library: &Path, config: &str, expected: &[&str]) {
    let (code, said) = check([library.as_os_str(), "--config".as_ref(), config.as_ref()]);
    assert_eq!(code, Some(0), "{said}");
    let last = format!("{} is a valid plugin\n", library.display());
    assert!(said.contains(&last), "{said}");
    for expected in expected {
        assert!(said.contains(expected), "no `{expected}` in\n{said}");
    }
}

#[test]
fn csv_logger() {
    let library = rust_plugin("csv-logger");
    let expected = [
        "ok     inspect: `csv-logger` ",
        "ok     load\nok     schema: ",
        " bytes of JSON\nok     create\nok     events: 14 sent\nok     destroy\n",
    ];
    check_valid(&library, r#"{"path": "epochs.csv"}"#, &expected);
}

#[test]
fn a_configuration_that_is_missing_is_asked_for() {
    let library = rust_plugin("csv-logger");
    let (code, said) = check([&library]);
    assert_eq!(code, Some(1), "{said}");
    let note =
        "no configuration was given: `--config JSON` gives one; its schema requires \"path\"";
    let failure = "FAILED create: plugin `csv-logger` at";
    assert!(said.contains(note) && said.contains(failure), "{said}");
}

#[test]
fn what_the_plugin_refuses_is_told_in_its_words() {
    let library = rust_plugin("csv-logger");
    let config = r#"{"path": "missing/epochs.csv"}"#;
    let (code, said) = check([library.as_os_str(), "--config".as_ref(), config.as_ref()]);
    assert_eq!(code, Some(1), "{said}");
    let failure =
        "FAILED events: callback `csv-logger` failed at train_begin: plugin `csv-logger`: ";
    assert!(said.contains(failure), "{said}");
    assert!(said.contains("creating missing/epochs.csv: "), "{said}");
}

#[test]
fn lr_finder() {
    let library = rust_plugin("lr-finder");
    check_valid(
        &library,
        r#"{"path": "curve.csv", "steps": 4, "skip_begin": 0, "skip_end": 0}"#,
        &[],
    );
}

#[test]
fn tensorboard() {
    let config = r#"{"histogram_freq": 1, "write_gradients": true, "images": 2}"#;
    check_valid(&rust_plugin("tensorboard"), config, &[]);
}

#[test]
fn dashboard() {
    check_valid(
        &rust_plugin("dashboard"),
        r#"{"port": 0}"#,
        &["note   its message (info): "],
    );
}

#[test]
fn grad_watch() {
    let Some((_folder, library)) = c_plugin("grad-watch/grad-watch.c", &[]) else {
        return;
    };
    check_valid(&library, r#"{"csv": "norms.csv"}"#, &["ok     schema: "]);
}

#[test]
fn timing() {
    let Some((_folder, library)) = cpp_plugin("timing/timing.cpp") else {
        return;
    };
    check_valid(&library, "{}", &[]);
}
