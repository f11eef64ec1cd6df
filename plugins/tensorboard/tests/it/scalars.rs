//! Curves: which are written, at which steps, and what happens to files.

use crate::reader::{files, read, read_run};
use crate::training::Training;
use keros_callbacks::{CallbackList, EventKind};
use std::fs;
use std::path::Path;
use tensorboard::{Config, TensorBoard};

/// A list with one callback that writes to the folder and is configured by these fields.
pub(crate) fn writing_to<'a>(folder: &Path, fields: serde_json::Value) -> CallbackList<'a> {
    CallbackList::new().with(TensorBoard::new(config(folder, fields)).unwrap())
}

fn config(folder: &Path, mut fields: serde_json::Value) -> Config {
    fields["log_dir"] = serde_json::json!(folder);
    serde_json::from_value(fields).unwrap()
}

/// Tag, step and value of what is written to a run.
fn points(folder: &Path, run: &str) -> Vec<(String, i64, f32)> {
    let shown = read_run(&folder.join(run));
    let points = shown.iter().map(|one| one.point());
    points
        .map(|(tag, step, value)| (tag.to_owned(), step, value))
        .collect()
}

fn check_points(folder: &Path, run: &str, expected: &[(&str, i64, f32)]) {
    let found = points(folder, run);
    let found: Vec<_> = found
        .iter()
        .map(|(tag, step, value)| (tag.as_str(), *step, *value))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn by_default_epochs_and_evaluations_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut callbacks = writing_to(folder.path(), serde_json::json!({}));
    let mut training = Training {
        rate: Some(0.5),
        ..Training::default()
    };
    training.fit(&mut callbacks, &[&[4.0, 2.0], &[2.0, f64::INFINITY]]);
    check_points(
        folder.path(),
        "train",
        &[
            ("epoch_loss", 0, 3.0),
            ("epoch_learning_rate", 0, 0.5),
            ("epoch_loss", 1, f32::INFINITY),
            ("epoch_learning_rate", 1, 0.5),
        ],
    );
    check_points(
        folder.path(),
        "validation",
        &[
            ("evaluation_loss_vs_iterations", 2, 6.0),
            ("epoch_loss", 0, 6.0),
            ("evaluation_loss_vs_iterations", 4, f32::INFINITY),
            ("epoch_loss", 1, f32::INFINITY),
        ],
    );
}

#[test]
fn batches_are_written_as_often_as_asked_for() {
    for (freq, expected) in [
        (
            serde_json::json!("batch"),
            &[(1, 5.0), (2, 4.0), (3, 3.0), (4, 2.0), (5, 1.0)][..],
        ),
        (serde_json::json!(2), &[(2, 4.0), (4, 2.0)]),
        (serde_json::json!("epoch"), &[]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut callbacks = writing_to(folder.path(), serde_json::json!({ "update_freq": freq }));
        Training::default().fit(&mut callbacks, &[&[5.0, 4.0, 3.0], &[2.0, 1.0]]);
        let points = points(folder.path(), "train");
        let batches: Vec<_> = points
            .iter()
            .filter(|(tag, ..)| tag == "batch_loss")
            .map(|(_, step, value)| (*step, *value))
            .collect();
        assert_eq!(batches, expected);
    }
}

#[test]
fn of_batches_before_one_update_the_one_with_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut callbacks = writing_to(folder.path(), serde_json::json!({ "update_freq": "batch" }));
    let mut training = Training::default();
    training.send(&mut callbacks, EventKind::TrainBegin, 0, &[]);
    for (step, loss) in [(0, 8.0), (1, 7.0), (1, 6.0), (2, 5.0)] {
        training.step = step;
        training.send(
            &mut callbacks,
            EventKind::TrainBatchEnd,
            0,
            &[("loss", loss)],
        );
    }
    drop(callbacks);
    let expected = [("batch_loss", 1, 7.0), ("batch_loss", 2, 5.0)];
    check_points(folder.path(), "train", &expected);
}

#[test]
fn speed_is_written_beside_the_losses() {
    let folder = tempfile::tempdir().unwrap();
    let fields = serde_json::json!({ "update_freq": "batch", "write_steps_per_second": true });
    let mut callbacks = writing_to(folder.path(), fields);
    Training::default().fit(&mut callbacks, &[&[1.0]]);
    let points = points(folder.path(), "train");
    let tags: Vec<_> = points
        .iter()
        .map(|(tag, step, _)| (tag.as_str(), *step))
        .collect();
    let expected = [
        ("batch_steps_per_second", 1),
        ("batch_loss", 1),
        ("epoch_loss", 0),
        ("epoch_steps_per_second", 0),
    ];
    assert_eq!(tags, expected);
    for i in [0, 3] {
        assert!(points[i].2 > 0.0);
    }
}

#[test]
fn the_speed_of_an_update_is_that_of_all_its_batches() {
    let folder = tempfile::tempdir().unwrap();
    let fields = serde_json::json!({ "update_freq": "batch", "write_steps_per_second": true });
    let mut callbacks = writing_to(folder.path(), fields);
    let mut training = Training::default();
    training.send(&mut callbacks, EventKind::TrainBegin, 0, &[]);
    training.send(&mut callbacks, EventKind::EpochBegin, 0, &[]);
    training.send(&mut callbacks, EventKind::TrainBatchBegin, 0, &[]);
    std::thread::sleep(std::time::Duration::from_millis(100));
    training.send(
        &mut callbacks,
        EventKind::TrainBatchEnd,
        0,
        &[("loss", 1.0)],
    );
    training.send(&mut callbacks, EventKind::TrainBatchBegin, 0, &[]);
    training.step += 1;
    training.send(
        &mut callbacks,
        EventKind::TrainBatchEnd,
        0,
        &[("loss", 1.0)],
    );
    drop(callbacks);
    let points = points(folder.path(), "train");
    let (tag, step, speed) = &points[0];
    assert_eq!((tag.as_str(), *step), ("batch_steps_per_second", 1));
    assert!(*speed <= 10.0, "{speed}");
}

#[test]
fn an_epoch_that_goes_on_in_a_further_run_has_no_speed_of_the_run_before() {
    let folder = tempfile::tempdir().unwrap();
    let fields = serde_json::json!({ "update_freq": "batch", "write_steps_per_second": true });
    let mut callbacks = writing_to(folder.path(), fields);
    let mut training = Training::default();
    training.fit(&mut callbacks, &[&[1.0]]);
    training.send(&mut callbacks, EventKind::TrainBegin, 0, &[]);
    training.step += 1;
    let logs = [("loss", 1.0)];
    for kind in [EventKind::TrainBatchEnd, EventKind::EpochEnd] {
        training.send(&mut callbacks, kind, 1, &logs);
    }
    drop(callbacks);
    let [_, second] = &files(&folder.path().join("train"))[..] else {
        panic!("expected two files");
    };
    let shown = read(second);
    let tags: Vec<&str> = shown.iter().map(|one| &*one.tag).collect();
    assert_eq!(tags, ["batch_loss", "epoch_loss"]);
}

#[test]
fn an_epoch_that_is_over_is_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut callbacks = writing_to(folder.path(), serde_json::json!({ "update_freq": 1 }));
    let mut training = Training::default();
    training.send(&mut callbacks, EventKind::TrainBegin, 0, &[]);
    training.epoch(&mut callbacks, 0, &[1.0, 0.5]);
    let written = read_run(&folder.path().join("train")).len();
    // What a process that is killed now leaves behind.
    std::mem::forget(callbacks);
    assert_eq!(written, 3);
}

#[test]
fn a_run_that_fails_leaves_all_it_was_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut callbacks = writing_to(folder.path(), serde_json::json!({ "update_freq": 1 }));
    let mut training = Training {
        step: 1,
        ..Training::default()
    };
    training.send(
        &mut callbacks,
        EventKind::TrainBatchEnd,
        0,
        &[("loss", 1.0)],
    );
    training.send(&mut callbacks, EventKind::Error, 0, &[]);
    check_points(folder.path(), "train", &[("batch_loss", 1, 1.0)]);
}

#[test]
fn a_run_that_goes_on_opens_a_file_beside_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let mut training = Training::default();
    for epoch in 0..2 {
        // Another process would make another callback; the same one must do as well.
        let mut callbacks = writing_to(folder.path(), serde_json::json!({ "update_freq": 1 }));
        for epoch in [epoch * 2, epoch * 2 + 1] {
            training.send(&mut callbacks, EventKind::TrainBegin, 0, &[]);
            training.epoch(&mut callbacks, epoch, &[epoch as f64]);
            training.send(&mut callbacks, EventKind::TrainEnd, 0, &[]);
        }
    }
    let files = files(&folder.path().join("train"));
    assert_eq!(files.len(), 4);
    for (i, file) in (0_u8..).zip(&files) {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        assert!(name.starts_with("events.out.tfevents."), "{name}");
        let found = read(file);
        let found: Vec<_> = found.iter().map(|one| one.point()).collect();
        let (number, loss) = (i64::from(i), f32::from(i));
        assert_eq!(
            found,
            [
                ("batch_loss", number + 1, loss),
                ("epoch_loss", number, loss)
            ]
        );
    }
}

#[test]
fn what_cannot_be_written_to_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let mut callbacks = writing_to(&file, serde_json::json!({}));
    let error = Training::default()
        .try_send(&mut callbacks, EventKind::EpochEnd, 0, &[("loss", 1.0)])
        .unwrap_err()
        .to_string();
    let expected = format!("creating {}: ", file.join("train").display());
    assert!(error.contains(&expected), "{error}");
}

#[test]
fn the_setup_of_the_run_is_a_text_and_its_network_a_graph() {
    let folder = tempfile::tempdir().unwrap();
    let mut callbacks = writing_to(folder.path(), serde_json::json!({}));
    let facts = serde_json::json!({ "seed": 7, "network": { "class_name": "Sequential" } });
    let mut training = Training {
        facts: Some(facts.to_string()),
        ..Training::default()
    };
    training.send(&mut callbacks, EventKind::TrainBegin, 0, &[]);
    let shown = read_run(&folder.path().join("train"));
    let shown: Vec<_> = shown
        .iter()
        .map(|one| (&*one.tag, one.step, &*one.dashboard, &*one.sizes))
        .collect();
    let none = &[][..];
    assert_eq!(
        shown,
        [
            ("keras", 0, "graph_keras_model", none),
            ("facts", 0, "text", none)
        ]
    );
}

#[test]
fn impossible_configurations_are_refused() {
    let refused = |fields: &str| {
        let config: Config = match serde_json::from_str(fields) {
            Ok(config) => config,
            Err(error) => return error.to_string(),
        };
        TensorBoard::new(config).unwrap_err().to_string()
    };
    for (fields, expected) in [
        (
            r#"{"log_dir": ""}"#,
            "config field `log_dir`: expected a folder, found an empty text",
        ),
        (
            r#"{"write_images": true}"#,
            "config field `write_images`: expected a `histogram_freq` from 1 beside it, found 0, with which \
             nothing of the parameters is written",
        ),
        (
            r#"{"update_freq": 0}"#,
            "expected \"epoch\", \"batch\" or a number of batches from 1",
        ),
        (
            r#"{"update_freq": "step"}"#,
            "expected \"epoch\", \"batch\" or a number of batches from 1",
        ),
        (
            r#"{"update_freq": -1}"#,
            "expected \"epoch\", \"batch\" or a number of batches from 1",
        ),
        (
            r#"{"profile_batch": 2}"#,
            "unknown field `profile_batch`, expected one of `log_dir`, ",
        ),
    ] {
        let found = refused(fields);
        assert!(found.starts_with(expected), "{fields}: {found}");
    }
}
