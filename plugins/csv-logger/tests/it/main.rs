//! The logger, linked in, over trainings that are made up; the tests of keros-plugin-host load it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod training;

use csv_logger::{Config, CsvLogger};
use keros_plugin::{Callback, Level, LogValue};
use std::fs;
use std::path::{Path, PathBuf};
use training::Training;

/// A folder and the path of a file in it.
fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("epochs.csv");
    (folder, path)
}

fn check_file(path: &Path, expected: &str) {
    assert_eq!(fs::read_to_string(path).unwrap(), expected);
}

#[test]
fn a_row_is_written_per_epoch() {
    let (_folder, path) = place();
    let mut training = Training::new(CsvLogger::new(Config::new(&path)).unwrap());
    training.begin();
    check_file(&path, "");
    training.epoch(
        0,
        &[8, 8, 3],
        &[("loss", 0.75.into()), ("accuracy", 0.5.into())],
    );
    check_file(
        &path,
        "epoch,batches,samples,loss,accuracy\n0,3,19,0.75,0.5\n",
    );
    training.epoch(
        1,
        &[8],
        &[("loss", f64::NAN.into()), ("accuracy", 1.0.into())],
    );
    training.end();
    check_file(
        &path,
        "epoch,batches,samples,loss,accuracy\n0,3,19,0.75,0.5\n1,1,8,NaN,1\n",
    );
}

#[test]
fn values_of_every_type_are_written_and_quoted() {
    let (_folder, path) = place();
    let mut training = Training::new(CsvLogger::new(Config::new(&path)).unwrap());
    training.begin();
    let logs: &[(&str, LogValue)] = &[
        ("count", 3_i64.into()),
        ("flag", true.into()),
        ("a,b", "say \"x\"".into()),
    ];
    training.epoch(0, &[], logs);
    check_file(
        &path,
        "epoch,batches,samples,count,flag,\"a,b\"\n0,0,0,3,true,\"say \"\"x\"\"\"\n",
    );
}

#[test]
fn late_validation_has_its_columns_after_the_metrics() {
    let (_folder, path) = place();
    let mut training = Training::new(CsvLogger::new(Config::new(&path)).unwrap());
    training.info.validation = true;
    training.info.metrics = vec!["loss".to_owned(), "accuracy".to_owned()];
    training.begin();
    let rate = ("learning_rate", LogValue::from(0.1));
    training.epoch(
        0,
        &[4],
        &[("loss", 2.0.into()), ("accuracy", 0.5.into()), rate.clone()],
    );
    let second: &[(&str, LogValue)] = &[
        ("loss", 1.0.into()),
        ("accuracy", 0.6.into()),
        ("val_loss", 1.5.into()),
        ("val_accuracy", 0.55.into()),
        rate,
    ];
    training.epoch(1, &[4], second);
    check_file(
        &path,
        "epoch,batches,samples,loss,accuracy,val_loss,val_accuracy,learning_rate\n\
         0,1,4,2,0.5,NA,NA,0.1\n\
         1,1,4,1,0.6,1.5,0.55,0.1\n",
    );
    assert!(training.messages.is_empty());
}

#[test]
fn a_late_log_is_told_once_and_left_out() {
    let (_folder, path) = place();
    let mut training = Training::new(CsvLogger::new(Config::new(&path)).unwrap());
    training.begin();
    training.epoch(0, &[], &[("loss", 2.0.into())]);
    training.epoch(1, &[], &[("loss", 1.0.into()), ("late", 1.0.into())]);
    training.epoch(2, &[], &[("late", 1.0.into())]);
    check_file(
        &path,
        "epoch,batches,samples,loss\n0,0,0,2\n1,0,0,1\n2,0,0,NA\n",
    );
    let [message] = &training.messages[..] else {
        unreachable!("{:?}", training.messages)
    };
    assert_eq!(message.level, Level::Warning);
    assert!(message.text.contains("`late`"), "{}", message.text);
}

#[test]
fn a_second_training_begins_anew_or_appends() {
    let (_folder, path) = place();
    for append in [false, true] {
        let config = Config {
            append,
            ..Config::new(&path)
        };
        let mut logger = CsvLogger::new(config).unwrap();
        for epoch in 0..2 {
            let mut training = Training::new(&mut logger);
            training.begin();
            // The columns of the file count, whatever the order of the logs.
            let mut logs = [("loss", 2.0.into()), ("accuracy", 0.5.into())];
            if append {
                logs.reverse();
            }
            training.epoch(epoch, &[1], &logs);
            training.end();
        }
        let earlier = "epoch,batches,samples,loss,accuracy\n1,1,1,2,0.5\n";
        let appended = if append {
            "0,1,1,2,0.5\n1,1,1,2,0.5\n"
        } else {
            ""
        };
        check_file(&path, &format!("{earlier}{appended}"));
    }
}

#[test]
fn an_epoch_that_goes_on_from_a_checkpoint_is_counted_whole() {
    let (_folder, path) = place();
    let mut first = Training::new(CsvLogger::new(Config::new(&path)).unwrap());
    assert_eq!(first.callback.save_state().unwrap(), None);
    first.begin();
    first.epoch(0, &[8, 8, 3], &[("loss", 0.75.into())]);
    first.begin_epoch(1);
    first.batches(1, 0, &[8, 8]);
    let state = first.callback.save_state().unwrap().unwrap();
    drop(first);

    let config = Config {
        append: true,
        ..Config::new(&path)
    };
    let mut second = Training::new(CsvLogger::new(config).unwrap());
    assert!(second.callback.load_state(&state).is_err());
    second.begin();
    second.callback.load_state(&state).unwrap();
    second.batches(1, 2, &[3]);
    second.end_epoch(1, &[("loss", 0.5.into())]);
    second.epoch(2, &[4], &[("loss", 0.25.into())]);
    check_file(
        &path,
        "epoch,batches,samples,loss\n0,3,19,0.75\n1,3,19,0.5\n2,1,4,0.25\n",
    );
}

#[test]
fn rows_after_the_checkpoint_are_replaced() {
    let (_folder, path) = place();
    let header = "epoch,batches,samples,loss\n";
    // Epochs before the checkpoint; none of them has a row where it is in the first one.
    for (before, rows) in [(0, "0,0,0,1\n1,0,0,0.5\n"), (1, "0,0,0,2\n1,0,0,0.5\n")] {
        let mut first = Training::new(CsvLogger::new(Config::new(&path)).unwrap());
        first.begin();
        for epoch in 0..before {
            first.epoch(epoch, &[], &[("loss", 2.0.into())]);
        }
        let state = first.callback.save_state().unwrap().unwrap();
        // Of a run that is killed in its next epoch.
        first.epoch(before, &[], &[("loss", 1.0.into())]);
        drop(first);
        let mut text = fs::read_to_string(&path).unwrap();
        text.push_str("2,0");
        fs::write(&path, text).unwrap();

        let config = Config {
            append: true,
            ..Config::new(&path)
        };
        let mut second = Training::new(CsvLogger::new(config).unwrap());
        second.begin();
        second.callback.load_state(&state).unwrap();
        for epoch in before..2 {
            let loss = if epoch == 0 { 1.0 } else { 0.5 };
            second.epoch(epoch, &[], &[("loss", loss.into())]);
        }
        check_file(&path, &format!("{header}{rows}"));
    }
}

#[test]
fn a_file_that_is_shorter_than_at_the_checkpoint_stays() {
    let (_folder, path) = place();
    let mut first = Training::new(CsvLogger::new(Config::new(&path)).unwrap());
    first.begin();
    first.epoch(0, &[], &[("a long name of a loss", 0.75.into())]);
    let state = first.callback.save_state().unwrap().unwrap();
    drop(first);
    fs::write(&path, "epoch,batches,samples,loss\n").unwrap();
    let config = Config {
        append: true,
        ..Config::new(&path)
    };
    let mut second = Training::new(CsvLogger::new(config).unwrap());
    second.begin();
    second.callback.load_state(&state).unwrap();
    second.epoch(1, &[], &[("loss", 0.5.into())]);
    check_file(&path, "epoch,batches,samples,loss\n1,0,0,0.5\n");
}

#[test]
fn half_a_row_is_not_continued() {
    let (_folder, path) = place();
    fs::write(&path, "epoch;batches;samples;loss\n0;1;1;2\n1;1").unwrap();
    let config = Config {
        append: true,
        separator: ';',
        ..Config::new(&path)
    };
    let mut training = Training::new(CsvLogger::new(config).unwrap());
    training.begin();
    training.epoch(1, &[1], &[("loss", 1.0.into())]);
    check_file(&path, "epoch;batches;samples;loss\n0;1;1;2\n1;1\n1;1;1;1\n");
}

#[test]
fn a_file_of_somebody_else_is_not_appended_to() {
    let (_folder, path) = place();
    fs::write(&path, "name,age\n").unwrap();
    let config = Config {
        append: true,
        ..Config::new(&path)
    };
    let mut training = Training::new(CsvLogger::new(config).unwrap());
    let error = training.try_begin().unwrap_err().to_string();
    assert!(
        error
            .ends_with("expected columns that begin with epoch, batches, samples, found name, age"),
        "{error}"
    );
    check_file(&path, "name,age\n");
}

#[test]
fn a_missing_folder_is_an_error_when_the_training_begins() {
    let (folder, _) = place();
    let path = folder.path().join("missing/epochs.csv");
    let mut training = Training::new(CsvLogger::new(Config::new(&path)).unwrap());
    let error = training.try_begin().unwrap_err();
    assert!(error.is::<std::io::Error>());
    let expected = format!("creating {}: ", path.display());
    assert!(error.to_string().starts_with(&expected), "{error}");
}

#[test]
fn impossible_configurations_are_refused() {
    for separator in ['"', '\n', 'x', '5', '.', '-', '·'] {
        let config = Config {
            separator,
            ..Config::new("a.csv")
        };
        let error = CsvLogger::new(config).unwrap_err().to_string();
        assert!(
            error.starts_with("config field `separator`: expected "),
            "{error}"
        );
    }
    let error = CsvLogger::new(Config::new("")).unwrap_err().to_string();
    assert_eq!(
        error,
        "config field `path`: expected a file, found an empty text"
    );
}

#[test]
fn only_what_is_used_is_asked_for() {
    let logger = CsvLogger::new(Config::new("a.csv")).unwrap();
    assert_eq!(logger.name(), "csv-logger");
    assert_eq!(logger.events().bits(), 0b10_1111);
}
