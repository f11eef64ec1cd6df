//! The history: rows, lists, CSV and the picture.

use crate::support::{FakeRun, event};
use keros_callbacks::{CallbackList, EventKind, History, HistoryError};

/// Three epochs, validated after the second.
fn history() -> History {
    let mut history = History::new();
    let mut list = CallbackList::new().with(&mut history);
    let mut run = FakeRun::default();
    run.info.metrics = vec!["loss".into(), "accuracy".into()];
    list.dispatch(&event(EventKind::TrainBegin, 0, 0), &mut run)
        .unwrap();
    for epoch in 0..3 {
        run.logs.clear();
        run.logs.set("loss", 1.0 / (epoch + 1) as f64);
        run.logs.set("accuracy", 0.25 * (epoch + 1) as f64);
        if epoch == 1 {
            run.logs.set("val_loss", 0.75);
        }
        run.logs.set("note", "text is not a curve");
        list.dispatch(&event(EventKind::EpochEnd, epoch, 0), &mut run)
            .unwrap();
    }
    drop(list);
    history
}

#[test]
fn lists_hold_one_number_per_epoch_in_which_the_key_appeared() {
    let history = history();
    assert_eq!(history.keys(), ["loss", "accuracy", "val_loss"]);
    assert_eq!(history.get("accuracy"), [0.25, 0.5, 0.75]);
    assert_eq!(history.get("val_loss"), [0.75]);
    assert_eq!(history.get("absent"), [] as [f64; 0]);
    assert_eq!(history.last("loss"), Some(1.0 / 3.0));
    let json = serde_json::to_value(&history).unwrap();
    assert_eq!(json["epoch"], serde_json::json!([0, 1, 2]));
    assert_eq!(json["history"]["val_loss"], serde_json::json!([0.75]));
    assert_eq!(json["params"]["metrics"][1], "accuracy");
}

#[test]
fn csv_has_a_row_per_epoch_and_na_for_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.csv");
    history().write_csv(&path).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(
        text,
        "epoch,loss,accuracy,val_loss\n0,1,0.25,NA\n1,0.5,0.5,0.75\n2,0.3333333333333333,0.75,NA\n"
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_file_that_cannot_be_written_is_named_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missing").join("history.csv");
    let error = history().write_csv(&path).unwrap_err();
    assert!(matches!(error, HistoryError::Io { .. }));
    assert!(error.to_string().contains("history.csv"), "{error}");
    // A folder in the file's place: the rename fails and the file beside it is removed.
    std::fs::create_dir(folder.path().join("taken")).unwrap();
    assert!(history().write_csv(folder.path().join("taken")).is_err());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[cfg(feature = "plots")]
#[test]
fn the_picture_has_a_panel_per_metric_and_a_curve_per_set() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("curves.svg");
    history().write_svg(&path).unwrap();
    let svg = std::fs::read_to_string(&path).unwrap();
    for text in ["loss", "accuracy", "training", "validation", "epoch"] {
        assert!(
            svg.lines().any(|line| line.trim() == text),
            "{text} is not in the picture"
        );
    }
    let points = svg.matches("<circle").count();
    assert_eq!(points, 3 + 3 + 1, "a point per epoch and curve");
    let error = History::new().write_svg(&path).unwrap_err();
    assert!(error.to_string().contains("no numbers"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), svg);
}

/// The picture of one metric with these values.
#[cfg(feature = "plots")]
fn picture(of: &[(&str, &[f64])]) -> String {
    let mut history = History::of(keros_callbacks::RunInfo::default());
    for epoch in 0..of[0].1.len() {
        let mut logs = keros_callbacks::Logs::new();
        for (key, values) in of {
            logs.set(key, values[epoch]);
        }
        history.push(epoch as u64, logs);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("curves.svg");
    history.write_svg(&path).unwrap();
    std::fs::read_to_string(&path).unwrap()
}

#[cfg(feature = "plots")]
#[test]
fn values_that_are_not_finite_leave_a_gap_and_are_counted() {
    let svg = picture(&[
        ("loss", &[1.0, f64::NAN, 0.5, f64::INFINITY]),
        ("val_loss", &[f64::NAN; 4]),
    ]);
    for text in ["training (2 not finite)", "validation (4 not finite)"] {
        assert!(svg.contains(text), "{text}");
    }
    assert_eq!(svg.matches("<circle").count(), 2);
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
}

#[cfg(feature = "plots")]
#[test]
fn marks_of_large_small_and_equal_values_can_be_told_apart() {
    let marks = |values: &[f64]| -> Vec<String> {
        let svg = picture(&[("loss", values)]);
        let lines = svg.lines().map(str::trim);
        let texts = lines.filter(|line| line.parse::<f64>().is_ok());
        texts.map(str::to_owned).collect()
    };
    for values in [
        [1e12, 5e11],
        [1e-9, 3e-9],
        [0.99, 0.99],
        [0.0, 0.0],
        [1e-3, 1e-4],
        [-5.0, 1234.5],
    ] {
        let marks = marks(&values);
        let (epochs, marks): (Vec<&String>, Vec<&String>) = marks
            .iter()
            .partition(|mark| **mark == "1" || **mark == "2");
        assert_eq!(epochs.len(), 2, "{values:?}: {marks:?}");
        assert!(marks.len() >= 3, "{values:?}: {marks:?}");
        let different: std::collections::HashSet<_> = marks.iter().collect();
        assert_eq!(different.len(), marks.len(), "{values:?}: {marks:?}");
        assert!(marks.iter().all(|mark| mark.len() <= 8), "{marks:?}");
    }
}

#[cfg(feature = "plots")]
#[test]
fn many_panels_stand_in_rows_and_long_runs_have_lines_without_dots() {
    let one: &[f64] = &[0.5; 100];
    let svg = picture(&[("a", one), ("b", one), ("c", one), ("d", one)]);
    assert!(
        svg.starts_with("<svg width=\"1440\" height=\"720\""),
        "{}",
        &svg[..80]
    );
    assert!(!svg.contains("<circle"));
    assert!(!svg.contains("training"), "one curve needs no legend");
}
