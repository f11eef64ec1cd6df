//! The rows of a log that is appended to, resumed or lost.

use crate::support::FakeRun;
use keros_callbacks::{
    Callback, CallbackList, CallbackState, CsvLogger, EventKind, Level, Message,
};
use std::fs;
use std::path::Path;

/// Trains epochs `from..to`; the states after `to`.
fn train(logger: CsvLogger, from: u64, to: u64, states: Vec<CallbackState>) -> Vec<CallbackState> {
    let mut list = CallbackList::new().with(logger);
    let mut run = FakeRun::default();
    run.send(&mut list, EventKind::TrainBegin, 0, 0);
    list.load_states(states).unwrap();
    for epoch in from..to {
        run.logs.set("loss", 1.0 / (epoch + 1) as f64);
        run.logs.set("val_loss", 2.0);
        run.send(&mut list, EventKind::EpochEnd, epoch, 0);
    }
    list.states().unwrap()
}

fn rows(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    text.split_terminator("\r\n").map(str::to_owned).collect()
}

#[test]
fn rows_after_the_checkpoint_are_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.csv");
    let states = train(CsvLogger::new(&path), 0, 2, Vec::new());
    // Two rows that a killed run has written after its checkpoint.
    let mut text = fs::read_to_string(&path).unwrap();
    text.push_str("2,9,9\r\n3,");
    fs::write(&path, text).unwrap();
    train(CsvLogger::new(&path), 2, 4, states);
    let expected = ["epoch,loss,val_loss", "0,1.0,2.0", "1,0.5,2.0"];
    assert_eq!(rows(&path)[..3], expected);
    assert_eq!(rows(&path)[3..], ["2,0.3333333333333333,2.0", "3,0.25,2.0"]);
}

#[test]
fn a_log_that_is_gone_begins_anew_with_its_header() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.csv");
    let states = train(CsvLogger::new(&path), 0, 2, Vec::new());
    fs::remove_file(&path).unwrap();
    train(CsvLogger::new(&path), 3, 4, states);
    assert_eq!(rows(&path), ["epoch,loss,val_loss", "3,0.25,2.0"]);
}

#[test]
fn appending_keeps_what_is_there_and_another_separator_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.csv");
    let logger = || CsvLogger::new(&path).separator(';').unwrap();
    train(logger(), 0, 1, Vec::new());
    train(logger().append(true), 1, 2, Vec::new());
    let expected = ["epoch;loss;val_loss", "0;1.0;2.0", "1;0.5;2.0"];
    assert_eq!(rows(&path), expected);
    train(logger(), 5, 5, Vec::new());
    assert_eq!(rows(&path), expected, "kept until there is a row");
}

/// The texts of all warnings.
#[derive(Default)]
struct Heard(Vec<String>);

impl Callback for Heard {
    fn on_message(&mut self, message: &Message) {
        assert_eq!(message.level, Level::Warning);
        self.0.push(message.text.clone());
    }
}

#[test]
fn appended_rows_have_the_columns_of_the_header() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.csv");
    let text = "epoch;learning_rate;loss\r\n0;0.1;1.0\r\n";
    fs::write(&path, text).unwrap();
    let logger = || {
        let logger = CsvLogger::new(&path).append(true);
        logger.separator(';').unwrap()
    };
    let mut heard = Heard::default();
    let mut list = CallbackList::new().with(logger()).with(&mut heard);
    let mut run = FakeRun::default();
    run.send(&mut list, EventKind::TrainBegin, 0, 0);
    run.logs.set("accuracy", 0.5);
    run.logs.set("loss", 0.25);
    run.send(&mut list, EventKind::EpochEnd, 1, 0);
    run.logs.set("lr", 0.01);
    run.send(&mut list, EventKind::EpochEnd, 2, 0);
    let expected = [
        "epoch;learning_rate;loss",
        "0;0.1;1.0",
        "1;NA;0.25",
        "2;NA;0.25",
    ];
    assert_eq!(rows(&path), expected);
    drop(list);
    let file = path.display();
    assert_eq!(
        heard.0,
        ["accuracy", "lr"]
            .map(|name| format!("{file} has no column for {name}, which is left out"))
    );

    for (text, found) in [
        ("loss;epoch\r\n", "loss"),
        ("epoch,loss\r\n", "epoch,loss"),
        ("\n", "none"),
    ] {
        fs::write(&path, text).unwrap();
        let mut list = CallbackList::new().with(logger());
        let begin = crate::support::event(EventKind::TrainBegin, 0, 0);
        let error = list.dispatch(&begin, &mut FakeRun::default()).unwrap_err();
        assert_eq!(
            std::error::Error::source(&error).unwrap().to_string(),
            format!(
                "writing the logs to {file}: rows cannot be added to it (expected epoch as its first \
                 column, found {found})"
            )
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
}

#[test]
fn a_row_after_a_checkpoint_in_the_first_epoch_is_replaced_too() {
    for append in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.csv");
        let logger = || CsvLogger::new(&path).append(append);
        train(logger(), 0, 1, Vec::new());
        let states = train(logger(), 1, 1, Vec::new());
        // The killed run has written the row of its first epoch.
        train(logger(), 1, 2, Vec::new());
        train(logger(), 1, 3, states);
        let expected = [
            "epoch,loss,val_loss",
            "0,1.0,2.0",
            "1,0.5,2.0",
            "2,0.3333333333333333,2.0",
        ];
        let rows = rows(&path);
        match append {
            true => assert_eq!(rows, expected),
            false => assert_eq!(rows[1..], expected[2..]),
        }
    }
}

#[test]
fn a_path_that_cannot_be_written_is_told_before_training() {
    let folder = tempfile::tempdir().unwrap();
    let mut list = CallbackList::new().with(CsvLogger::new(folder.path()));
    let begin = crate::support::event(EventKind::TrainBegin, 0, 0);
    let error = list.dispatch(&begin, &mut FakeRun::default()).unwrap_err();
    let text = std::error::Error::source(&error).unwrap().to_string();
    assert!(
        text.contains(&folder.path().display().to_string()),
        "{text}"
    );
    assert!(CsvLogger::new("log.csv").separator('\n').is_err());
    assert!(CsvLogger::new("log.csv").separator('→').is_err());
}
